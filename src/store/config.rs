//! What an operator may choose about what is kept.

use std::{fmt, path::PathBuf, time::Duration};

/// `[store]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The data folder. Relative to the folder the gateway is started in.
    pub path: PathBuf,
    /// When a message counts as kept.
    pub durability: Durability,
    /// How much of the log is kept, in bytes; above it the oldest goes although someone may need it.
    pub max_bytes: usize,
    /// How much of its newest part is also kept in memory, in bytes.
    pub tail_bytes: usize,
}

/// What has happened to a message before its publisher gets the acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// It is on the disk, synced together with others that came meanwhile.
    #[default]
    Fsync,
    /// The operating system has it; a power cut loses at most so much.
    Interval(Duration),
    /// It is in memory; nothing is written, nothing survives the end of the process.
    Memory,
}

impl fmt::Display for Durability {
    /// The promise, in words for a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Durability::Fsync => {
                f.write_str("fsync: acknowledged messages are on the disk and survive a power cut")
            }
            Durability::Interval(interval) => write!(
                f,
                "interval: acknowledged messages survive the end of the process; a power cut loses at most {} ms",
                interval.as_millis()
            ),
            Durability::Memory => f.write_str(
                "memory: acknowledged messages survive their connection, not the process",
            ),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            path: PathBuf::from("./tidegate-data"),
            durability: Durability::default(),
            max_bytes: 1024 * 1024 * 1024,
            tail_bytes: 16 * 1024 * 1024,
        }
    }
}
