//! What a data folder was found to hold, as lines for people or an object for programs.

use crate::cli::bench::number;
use serde::Serialize;
use std::fmt;

/// Everything that is said about a folder.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Its path as it was given.
    pub folder: String,
    /// Nothing is damaged.
    pub ok: bool,
    /// The format of its newest file.
    pub format: Option<u16>,
    /// Which log it is.
    pub epoch: Option<String>,
    /// Whether the last run ended by itself.
    pub clean: bool,
    /// Where a crash cut the log off.
    pub torn: Option<Torn>,
    /// The last position that is known to have been given.
    pub head: u64,
    /// Messages in the files.
    pub messages: Messages,
    /// Topics with a retained message.
    pub retained: usize,
    /// Sessions that are kept.
    pub sessions: usize,
    /// Wills that are owed.
    pub wills: usize,
    /// Share groups that are kept.
    pub groups: usize,
    /// The files of the log, oldest first.
    pub segments: Vec<Segment>,
    /// What says nothing any more, in order.
    pub damage: Vec<Damage>,
    /// Files that an earlier start put out of the way.
    pub set_aside: Vec<String>,
}

/// Messages in the files.
#[derive(Debug, Serialize)]
pub struct Messages {
    /// Those that somebody may need.
    pub kept: usize,
    /// Those that nobody needs any more and that go with their file.
    pub trimmed: usize,
}

/// A file of the log.
#[derive(Debug, Serialize)]
pub struct Segment {
    /// Its name.
    pub file: String,
    /// Its length; the last one's is some MiB more than was written.
    pub bytes: u64,
    /// Messages in it.
    pub messages: usize,
    /// The position of the first.
    pub first: Option<u64>,
    /// The position of the last.
    pub last: Option<u64>,
}

/// The place from which on nothing was ever promised.
#[derive(Debug, Serialize)]
pub struct Torn {
    /// In which file.
    pub file: String,
    /// The first byte that does not count.
    pub at: u64,
    /// Files behind it, which do not count either.
    pub later: Vec<String>,
}

/// A stretch that says nothing any more.
#[derive(Debug, Serialize)]
pub struct Damage {
    /// In which file.
    pub file: String,
    /// The first byte.
    pub at: u64,
    /// How many.
    pub bytes: u64,
    /// The last position known in front of it.
    pub after: u64,
    /// What is there.
    pub what: &'static str,
}

impl Report {
    /// One JSON object.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers always have a JSON form")
    }

    fn last_run(&self) -> String {
        match (&self.torn, self.clean) {
            (Some(torn), _) => {
                let later = match torn.later.len() {
                    0 => String::new(),
                    files => format!(" and {files} files behind it"),
                };
                format!(
                    "a crash cut off the log at byte {} of {}{later}; what stood there had not been synced",
                    torn.at, torn.file
                )
            }
            (None, true) => "ended cleanly".to_owned(),
            (None, false) => "did not end by itself: a crash, a kill or a power cut".to_owned(),
        }
    }
}

fn count(value: impl TryInto<u64>) -> String {
    number(value.try_into().unwrap_or(u64::MAX) as f64)
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = || "unknown".to_owned();
        let format = self
            .format
            .map_or_else(unknown, |format| format.to_string());
        let bytes: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        let lines = [
            ("format", format),
            ("epoch", self.epoch.clone().unwrap_or_else(unknown)),
            ("last run", self.last_run()),
            ("last position", self.head.to_string()),
            (
                "messages",
                format!(
                    "{}, and {} trimmed",
                    count(self.messages.kept),
                    count(self.messages.trimmed)
                ),
            ),
            ("retained", count(self.retained)),
            ("sessions", count(self.sessions)),
            ("wills", count(self.wills)),
            ("share groups", count(self.groups)),
            (
                "segments",
                format!("{}, {} bytes", count(self.segments.len()), count(bytes)),
            ),
        ];
        writeln!(out, "{}", self.folder)?;
        for (name, value) in lines {
            writeln!(out, "  {name:<13}  {value}")?;
        }
        for segment in &self.segments {
            let positions = match (segment.first, segment.last) {
                (Some(first), Some(last)) => format!(", positions {first} to {last}"),
                _ => String::new(),
            };
            let (bytes, messages) = (count(segment.bytes), count(segment.messages));
            writeln!(
                out,
                "    {}  {bytes} bytes, {messages} messages{positions}",
                segment.file
            )?;
        }
        for file in &self.set_aside {
            writeln!(out, "    {file}  set aside by an earlier start")?;
        }
        match self.damage.len() {
            0 => writeln!(out, "  {:<13}  none", "damage"),
            stretches => {
                writeln!(out, "  {:<13}  {}", "damage", count(stretches))?;
                for damage in &self.damage {
                    writeln!(
                        out,
                        "    {}  at byte {}, {} bytes, behind position {}: {}",
                        damage.file,
                        damage.at,
                        count(damage.bytes),
                        damage.after,
                        damage.what
                    )?;
                }
                writeln!(
                    out,
                    "  A gateway passes over what is damaged, tells of it, and serves the rest. Restore the folder from \
                     a copy if you need what stood there."
                )
            }
        }
    }
}
