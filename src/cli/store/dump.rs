//! `tidegate store dump`: the log as lines of JSON, in its order.

use super::{Looked, Refusal, change, epoch, now};
use crate::{
    cli::{FAILED, end},
    http::envelope::{Properties, rfc3339},
    mqtt::topic::TopicFilter,
    store::{
        frame::Lsn,
        log::file_name,
        record::{Entry, Logged},
        recovery::{self, Seen},
    },
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Serialize;
use std::{
    io::{self, BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
};

/// `tidegate store dump`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data folder
    dir: PathBuf,
    /// Only messages whose topic matches
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    topic: Option<TopicFilter>,
    /// Only messages at positions above this offset, the number at the end of a cursor
    #[arg(long, value_name = "OFFSET")]
    since: Option<u64>,
    /// At most so many lines
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

fn filter(text: &str) -> Result<TopicFilter, String> {
    TopicFilter::parse(text).map_err(|error| error.to_string())
}

/// Prints what is asked for.
pub fn run(args: Args) -> Result<ExitCode, Refusal> {
    let looked = Looked::at(&args.dir)?;
    let Some(identity) = looked.identity else {
        if recovery::holds_nothing(&looked.folder).map_err(|error| looked.refuse(error))? {
            return Ok(ExitCode::SUCCESS);
        }
        return Ok(end(
            FAILED,
            format_args!(
                "{}: no file of this folder has its beginning; restore it from a copy",
                args.dir.display()
            ),
        ));
    };
    let mut printer = Printer {
        out: BufWriter::new(io::stdout().lock()),
        epoch: epoch(&identity),
        left: args.limit.unwrap_or(u64::MAX),
        args,
        damaged: 0,
        outcome: Ok(()),
    };
    // to look costs reading; nothing is read that is not printed
    if printer.left > 0 {
        let scanned = recovery::scan_while(&looked.folder, identity, |seen| printer.see(seen));
        scanned.map_err(|error| looked.refuse(error))?;
    }
    Ok(printer.end())
}

struct Printer<W: Write> {
    out: W,
    epoch: String,
    /// Lines that may still be printed.
    left: u64,
    args: Args,
    damaged: usize,
    outcome: io::Result<()>,
}

/// A record, with its place and what it says.
#[derive(Serialize)]
struct Line<T> {
    kind: &'static str,
    file: String,
    at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<u64>,
    #[serde(flatten)]
    says: T,
}

/// A message; member names are those of the web API's envelope.
#[derive(Serialize)]
struct Message<'a> {
    position: String,
    time: String,
    topic: &'a str,
    #[serde(flatten)]
    payload: Payload<'a>,
    qos: u8,
    retain: bool,
    publisher: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    /// Of a QoS 2 publisher whose session is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    packet_id: Option<u16>,
    /// Of so many messages that are kept all or none this is the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    together: Option<u32>,
    /// Of the request that published it, if that happens once.
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<Properties>,
}

/// Bytes as text, if they are any.
#[derive(Serialize)]
pub struct Payload<'a> {
    payload: std::borrow::Cow<'a, str>,
    encoding: &'static str,
    size: usize,
}

impl<'a> Payload<'a> {
    /// Of any bytes.
    pub fn of(bytes: &'a [u8]) -> Self {
        let (payload, encoding) = match std::str::from_utf8(bytes) {
            Ok(text) => (text.into(), "utf8"),
            Err(_) => (BASE64_STANDARD.encode(bytes).into(), "base64"),
        };
        Payload {
            payload,
            encoding,
            size: bytes.len(),
        }
    }
}

impl<W: Write> Printer<W> {
    /// Prints it if it is asked for; tells whether to go on.
    fn see(&mut self, seen: Seen<'_>) -> bool {
        match seen {
            Seen::Entry {
                segment,
                at,
                lsn,
                entry,
                ..
            } => match entry {
                Entry::Message(logged) => self.message("message", segment, at, lsn, &logged),
                Entry::Retained(logged) => self.message("retained", segment, at, lsn, &logged),
                Entry::Change(change) => {
                    let kind = change::kind(&change);
                    self.other(kind, segment, at, Some(lsn), change::fields(&change));
                }
            },
            Seen::Damage {
                segment, at, end, ..
            } => {
                self.damaged += 1;
                let bytes = serde_json::json!({ "bytes": end - at });
                self.other("damage", segment, at, None, bytes);
            }
            Seen::Missing { segment, at } => {
                self.damaged += 1;
                self.other("missing", segment, at, None, serde_json::json!({}));
            }
            Seen::Foreign { segment } => {
                self.damaged += 1;
                self.other("foreign", segment, 0, None, serde_json::json!({}));
            }
            Seen::Torn { segment, at, .. } => {
                self.other("torn", segment, at, None, serde_json::json!({}));
            }
            Seen::Segment { .. } => {}
        }
        self.left > 0 && self.outcome.is_ok()
    }

    /// What is no message has neither topic nor position.
    fn other(
        &mut self,
        kind: &'static str,
        segment: u64,
        at: u64,
        lsn: Option<Lsn>,
        says: serde_json::Value,
    ) {
        if self.args.topic.is_none() && self.args.since.is_none() {
            self.print(&Line {
                kind,
                file: file_name(segment),
                at,
                record: lsn.map(|lsn| lsn.0),
                says,
            });
        }
    }

    fn message(&mut self, kind: &'static str, segment: u64, at: u64, lsn: Lsn, logged: &Logged) {
        let Logged {
            offset,
            message,
            inbound,
            begins,
        } = logged;
        let filter = self.args.topic.as_ref();
        let is_wanted = filter.is_none_or(|filter| filter.matches(&message.topic))
            && self.args.since.is_none_or(|since| *offset > since);
        if !is_wanted {
            return;
        }
        let origin = message.origin.as_deref();
        let says = Message {
            position: format!("{}-{offset}", self.epoch),
            time: rfc3339(message.time),
            topic: &message.topic,
            payload: Payload::of(&message.payload),
            qos: message.qos as u8,
            retain: message.retain,
            publisher: origin.and_then(|origin| origin.client_id.as_deref()),
            user: origin.and_then(|origin| origin.user.as_deref()),
            packet_id: inbound.map(|id| id.get()),
            together: begins
                .as_ref()
                .map(|begins| begins.messages)
                .filter(|messages| *messages > 1),
            idempotency_key: begins
                .as_ref()
                .and_then(|begins| Some(&*begins.once.as_ref()?.key)),
            expires: message.expires.map(rfc3339),
            properties: message
                .properties
                .as_deref()
                .map(|properties| Properties::of(properties, message.expiry_left(now()))),
        };
        self.print(&Line {
            kind,
            file: file_name(segment),
            at,
            record: Some(lsn.0),
            says,
        });
    }

    fn print(&mut self, line: &impl Serialize) {
        let text =
            serde_json::to_string(line).expect("strings and numbers always have a JSON form");
        self.outcome = writeln!(self.out, "{text}");
        self.left = self.left.saturating_sub(1);
    }

    fn end(mut self) -> ExitCode {
        match self.outcome.and_then(|()| self.out.flush()) {
            Ok(()) => {}
            // whoever reads has seen enough, as `head` does
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
            Err(error) => return end(FAILED, error),
        }
        if self.damaged > 0 {
            eprintln!(
                "tidegate: {} damaged stretches were passed over; tidegate store check {} tells where",
                self.damaged,
                self.args.dir.display()
            );
        }
        ExitCode::SUCCESS
    }
}
