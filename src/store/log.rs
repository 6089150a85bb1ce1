//! The log on disk: segments in a folder, one lock for their end, one thread that writes.
//!
//! Whoever appends writes his record into the batch that waits; the writer takes the batch, writes and syncs it, and
//! moves the watermark, while the next batch grows. A segment is only appended to. The oldest goes when nobody needs its
//! messages and what it alone still holds was written anew at the end.

use super::{
    Appended, Floor, Page, Record, Store, StoreError, Urgency, Wanted,
    config::Durability,
    disk::Disk,
    frame::{self, Lsn, Met, Walk},
    index::{self, Index},
    kept::{Kept, Run},
    once::Once,
    record::{self, Change, Entry, Logged, Together},
    recovery::HEADER,
    tail::Tail,
    watermark::Watermark,
    writer,
};
use crate::{
    message::{Epoch, Message, Millis, Position},
    metrics::METRICS,
    mqtt::{PacketId, topic::TopicName},
};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Offsets reserved at a time.
pub(super) const RESERVE: u64 = 1 << 20;

/// Bytes that may wait to be written; then nothing is taken until some are.
pub(super) const QUEUE: usize = 4 * 1024 * 1024;

/// How long a record that nobody waits for may stay unwritten.
pub(super) const SOON: Duration = Duration::from_millis(500);

/// Bytes read from a segment at a time.
const STRIDE: u64 = 256 * 1024;

/// What giving back a segment must bring on a full disk, in bytes.
const GAIN: usize = 1024 * 1024;

/// Things written anew at a time while others wait for the log.
const MOVED: usize = 256;

/// How the log is kept.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// When a record counts as durable. Never [`Durability::Memory`].
    pub durability: Durability,
    /// Bytes of messages above which the oldest goes although someone may need it.
    pub max_bytes: usize,
    /// Bytes of the newest messages that are also kept in memory.
    pub tail_bytes: usize,
    /// Bytes after which a new segment begins.
    pub segment_bytes: usize,
}

impl Options {
    /// A segment is a sixteenth of the log, between 1 and 64 MiB.
    pub fn new(durability: Durability, max_bytes: usize, tail_bytes: usize) -> Self {
        const MIB: usize = 1024 * 1024;
        Options {
            durability,
            max_bytes,
            tail_bytes,
            segment_bytes: (max_bytes / 16).clamp(MIB, 64 * MIB),
        }
    }
}

/// The log on disk.
pub struct DiskStore {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// One cleaner at a time.
    compacting: Mutex<()>,
}

/// What the store and its writer have in common.
pub(super) struct Shared {
    pub epoch: Epoch,
    pub secret: u32,
    pub options: Options,
    pub disk: Arc<dyn Disk>,
    pub log: Mutex<Log>,
    /// There is something to write.
    pub work: Condvar,
    pub watermark: Watermark,
    /// Bytes that wait to be written, for whoever only wants to know.
    pub queued: AtomicUsize,
}

/// The end of the log, and where everything stands.
pub(super) struct Log {
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
    pub full: bool,
    pub closing: bool,
}

/// One file of the log.
#[derive(Default)]
pub(super) struct Segment {
    pub index: Index,
    /// Where the next record would stand.
    pub end: u64,
    /// How much of it is in the file.
    pub written: u64,
}

/// Bytes for one place.
pub(super) struct Chunk {
    pub segment: u64,
    pub at: u64,
    pub bytes: Vec<u8>,
}

/// Where a record was put.
struct Put {
    lsn: Lsn,
    segment: u64,
    at: u64,
    end: u64,
}

/// The name of a segment's file.
pub fn file_name(segment: u64) -> String {
    format!("{segment:010}.log")
}

impl Log {
    /// The batch that waits gets one more record.
    fn put(&mut self, shared: &Shared, body: impl FnOnce(&mut Vec<u8>)) -> Put {
        let segment = self.segment_to_append(shared.options.segment_bytes as u64);
        self.put_in(segment, shared, body)
    }

    /// As above, in this segment.
    fn put_in(&mut self, segment: u64, shared: &Shared, body: impl FnOnce(&mut Vec<u8>)) -> Put {
        let end = self.segments.entry(segment).or_default();
        match self.pending.last() {
            Some(chunk) if chunk.segment == segment => {}
            _ => self.pending.push(Chunk {
                segment,
                at: end.end,
                bytes: Vec::new(),
            }),
        }
        self.last = Lsn(self.last.0 + 1);
        self.newest = self.last;
        let (lsn, at) = (self.last, end.end);
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

    fn segment_to_append(&mut self, limit: u64) -> u64 {
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

    fn next_offset(&mut self, shared: &Shared) -> Result<u64, StoreError> {
        self.may_give(shared, 1)?;
        self.head += 1;
        Ok(self.head)
    }

    /// Offsets in use must never be behind what is durably reserved.
    fn may_give(&mut self, shared: &Shared, offsets: u64) -> Result<(), StoreError> {
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
    fn appended(
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

    fn hurry(&mut self, shared: &Shared, urgency: Urgency) {
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

    fn floor(&self) -> Floor {
        Floor {
            tail: self.tail.gone(),
            kept: self.kept.trimmed,
        }
    }

    fn ready(&self, shared: &Shared) -> Result<(), StoreError> {
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

impl Shared {
    fn locked(&self) -> MutexGuard<'_, Log> {
        self.log.lock()
    }

    /// The disk failed: nothing is written or acknowledged from now on.
    pub fn fail(&self, error: &io::Error) {
        METRICS.store_failures.inc();
        tracing::error!(%error, "the storage has failed: nothing is acknowledged any more until a new start");
        self.watermark.fail();
        // under its lock: the writer either sees it or hears this
        let _log = self.log.lock();
        self.work.notify_one();
    }

    /// Blocks until `lsn` is durable, or never will be.
    pub fn wait(&self, lsn: Lsn) -> bool {
        struct Unpark(std::thread::Thread);
        impl std::task::Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Arc::new(Unpark(std::thread::current())).into();
        let (waiter, mut cx) = (
            self.watermark.waiter(),
            std::task::Context::from_waker(&waker),
        );
        loop {
            match self.watermark.poll_reached(lsn, waiter, &mut cx) {
                std::task::Poll::Ready(answer) => return answer.is_ok(),
                std::task::Poll::Pending => std::thread::park(),
            }
        }
    }

    /// The messages of `segment` between two places in its file.
    fn read_part(&self, segment: u64, at: u64, end: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; (end - at) as usize];
        self.disk
            .open(&file_name(segment))?
            .read_at(&mut bytes, at)?;
        Ok(bytes)
    }
}

impl DiskStore {
    /// Goes on where `log` ends.
    pub(super) fn start(shared: Shared) -> io::Result<Self> {
        let shared = Arc::new(shared);
        let thread = std::thread::Builder::new().name("tidegate-store".to_owned());
        let writer = thread.spawn({
            let shared = shared.clone();
            move || writer::run(&shared)
        })?;
        Ok(DiskStore {
            shared,
            writer: Mutex::new(Some(writer)),
            compacting: Mutex::new(()),
        })
    }

    /// Blocks until a change is durable.
    pub(super) fn change_now(&self, change: Change) -> bool {
        let lsn = self.change(change, Urgency::Now);
        self.shared.wait(lsn)
    }

    /// Reserves the first offsets.
    pub(super) fn reserve(&self) -> bool {
        let lsn = {
            let mut log = self.shared.locked();
            log.reserve(&self.shared)
        };
        self.shared.wait(lsn)
    }

    /// A look at what is kept beside the messages.
    pub fn kept<T>(&self, look: impl FnOnce(&Kept) -> T) -> T {
        look(&self.shared.locked().kept)
    }

    /// Messages of one stretch of the disk. `None`: nothing there is above `after`; the tail has the rest.
    fn read_disk(&self, after: u64, max: usize, wanted: Option<&Wanted>) -> Option<Page> {
        let stride = if max <= index::BLOCK { 0 } else { STRIDE };
        // where to read, found under the lock; read without it
        let (segment, at, end, passed) = {
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
                    match &mut found {
                        None => found = Some((*number, block.at, block_end, passed)),
                        Some((same, at, end, _)) if same == number && block_end - *at <= stride => {
                            *end = block_end;
                        }
                        Some(_) => break 'search,
                    }
                }
            }
            match found {
                Some(found) => found,
                None if passed > after => {
                    return Some(Page {
                        records: Vec::new(),
                        through: passed,
                    });
                }
                None => return None,
            }
        };
        let mut page = Page {
            records: Vec::new(),
            through: passed.max(after),
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
                page.through = self.last_below(segment, end).unwrap_or(page.through + 1);
                return Some(page);
            }
        };
        for met in Walk::new(&bytes, self.shared.secret, 0, Lsn(0)) {
            let frame = match met {
                Met::Frame(frame) => frame,
                Met::Damage { at: from, end } => {
                    let at = at + from as u64;
                    tracing::error!(segment, at, bytes = end - from, "damage in the log");
                    METRICS.store_damaged.inc();
                    continue;
                }
            };
            if let Ok(Entry::Message(logged)) = record::read(frame.body)
                && logged.offset > page.through
            {
                if page.records.len() == max {
                    return Some(page);
                }
                page.through = logged.offset;
                page.records.push(loaded(logged, frame.end() - frame.at));
            }
        }
        // whatever was damaged there is passed
        page.through = self
            .last_below(segment, end)
            .map_or(page.through, |last| page.through.max(last));
        Some(page)
    }

    /// The last position in front of a place in a segment's file.
    fn last_below(&self, segment: u64, end: u64) -> Option<u64> {
        let log = self.shared.locked();
        let tail = log.tail.gone() + 1;
        let blocks = log.segments.get(&segment)?.index.above(0);
        let at = blocks.partition_point(|block| block.at < end);
        let last = blocks.get(at.checked_sub(1)?)?.last;
        Some(last.min(tail - 1))
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

    /// Writes anew what only `segment` holds, and removes it.
    fn drop_segment(
        &self,
        number: u64,
        is_retained: &dyn Fn(&TopicName, u64) -> bool,
    ) -> io::Result<()> {
        let held = self.shared.locked().kept.held_by(number);
        for some in held.chunks(MOVED) {
            let mut log = self.shared.locked();
            for change in some {
                // it may have changed since: what it is now is written
                let now = log.kept.anew(change);
                if let Some(now) = now {
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
        let end = self.shared.locked().segments.get(&number).map(|s| s.end);
        let end = end.unwrap_or(HEADER as u64);
        let bytes = self.shared.read_part(number, HEADER as u64, end)?;
        for met in Walk::new(&bytes, self.shared.secret, 0, Lsn(0)) {
            let Met::Frame(frame) = met else { continue };
            if let Ok(Entry::Message(logged) | Entry::Retained(logged)) = record::read(frame.body)
                && logged.message.retain
                && is_retained(&logged.message.topic, logged.offset)
            {
                let mut log = self.shared.locked();
                let put = log.put(&self.shared, |out| {
                    record::put_retained(out, logged.offset, &logged.message)
                });
                if log.pending_bytes > QUEUE / 2 {
                    log.hurry(&self.shared, Urgency::Now);
                    drop(log);
                    self.shared.wait(put.lsn);
                }
            }
        }
        // also what replaced a retained message meanwhile must be there before that one goes
        if !self.shared.wait(self.newest()) {
            return Ok(());
        }
        let gone = self.shared.locked().segments.remove(&number);
        if let Err(error) = self.shared.disk.remove(&file_name(number)) {
            // a later one must not go before it
            let mut log = self.shared.locked();
            log.segments.extend(gone.map(|gone| (number, gone)));
            return Err(error);
        }
        // one that came back without those behind it would bring back what they had ended
        if let Err(error) = self.shared.disk.sync_names() {
            self.shared.fail(&error);
            return Err(error);
        }
        tracing::debug!(segment = number, "dropped");
        Ok(())
    }
}

/// Of the records read, the last says how far that was.
fn page(records: Vec<Record>, after: u64) -> Page {
    Page {
        through: records.last().map_or(after, |last| last.offset),
        records,
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

impl Store for DiskStore {
    fn epoch(&self) -> Epoch {
        self.shared.epoch
    }

    fn head(&self) -> u64 {
        self.shared.locked().head
    }

    fn pass(&self) -> Position {
        let mut log = self.shared.locked();
        // what is not kept needs no reservation: the gateway's own state is made anew at each start
        let offset = log.next_offset(&self.shared).unwrap_or(log.head);
        Position {
            epoch: self.shared.epoch,
            offset,
        }
    }

    fn append(
        &self,
        message: &Arc<Message>,
        inbound: Option<PacketId>,
        urgency: Urgency,
    ) -> Result<Appended, StoreError> {
        if message.weight() > self.shared.options.max_bytes {
            return Err(StoreError::TooLarge);
        }
        let mut log = self.shared.locked();
        log.ready(&self.shared)?;
        let offset = log.next_offset(&self.shared)?;
        let put = log.put(&self.shared, |out| {
            record::put_message(out, offset, message, inbound)
        });
        if let Some(packet_id) = inbound
            && let Some(client) = message.origin.as_ref().and_then(|o| o.client_id.as_deref())
        {
            log.kept.received(client, packet_id);
        }
        let appended = log.appended(put, offset, message, self.shared.epoch);
        log.hurry(&self.shared, urgency);
        Ok(appended)
    }

    fn append_together(
        &self,
        messages: &[Arc<Message>],
        once: Option<&Arc<Once>>,
        urgency: Urgency,
    ) -> Result<Vec<Appended>, StoreError> {
        let shared = &*self.shared;
        let is_large = |message: &Arc<Message>| message.weight() > shared.options.max_bytes;
        if messages.iter().any(is_large) {
            return Err(StoreError::TooLarge);
        }
        let mut log = shared.locked();
        log.ready(shared)?;
        log.may_give(shared, messages.len() as u64)?;
        // one segment, one batch of the writer, no other record in between
        let segment = log.segment_to_append(shared.options.segment_bytes as u64);
        if let Some(once) = once {
            log.kept.keys.insert(once.clone(), segment);
        }
        let mut begins = Some(Together {
            messages: messages.len() as u32, // bounded by what one request may hold
            once: once.cloned(),
        });
        let mut all = Vec::with_capacity(messages.len());
        for message in messages {
            log.head += 1;
            let offset = log.head;
            let begins = begins.take();
            let put = log.put_in(segment, shared, |out| match &begins {
                Some(begins) => record::put_first(out, offset, message, begins),
                None => record::put_message(out, offset, message, None),
            });
            all.push(log.appended(put, offset, message, shared.epoch));
        }
        log.hurry(shared, urgency);
        Ok(all)
    }

    fn once(&self, user: &Option<Arc<str>>, key: &str) -> Option<Arc<Once>> {
        self.shared.locked().kept.keys.get(user, key).cloned()
    }

    fn forget_once(&self, now: Millis) {
        self.shared.locked().kept.keys.forget(now);
    }

    fn change(&self, change: Change, urgency: Urgency) -> Lsn {
        let mut log = self.shared.locked();
        let lsn = log.change(&self.shared, change);
        log.hurry(&self.shared, urgency);
        lsn
    }

    fn done(&self, client: &str) -> BTreeSet<u64> {
        let log = self.shared.locked();
        let session = log.kept.sessions.get(client);
        session.map_or(BTreeSet::new(), |placed| placed.kept.done.clone())
    }

    fn newest(&self) -> Lsn {
        let mut log = self.shared.locked();
        if !log.pending.is_empty() {
            log.hurry(&self.shared, Urgency::Now);
        }
        log.newest
    }

    fn watermark(&self) -> &Watermark {
        &self.shared.watermark
    }

    fn health(&self) -> Result<(), StoreError> {
        self.shared.locked().ready(&self.shared)
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn is_busy(&self) -> bool {
        self.shared.queued.load(Ordering::Relaxed) > QUEUE / 2
    }

    fn remember(&self, message: &Arc<Message>) -> Result<Position, StoreError> {
        let mut log = self.shared.locked();
        let offset = log.next_offset(&self.shared)?;
        let record = Record {
            offset,
            message: message.clone(),
            size: 0,
        };
        log.tail.push(Lsn(0), record);
        let written = log.written;
        log.tail.shrink(written);
        Ok(Position {
            epoch: self.shared.epoch,
            offset,
        })
    }

    fn read(&self, after: u64, max: usize, wanted: Option<&Wanted>) -> Page {
        let after = after.max(self.trimmed());
        let tail = |log: &Log| page(log.tail.read(after, max, Record::is_kept), after);
        {
            let log = self.shared.locked();
            if after >= log.tail.gone() {
                return tail(&log);
            }
        }
        let disk = self.read_disk(after, max, wanted);
        disk.unwrap_or_else(|| tail(&self.shared.locked()))
    }

    fn look(&self, after: u64, max: usize, wanted: Option<&Wanted>) -> (Page, Floor) {
        let tail = |log: &Log| {
            let records = log.tail.read(after, max, |_| true);
            (page(records, after), log.floor())
        };
        {
            let log = self.shared.locked();
            if after >= log.tail.gone() {
                return tail(&log);
            }
        }
        match self.read_disk(after.max(self.trimmed()), max, wanted) {
            Some(page) => (page, self.floor()),
            None => tail(&self.shared.locked()),
        }
    }

    fn look_back(&self, before: u64, max: usize, wanted: &Wanted) -> Page {
        let (mut before, trimmed) = {
            let log = self.shared.locked();
            let records = log.tail.read_back(before, max);
            if let Some(oldest) = records.last() {
                let through = oldest.offset;
                return Page { records, through };
            }
            (before.min(log.tail.gone() + 1), log.kept.trimmed)
        };
        while let Some(first) = self.block_below(before, wanted).filter(|_| max > 0) {
            let page = self.read_disk(first.max(trimmed + 1) - 1, index::BLOCK, None);
            let records = page.map_or(Vec::new(), |page| page.records);
            let below = records.into_iter().rev();
            let records: Vec<_> = below
                .filter(|record| (first..before).contains(&record.offset))
                .collect();
            if !records.is_empty() {
                let through = first;
                return Page { records, through };
            }
            before = first;
        }
        Page::default()
    }

    fn floor(&self) -> Floor {
        self.shared.locked().floor()
    }

    fn before(&self, time: Millis) -> u64 {
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

    fn runs(&self) -> Vec<Run> {
        self.shared.locked().kept.runs.clone()
    }

    fn trim(&self, through: u64, messages: usize, bytes: usize) {
        let mut log = self.shared.locked();
        log.messages = log.messages.saturating_sub(messages);
        log.bytes = log.bytes.saturating_sub(bytes);
        log.kept.trimmed = log.kept.trimmed.max(through);
    }

    fn trimmed(&self) -> u64 {
        self.shared.locked().kept.trimmed
    }

    fn is_over_limit(&self) -> bool {
        self.shared.locked().bytes > self.shared.options.max_bytes
    }

    fn size(&self) -> (usize, usize) {
        let log = self.shared.locked();
        (log.messages, log.bytes)
    }

    fn compact(&self, is_retained: &dyn Fn(&TopicName, u64) -> bool, retained: usize) {
        let Some(_one) = self.compacting.try_lock() else {
            return;
        };
        // what is written anew to give back room has its own: a full disk is called full while there is some
        while matches!(
            self.shared.locked().ready(&self.shared),
            Ok(()) | Err(StoreError::Full)
        ) && let Some(number) = self.oldest_dead(retained)
        {
            if let Err(error) = self.drop_segment(number, is_retained) {
                tracing::error!(segment = number, %error, "a segment cannot be given back");
                return;
            }
        }
    }

    fn close(&self) {
        {
            let mut log = self.shared.locked();
            if log.closing {
                return;
            }
            let (head, through) = (log.head, log.kept.trimmed);
            log.change(&self.shared, Change::Trimmed { through });
            log.change(&self.shared, Change::Stopped { head });
            log.closing = true;
            self.shared.work.notify_one();
        }
        if let Some(writer) = self.writer.lock().take() {
            // it ends when all is written; what it met on the way it has logged
            let _ = writer.join();
        }
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        self.close();
    }
}
