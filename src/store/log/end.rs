//! The end of the log: the batch that waits, the positions that may be given, and where everything stands.

use super::{Options, QUEUE, RESERVE, SOON, Shared};
use crate::{
    message::{Epoch, Message, Position},
    store::{
        Appended, Floor, Record, StoreError, Urgency,
        frame::{self, Lsn},
        index::Index,
        kept::Kept,
        record::{self, Change},
        recovery::HEADER,
        tail::Tail,
    },
};
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

/// The end of the log, and where everything stands.
pub(in crate::store) struct Log {
    pub last: Lsn,
    /// The last record but for notes of the writer, which nobody syncs.
    pub newest: Lsn,
    /// Everything up to here is in the files.
    pub written: Lsn,
    pub head: u64,
    pub kept: Kept,
    pub segments: BTreeMap<u64, Segment>,
    /// The batch that waits.
    pub pending: Vec<Chunk>,
    pub pending_bytes: usize,
    pub urgent: bool,
    /// When the batch must be written although nobody waits for it.
    pub soon: Option<Instant>,
    pub tail: Tail,
    /// Messages above `kept.trimmed`, and their bytes.
    pub messages: usize,
    pub bytes: usize,
    /// Offsets that may be given, and those that may be as soon as a record is durable.
    pub reserved: u64,
    pub reserving: Option<(Lsn, u64)>,
    /// A record that is durable only once it is synced, whenever others are.
    pub must_sync: Option<Lsn>,
    /// Bytes of all that is kept beside the messages in the log, as of the last look for what can be given back.
    pub beside: usize,
    pub full: bool,
    /// The first records of this run are durable.
    pub begun: bool,
    pub closing: bool,
}

/// One file of the log.
#[derive(Default)]
pub(in crate::store) struct Segment {
    pub index: Index,
    /// Where the next record would stand.
    pub end: u64,
    /// How much of it is in the file.
    pub written: u64,
}

/// Bytes for one place.
pub(in crate::store) struct Chunk {
    pub segment: u64,
    pub at: u64,
    pub bytes: Vec<u8>,
}

/// Where a record was put.
pub(super) struct Put {
    pub lsn: Lsn,
    pub segment: u64,
    pub at: u64,
    pub end: u64,
}

impl Log {
    /// The batch that waits gets one more record.
    pub(super) fn put(&mut self, shared: &Shared, body: impl FnOnce(&mut Vec<u8>)) -> Put {
        let segment = self.segment_to_append(shared.options.segment_bytes as u64);
        self.put_in(segment, shared, body)
    }

    /// As above, in this segment.
    pub(super) fn put_in(
        &mut self,
        segment: u64,
        shared: &Shared,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Put {
        self.last = Lsn(self.last.0 + 1);
        self.newest = self.last;
        let lsn = self.last;
        let end = self.segments.entry(segment).or_default();
        let at = end.end;
        if shared.watermark.has_failed() {
            // it will never be durable, and nobody is left to write it
            return Put {
                lsn,
                segment,
                at,
                end: at,
            };
        }
        match self.pending.last() {
            Some(chunk) if chunk.segment == segment => {}
            _ => self.pending.push(Chunk {
                segment,
                at: end.end,
                bytes: Vec::new(),
            }),
        }
        if let Some(chunk) = self.pending.last_mut() {
            let before = chunk.bytes.len();
            frame::put(&mut chunk.bytes, shared.secret, lsn, body);
            let added = chunk.bytes.len() - before;
            end.end += added as u64;
            self.pending_bytes += added;
            shared.queued.store(self.pending_bytes, Ordering::Relaxed);
        }
        Put {
            lsn,
            segment,
            at,
            end: end.end,
        }
    }

    pub(super) fn segment_to_append(&mut self, limit: u64) -> u64 {
        match self.segments.last_key_value() {
            Some((number, segment)) if segment.end < limit => *number,
            last => {
                let number = last.map_or(1, |(number, _)| number + 1);
                self.begin_segment(number);
                number
            }
        }
    }

    /// From now on records go there.
    pub fn begin_segment(&mut self, number: u64) {
        self.segments.insert(
            number,
            Segment {
                end: HEADER as u64,
                written: HEADER as u64,
                ..Default::default()
            },
        );
    }

    /// Notes, for a later start, what was synced. Nobody waits for it.
    pub fn note(&mut self, shared: &Shared, synced: Lsn) {
        let newest = self.newest;
        let note = Change::Batch { synced: synced.0 };
        self.put(shared, |out| record::put_change(out, &note));
        self.newest = newest;
    }

    /// Appends a change and takes note of it.
    pub fn change(&mut self, shared: &Shared, change: Change) -> Lsn {
        let put = self.put(shared, |out| record::put_change(out, &change));
        self.kept.apply(change, put.segment);
        put.lsn
    }

    pub(super) fn next_offset(&mut self, shared: &Shared) -> Result<u64, StoreError> {
        self.may_give(shared, 1)?;
        self.head += 1;
        Ok(self.head)
    }

    /// Offsets in use must never be behind what is durably reserved, nor above the head at which the log was closed.
    pub(super) fn may_give(&mut self, shared: &Shared, offsets: u64) -> Result<(), StoreError> {
        if self.closing {
            return Err(StoreError::Failed);
        }
        if let Some((lsn, through)) = self.reserving
            && shared.watermark.durable() >= lsn
        {
            self.reserved = through;
            self.reserving = None;
        }
        if self.reserving.is_none() && self.reserved - self.head.min(self.reserved) < RESERVE / 2 {
            self.reserve(shared);
        }
        match self.head + offsets <= self.reserved {
            true => Ok(()),
            false => Err(StoreError::Busy),
        }
    }

    /// Takes note of a message that was put at `offset`.
    pub(super) fn appended(
        &mut self,
        put: Put,
        offset: u64,
        message: &Arc<Message>,
        epoch: Epoch,
    ) -> Appended {
        let size = (put.end - put.at) as usize;
        if let Some(segment) = self.segments.get_mut(&put.segment) {
            segment.index.add(offset, &message.topic, put.at, put.end);
        }
        self.messages += 1;
        self.bytes += size;
        let record = Record {
            offset,
            message: message.clone(),
            size,
        };
        self.tail.push(put.lsn, record);
        Appended {
            position: Position { epoch, offset },
            lsn: put.lsn,
            size,
        }
    }

    /// Reserves offsets; they may be used when the record is durable.
    pub fn reserve(&mut self, shared: &Shared) -> Lsn {
        let through = self.head + RESERVE;
        let lsn = self.change(shared, Change::Reserved { through });
        self.reserving = Some((lsn, through));
        self.urgent = true;
        shared.work.notify_one();
        lsn
    }

    /// Appends a record that is durable when it and all before it are synced, whatever durable means to others.
    pub(super) fn sync_all(&mut self, shared: &Shared) -> Lsn {
        let through = self.kept.trimmed;
        let lsn = self.change(shared, Change::Trimmed { through });
        self.must_sync = Some(lsn);
        self.hurry(shared, Urgency::Now);
        lsn
    }

    pub(super) fn hurry(&mut self, shared: &Shared, urgency: Urgency) {
        match urgency {
            // without anything to write the mark would stay, and the next who sets it would wake nobody
            Urgency::Now if self.urgent || self.pending.is_empty() => {}
            Urgency::Now => {
                self.urgent = true;
                shared.work.notify_one();
            }
            Urgency::Soon if self.urgent || self.soon.is_some() => {}
            Urgency::Soon => {
                self.soon = Some(Instant::now() + SOON);
                shared.work.notify_one();
            }
        }
    }

    pub(super) fn floor(&self) -> Floor {
        Floor {
            tail: self.tail.floor(),
            kept: self.kept.trimmed,
        }
    }

    /// Whether changes, which count for no message, have made the part of the log that messages need larger than
    /// `store.max_bytes` by more than is written anew in the course of things.
    pub(super) fn has_outgrown(&self, options: &Options) -> bool {
        let is_free = |segment: &&Segment| {
            let last = segment.index.last();
            last.is_none_or(|last| last <= self.kept.trimmed)
        };
        let needed = self.segments.values().skip_while(is_free);
        let bytes: u64 = needed.map(|segment| segment.end).sum();
        let slack = 2 * (self.beside.max(options.segment_bytes) + options.segment_bytes);
        bytes as usize > options.max_bytes + slack
    }

    pub(super) fn ready(&self, shared: &Shared) -> Result<(), StoreError> {
        if shared.watermark.has_failed() || self.closing {
            Err(StoreError::Failed)
        } else if self.full {
            Err(StoreError::Full)
        } else if self.pending_bytes > QUEUE {
            Err(StoreError::Busy)
        } else {
            Ok(())
        }
    }
}
