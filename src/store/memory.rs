//! The log in memory: gone with the process.

use super::{
    Appended, Page, Record, Store, StoreError, Urgency, Wanted,
    frame::Lsn,
    once::{Keys, Once},
    record::Change,
    watermark::Watermark,
};
use crate::{
    message::{Epoch, Message, Millis, Position},
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
    keys: Keys,
}

impl Log {
    fn append(&mut self, message: &Arc<Message>, epoch: Epoch) -> Appended {
        let size = message.weight();
        self.head += 1;
        self.bytes += size;
        let offset = self.head;
        self.records.push_back(Record {
            offset,
            message: message.clone(),
            size,
        });
        Appended {
            position: Position { epoch, offset },
            lsn: Lsn(0),
            size,
        }
    }
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
        if message.weight() > self.max_bytes {
            return Err(StoreError::TooLarge);
        }
        Ok(self.log.lock().append(message, self.epoch))
    }

    fn append_together(
        &self,
        messages: &[Arc<Message>],
        once: Option<&Arc<Once>>,
        _: Urgency,
    ) -> Result<Vec<Appended>, StoreError> {
        let fits = |message: &Arc<Message>| message.weight() <= self.max_bytes;
        if !messages.iter().all(fits) {
            return Err(StoreError::TooLarge);
        }
        let mut log = self.log.lock();
        if let Some(once) = once {
            log.keys.insert(once.clone(), 0);
        }
        let appended = messages.iter().map(|one| log.append(one, self.epoch));
        Ok(appended.collect())
    }

    fn once(&self, user: &Option<Arc<str>>, key: &str) -> Option<Arc<Once>> {
        self.log.lock().keys.get(user, key).cloned()
    }

    fn forget_once(&self, now: Millis) {
        self.log.lock().keys.forget(now);
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
