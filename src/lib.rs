//! Tidegate: one MQTT broker core with many ways in and out.

pub mod message;
pub mod mqtt;
