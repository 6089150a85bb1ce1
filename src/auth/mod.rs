//! Who may.

pub mod config;
