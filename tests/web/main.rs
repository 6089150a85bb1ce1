//! The web API as `openapi.json` and the README promise it, seen from a bare socket.

#[path = "../support/mod.rs"]
mod support;

mod catalogue;
mod conditions;
mod documents;
mod draining;
mod foreign_pages;
mod headers;
mod listing;
mod problems;
mod publishing;
mod state;
mod stream_bytes;
mod streaming;
mod topics;
