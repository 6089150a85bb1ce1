//! The log in memory: gone with the process.

use super::{Record, Store, StoreError};
use crate::message::{Epoch, Message, Position};
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc};

/// A log that is a queue.
pub struct MemoryStore {
    epoch: Epoch,
    max_bytes: usize,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    head: u64,
    bytes: usize,
    /// Ascending, with holes where a position was only passed.
    records: VecDeque<Record>,
}

impl MemoryStore {
    /// An empty log with a new epoch; more than `max_bytes` is over its limit.
    pub fn new(epoch: Epoch, max_bytes: usize) -> Self {
        MemoryStore {
            epoch,
            max_bytes,
            log: Mutex::default(),
        }
    }
}

impl Store for MemoryStore {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn head(&self) -> u64 {
        self.log.lock().head
    }

    fn pass(&self) -> Position {
        let mut log = self.log.lock();
        log.head += 1;
        Position {
            epoch: self.epoch,
            offset: log.head,
        }
    }

    fn append(&self, message: &Arc<Message>) -> Result<Position, StoreError> {
        if message.weight() > self.max_bytes {
            return Err(StoreError::TooLarge);
        }
        let mut log = self.log.lock();
        log.head += 1;
        log.bytes += message.weight();
        let offset = log.head;
        log.records.push_back(Record {
            offset,
            message: message.clone(),
        });
        Ok(Position {
            epoch: self.epoch,
            offset,
        })
    }

    fn read(&self, after: u64, max: usize) -> Vec<Record> {
        let log = self.log.lock();
        let start = log.records.partition_point(|record| record.offset <= after);
        log.records.range(start..).take(max).cloned().collect()
    }

    fn oldest(&self) -> Option<Record> {
        self.log.lock().records.front().cloned()
    }

    fn trim(&self, offset: u64) {
        let mut log = self.log.lock();
        while let Some(record) = log.records.pop_front_if(|record| record.offset <= offset) {
            log.bytes -= record.message.weight();
        }
    }

    fn is_over_limit(&self) -> bool {
        self.log.lock().bytes > self.max_bytes
    }

    fn size(&self) -> (usize, usize) {
        let log = self.log.lock();
        (log.records.len(), log.bytes)
    }
}
