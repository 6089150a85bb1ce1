//! The web API as `openapi.json` and the README promise it, seen from a bare socket.

#[path = "../support/random.rs"]
mod random;
#[path = "../support/mod.rs"]
mod support;

mod batch;
mod catalogue;
mod conditions;
mod documents;
mod draining;
mod dying_readers;
mod fidelity;
mod foreign_pages;
mod got;
mod headers;
mod hostile;
mod idempotency;
mod killed_gateway;
mod listing;
mod problems;
mod publishing;
mod replay_scan;
mod resuming;
mod state;
mod stored_scripts;
mod stream_bytes;
mod streaming;
mod topics;
mod ws_json;
mod ws_json_closing;
