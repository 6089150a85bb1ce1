//! Reads a log from its oldest segment on and shows what counts of it: records, damage, and where a crash cut it off.
//!
//! What is no whole record is either the end that a crash tore, or damage: if a later record tells that everything up to
//! there had been synced, it is damage. Else nobody was ever told that it was kept. Changes nothing on the disk.

use super::{
    OpenError,
    header::{HEADER, Header, numbers, read_all},
};
use crate::store::{
    disk::Disk,
    frame::{Frame, Lsn, Met, Walk},
    log::file_name,
    record::{self, Change, Entry, Logged},
};
use std::io;

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
