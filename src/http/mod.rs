//! Web ways in: REST, streams, MQTT over WebSocket, dashboard.

pub mod config;
