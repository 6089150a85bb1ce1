//! MQTT ways in: sockets to sessions.

pub mod config;
