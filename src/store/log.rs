//! The log on disk: segments in a folder, one lock for their end, one thread that writes.
//!
//! Whoever appends writes his record into the batch that waits; the writer takes the batch, writes and syncs it, and
//! moves the watermark, while the next batch grows. A segment is only appended to. The oldest goes when nobody needs its
//! messages and what it alone still holds was written anew at the end.

mod cleaning;
mod end;
mod reading;

use super::{
    Appended, Floor, IfRetained, Page, Record, Store, StoreError, Urgency, Wanted,
    config::Durability,
    disk::{Disk, DiskFile},
    frame::Lsn,
    kept::{Kept, Run},
    once::Once,
    record::{self, Change, Together},
    recovery::OpenError,
    watermark::Watermark,
    writer,
};
use crate::{
    message::{Epoch, Message, Millis, Position},
    metrics::METRICS,
    mqtt::PacketId,
};
pub(super) use end::{Chunk, Log, Segment};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::runtime::{Handle, RuntimeFlavor};

/// Offsets reserved at a time.
pub(super) const RESERVE: u64 = 1 << 20;

/// Bytes that may wait to be written; then nothing is taken until some are.
pub(super) const QUEUE: usize = 4 * 1024 * 1024;

/// How long a record that nobody waits for may stay unwritten.
pub(super) const SOON: Duration = Duration::from_millis(500);

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
    /// The segments' files, held open: a process that may open no more files still reads what it keeps.
    pub files: Mutex<BTreeMap<u64, Arc<dyn DiskFile>>>,
}

/// The name of a segment's file.
pub fn file_name(segment: u64) -> String {
    format!("{segment:010}.log")
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
        aside(|| self.file(segment)?.read_at(&mut bytes, at))?;
        Ok(bytes)
    }

    fn file(&self, segment: u64) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.files.lock().get(&segment) {
            return Ok(file.clone());
        }
        self.disk.open(&file_name(segment))
    }
}

/// Does what may take the disk some time: a worker of the runtime leaves its other tasks to another thread meanwhile.
fn aside<T>(read: impl FnOnce() -> T) -> T {
    let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    match flavor {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(read),
        _ => read(),
    }
}

impl DiskStore {
    /// Goes on where `log` ends.
    pub(super) fn start(shared: Shared) -> io::Result<Self> {
        {
            let (mut files, log) = (shared.files.lock(), shared.locked());
            for &segment in log.segments.keys() {
                // the last one is made by the writer
                let file = shared.disk.open(&file_name(segment)).ok();
                files.extend(file.map(|file| (segment, file)));
            }
        }
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

    /// The first records are durable: should the disk be full from now on, they wait for room.
    pub(super) fn has_begun(&self) {
        self.shared.locked().begun = true;
    }

    /// Why the first records are not durable.
    pub(super) fn why_not_durable(&self) -> OpenError {
        match self.shared.disk.free() {
            Ok(free) if free < QUEUE as u64 => OpenError::NoRoom,
            _ => OpenError::NotDurable,
        }
    }

    /// A look at what is kept beside the messages.
    pub fn kept<T>(&self, look: impl FnOnce(&Kept) -> T) -> T {
        look(&self.shared.locked().kept)
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
        let written = log.written;
        log.tail.shrink(written);
        // as long as the disk is full, or after it failed, nothing of that goes; streams that are behind are told
        match log.tail.is_overfull(2 * QUEUE) {
            true => log.tail.miss(offset),
            false => {
                let record = Record {
                    offset,
                    message: message.clone(),
                    size: 0,
                };
                log.tail.push(Lsn(0), record);
                log.tail.shrink(written);
            }
        }
        Ok(Position {
            epoch: self.shared.epoch,
            offset,
        })
    }
    fn read(&self, after: u64, max: usize, wanted: Option<&Wanted>) -> Page {
        self.read_kept(after, max, wanted)
    }

    fn look(&self, after: u64, max: usize, wanted: Option<&Wanted>) -> (Page, Floor) {
        self.read_recorded(after, max, wanted)
    }

    fn is_in_memory(&self, after: u64) -> bool {
        after >= self.shared.locked().tail.gone()
    }

    fn look_back(&self, before: u64, max: usize, wanted: &Wanted) -> Page {
        self.read_back(before, max, wanted)
    }

    fn floor(&self) -> Floor {
        self.shared.locked().floor()
    }

    fn before(&self, time: Millis) -> u64 {
        self.find_time(time)
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

    fn has_outgrown(&self) -> bool {
        self.shared.locked().has_outgrown(&self.shared.options)
    }

    fn size(&self) -> (usize, usize) {
        let log = self.shared.locked();
        (log.messages, log.bytes)
    }

    fn compact(&self, if_retained: IfRetained<'_>, retained: usize) {
        self.give_back(if_retained, retained);
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
