//! What survives the process: the gateway is killed again and again under load, and everything it has acknowledged is
//! looked for afterwards.
//!
//! The driver is not killed, so its memory knows for certain what was acknowledged. Absence is proved by a marker:
//! the order within a stream of numbers is promised, so what has not come before the last number never will.
#![allow(clippy::unwrap_used)]

#[path = "../support/random.rs"]
mod random;
#[path = "../support/mod.rs"]
mod support;

mod book;
mod cast;
mod clean_stop;
mod cycles;
mod everyone;
mod findings;
mod folder;
mod full_disk;
mod image;
mod interval;
mod line;
mod lives;
mod power_cut;
mod publisher;
mod record;
mod retained;
mod session;
mod slow_disk;
mod subscriber;
mod web;
mod world;
