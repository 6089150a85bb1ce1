//! MQTT ways in: sockets to sessions.
//!
//! Bind first, then serve, so that a port that is taken is known before anything starts. What comes before MQTT and
//! HTTP (sockets, TLS, PROXY headers) is here for both. The driver in `connection.rs` is the same for every byte stream. Nothing here decides what a packet means.

pub mod arrival;
pub mod config;
mod connection;
pub mod door;
mod end;
pub mod entrance;
mod greeting;
mod link;
pub mod listened;
pub mod networks;
pub mod newcomers;
pub mod proxy_protocol;
pub mod refused;
pub mod serve;
pub mod socket;
pub mod tls;
pub mod websocket;
