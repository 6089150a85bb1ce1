//! Tidegate: one MQTT broker core with many ways in and out.

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
