//! The newest part of the log, in memory: what whoever is only a little behind reads without the disk, and all that is
//! not written yet.

use super::{Record, frame::Lsn};
use std::collections::VecDeque;

/// The newest messages, ascending.
#[derive(Debug)]
pub struct Tail {
    records: VecDeque<(Lsn, Record)>,
    bytes: usize,
    max_bytes: usize,
}

impl Tail {
    /// Keeps up to `max_bytes`, and whatever is not written.
    pub fn new(max_bytes: usize) -> Self {
        Tail {
            records: VecDeque::new(),
            bytes: 0,
            max_bytes,
        }
    }

    /// Adds the newest message.
    pub fn push(&mut self, lsn: Lsn, record: Record) {
        self.bytes += record.message.weight();
        self.records.push_back((lsn, record));
    }

    /// Lets go of the oldest above the limit; all up to `written` can be read from the disk.
    pub fn shrink(&mut self, written: Lsn) {
        while self.bytes > self.max_bytes
            && let Some((_, record)) = self.records.pop_front_if(|(lsn, _)| *lsn <= written)
        {
            self.bytes -= record.message.weight();
        }
    }

    /// The offset of the oldest message here.
    pub fn first(&self) -> Option<u64> {
        self.records.front().map(|(_, record)| record.offset)
    }

    /// Up to `max` messages above `after`.
    pub fn read(&self, after: u64, max: usize) -> Vec<Record> {
        let start = self
            .records
            .partition_point(|(_, record)| record.offset <= after);
        let wanted = self.records.range(start..).take(max);
        wanted.map(|(_, record)| record.clone()).collect()
    }

    /// Forgets what is not needed.
    pub fn trim(&mut self, up_to: u64, written: Lsn) {
        let gone = |(lsn, record): &mut (Lsn, Record)| record.offset <= up_to && *lsn <= written;
        while let Some((_, record)) = self.records.pop_front_if(|one| gone(one)) {
            self.bytes -= record.message.weight();
        }
    }
}
