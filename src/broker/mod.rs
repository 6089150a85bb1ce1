//! The switch: joins routing, store, auth and who is online.

pub mod config;
