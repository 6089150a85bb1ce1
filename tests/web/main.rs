//! The web API as `openapi.json` and the README promise it, seen from a bare socket.

#[path = "../support/mod.rs"]
mod support;

mod batch;
mod documents;
mod foreign_pages;
mod idempotency;
mod problems;
mod publishing;
mod state;
mod stream_bytes;
mod streaming;
mod topics;
