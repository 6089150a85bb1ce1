//! Bad neighbours: readers that never read, peers that vanish, input that is wrong in every way there is.
//!
//! A pair of healthy clients talks through the same gateway all the while and must notice nothing.

#[path = "../support/random.rs"]
mod random;
#[path = "../support/mod.rs"]
mod support;

mod bad_connects;
mod bad_packets;
mod bad_requests;
mod canary;
mod mutation;
mod slow_readers;
mod stalled_streams;
