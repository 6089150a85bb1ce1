//! Who may: an identity and what it is allowed to do, the same for every way in.
//!
//! This room decides about topics. It never learns how a message came in, and never talks to a client.

pub mod config;
pub mod identity;
