//! The log in memory: gone with the process.

use super::{
    Appended, Page, Record, Store, StoreError, Urgency, Wanted, frame::Lsn, record::Change,
    watermark::Watermark,
};
use crate::{
    message::{Epoch, Message, Position},
    mqtt::{PacketId, topic::TopicName},
};
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc};

/// A log that is a queue. What is in it is at once as durable as it gets.
pub struct MemoryStore {
    epoch: Epoch,
    max_bytes: usize,
    log: Mutex<Log>,
    watermark: Watermark,
}

#[derive(Default)]
struct Log {
    head: u64,
    trimmed: u64,
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
            watermark: Watermark::default(),
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

    fn append(
        &self,
        message: &Arc<Message>,
        _: Option<PacketId>,
        _: Urgency,
    ) -> Result<Appended, StoreError> {
        let size = message.weight();
        if size > self.max_bytes {
            return Err(StoreError::TooLarge);
        }
        let mut log = self.log.lock();
        log.head += 1;
        log.bytes += size;
        let offset = log.head;
        log.records.push_back(Record {
            offset,
            message: message.clone(),
            size,
        });
        Ok(Appended {
            position: Position {
                epoch: self.epoch,
                offset,
            },
            lsn: Lsn(0),
            size,
        })
    }

    fn change(&self, _: Change, _: Urgency) -> Lsn {
        Lsn(0)
    }

    fn newest(&self) -> Lsn {
        Lsn(0)
    }

    fn watermark(&self) -> &Watermark {
        &self.watermark
    }

    fn health(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn is_busy(&self) -> bool {
        false
    }

    fn read(&self, after: u64, max: usize, _: Option<&Wanted>) -> Page {
        let log = self.log.lock();
        let start = log.records.partition_point(|record| record.offset <= after);
        let records: Vec<_> = log.records.range(start..).take(max).cloned().collect();
        Page {
            through: records.last().map_or(after, |last| last.offset),
            records,
        }
    }

    fn trim(&self, through: u64, _: usize, _: usize) {
        let mut log = self.log.lock();
        while let Some(record) = log.records.pop_front_if(|record| record.offset <= through) {
            log.bytes -= record.size;
        }
        log.trimmed = log.trimmed.max(through);
    }

    fn trimmed(&self) -> u64 {
        self.log.lock().trimmed
    }

    fn is_over_limit(&self) -> bool {
        self.log.lock().bytes > self.max_bytes
    }

    fn size(&self) -> (usize, usize) {
        let log = self.log.lock();
        (log.records.len(), log.bytes)
    }

    fn compact(&self, _: &dyn Fn(&TopicName, u64) -> bool, _: usize) {}

    fn close(&self) {}
}
