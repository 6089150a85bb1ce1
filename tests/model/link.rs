//! A connection between two parties in one thread: it delays, and when it is cut it loses what is under way.

use std::collections::VecDeque;

use super::random::Random;

/// Bytes under way in both directions.
#[derive(Default)]
pub struct Link {
    /// Written by the client, not yet read by the server.
    pub to_server: Pipe,
    /// Written by the server, not yet read by the client.
    pub to_client: Pipe,
}

/// Bytes under way in one direction.
#[derive(Default)]
pub struct Pipe(VecDeque<u8>);

impl Pipe {
    pub fn write(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Some of the bytes, oldest first: a few, or all.
    pub fn read(&mut self, random: &mut Random<'_>) -> Vec<u8> {
        let most = match random.below(4) {
            0 => random.below(8) as usize + 1,
            1 => random.below(100) as usize + 1,
            _ => self.0.len(),
        };
        self.0.drain(..most.min(self.0.len())).collect()
    }

    /// Everything.
    pub fn all(&mut self) -> Vec<u8> {
        self.0.drain(..).collect()
    }

    /// What still arrives although the connection is cut.
    pub fn last(&mut self, random: &mut Random<'_>) -> Vec<u8> {
        let arrives = match random.below(3) {
            0 => 0,
            1 => random.below(self.0.len() as u64 + 1) as usize,
            _ => self.0.len(),
        };
        let arrived = self.0.drain(..arrives).collect();
        self.0.clear();
        arrived
    }
}
