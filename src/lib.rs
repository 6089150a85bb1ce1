//! Tidegate: one MQTT broker core with many ways in and out.
//!
//! Every listener turns its input into one [`message::Message`] and calls one synchronous function,
//! [`broker::Broker::publish`]; every exit reads an [`broker::outbox::Outbox`] that stands in one routing tree. So N ways
//! in and M ways out cost N + M pieces of code, and the hot path is short: `broker/publish.rs`, `broker/outbox.rs`,
//! `listener/connection.rs` with `packets.rs` (in) and `filling.rs` (out) below it.
//!
//! # The rooms
//!
//! From the foundation up. A room imports only from lower floors; `tests/house.rs` checks it.
//!
//! | floor | room | what it is for |
//! |------:|------|----------------|
//! | 1 | [`metrics`] | counters and gauges that any room may bump; imports nothing |
//! | 1 | [`mqtt`] | the wire: bytes to packets and back, 3.1, 3.1.1 and 5.0 in one model; pure |
//! | 1 | [`watched`] | files that may change meanwhile, and when they are to be read again; imports nothing |
//! | 2 | [`message`] | the message everyone shares, and its rendering for the web, made once; pure |
//! | 3 | [`session`] | the conversation: one client's protocol state; packets in, packets and requests out; pure |
//! | 3 | [`routing`] | who wants it: the topic tree, share groups, a publisher's memo, retained messages; pure |
//! | 3 | [`auth`] | who may, and how much: an identity with the rules it obeys and its quota, and how a client proves who it is: passwords, tokens, certificates, methods |
//! | 4 | [`store`] | what survives: one log of messages and of what changes beside them, in segment files |
//! | 5 | [`broker`] | the switch: the only room that joins routing, store, auth and who is online |
//! | 6 | [`observe`] | looking in: log lines, `/metrics`, `$SYS` |
//! | 7 | [`listener`] | ways in: sockets, TLS, PROXY headers; the accept loop, and MQTT's driver of a connection |
//! | 8 | [`http`] | web ways in and out: REST, batches, history, SSE, NDJSON, JSON over WebSocket, dashboard, documents, problems |
//! | 9 | [`config`] | what the operator wrote: file, environment, flags; all faults at once |
//! | 10 | [`app`] | the composition root: bind, build, run, drain |
//! | 11 | [`cli`] | the command line: `run`, `check-config`, `pub`, `sub`, `passwd`, `explain`, `dev-certs`, `store`, `bench`, `openapi` |
//!
//! # The life of a PUBLISH
//!
//! 1. The connection's task reads what is there, decodes it where it lies, and hands packet by packet to its session.
//! 2. The session resolves aliases, notes QoS 1/2 identifiers and asks for a publish.
//! 3. The broker asks the identity, looks the topic up in the publisher's memo, and offers the message to each outbox,
//!    together with the others of that read that go to the same ones. If it is retained or somebody durable wants it,
//!    all this happens under the order lock and it gets a position.
//! 4. The acknowledgements of the whole read leave in one write. What must survive waits for the store's watermark first:
//!    one thread writes the log, and one sync serves all that was appended while the one before it ran.
//! 5. An outbox that was empty wakes its reader, which drains it in batches into one write, or one body chunk. A session that is
//!    kept and a web stream have a place in the log, too: whoever falls behind reads on from there (`broker/cursor.rs`,
//!    `broker/stream.rs`), and what the log no longer has is told as a gap (`broker/resume.rs`).

pub mod app;
pub mod auth;
pub mod broker;
pub mod cli;
pub mod config;
pub mod http;
pub mod listener;
pub mod message;
pub mod metrics;
pub mod mqtt;
pub mod observe;
pub mod routing;
pub mod session;
pub mod store;
pub mod watched;
