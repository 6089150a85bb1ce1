//! Giving back room: the oldest segment goes when nobody needs its messages and what it alone still holds was written anew.

use super::{DiskStore, QUEUE, file_name};
use crate::metrics::METRICS;
use crate::store::{
    IfRetained, StoreError, Urgency,
    frame::{Lsn, Met, Walk},
    record::{self, Entry},
    recovery::HEADER,
};
use std::io;

/// What giving back a segment must bring on a full disk, in bytes.
const GAIN: usize = 1024 * 1024;

/// Things written anew at a time while others wait for the log.
const MOVED: usize = 256;

impl DiskStore {
    /// As [`Store::compact`].
    pub(super) fn give_back(&self, if_retained: IfRetained<'_>, retained: usize) {
        let Some(_one) = self.compacting.try_lock() else {
            return;
        };
        {
            let mut log = self.shared.locked();
            log.beside = log.kept.weight() + retained;
            let files: u64 = log.segments.values().map(|segment| segment.end).sum();
            METRICS.store_file_bytes.set(files);
        }
        // what is written anew to give back room has its own: a full disk is called full while there is some
        while matches!(
            self.shared.locked().ready(&self.shared),
            Ok(()) | Err(StoreError::Full)
        ) && let Some(number) = self.oldest_dead(retained)
        {
            if let Err(error) = self.drop_segment(number, if_retained) {
                tracing::error!(segment = number, %error, "a segment cannot be given back");
                return;
            }
        }
    }

    /// Whether the oldest segment is in the way: nobody needs its messages, and enough of the folder is dead.
    fn oldest_dead(&self, retained: usize) -> Option<u64> {
        let mut log = self.shared.locked();
        let (number, oldest) = log.segments.first_key_value()?;
        let is_current = log.segments.len() == 1;
        let is_needed = oldest
            .index
            .last()
            .is_some_and(|last| last > log.kept.trimmed);
        if is_needed || oldest.written < oldest.end {
            return None;
        }
        let (number, end) = (*number, oldest.end as usize);
        let all: u64 = log.segments.values().map(|segment| segment.end).sum();
        let beside = log.kept.weight() + retained;
        let dead = (all as usize).saturating_sub(log.bytes + beside);
        // on a full disk whatever brings room, but not for the price of as much
        let enough = match log.full {
            true => beside + GAIN,
            false => beside.max(self.shared.options.segment_bytes),
        };
        if is_current {
            if log.full && end > enough {
                log.begin_segment(number + 1);
            }
            return None;
        }
        (dead > enough).then_some(number)
    }

    /// Writes anew what stands whole in no later segment, but for retained messages.
    fn write_anew(&self, number: u64) {
        let held = self.shared.locked().kept.held_by(number);
        for some in held.chunks(MOVED) {
            let mut log = self.shared.locked();
            for whole in some {
                if let Some(now) = log.kept.anew(whole) {
                    log.change(&self.shared, now);
                }
                if log.pending_bytes > QUEUE / 2 {
                    let last = log.last;
                    log.hurry(&self.shared, Urgency::Now);
                    drop(log);
                    self.shared.wait(last);
                    log = self.shared.locked();
                }
            }
        }
    }

    /// Writes anew what only `segment` holds, and removes it.
    fn drop_segment(&self, number: u64, if_retained: IfRetained<'_>) -> io::Result<()> {
        self.write_anew(number);
        // what ended meanwhile may have left something to a share group, which then stands nowhere else
        self.write_anew(number);
        let end = self.shared.locked().segments.get(&number).map(|s| s.end);
        let end = end.unwrap_or(HEADER as u64);
        let bytes = self.shared.read_part(number, HEADER as u64, end)?;
        for met in Walk::new(&bytes, self.shared.secret, 0, Lsn(0)) {
            let Met::Frame(frame) = met else { continue };
            if let Ok(Entry::Message(logged) | Entry::Retained(logged)) = record::read(frame.body)
                && logged.message.retain
            {
                let mut full_at = None;
                if_retained(&logged.message.topic, logged.offset, &mut || {
                    let mut log = self.shared.locked();
                    let put = log.put(&self.shared, |out| {
                        record::put_retained(out, logged.offset, &logged.message)
                    });
                    if log.pending_bytes > QUEUE / 2 {
                        log.hurry(&self.shared, Urgency::Now);
                        full_at = Some(put.lsn);
                    }
                });
                if let Some(lsn) = full_at {
                    self.shared.wait(lsn);
                }
            }
        }
        // also what replaced a retained message meanwhile must be there before that one goes, whose removal is synced
        let all = self.shared.locked().sync_all(&self.shared);
        if !self.shared.wait(all) {
            return Ok(());
        }
        let gone = self.shared.locked().segments.remove(&number);
        if let Err(error) = self.shared.disk.remove(&file_name(number)) {
            // a later one must not go before it
            let mut log = self.shared.locked();
            log.segments.extend(gone.map(|gone| (number, gone)));
            return Err(error);
        }
        // the room is free when nobody has it open any more
        self.shared.files.lock().remove(&number);
        // one that came back without those behind it would bring back what they had ended
        if let Err(error) = self.shared.disk.sync_names() {
            self.shared.fail(&error);
            return Err(error);
        }
        tracing::debug!(segment = number, "dropped");
        Ok(())
    }
}
