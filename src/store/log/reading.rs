//! Reading the log: from the disk what is older, from the tail what is newer, and where a time stands.

use super::{DiskStore, end::Log};
use crate::{
    message::Millis,
    metrics::METRICS,
    store::{
        Floor, Page, Record, Store, Wanted,
        frame::{Lsn, Met, Walk},
        index,
        record::{self, Entry, Logged},
    },
};
use std::sync::Arc;

/// Bytes read from a segment at a time.
const STRIDE: u64 = 256 * 1024;

impl DiskStore {
    /// Messages of one stretch of the disk. `None`: nothing there is above `after`; the tail has the rest.
    fn read_disk(&self, after: u64, max: usize, wanted: Option<&Wanted>) -> Option<Page> {
        let stride = if max <= index::BLOCK { 0 } else { STRIDE };
        // where to read, and how far that leads, found under the lock; read without it, while more may be written there
        let (segment, at, end, last, passed) = {
            let log = self.shared.locked();
            let tail = log.tail.gone() + 1;
            let mut passed = after;
            let mut found = None;
            'search: for (number, segment) in &log.segments {
                for block in segment.index.above(after) {
                    if block.first >= tail {
                        break 'search;
                    }
                    if wanted.is_some_and(|wanted| !block.may_have(wanted)) {
                        // the tail begins in the middle of it
                        passed = block.last.min(tail - 1);
                        if found.is_some() {
                            break 'search;
                        }
                        continue;
                    }
                    let block_end = block.end.min(segment.written);
                    // what the tail has let go of is written
                    let block_last = block.last.min(tail - 1);
                    match &mut found {
                        None => found = Some((*number, block.at, block_end, block_last, passed)),
                        Some((same, at, end, last, _))
                            if same == number && block_end - *at <= stride =>
                        {
                            (*end, *last) = (block_end, block_last);
                        }
                        Some(_) => break 'search,
                    }
                }
            }
            match found {
                Some(found) => found,
                None if passed > after => {
                    return Some(Page {
                        through: passed,
                        ..Page::default()
                    });
                }
                None => return None,
            }
        };
        let mut page = Page {
            through: passed.max(after),
            ..Page::default()
        };
        let bytes = match self.shared.read_part(segment, at, end) {
            Ok(bytes) => bytes,
            // nobody needed it any more: it was given back meanwhile
            Err(_) if !self.shared.locked().segments.contains_key(&segment) => {
                page.through = page.through.max(self.trimmed());
                return Some(page);
            }
            Err(error) => {
                tracing::error!(segment, at, %error, "a part of the log cannot be read");
                METRICS.store_damaged.inc();
                page.damage = Some((page.through, page.through.max(last)));
                page.through = page.through.max(last);
                return Some(page);
            }
        };
        // whether something is damaged behind the last message
        let mut is_damaged = false;
        for met in Walk::new(&bytes, self.shared.secret, 0, Lsn(0)) {
            let frame = match met {
                Met::Frame(frame) => frame,
                Met::Damage { at: from, end } => {
                    let at = at + from as u64;
                    tracing::error!(segment, at, bytes = end - from, "damage in the log");
                    METRICS.store_damaged.inc();
                    is_damaged = true;
                    continue;
                }
            };
            if let Ok(Entry::Message(logged)) = record::read(frame.body) {
                if logged.offset <= page.through {
                    // what was damaged before it is of no interest to whoever reads from here
                    is_damaged = false;
                    continue;
                }
                if page.records.len() == max {
                    return Some(page);
                }
                if std::mem::take(&mut is_damaged) {
                    page.note_damage(page.through, logged.offset - 1);
                }
                page.through = logged.offset;
                page.records.push(loaded(logged, frame.end() - frame.at));
            }
        }
        // whatever was damaged there is passed
        let through = page.through.max(last);
        if is_damaged {
            page.note_damage(page.through, through);
        }
        page.through = through;
        Some(page)
    }

    /// The first position of the last block on the disk that begins below `before` and may have what is wanted.
    fn block_below(&self, before: u64, wanted: &Wanted) -> Option<u64> {
        let log = self.shared.locked();
        let trimmed = log.kept.trimmed;
        let blocks = log.segments.values().rev();
        let mut blocks = blocks.flat_map(|segment| segment.index.above(trimmed).iter().rev());
        let found = blocks.find(|block| block.first < before && block.may_have(wanted))?;
        Some(found.first)
    }

    /// As [`Store::read`].
    pub(super) fn read_kept(&self, after: u64, max: usize, wanted: Option<&Wanted>) -> Page {
        let after = after.max(self.trimmed());
        let tail = |log: &Log| page(log.tail.read(after, max, Record::is_kept), after);
        loop {
            let gone = {
                let log = self.shared.locked();
                if after >= log.tail.gone() {
                    return tail(&log);
                }
                log.tail.gone()
            };
            if let Some(page) = self.read_disk(after, max, wanted) {
                return page;
            }
            let log = self.shared.locked();
            // if the tail let go of something meanwhile, that is on the disk by now
            if log.tail.gone() == gone {
                return tail(&log);
            }
        }
    }

    /// As [`Store::look`].
    pub(super) fn read_recorded(
        &self,
        after: u64,
        max: usize,
        wanted: Option<&Wanted>,
    ) -> (Page, Floor) {
        let tail = |log: &Log| {
            let records = log.tail.read(after, max, |_| true);
            (page(records, after), log.floor())
        };
        loop {
            let gone = {
                let log = self.shared.locked();
                if after >= log.tail.gone() {
                    return tail(&log);
                }
                log.tail.gone()
            };
            let page = self.read_disk(after.max(self.trimmed()), max, wanted);
            let log = self.shared.locked();
            if let Some(mut page) = page {
                // above this there is more in the tail than on the disk
                let most = log.tail.gone();
                page.records.retain(|record| record.offset <= most);
                page.through = page.through.min(most);
                page.damage = page.damage.filter(|(from, _)| *from < most);
                return (page, log.floor());
            }
            // if the tail let go of something meanwhile, that is on the disk by now
            if log.tail.gone() == gone {
                return tail(&log);
            }
        }
    }

    /// As [`Store::look_back`].
    pub(super) fn read_back(&self, before: u64, max: usize, wanted: &Wanted) -> Page {
        let (mut before, trimmed) = {
            let log = self.shared.locked();
            let records = log.tail.read_back(before, max);
            if let Some(oldest) = records.last() {
                let through = oldest.offset;
                return Page {
                    records,
                    through,
                    ..Page::default()
                };
            }
            (before.min(log.tail.gone() + 1), log.kept.trimmed)
        };
        while let Some(first) = self.block_below(before, wanted).filter(|_| max > 0) {
            let page = self.read_disk(first.max(trimmed + 1) - 1, index::BLOCK, None);
            let Page {
                records, damage, ..
            } = page.unwrap_or_default();
            let below = records.into_iter().rev();
            let records: Vec<_> = below
                .filter(|record| (first..before).contains(&record.offset))
                .collect();
            let damage = damage.filter(|(from, _)| *from < before);
            if !records.is_empty() || damage.is_some() {
                return Page {
                    records,
                    through: first,
                    damage,
                };
            }
            before = first;
        }
        Page::default()
    }

    /// As [`Store::before`].
    pub(super) fn find_time(&self, time: Millis) -> u64 {
        let starts: Vec<u64> = {
            let log = self.shared.locked();
            if let Some(found) = log.tail.before(time) {
                return found;
            }
            let trimmed = log.kept.trimmed;
            let blocks = log.segments.values();
            let blocks = blocks.flat_map(|segment| segment.index.above(trimmed));
            blocks.map(|block| block.first.max(trimmed + 1)).collect()
        };
        let after = |offset: u64, max| self.look(offset, max, None).0.records;
        let is_before = |record: &Record| record.message.time < time;
        // a handful of reads, however long the log is
        let nth =
            starts.partition_point(|start| after(start - 1, 1).first().is_some_and(is_before));
        let Some(start) = nth.checked_sub(1).map(|nth| starts[nth]) else {
            return 0;
        };
        let block = after(start - 1, index::BLOCK);
        let older = block.iter().take_while(|record| is_before(record));
        older.last().map_or(0, |last| last.offset)
    }
}

/// Of the records read, the last says how far that was.
fn page(records: Vec<Record>, after: u64) -> Page {
    Page {
        through: records.last().map_or(after, |last| last.offset),
        records,
        ..Page::default()
    }
}

/// A record as it was read.
fn loaded(logged: Logged, size: usize) -> Record {
    Record {
        offset: logged.offset,
        message: Arc::new(logged.message),
        size,
    }
}
