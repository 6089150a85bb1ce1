//! What an operator may choose about what is kept.

use std::path::PathBuf;

/// `[store]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The data folder. Relative to the folder the gateway is started in.
    pub path: PathBuf,
    /// When a message counts as kept.
    pub durability: Durability,
    /// How much of the log is kept, in bytes; above it the oldest goes although someone may need it.
    pub max_bytes: usize,
}

/// What has happened to a message before its publisher gets the acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// It is in memory; nothing is written, nothing survives the end of the process.
    #[default]
    Memory,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            path: PathBuf::from("./tidegate-data"),
            durability: Durability::default(),
            max_bytes: 256 * 1024 * 1024,
        }
    }
}
