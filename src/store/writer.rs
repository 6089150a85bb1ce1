//! The one thread that writes: it takes the batch that waits, writes it, syncs once, and moves the watermark.
//!
//! A failed sync is never repeated and trusted: from then on nothing is acknowledged. A full disk is no failure: nothing
//! new is accepted while there is less room than what was accepted may take, and should somebody else take that, the
//! batch waits until there is room.

use super::{
    config::Durability,
    disk::DiskFile,
    frame::Lsn,
    log::{Chunk, Log, QUEUE, Shared, file_name},
    recovery::Header,
};
use crate::metrics::METRICS;
use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

/// How often a full disk is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// Files grow by so much at a time: a sync then finds their length unchanged.
const GROWTH: u64 = 4 * 1024 * 1024;

/// The file that is appended to.
struct Current {
    segment: u64,
    file: Arc<dyn DiskFile>,
    /// How long it was made.
    len: u64,
    /// How much of it has been written.
    end: u64,
}

/// Writes until the log is closed and everything is durable.
pub(super) fn run(shared: &Shared) {
    let mut writer = Writer {
        shared,
        current: None,
        dirty_since: None,
    };
    // also whoever else met a failure ends this
    while !shared.watermark.has_failed() {
        let Some((batch, through, closing)) = writer.next_batch() else {
            continue;
        };
        if let Err(error) = writer.keep(batch, through, closing) {
            shared.fail(&error);
        }
        if closing {
            // whoever comes later must not wait for a writer that has ended
            shared.watermark.fail();
            return;
        }
    }
}

struct Writer<'a> {
    shared: &'a Shared,
    current: Option<Current>,
    /// Written and not synced since then; only where durable does not mean synced.
    dirty_since: Option<Instant>,
}

impl Writer<'_> {
    /// Waits for something to do; `None` if it was to make room, or the disk has failed.
    fn next_batch(&mut self) -> Option<(Vec<Chunk>, Lsn, bool)> {
        let mut log = self.shared.log.lock();
        while !self.shared.watermark.has_failed() {
            let now = Instant::now();
            let sync_at = match self.shared.options.durability {
                Durability::Interval(interval) => self.dirty_since.map(|since| since + interval),
                _ => None,
            };
            let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            let has_work = !log.pending.is_empty() && (log.urgent || is_due(log.soon));
            if has_work || log.closing || is_due(sync_at) {
                let closing = log.closing;
                let batch = take(self.shared, &mut log);
                return Some((batch, log.last, closing));
            }
            if log.full {
                self.shared.work.wait_for(&mut log, AGAIN);
                drop(log);
                self.look_for_room();
                return None;
            }
            let soon = log.soon.filter(|_| !log.pending.is_empty());
            match [soon, sync_at].into_iter().flatten().min() {
                Some(at) => {
                    self.shared.work.wait_until(&mut log, at);
                }
                None => self.shared.work.wait(&mut log),
            }
        }
        None
    }

    /// Writes a batch and makes it durable.
    fn keep(&mut self, batch: Vec<Chunk>, through: Lsn, closing: bool) -> io::Result<()> {
        let bytes: usize = batch.iter().map(|chunk| chunk.bytes.len()).sum();
        for chunk in &batch {
            self.write_patiently(chunk)?;
        }
        self.note_written(&batch, through);
        let must_sync = match self.shared.options.durability {
            Durability::Interval(interval) => {
                let since = *self.dirty_since.get_or_insert_with(Instant::now);
                let mut log = self.shared.log.lock();
                // reserved offsets are synced whatever else is, and what a segment held that goes
                let reserves = log.reserving.is_some();
                let is_asked = log.must_sync.take_if(|lsn| *lsn <= through).is_some();
                since.elapsed() >= interval || closing || reserves || is_asked
            }
            _ => true,
        };
        if must_sync && let Some(current) = &self.current {
            let before = Instant::now();
            current.file.sync()?;
            METRICS.store_syncs.inc();
            METRICS
                .store_sync_micros
                .add(before.elapsed().as_micros() as u64);
            self.dirty_since = None;
            self.leave_proof(through)?;
        }
        METRICS.store_written_bytes.add(bytes as u64);
        self.look_for_room();
        self.shared.watermark.advance(through);
        if closing && let Some(current) = self.current.take() {
            current.file.set_len(current.end)?;
            current.file.sync()?;
        }
        Ok(())
    }

    /// Tells, behind what was just synced, that it was: should it be found damaged later, it was not a crash that cut it
    /// off. The note itself needs no sync.
    fn leave_proof(&mut self, synced: Lsn) -> io::Result<()> {
        let (batch, through) = {
            let mut log = self.shared.log.lock();
            let alone = log.pending.is_empty();
            log.note(self.shared, synced);
            if !alone {
                return Ok(());
            }
            let batch = take(self.shared, &mut log);
            (batch, log.last)
        };
        for chunk in &batch {
            self.write_patiently(chunk)?;
        }
        self.note_written(&batch, through);
        Ok(())
    }

    fn note_written(&self, batch: &[Chunk], through: Lsn) {
        let mut log = self.shared.log.lock();
        log.written = through;
        for chunk in batch {
            if let Some(segment) = log.segments.get_mut(&chunk.segment) {
                segment.written = chunk.at + chunk.bytes.len() as u64;
            }
        }
        log.tail.shrink(through);
    }

    /// Writes; if the disk is full, gives up the reserve, and if that was not enough, waits for room.
    fn write_patiently(&mut self, chunk: &Chunk) -> io::Result<()> {
        loop {
            match self.write(chunk) {
                Err(error) if is_full(&error) => {}
                done => return done,
            }
            {
                let log = self.shared.log.lock();
                // nobody waits for room at a start or an end
                if log.closing || !log.begun {
                    return Err(io::ErrorKind::StorageFull.into());
                }
            }
            self.set_full(true);
            std::thread::sleep(AGAIN);
        }
    }

    fn write(&mut self, chunk: &Chunk) -> io::Result<()> {
        if self
            .current
            .as_ref()
            .is_none_or(|current| current.segment != chunk.segment)
        {
            self.begin(chunk.segment)?;
        }
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        let end = chunk.at + chunk.bytes.len() as u64;
        if end > current.len {
            let len = end.next_multiple_of(GROWTH);
            // without room for so much, what is written now may still fit
            if current.file.set_len(len).is_ok() {
                current.len = len;
            }
        }
        current.file.write_at(&chunk.bytes, chunk.at)?;
        current.end = current.end.max(end);
        Ok(())
    }

    /// Ends the file before and begins the next one. What is in the former is durable before the next has anything.
    fn begin(&mut self, segment: u64) -> io::Result<()> {
        if let Some(former) = &self.current {
            former.file.set_len(former.end)?;
            sync_once(|| former.file.sync())?;
            self.current = None;
        }
        let header = Header {
            epoch: self.shared.epoch,
            secret: self.shared.secret,
            segment,
        };
        let header = header.bytes();
        let file = self.shared.disk.create(&file_name(segment))?;
        file.write_at(&header, 0)?;
        sync_once(|| file.sync())?;
        sync_once(|| self.shared.disk.sync_names())?;
        self.shared.files.lock().insert(segment, file.clone());
        self.current = Some(Current {
            segment,
            file,
            len: header.len() as u64,
            end: header.len() as u64,
        });
        Ok(())
    }

    /// Sees whether all that may be accepted would find room.
    fn look_for_room(&self) {
        // a system that cannot tell may have any
        let free = self.shared.disk.free().unwrap_or(u64::MAX);
        self.set_full(free < 2 * QUEUE as u64);
    }

    fn set_full(&self, full: bool) {
        let before = std::mem::replace(&mut self.shared.log.lock().full, full);
        match (before, full) {
            (false, true) => {
                METRICS.store_full.inc();
                tracing::error!(
                    "the disk is full: messages that must be kept are refused until there is room"
                );
            }
            (true, false) => tracing::warn!("there is room on the disk again"),
            _ => {}
        }
    }
}

/// Takes the batch that waits.
fn take(shared: &Shared, log: &mut Log) -> Vec<Chunk> {
    log.urgent = false;
    log.soon = None;
    log.pending_bytes = 0;
    shared.queued.store(0, Ordering::Relaxed);
    std::mem::take(&mut log.pending)
}

/// A sync that fails has failed for good, also for want of room: what it was to keep may be gone, and the next one would
/// say that all is well.
fn sync_once(sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    sync().map_err(io::Error::other)
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
