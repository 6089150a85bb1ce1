//! What survives: one log of messages with positions that are never used twice, and beside them sessions, wills, share
//! groups and requests that happen once, as changes in the same log.
//!
//! The store keeps and gives back. It knows neither who a message is for nor who is online. An answer that promises
//! something waits for [`Store::watermark`] to pass the record that keeps it.
//!
//! In memory ([`memory`]) the log is a queue. On disk ([`log`]) it is a row of segment files written by one thread:
//! whatever was appended while it synced goes into its next batch, so one sync serves many. A record is checked by its
//! own sum ([`frame`]); what it says stands in [`record`], what all changes add up to in [`kept`].

pub mod config;
pub mod disk;
pub mod frame;
mod index;
pub mod kept;
pub mod log;
pub mod memory;
pub mod once;
pub mod record;
pub mod recovery;
mod tail;
pub mod watermark;
mod writer;

use crate::{
    message::{Epoch, Message, Millis, Position},
    mqtt::{PacketId, topic::TopicName},
};
use frame::Lsn;
pub use index::Wanted;
use kept::Run;
use once::Once;
use record::Change;
use std::{collections::BTreeSet, sync::Arc};
use watermark::Watermark;

/// One message of the log.
#[derive(Debug, Clone)]
pub struct Record {
    /// Where it stands.
    pub offset: u64,
    /// What was published.
    pub message: Arc<Message>,
    /// What it takes of `store.max_bytes`; 0 if it stands in the tail alone.
    pub size: usize,
}

impl Record {
    /// Whether it is kept for as long as somebody needs it.
    pub fn is_kept(&self) -> bool {
        self.size > 0
    }
}

/// From where on everything is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Floor {
    /// Everything recorded above this is in the tail.
    pub tail: u64,
    /// Everything kept above this is there.
    pub kept: u64,
}

/// A part of the log.
#[derive(Debug, Default)]
pub struct Page {
    /// In order; what cannot be wanted may be missing.
    pub records: Vec<Record>,
    /// Everything up to here was looked at. Nothing is left if it is not above what was asked for.
    pub through: u64,
    /// Above the first and up to the second something could not be read, and may have been wanted.
    pub damage: Option<(u64, u64)>,
}

/// Calls what it is given if the message at this position of the log is still its topic's retained one, and while it is.
pub type IfRetained<'a> = &'a dyn Fn(&TopicName, u64, &mut dyn FnMut());

/// Bytes of messages in a page, at most; one message at least.
pub const PAGE_BYTES: usize = 1024 * 1024;

impl Page {
    /// As many of the next records as a page may have.
    fn fill<'a>(records: impl Iterator<Item = &'a Record>, max: usize) -> Vec<Record> {
        let mut bytes = 0;
        let fits = |record: &&Record| {
            let is_first = bytes == 0;
            bytes += record.message.weight();
            is_first || bytes <= PAGE_BYTES
        };
        records.take(max).take_while(fits).cloned().collect()
    }

    /// Something is damaged above `from` and up to `to`, if there is room for anything in between.
    fn note_damage(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        let from = self.damage.map_or(from, |(first, _)| first);
        self.damage = Some((from, to));
    }

    /// Whether the log has nothing above `after`.
    pub fn is_end(&self, after: u64) -> bool {
        self.records.is_empty() && self.through <= after
    }
}

/// Where a message was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its position.
    pub position: Position,
    /// It is durable when the watermark is here.
    pub lsn: Lsn,
    /// What it takes of `store.max_bytes`.
    pub size: usize,
}

/// When a record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// With the next batch: somebody waits.
    Now,
    /// With the next batch that somebody waits for, or after a second.
    Soon,
}

/// Why the store could not keep something. Seen before anything was routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A single message larger than `store.max_bytes`.
    #[error("the message is larger than store.max_bytes")]
    TooLarge,
    /// More waits to be written than may.
    #[error("the disk does not keep up")]
    Busy,
    /// No room on the disk.
    #[error("the disk is full")]
    Full,
    /// The disk failed.
    #[error("the storage has failed; the gateway must be started anew")]
    Failed,
}

/// The log. Whoever appends a message holds the broker's order lock.
pub trait Store: Send + Sync {
    /// Which log this is.
    fn epoch(&self) -> Epoch;

    /// The offset of the newest position given.
    fn head(&self) -> u64;

    /// Gives a position to something that is not kept here.
    fn pass(&self) -> Position;

    /// Appends a message. `inbound` is the packet identifier of a publisher that has a session which is kept: it
    /// becomes durable with the message.
    fn append(
        &self,
        message: &Arc<Message>,
        inbound: Option<PacketId>,
        urgency: Urgency,
    ) -> Result<Appended, StoreError>;

    /// Appends messages that become durable all or none, at positions next to each other, with the request that
    /// publishes them if it happens once: a later start knows it, and is told by [`Store::once`].
    fn append_together(
        &self,
        messages: &[Arc<Message>],
        once: Option<&Arc<Once>>,
        urgency: Urgency,
    ) -> Result<Vec<Appended>, StoreError>;

    /// The request that was done under this key. It is durable when [`Store::newest`] is.
    fn once(&self, user: &Option<Arc<str>>, key: &str) -> Option<Arc<Once>>;

    /// Forgets requests that are too long ago at `now`.
    fn forget_once(&self, now: Millis);

    /// Appends a change; it is durable when the watermark is there.
    fn change(&self, change: Change, urgency: Urgency) -> Lsn;

    /// Positions above its cursor of QoS 2 messages that a client is known to be done with.
    fn done(&self, _client: &str) -> BTreeSet<u64> {
        BTreeSet::new()
    }

    /// The newest record there is. Has it written soon: somebody waits.
    fn newest(&self) -> Lsn;

    /// Up to which record everything is durable.
    fn watermark(&self) -> &Watermark;

    /// Whether it works, or what is in the way of keeping messages.
    fn health(&self) -> Result<(), StoreError>;

    /// Whether anything is kept at all: if not, nobody needs to say anything but messages.
    fn is_durable(&self) -> bool;

    /// Whether so much waits to be written that publishers had better be read no further.
    fn is_busy(&self) -> bool;

    /// Takes a message into the tail alone: it is there for whoever reads soon, and nobody waits for it.
    fn remember(&self, message: &Arc<Message>) -> Result<Position, StoreError>;

    /// Up to `max` messages above `after` that are kept and may be wanted, oldest first; of large ones fewer, about
    /// [`PAGE_BYTES`].
    fn read(&self, after: u64, max: usize, wanted: Option<&Wanted>) -> Page;

    /// As [`Store::read`], with what stands in the tail alone and what nobody needs any more but is still there; and
    /// from where on nothing is missing.
    fn look(&self, after: u64, max: usize, wanted: Option<&Wanted>) -> (Page, Floor);

    /// Whether all that is above `after` is read without the disk.
    fn is_in_memory(&self, _after: u64) -> bool {
        true
    }

    /// Up to `max` messages below `before` that may be wanted, newest first; of large ones fewer, as above. `through` is
    /// the oldest position that was looked at; 0 at the beginning of the log.
    fn look_back(&self, before: u64, max: usize, wanted: &Wanted) -> Page;

    /// From where on everything is there.
    fn floor(&self) -> Floor;

    /// The newest position in front of the first message that was taken at `time` or later; 0 if there is none.
    fn before(&self, time: Millis) -> u64;

    /// The runs of the gateway that wrote this log, oldest first.
    fn runs(&self) -> Vec<Run> {
        Vec::new()
    }

    /// The message at this position.
    fn get(&self, offset: u64) -> Option<Record> {
        let page = self.read(offset.checked_sub(1)?, 1, None);
        page.records
            .into_iter()
            .next()
            .filter(|record| record.offset == offset)
    }

    /// Nobody needs the messages up to `through` any more: so many that were kept, of so many bytes.
    fn trim(&self, through: u64, messages: usize, bytes: usize);

    /// The offset up to which messages are gone.
    fn trimmed(&self) -> u64;

    /// Whether more is kept than `store.max_bytes` allows.
    fn is_over_limit(&self) -> bool;

    /// Whether what else stands behind the oldest message has come to take so much that it had better go.
    fn has_outgrown(&self) -> bool {
        false
    }

    /// Messages kept, and their bytes.
    fn size(&self) -> (usize, usize);

    /// Gives back room on the disk. `if_retained` has the message at a position written anew if it is its topic's
    /// retained one, and `retained` is about how many bytes all of those take.
    fn compact(&self, if_retained: IfRetained<'_>, retained: usize);

    /// Writes what waits, and returns when it is durable. Nothing may be appended afterwards.
    fn close(&self);
}
