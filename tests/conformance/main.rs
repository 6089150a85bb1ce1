//! Conformance: every numbered statement of MQTT 5.0 and 3.1.1, and what 3.1 does differently, proven by bytes over
//! TCP and over WebSocket.
//!
//! Each module states in `claims!` what its tests prove; `MATRIX.md` is written from that, and the tests of [`matrix`]
//! fail when a statement has neither a test nor an argued exception. All tests share one gateway, so each uses topics
//! and client ids of its own; those about settings start their own.

#[path = "../support/mod.rs"]
mod support;

#[macro_use]
mod claims;
mod choices;
mod exceptions;
mod matrix;
mod mirror;
mod stage;

mod acknowledgements;
mod authentication;
mod client_limits;
mod connect;
mod delivery;
mod features;
mod flow_control;
mod goodbye;
mod headers;
mod keep_alive;
mod opening;
mod publish;
mod retained;
mod server_limits;
mod sessions;
mod shared;
mod strings;
mod subscribing;
mod topics;
mod v31;
mod websocket;
mod wills;

/// The modules with tests, in the order of the standard.
const CHAPTERS: &[(&str, &[claims::Claim])] = &[
    ("strings", strings::CLAIMS),
    ("headers", headers::CLAIMS),
    ("connect", connect::CLAIMS),
    ("opening", opening::CLAIMS),
    ("keep_alive", keep_alive::CLAIMS),
    ("wills", wills::CLAIMS),
    ("client_limits", client_limits::CLAIMS),
    ("server_limits", server_limits::CLAIMS),
    ("features", features::CLAIMS),
    ("publish", publish::CLAIMS),
    ("retained", retained::CLAIMS),
    ("acknowledgements", acknowledgements::CLAIMS),
    ("subscribing", subscribing::CLAIMS),
    ("goodbye", goodbye::CLAIMS),
    ("authentication", authentication::CLAIMS),
    ("delivery", delivery::CLAIMS),
    ("sessions", sessions::CLAIMS),
    ("topics", topics::CLAIMS),
    ("shared", shared::CLAIMS),
    ("flow_control", flow_control::CLAIMS),
    ("websocket", websocket::CLAIMS),
    ("v31", v31::CLAIMS),
];
