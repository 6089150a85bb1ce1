//! The start: what is on the disk becomes what is in memory, whatever happened to it.
//!
//! Segments are read from the oldest on (`scan`). Damage costs just what is damaged, what follows is kept; what a crash
//! tore off nobody was ever told that it was kept, and the log ends there. Then a new run begins behind it.

use super::{
    disk::Disk,
    frame::Lsn,
    kept::{GroupCursor, Kept, OwedWill},
    log::{DiskStore, Log, Options, RESERVE, Shared, file_name},
    record::{Change, Entry},
    tail::Tail,
    watermark::Watermark,
};
use crate::{
    auth::rules::Way,
    message::{Message, Millis},
    metrics::METRICS,
    mqtt::topic::TopicName,
    session::snapshot::Snapshot,
};
use hashbrown::HashMap;
use parking_lot::{Condvar, Mutex};
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, atomic::AtomicUsize},
};

mod collected;
mod header;
mod scan;

pub use header::{FORMAT, HEADER, Header, format, holds_nothing, identify, numbers};
pub use scan::{Seen, scan, scan_while};

use collected::Collected;
use header::read_head;

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Written by a later version.
    #[error(
        "{file} is of format {format}, written by a later version of tidegate; this one knows formats up to {FORMAT}"
    )]
    Newer {
        /// Which file.
        file: String,
        /// Its format.
        format: u16,
    },
    /// The system refused something.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The first records could not be made durable.
    #[error("nothing can be made durable there")]
    NotDurable,
    /// There is no room for them.
    #[error("the disk is full: make room there, a few megabytes are enough for a start")]
    NoRoom,
}

/// Bytes of the log that say nothing any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Which file.
    pub file: String,
    /// Where.
    pub at: u64,
    /// How many.
    pub bytes: u64,
    /// The last position known in front of it.
    pub after: u64,
}

/// What a start found, beside what the store keeps for itself.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The last message of each topic, and its position.
    pub retained: HashMap<TopicName, (u64, Arc<Message>)>,
    /// Sessions that were kept.
    pub sessions: Vec<Snapshot>,
    /// Wills that are owed.
    pub wills: Vec<(Arc<str>, OwedWill)>,
    /// How the clients of both came in, as far as it is known.
    pub ways: HashMap<Arc<str>, Way>,
    /// Share groups that were kept, by their whole filters.
    pub groups: Vec<(Box<str>, GroupCursor)>,
    /// The history rules of the run before, and above which position what matches them was recorded.
    pub history: Vec<(Box<str>, u64)>,
    /// What was damaged.
    pub damage: Vec<Damage>,
    /// Whether the run before ended by itself, or there was none.
    pub clean: bool,
    /// Messages in the log.
    pub messages: usize,
    /// Which history rules match them, one bit each, and their sizes; only of those that any does.
    pub recorded: Vec<(u64, usize)>,
}

/// Takes the files of a log that cannot be read out of the way, for a person to look at.
fn set_aside(disk: &dyn Disk) -> io::Result<Vec<Damage>> {
    let mut lost = Vec::new();
    for number in numbers(disk)? {
        let name = file_name(number);
        let bytes = disk.open(&name)?.size()?;
        disk.rename(&name, &format!("{name}.damaged"))?;
        lost.push(Damage {
            file: name,
            at: 0,
            bytes,
            after: 0,
        });
    }
    Ok(lost)
}

/// The highest number of a segment there ever was, as far as files tell: also of those that were put out of the way, so
/// that no later one of the same name takes their place.
fn highest(disk: &dyn Disk) -> io::Result<u64> {
    let names = disk.names()?;
    let numbers = names.iter().filter_map(|name| {
        let (number, _) = name.split_once(".log")?;
        number.parse().ok()
    });
    Ok(numbers.max().unwrap_or(0))
}

/// Opens the log of a folder, or begins one. `fresh` is the identity a new one gets. `rules` tells which history rules
/// match a topic, one bit each.
pub fn open(
    disk: Arc<dyn Disk>,
    options: Options,
    fresh: Header,
    now: Millis,
    rules: &dyn Fn(&str) -> u64,
) -> Result<(DiskStore, Recovered), OpenError> {
    let highest = highest(&*disk)?;
    let found = identify(&*disk)?;
    let is_new = found.is_none() && holds_nothing(&*disk)?;
    let identity = found.unwrap_or(fresh);
    // without the secret of one header nothing of it can be told from what a publisher wrote
    let lost = match found.is_none() && !is_new {
        true => set_aside(&*disk)?,
        false => Vec::new(),
    };
    let mut collected = Collected {
        kept: Kept::default(),
        segments: BTreeMap::new(),
        retained: HashMap::new(),
        damage: lost,
        messages: Vec::new(),
        note: rules,
        last: Lsn(0),
        last_offset: 0,
    };
    let (mut foreign, mut torn) = (Vec::new(), None);
    scan(&*disk, identity, |seen| match seen {
        Seen::Entry {
            segment,
            at,
            end,
            lsn,
            entry,
        } => {
            collected.last = lsn;
            match entry {
                Entry::Message(logged) => collected.message(logged, segment, at, end),
                Entry::Retained(logged) => collected.retained(logged.offset, logged.message),
                Entry::Change(change) => collected.kept.apply(change, segment),
            }
        }
        Seen::Damage {
            segment, at, end, ..
        } => collected.damaged(segment, at, end),
        Seen::Missing { segment, at } => collected.damaged(segment, at, at),
        Seen::Segment { segment, end, .. } => {
            let known = collected.segments.entry(segment).or_default();
            (known.end, known.written) = (end, end);
        }
        Seen::Foreign { segment } => foreign.push(segment),
        Seen::Torn { segment, at, later } => {
            let known = collected.segments.entry(segment).or_default();
            (known.end, known.written) = (at, at);
            torn = Some((segment, at, later));
            // a run had begun behind it
            collected.kept.stopped_at = None;
        }
    })?;
    for segment in foreign {
        // no record of this log: out of the way, for a person to look at
        let name = file_name(segment);
        disk.rename(&name, &format!("{name}.foreign"))?;
        collected.damage.push(Damage {
            file: name,
            at: 0,
            bytes: 0,
            after: collected.last_offset,
        });
    }
    let begun = collected.segments.last_key_value();
    if let Some((&number, _)) = begun.filter(|(_, segment)| segment.end <= HEADER as u64)
        && read_head(&*disk, number)?.len() < HEADER
    {
        // left by a crash before it had a header: later it would look like one that was cut
        collected.segments.remove(&number);
        disk.remove(&file_name(number))?;
        disk.sync_names()?;
    }
    if let Some((segment, at, later)) = torn {
        let file = disk.open(&file_name(segment))?;
        file.set_len(at)?;
        file.sync()?;
        for number in later {
            disk.remove(&file_name(number))?;
        }
        disk.sync_names()?;
    } else if let Some(number) = collected.segments.keys().last() {
        // a process that was killed may have left there what only the system has: from now on it counts as durable
        disk.open(&file_name(*number))?.sync()?;
    }
    for damage in &collected.damage {
        METRICS.store_damaged.inc();
        tracing::error!(
            file = damage.file,
            at = damage.at,
            bytes = damage.bytes,
            "damage in the log"
        );
    }
    // a file of a crash before its first record holds nothing
    collected.segments.retain(|_, segment| segment.end > 0);
    finish(disk, options, identity, collected, highest, is_new, now)
}

/// Starts a new run behind what was found.
fn finish(
    disk: Arc<dyn Disk>,
    options: Options,
    identity: Header,
    collected: Collected<'_>,
    highest: u64,
    is_new: bool,
    now: Millis,
) -> Result<(DiskStore, Recovered), OpenError> {
    let Collected {
        kept,
        segments,
        mut retained,
        damage,
        messages,
        last,
        last_offset,
        ..
    } = collected;
    let clean = kept.stopped_at.is_some() || is_new;
    let head = match kept.stopped_at {
        Some(head) => head.max(last_offset),
        // what was given above the last record must not be given again, nor what stood where damage is now: that took
        // a byte for each at least, and may have been given out of a reservation that is gone, too
        None => {
            let damaged: u64 = damage.iter().map(|damage| damage.bytes).sum();
            let lost = (!damage.is_empty()).then_some(2 * RESERVE + damaged);
            kept.reserved.max(last_offset) + lost.unwrap_or(0)
        }
    };
    let live = messages.into_iter();
    let live = live.filter(|(offset, ..)| *offset > kept.trimmed);
    let (mut count, mut bytes, mut recorded) = (0, 0, Vec::new());
    for (_, size, rules) in live {
        count += 1;
        bytes += size as usize;
        if rules != 0 {
            recorded.push((rules, size as usize));
        }
    }
    retained.retain(|_, (_, message)| !message.payload.is_empty() && !message.is_expired(now));
    let sizes = retained.values().map(|(_, message)| message.weight());
    let beside = kept.weight() + sizes.sum::<usize>();
    let mut log = Log {
        last,
        newest: last,
        written: last,
        head,
        kept,
        segments,
        pending: Vec::new(),
        pending_bytes: 0,
        urgent: false,
        soon: None,
        tail: Tail::new(options.tail_bytes, head),
        messages: count,
        bytes,
        reserved: head,
        reserving: None,
        must_sync: None,
        beside,
        full: false,
        begun: false,
        closing: false,
    };
    // what the run before wrote is never written behind
    log.begin_segment(highest + 1);
    let store = DiskStore::start(Shared {
        epoch: identity.epoch,
        secret: identity.secret,
        options,
        disk,
        log: Mutex::new(log),
        work: Condvar::new(),
        watermark: Watermark::new(last),
        queued: AtomicUsize::new(0),
        files: Mutex::default(),
    })?;
    let begun = store.change_now(Change::Run {
        at: now,
        first: head + 1,
        clean,
    });
    if !(begun && store.reserve()) {
        return Err(store.why_not_durable());
    }
    store.has_begun();
    let history = store.kept(|kept| kept.history.clone());
    let (sessions, wills, ways, groups) = store.kept(|kept| {
        let sessions = kept.sessions.values().map(|placed| placed.kept.clone());
        let wills = kept.wills.iter();
        let wills = wills.map(|(client, placed)| (client.clone(), placed.kept.clone()));
        let ways = kept.ways.iter();
        let ways = ways.map(|(client, placed)| (client.clone(), placed.kept.clone()));
        let groups = kept.groups.iter();
        let groups = groups.map(|(filter, placed)| (filter.clone(), placed.kept.clone()));
        (
            sessions.collect(),
            wills.collect(),
            ways.collect(),
            groups.collect(),
        )
    });
    let recovered = Recovered {
        sessions,
        wills,
        ways,
        groups,
        history,
        retained,
        damage,
        clean,
        messages: count,
        recorded,
    };
    Ok((store, recovered))
}
