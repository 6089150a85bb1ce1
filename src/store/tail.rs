//! The newest part of the log, in memory: what whoever is only a little behind reads without the disk, all that is not
//! written yet, and what is recorded for web streams and stands nowhere else.

use super::{Record, frame::Lsn};
use crate::message::Millis;
use std::collections::VecDeque;

/// The newest messages, ascending.
#[derive(Debug)]
pub struct Tail {
    records: VecDeque<(Lsn, Record)>,
    bytes: usize,
    max_bytes: usize,
    /// Everything recorded above this is here.
    gone: u64,
}

impl Tail {
    /// Keeps up to `max_bytes`, and whatever is not written, of what comes above `gone`.
    pub fn new(max_bytes: usize, gone: u64) -> Self {
        Tail {
            records: VecDeque::new(),
            bytes: 0,
            max_bytes,
            gone,
        }
    }

    /// Adds the newest message. What is not to be written at all has the number 0.
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
            self.gone = record.offset;
        }
    }

    /// Everything recorded above this position is here.
    pub fn gone(&self) -> u64 {
        self.gone
    }

    /// Up to `max` messages above `after` that `wanted` says so of.
    pub fn read(&self, after: u64, max: usize, wanted: impl Fn(&Record) -> bool) -> Vec<Record> {
        let start = self.above(after);
        let all = self.records.range(start..).map(|(_, record)| record);
        all.filter(|record| wanted(record))
            .take(max)
            .cloned()
            .collect()
    }

    /// Up to `max` messages below `before`, newest first.
    pub fn read_back(&self, before: u64, max: usize) -> Vec<Record> {
        let end = self.above(before.saturating_sub(1));
        let all = self.records.range(..end).rev();
        all.map(|(_, record)| record.clone()).take(max).collect()
    }

    /// The newest message in front of the first that was taken at `time` or later, if that one is here.
    pub fn before(&self, time: Millis) -> Option<u64> {
        let first = |(_, record): &(Lsn, Record)| record.message.time < time;
        let nth = self.records.partition_point(first).checked_sub(1)?;
        Some(self.records[nth].1.offset)
    }

    fn above(&self, after: u64) -> usize {
        let is_below = |(_, record): &(Lsn, Record)| record.offset <= after;
        self.records.partition_point(is_below)
    }
}
