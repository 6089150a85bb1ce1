//! What survives.

pub mod config;
