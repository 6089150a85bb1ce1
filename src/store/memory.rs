//! The log in memory: gone with the process.

use super::{
    Appended, Floor, IfRetained, Page, Record, Store, StoreError, Urgency, Wanted,
    frame::Lsn,
    once::{Keys, Once},
    record::Change,
    tail::Tail,
    watermark::Watermark,
};
use crate::{
    message::{Epoch, Message, Millis, Position},
    mqtt::PacketId,
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

struct Log {
    head: u64,
    trimmed: u64,
    bytes: usize,
    /// Ascending, with holes where a position was only passed.
    records: VecDeque<Record>,
    /// The newest of them, and those that are recorded and not kept.
    tail: Tail,
    keys: Keys,
}

impl Log {
    fn push(&mut self, message: &Arc<Message>, size: usize) -> u64 {
        self.head += 1;
        let record = Record {
            offset: self.head,
            message: message.clone(),
            size,
        };
        if record.is_kept() {
            self.bytes += size;
            self.records.push_back(record.clone());
        }
        self.tail.push(Lsn(0), record);
        self.tail.shrink(Lsn(0));
        self.head
    }

    fn append(&mut self, message: &Arc<Message>, epoch: Epoch) -> Appended {
        let size = message.weight();
        let offset = self.push(message, size);
        Appended {
            position: Position { epoch, offset },
            lsn: Lsn(0),
            size,
        }
    }

    fn floor(&self) -> Floor {
        Floor {
            tail: self.tail.gone(),
            kept: self.trimmed,
        }
    }

    /// Kept messages above `after`.
    fn kept(&self, after: u64) -> impl DoubleEndedIterator<Item = &Record> {
        let start = self
            .records
            .partition_point(|record| record.offset <= after);
        self.records.range(start..)
    }
}

/// Of the records read, the last says how far that was.
fn page(records: Vec<Record>, after: u64) -> Page {
    Page {
        damage: None,
        through: records.last().map_or(after, |last| last.offset),
        records,
    }
}

impl MemoryStore {
    /// An empty log with a new epoch; more than `max_bytes` is over its limit. Of what is recorded, the newest
    /// `tail_bytes` stay whether or not somebody needs them.
    pub fn new(epoch: Epoch, max_bytes: usize, tail_bytes: usize) -> Self {
        MemoryStore {
            epoch,
            max_bytes,
            log: Mutex::new(Log {
                head: 0,
                trimmed: 0,
                bytes: 0,
                records: VecDeque::new(),
                tail: Tail::new(tail_bytes, 0),
                keys: Keys::default(),
            }),
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

    fn remember(&self, message: &Arc<Message>) -> Result<Position, StoreError> {
        Ok(Position {
            epoch: self.epoch,
            offset: self.log.lock().push(message, 0),
        })
    }

    fn read(&self, after: u64, max: usize, _: Option<&Wanted>) -> Page {
        let log = self.log.lock();
        page(Page::fill(log.kept(after), max), after)
    }

    fn look(&self, after: u64, max: usize, _: Option<&Wanted>) -> (Page, Floor) {
        let log = self.log.lock();
        let gone = log.tail.gone();
        // what the tail let go of was kept, or is missing
        let older = log.kept(after).take_while(|record| record.offset <= gone);
        let all = older.chain(log.tail.newer(after.max(gone)));
        (page(Page::fill(all, max), after), log.floor())
    }

    fn look_back(&self, before: u64, max: usize, _: &Wanted) -> Page {
        let log = self.log.lock();
        let gone = log.tail.gone();
        let older = log.kept(0).rev();
        let older = older.skip_while(|record| record.offset >= before || record.offset > gone);
        let records = Page::fill(log.tail.older(before).chain(older), max);
        Page {
            damage: None,
            through: records.last().map_or(0, |oldest| oldest.offset),
            records,
        }
    }

    fn floor(&self) -> Floor {
        self.log.lock().floor()
    }

    fn before(&self, time: Millis) -> u64 {
        let log = self.log.lock();
        let older = || log.kept(0).take_while(|record| record.message.time < time);
        let older = || older().last().map_or(0, |last| last.offset);
        log.tail.before(time).unwrap_or_else(older)
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

    fn compact(&self, _: IfRetained<'_>, _: usize) {}

    fn close(&self) {}
}
