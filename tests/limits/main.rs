//! What one party may do to the gateway, whichever way it comes in: guess, publish, hold open, dawdle, send too much.

#[path = "../support/mod.rs"]
mod support;

mod dawdling;
mod doors;
mod files;
mod http2;
mod logins;
mod places;
mod publishing;
mod world;
