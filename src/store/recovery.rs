//! The start: what is on the disk becomes what is in memory, whatever happened to it.
//!
//! Segments are read from the oldest on. What is no whole record is either the end that a crash tore, or damage: if a
//! later record tells that everything up to there had been synced, it is damage, and costs just that; what follows is
//! kept. Else nobody was ever told that it was kept, and the log ends there.

use super::{
    disk::Disk,
    frame::{Frame, Lsn, Met, Walk},
    kept::{GroupCursor, Kept, OwedWill},
    log::{DiskStore, Log, Options, RESERVE, Segment, Shared, file_name},
    record::{self, Change, Entry, Logged},
    tail::Tail,
    watermark::Watermark,
};
use crate::{
    auth::rules::Way,
    message::{Epoch, Message, Millis},
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

/// The format that is written. What is older is read.
pub const FORMAT: u16 = 1;

/// Bytes of a segment's header.
pub const HEADER: usize = 64;

const MAGIC: &[u8; 8] = b"TIDEGATE";

/// What stands at the beginning of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Which log.
    pub epoch: Epoch,
    /// What checksums begin with.
    pub secret: u32,
    /// Its number.
    pub segment: u64,
}

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

impl Header {
    /// As it stands in the file.
    pub fn bytes(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.secret.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.epoch.0);
        bytes[24..32].copy_from_slice(&self.segment.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// What a file begins with: `None` if it is no header, an error if it is one of a later format.
    fn read(file: &str, bytes: &[u8]) -> Result<Option<Self>, OpenError> {
        let Some(bytes) = bytes.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let part = |at: usize, len: usize| bytes[at..at + len].iter().rev();
        let number = |at, len| part(at, len).fold(0, |n: u64, byte| n << 8 | u64::from(*byte));
        if &bytes[..8] != MAGIC || u64::from(crc32fast::hash(&bytes[..60])) != number(60, 4) {
            return Ok(None);
        }
        let format = number(8, 2) as u16;
        if format > FORMAT {
            return Err(OpenError::Newer {
                file: file.to_owned(),
                format,
            });
        }
        let mut epoch = [0; 8];
        epoch.copy_from_slice(&bytes[16..24]);
        Ok(Some(Header {
            epoch: Epoch(epoch),
            secret: number(12, 4) as u32,
            segment: number(24, 8),
        }))
    }
}

/// The numbers of the segments in a folder, ascending.
pub fn numbers(disk: &dyn Disk) -> io::Result<Vec<u64>> {
    let names = disk.names()?;
    let mut numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| name.strip_suffix(".log")?.parse().ok())
        .filter(|number| names.contains(&file_name(*number)))
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn read_all(disk: &dyn Disk, number: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(&file_name(number))?;
    let mut bytes = vec![0; file.size()? as usize];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Something a visitor of the log is shown.
pub enum Seen<'a> {
    /// A record that could be read.
    Entry {
        /// In which segment.
        segment: u64,
        /// Where in it.
        at: u64,
        /// Behind it.
        end: u64,
        /// Its number.
        lsn: Lsn,
        /// What it says.
        entry: Entry,
    },
    /// Damage.
    Damage {
        /// In which segment.
        segment: u64,
        /// The first byte.
        at: u64,
        /// Behind the last.
        end: u64,
        /// The checksum is right, the body says nothing.
        whole: bool,
    },
    /// Records between this one and the one before are not there, and nothing is in their place.
    Missing {
        /// In which segment the next one stands.
        segment: u64,
        /// Where.
        at: u64,
    },
    /// A segment was read to its end.
    Segment {
        /// Its number.
        segment: u64,
        /// Behind its last record.
        end: u64,
        /// What it holds.
        bytes: &'a [u8],
    },
    /// A file that is no segment of this log.
    Foreign {
        /// Its number.
        segment: u64,
    },
    /// A crash cut the log off here: nothing from there on was ever promised.
    Torn {
        /// In which segment.
        segment: u64,
        /// The first byte that does not count.
        at: u64,
        /// Segments behind it.
        later: Vec<u64>,
    },
}

/// Which log a folder holds; `None` if none can be made out.
pub fn identify(disk: &dyn Disk) -> Result<Option<Header>, OpenError> {
    let mut found = None;
    for number in numbers(disk)? {
        let head = read_head(disk, number)?;
        // all of them are looked at: one of a later format must not be passed over
        found = found.or(Header::read(&file_name(number), &head)?);
    }
    Ok(found)
}

/// The newest format that a file of the folder is written in; `None` if none can be made out.
pub fn format(disk: &dyn Disk) -> Result<Option<u16>, OpenError> {
    let mut newest = None;
    for number in numbers(disk)? {
        let head = read_head(disk, number)?;
        if Header::read(&file_name(number), &head)?.is_some() {
            newest = newest.max(Some(u16::from_le_bytes([head[8], head[9]])));
        }
    }
    Ok(newest)
}

fn read_head(disk: &dyn Disk, number: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(&file_name(number))?;
    let mut head = vec![0; HEADER.min(file.size()? as usize)];
    file.read_at(&mut head, 0)?;
    Ok(head)
}

/// Whether a crash came before the first record was written: no file has more than a header.
pub fn holds_nothing(disk: &dyn Disk) -> io::Result<bool> {
    for number in numbers(disk)? {
        if disk.open(&file_name(number))?.size()? > HEADER as u64 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Shows all of a log that counts, in order.
pub fn scan(
    disk: &dyn Disk,
    identity: Header,
    mut visit: impl FnMut(Seen<'_>),
) -> Result<(), OpenError> {
    scan_while(disk, identity, |seen| {
        visit(seen);
        true
    })
}

/// Shows what counts of a log, in order, for as long as `visit` asks for more.
pub fn scan_while(
    disk: &dyn Disk,
    identity: Header,
    mut visit: impl FnMut(Seen<'_>) -> bool,
) -> Result<(), OpenError> {
    let all = numbers(disk)?;
    let mut last = Lsn(0);
    // what stood in front of the oldest segment was given back, what damage hides is told with it
    let mut may_skip = true;
    for (nth, &segment) in all.iter().enumerate() {
        let bytes = read_all(disk, segment)?;
        let header = Header::read(&file_name(segment), &bytes)?;
        if header.is_some_and(|header| {
            (header.epoch, header.secret) != (identity.epoch, identity.secret)
                || header.segment != segment
        }) {
            if !visit(Seen::Foreign { segment }) {
                return Ok(());
            }
            continue;
        }
        let headless = Seen::Damage {
            segment,
            at: 0,
            end: HEADER.min(bytes.len()) as u64,
            whole: false,
        };
        // the last one may be what a crash left of a file that had just been begun
        let is_damage = bytes.len() > HEADER || nth + 1 < all.len();
        if header.is_none() && is_damage && !visit(headless) {
            return Ok(());
        }
        let mut walk = Walk::new(&bytes, identity.secret, HEADER, last);
        for met in walk.by_ref() {
            let seen = match met {
                Met::Frame(frame) => {
                    let (at, end) = (frame.at as u64, frame.end() as u64);
                    let is_next = frame.lsn.0 == last.0 + 1;
                    if !(may_skip || is_next || visit(Seen::Missing { segment, at })) {
                        return Ok(());
                    }
                    may_skip = false;
                    last = frame.lsn;
                    let later = &all[nth + 1..];
                    match record::read(frame.body) {
                        Ok(entry)
                            if !is_whole(disk, identity.secret, &bytes, frame, &entry, later)? =>
                        {
                            let later = later.to_vec();
                            visit(Seen::Torn { segment, at, later });
                            return Ok(());
                        }
                        Ok(entry) => Seen::Entry {
                            segment,
                            at,
                            end,
                            lsn: frame.lsn,
                            entry,
                        },
                        Err(record::Unreadable) => Seen::Damage {
                            segment,
                            at,
                            end,
                            whole: true,
                        },
                    }
                }
                Met::Damage { at, end } => {
                    let rest = Walk::new(&bytes, identity.secret, end, last);
                    if !is_proven(disk, identity.secret, last, rest, &all[nth + 1..])? {
                        visit(Seen::Torn {
                            segment,
                            at: at as u64,
                            later: all[nth + 1..].to_vec(),
                        });
                        return Ok(());
                    }
                    may_skip = true;
                    Seen::Damage {
                        segment,
                        at: at as u64,
                        end: end as u64,
                        whole: false,
                    }
                }
            };
            if !visit(seen) {
                return Ok(());
            }
        }
        let end = walk.at.max(HEADER) as u64;
        let whole = Seen::Segment {
            segment,
            end,
            bytes: &bytes,
        };
        if !visit(whole) {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether what stood behind `last` had been synced: a later record says so.
fn is_proven(
    disk: &dyn Disk,
    secret: u32,
    last: Lsn,
    rest: Walk<'_>,
    later: &[u64],
) -> io::Result<bool> {
    let proves = |met: Met<'_>| match met {
        Met::Frame(frame) => matches!(
            record::read(frame.body),
            Ok(Entry::Change(Change::Batch { synced })) if synced > last.0
        ),
        Met::Damage { .. } => false,
    };
    if rest.into_iter().any(proves) {
        return Ok(true);
    }
    for number in later {
        let bytes = read_all(disk, *number)?;
        if Walk::new(&bytes, secret, HEADER, last).any(proves) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether all messages are there, or had been, that are kept together with this one: if a crash cut them off, nobody was
/// ever told of the first ones either.
fn is_whole(
    disk: &dyn Disk,
    secret: u32,
    bytes: &[u8],
    first: Frame<'_>,
    entry: &Entry,
    later: &[u64],
) -> io::Result<bool> {
    let Entry::Message(Logged {
        begins: Some(begins),
        ..
    }) = entry
    else {
        return Ok(true);
    };
    let through = Lsn(first.lsn.0 + u64::from(begins.messages.saturating_sub(1)));
    let mut walk = Walk::new(bytes, secret, first.end(), first.lsn);
    while walk.last < through {
        match walk.next() {
            Some(Met::Frame(_)) => {}
            // written by one call and synced by one: proof of the first is proof of all
            Some(Met::Damage { .. }) | None => {
                return is_proven(disk, secret, first.lsn, walk, later);
            }
        }
    }
    Ok(true)
}

/// What is collected on the way.
struct Collected<'a> {
    kept: Kept,
    segments: BTreeMap<u64, Segment>,
    retained: HashMap<TopicName, (u64, Arc<Message>)>,
    damage: Vec<Damage>,
    /// Offset, size and what the caller noted of messages that are not known to be trimmed.
    messages: Vec<(u64, u32, u64)>,
    note: &'a dyn Fn(&str) -> u64,
    last: Lsn,
    last_offset: u64,
}

impl Collected<'_> {
    fn message(&mut self, logged: Logged, segment: u64, at: u64, end: u64) {
        let Logged {
            offset,
            message,
            inbound,
            begins,
        } = logged;
        if let Some(once) = begins.and_then(|begins| begins.once) {
            self.kept.keys.insert(once, segment);
        }
        if let Some(packet_id) = inbound
            && let Some(client) = message.origin.as_ref().and_then(|o| o.client_id.as_deref())
        {
            self.kept.received(client, packet_id);
        }
        self.last_offset = self.last_offset.max(offset);
        self.segments
            .entry(segment)
            .or_default()
            .index
            .add(offset, &message.topic, at, end);
        let note = (self.note)(&message.topic);
        self.messages.push((offset, (end - at) as u32, note));
        if message.retain {
            self.retained(offset, message);
        }
    }

    fn damaged(&mut self, segment: u64, at: u64, end: u64) {
        // a run may have begun there
        self.kept.stopped_at = None;
        self.damage.push(Damage {
            file: file_name(segment),
            at,
            bytes: end - at,
            after: self.last_offset,
        });
    }

    /// Of two, the higher position wins.
    fn retained(&mut self, offset: u64, message: Message) {
        let known = self.retained.get(&message.topic);
        if known.is_none_or(|(before, _)| *before <= offset) {
            let message = Arc::new(message);
            self.retained
                .insert(message.topic.clone(), (offset, message));
        }
    }
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

/// Opens the log of a folder, or begins one. `fresh` is the identity a new one gets. `rules` tells which history rules
/// match a topic, one bit each.
pub fn open(
    disk: Arc<dyn Disk>,
    options: Options,
    fresh: Header,
    now: Millis,
    rules: &dyn Fn(&str) -> u64,
) -> Result<(DiskStore, Recovered), OpenError> {
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
    let highest = numbers(&*disk)?.last().copied().unwrap_or(0);
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
        full: false,
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
    })?;
    let begun = store.change_now(Change::Run {
        at: now,
        first: head + 1,
        clean,
    });
    if !(begun && store.reserve()) {
        return Err(OpenError::NotDurable);
    }
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
