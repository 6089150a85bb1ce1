//! The web API as `openapi.json` and the README promise it, seen from a bare socket.

#[path = "../support/random.rs"]
mod random;
#[path = "../support/mod.rs"]
mod support;

mod documents;
mod dying_readers;
mod fidelity;
mod foreign_pages;
mod got;
mod hostile;
mod killed_gateway;
mod problems;
mod publishing;
mod resuming;
mod state;
mod stream_bytes;
mod streaming;
mod topics;
