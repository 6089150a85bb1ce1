//! `tidegate store check`: reads everything and adds up what a start would find.

use super::{
    Looked, Refusal, epoch, now,
    report::{Damage, Messages, Report, Segment, Torn},
};
use crate::{
    cli::FAILED,
    message::Message,
    mqtt::topic::TopicName,
    store::{
        disk::Disk,
        kept::Kept,
        log::file_name,
        record::{Entry, Logged},
        recovery::{self, Seen},
    },
};
use hashbrown::HashMap;
use std::{io, path::PathBuf, process::ExitCode};

/// `tidegate store check`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data folder
    dir: PathBuf,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Reads, and says what is there.
pub fn run(args: Args) -> Result<ExitCode, Refusal> {
    let report = examine(&Looked::at(&args.dir)?)?;
    if args.json {
        println!("{}", report.json());
    } else {
        print!("{report}");
    }
    Ok(match report.ok {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(FAILED),
    })
}

/// What is collected on the way.
#[derive(Default)]
struct Found {
    kept: Kept,
    /// Of the topics whose last message was to be retained: its position, and until when it counts.
    retained: HashMap<TopicName, (u64, Option<u64>)>,
    /// Of every message.
    offsets: Vec<u64>,
    segments: Vec<Segment>,
    damage: Vec<Damage>,
    torn: Option<Torn>,
}

fn examine(looked: &Looked) -> Result<Report, Refusal> {
    let folder = &looked.folder;
    let mut found = Found::default();
    found.list(folder).map_err(|error| looked.refuse(error))?;
    match looked.identity {
        Some(identity) => recovery::scan(folder, identity, |seen| found.see(seen)),
        None => recovery::holds_nothing(folder)
            .map(|nothing| {
                if !nothing {
                    found.all_damaged();
                }
            })
            .map_err(Into::into),
    }
    .map_err(|error| looked.refuse(error))?;
    let format = recovery::format(folder).map_err(|error| looked.refuse(error))?;
    let names = folder.names().map_err(|error| looked.refuse(error))?;
    let mut aside: Vec<String> = names
        .into_iter()
        .filter(|name| name.ends_with(".log.damaged") || name.ends_with(".log.foreign"))
        .collect();
    aside.sort_unstable();
    Ok(found.report(looked, format, aside))
}

impl Found {
    /// Takes note of all files, before they are read.
    fn list(&mut self, folder: &dyn Disk) -> io::Result<()> {
        for number in recovery::numbers(folder)? {
            let file = file_name(number);
            self.segments.push(Segment {
                bytes: folder.open(&file)?.size()?,
                file,
                messages: 0,
                first: None,
                last: None,
            });
        }
        Ok(())
    }

    fn see(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::Entry { segment, entry, .. } => match entry {
                Entry::Message(logged) => self.message(logged, segment),
                Entry::Retained(logged) => self.retained(logged.offset, &logged.message),
                Entry::Change(change) => self.kept.apply(change, segment),
            },
            Seen::Damage {
                segment,
                at,
                end,
                whole,
            } => self.damaged(
                segment,
                at,
                end - at,
                match whole {
                    true => "a record that this version cannot read",
                    false => "no record",
                },
            ),
            Seen::Missing { segment, at } => {
                self.damaged(segment, at, 0, "records in front of it are gone");
            }
            Seen::Foreign { segment } => {
                let bytes = self.segment(segment).map_or(0, |segment| segment.bytes);
                self.damaged(segment, 0, bytes, "a file of another log");
            }
            Seen::Torn { segment, at, later } => {
                self.torn = Some(Torn {
                    file: file_name(segment),
                    at,
                    later: later.into_iter().map(file_name).collect(),
                });
            }
            Seen::Segment { .. } => {}
        }
    }

    fn segment(&mut self, number: u64) -> Option<&mut Segment> {
        let name = file_name(number);
        self.segments.iter_mut().rfind(|one| one.file == name)
    }

    fn damaged(&mut self, segment: u64, at: u64, bytes: u64, what: &'static str) {
        // a run may have begun there
        self.kept.stopped_at = None;
        self.damage.push(Damage {
            file: file_name(segment),
            at,
            bytes,
            after: self.offsets.last().copied().unwrap_or(0),
            what,
        });
    }

    /// No file says which log it belongs to, so that none can be read.
    fn all_damaged(&mut self) {
        let damage = self.segments.iter().map(|segment| Damage {
            file: segment.file.clone(),
            at: 0,
            bytes: segment.bytes,
            after: 0,
            what: "a file without its beginning",
        });
        self.damage = damage.collect();
    }

    fn message(&mut self, logged: Logged, segment: u64) {
        let Logged {
            offset,
            message,
            begins,
            ..
        } = logged;
        if let Some(once) = begins.and_then(|begins| begins.once) {
            self.kept.keys.insert(once, segment);
        }
        self.offsets.push(offset);
        if let Some(segment) = self.segment(segment) {
            segment.messages += 1;
            segment.first = segment.first.or(Some(offset));
            segment.last = Some(offset);
        }
        if message.retain {
            self.retained(offset, &message);
        }
    }

    /// Of two, the higher position wins; an empty payload clears the topic.
    fn retained(&mut self, offset: u64, message: &Message) {
        let until = match message.payload.is_empty() {
            true => Some(0),
            false => message.expires.map(|expires| expires.0),
        };
        let known = self.retained.get(&message.topic);
        if known.is_none_or(|(before, _)| *before <= offset) {
            self.retained.insert(message.topic.clone(), (offset, until));
        }
    }

    fn report(self, looked: &Looked, format: Option<u16>, aside: Vec<String>) -> Report {
        let now = now().0;
        let trimmed = self.kept.trimmed;
        let gone = self.offsets.iter().filter(|at| **at <= trimmed).count();
        let last = self.offsets.iter().copied().max().unwrap_or(0);
        let retained = self.retained.values();
        Report {
            folder: looked.path.display().to_string(),
            ok: self.damage.is_empty(),
            format,
            epoch: looked.identity.as_ref().map(epoch),
            clean: self.kept.stopped_at.is_some(),
            torn: self.torn,
            head: self.kept.stopped_at.unwrap_or(0).max(last),
            messages: Messages {
                kept: self.offsets.len() - gone,
                trimmed: gone,
            },
            retained: retained
                .filter(|(_, until)| until.is_none_or(|until| until > now))
                .count(),
            sessions: self.kept.sessions.len(),
            wills: self.kept.wills.len(),
            groups: self.kept.groups.len(),
            segments: self.segments,
            damage: self.damage,
            set_aside: aside,
        }
    }
}
