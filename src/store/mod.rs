//! What survives: one log of messages with positions that are never used twice.
//!
//! The store keeps and gives back. It knows neither who a message is for nor who is online.

pub mod config;
pub mod memory;

use crate::message::{Epoch, Message, Position};
use std::sync::Arc;

/// One record of the log.
#[derive(Debug, Clone)]
pub struct Record {
    /// Where it stands.
    pub offset: u64,
    /// What was published.
    pub message: Arc<Message>,
}

/// Why the store could not keep something. Seen before anything was routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A single message larger than `store.max_bytes`.
    #[error("the message is larger than store.max_bytes")]
    TooLarge,
}

/// The log. Its callers take turns: whoever appends holds the broker's order lock.
pub trait Store: Send + Sync {
    /// Which log this is.
    fn epoch(&self) -> Epoch;

    /// The offset of the newest position given.
    fn head(&self) -> u64;

    /// Gives a position to something whose body need not be kept here.
    fn pass(&self) -> Position;

    /// Appends a message.
    fn append(&self, message: &Arc<Message>) -> Result<Position, StoreError>;

    /// Up to `max` records above `after`, oldest first.
    fn read(&self, after: u64, max: usize) -> Vec<Record>;

    /// The oldest record there is.
    fn oldest(&self) -> Option<Record>;

    /// Drops all records up to `offset`.
    fn trim(&self, offset: u64);

    /// Whether more is kept than `store.max_bytes` allows.
    fn is_over_limit(&self) -> bool;

    /// Records kept, and their bytes.
    fn size(&self) -> (usize, usize);
}
