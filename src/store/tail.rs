//! The newest part of the log, in memory: what whoever is only a little behind reads without the disk, all that is not
//! written yet, and what is recorded for web streams and stands nowhere else.

use super::{Page, Record, frame::Lsn};
use crate::message::Millis;
use std::{collections::VecDeque, sync::Arc};

/// The newest messages, whose renderings may still be shared by live streams.
const LIVE: usize = 512;

/// The newest messages, ascending.
#[derive(Debug)]
pub struct Tail {
    records: VecDeque<(Lsn, Record)>,
    bytes: usize,
    max_bytes: usize,
    /// Everything recorded above this is here.
    gone: u64,
    /// The newest message for which there was no room, because what is older waits for the disk.
    missing: u64,
}

impl Tail {
    /// Keeps up to `max_bytes`, and whatever is not written, of what comes above `gone`.
    pub fn new(max_bytes: usize, gone: u64) -> Self {
        Tail {
            records: VecDeque::new(),
            bytes: 0,
            max_bytes,
            gone,
            missing: 0,
        }
    }

    /// Adds the newest message. What is not to be written at all has the number 0.
    pub fn push(&mut self, lsn: Lsn, record: Record) {
        self.bytes += record.message.weight();
        self.records.push_back((lsn, record));
        // the payload is not held twice for long
        let nth = self.records.len().checked_sub(LIVE);
        if let Some((_, record)) = nth.and_then(|nth| self.records.get_mut(nth))
            && let Some(bare) = record.message.bare()
        {
            record.message = Arc::new(bare);
        }
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

    /// Whether so much waits for the disk that there is no room for what is not to be written, with so many bytes to spare.
    pub fn is_overfull(&self, spare: usize) -> bool {
        self.bytes > self.max_bytes.saturating_add(spare)
    }

    /// A message that should be here is not.
    pub fn miss(&mut self, offset: u64) {
        self.missing = offset;
    }

    /// Everything above this position that is not on the disk is here, but for what was [missed](Self::miss).
    pub fn gone(&self) -> u64 {
        self.gone
    }

    /// Everything recorded above this position is here.
    pub fn floor(&self) -> u64 {
        self.gone.max(self.missing)
    }

    /// A page of messages above `after` that `wanted` says so of.
    pub fn read(&self, after: u64, max: usize, wanted: impl Fn(&Record) -> bool) -> Vec<Record> {
        Page::fill(self.newer(after).filter(|record| wanted(record)), max)
    }

    /// A page of messages below `before`, newest first.
    pub fn read_back(&self, before: u64, max: usize) -> Vec<Record> {
        Page::fill(self.older(before), max)
    }

    /// The messages above `after`.
    pub fn newer(&self, after: u64) -> impl Iterator<Item = &Record> {
        let start = self.above(after);
        self.records.range(start..).map(|(_, record)| record)
    }

    /// The messages below `before`, newest first.
    pub fn older(&self, before: u64) -> impl Iterator<Item = &Record> {
        let end = self.above(before.saturating_sub(1));
        let all = self.records.range(..end).rev();
        all.map(|(_, record)| record)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        message::{Message, Rendering},
        mqtt::{Qos, payload::Payload, topic::TopicName},
        store::PAGE_BYTES,
    };
    use bytes::Bytes;

    #[test]
    fn a_page_of_large_messages_is_bounded_in_bytes_and_has_one_at_least() {
        let mut tail = Tail::new(usize::MAX, 0);
        let mut push = |offset, size| {
            let topic = TopicName::parse("a").unwrap();
            let payload = Payload::copy_from_slice(&vec![0; size]);
            let (qos, time) = (Qos::AtMostOnce, Millis(offset));
            let message = Message::new(topic, payload, qos, false, None, None, time);
            let message = Arc::new(message);
            tail.push(
                Lsn(0),
                Record {
                    offset,
                    message,
                    size: 0,
                },
            );
        };
        push(1, 2 * PAGE_BYTES);
        for offset in 2..=9 {
            push(offset, PAGE_BYTES / 3);
        }
        let offsets = |records: Vec<Record>| -> Vec<u64> {
            records.iter().map(|record| record.offset).collect()
        };
        assert_eq!(offsets(tail.read(0, 100, |_| true)), [1]);
        assert_eq!(offsets(tail.read(1, 100, |_| true)), [2, 3]);
        assert_eq!(offsets(tail.read_back(10, 100)), [9, 8]);
        assert_eq!(offsets(tail.read_back(2, 100)), [1]);
    }

    #[test]
    fn a_rendering_goes_when_its_message_is_no_longer_new() {
        let mut tail = Tail::new(1 << 20, 0);
        let render = |_: &Message| Rendering::new(0, None, Bytes::from_static(b"{}"), 0..2);
        for offset in 1..=2 * LIVE as u64 {
            let topic = TopicName::parse("a").unwrap();
            let payload = Payload::copy_from_slice(&offset.to_be_bytes());
            let (qos, time) = (Qos::AtMostOnce, Millis(offset));
            let message = Message::new(topic, payload, qos, false, None, None, time);
            message.web(0, render);
            let message = Arc::new(message);
            let size = 0;
            tail.push(
                Lsn(0),
                Record {
                    offset,
                    message,
                    size,
                },
            );
        }
        let all = tail.read(0, usize::MAX, |_| true);
        let rendered = all.iter().filter(|record| record.message.bare().is_some());
        let newest: Vec<u64> = rendered.map(|record| record.offset).collect();
        assert_eq!(newest.len(), LIVE - 1);
        assert_eq!(newest.last(), Some(&(2 * LIVE as u64)));
        let is_itself = |record: &Record| *record.message.payload == record.offset.to_be_bytes();
        assert!(all.iter().all(is_itself));
    }
}
