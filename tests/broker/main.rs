//! What the broker promises MQTT clients, seen from outside: sockets in, packets out.
//!
//! Absence is proved by a marker sent after the fact, never by waiting. All tests share one gateway, so each
//! uses topics and client ids of its own; only the tests about starting and stopping have theirs.

#[path = "../support/mod.rs"]
mod support;

mod authenticating;
mod backlog;
mod connecting;
mod features;
mod flows;
mod limits;
mod quotas;
mod restarts;
mod retained;
mod sessions;
mod subscribing;
mod system;
mod websocket;
mod wills;
