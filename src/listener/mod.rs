//! MQTT ways in: sockets to sessions.
//!
//! Bind first, then serve, so that a port that is taken is known before anything starts. The driver in
//! `connection.rs` is the same for every byte stream. Nothing here decides what a packet means.

pub mod config;
mod connection;
pub mod door;
mod end;
mod greeting;
mod link;
pub mod refused;
pub mod tcp;
pub mod websocket;
