//! NDJSON in, NDJSON out: each line is published as it comes, however many there are.
//!
//! What has arrived is published, one sync is waited for, the results of all of it go out; meanwhile the next lines
//! arrive. Nothing is kept of a line once its result is written.

use super::{
    Publishing,
    answer::{ItemResult, Outcome, Summary},
    item,
};
use crate::http::{
    body::{self, Pace},
    caller,
    problem::{Kind, Problem},
};
use axum::{
    body::{Body, BodyDataStream},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream;
use serde::Serialize;
use std::convert::Infallible;

/// Messages whose results are written together.
const TOGETHER: usize = 256;

/// Publishes the lines of `body`, of at most `longest` bytes each.
pub fn answer(publishing: Publishing, body: Body, longest: usize) -> Response {
    let ingest = Ingest {
        publishing,
        frames: body.into_data_stream(),
        lines: Lines::new(longest),
        outcomes: Vec::new(),
        accepted: 0,
        rejected: 0,
        stage: Stage::Reading,
        pace: None,
    };
    let chunks = stream::unfold(ingest, |mut ingest| async {
        let chunk = ingest.next().await?;
        Some((Ok::<_, Infallible>(chunk), ingest))
    });
    let mut response = Body::from_stream(chunks).into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, super::NDJSON),
        (header::CACHE_CONTROL, "no-store, no-transform"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// How far it is.
#[derive(PartialEq, Eq)]
enum Stage {
    /// More may come.
    Reading,
    /// Nothing more is read.
    Ending,
    /// All was said.
    Over,
}

struct Ingest {
    publishing: Publishing,
    frames: BodyDataStream,
    lines: Lines,
    outcomes: Vec<Outcome>,
    accepted: u64,
    rejected: u64,
    stage: Stage,
    /// How fast the rest of a line must come that has begun.
    pace: Option<Pace>,
}

impl Ingest {
    /// The next results; `None` after the last.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            while self.outcomes.len() < TOGETHER
                && let Some(line) = self.lines.next()
            {
                self.publish(line);
            }
            if !self.outcomes.is_empty() {
                return Some(self.results().await);
            }
            match self.stage {
                Stage::Over => return None,
                Stage::Ending => {
                    self.stage = Stage::Over;
                    return Some(self.summary());
                }
                Stage::Reading => self.read().await,
            }
        }
    }

    async fn read(&mut self) {
        // whoever falls silent keeps nobody's queue alive
        self.publishing.publisher.rest();
        self.publishing.slow_down().await;
        let patience = self.publishing.state.config.body_timeout;
        // lines may come as slowly as their messages, but each of them at once
        match self.lines.is_amid_line() {
            true => _ = self.pace.get_or_insert_with(|| Pace::new(patience)),
            false => self.pace = None,
        }
        let mut between_lines = Pace::new(patience);
        let pace = self.pace.as_mut().unwrap_or(&mut between_lines);
        match body::next(&mut self.frames, pace).await {
            Ok(Some(frame)) => self.lines.push(&frame),
            Ok(None) => {
                self.lines.end();
                self.stage = Stage::Ending;
            }
            Err(problem) => {
                self.outcomes.push(Err(problem));
                self.stage = Stage::Ending;
            }
        }
    }

    fn publish(&mut self, line: Line) {
        let (state, identity) = (&self.publishing.state, &self.publishing.identity);
        if let Err(problem) = caller::still_counts(state, identity) {
            self.outcomes.push(Err(problem));
            self.stop();
            return;
        }
        let draft = match line {
            Line::TooLong => Err(Problem::new(
                Kind::PayloadTooLarge,
                format!("a line may have {} bytes", self.lines.longest),
            )),
            Line::Whole(bytes) => match std::str::from_utf8(&bytes) {
                Ok(text) => item::read(text, &self.publishing.state.rules),
                Err(_) => Err(Problem::new(Kind::BodyInvalid, "the line is not UTF-8")),
            },
        };
        let outcome = self.publishing.publish(draft);
        self.outcomes.push(outcome);
    }

    /// The results of what was published, once it is durable.
    async fn results(&mut self) -> Bytes {
        let settled = self.publishing.settle().await;
        let mut out = Vec::new();
        for outcome in self.outcomes.drain(..) {
            let index = self.accepted + self.rejected;
            let outcome = match (outcome, settled) {
                (Ok(_), Err(refused)) => Err(Problem::from(refused)),
                (outcome, _) => outcome,
            };
            match outcome {
                Ok(_) => self.accepted += 1,
                Err(_) => self.rejected += 1,
            }
            put_line(&mut out, &ItemResult::new(index, &outcome));
        }
        if settled.is_err() {
            self.stop();
        }
        out.into()
    }

    /// Nothing more is published, whatever has arrived.
    fn stop(&mut self) {
        self.lines = Lines::new(0);
        self.stage = Stage::Ending;
    }

    fn summary(&self) -> Bytes {
        let mut out = Vec::new();
        let summary = Summary {
            accepted: self.accepted,
            rejected: self.rejected,
        };
        put_line(&mut out, &summary);
        out.into()
    }
}

fn put_line(out: &mut Vec<u8>, value: &impl Serialize) {
    // strings and numbers always have a JSON form, and memory takes it
    let _ = serde_json::to_writer(&mut *out, value);
    out.push(b'\n');
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// Not empty.
    Whole(Bytes),
    /// It was longer than may be; it is passed over.
    TooLong,
}

/// Bytes that arrive, cut into lines.
struct Lines {
    longest: usize,
    waiting: BytesMut,
    /// So many bytes of them have no line's end.
    looked_at: usize,
    /// The rest of a line that is too long is passed over.
    passing: bool,
    ended: bool,
}

impl Lines {
    fn new(longest: usize) -> Self {
        Lines {
            longest,
            waiting: BytesMut::new(),
            looked_at: 0,
            passing: false,
            ended: false,
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// What is there without a line's end is the last line.
    fn end(&mut self) {
        self.ended = true;
    }

    /// The next line that is not empty, if it is there.
    /// Whether the beginning of a line has come and its end has not.
    fn is_amid_line(&self) -> bool {
        !self.waiting.is_empty() || self.passing
    }

    fn next(&mut self) -> Option<Line> {
        loop {
            let found = memchr::memchr(b'\n', &self.waiting[self.looked_at..]);
            let line = match found {
                Some(at) => {
                    let line = self.waiting.split_to(self.looked_at + at);
                    self.waiting.advance(1);
                    line
                }
                None if self.ended && !self.waiting.is_empty() => self.waiting.split(),
                None => {
                    self.looked_at = self.waiting.len();
                    if self.looked_at <= self.longest {
                        return None;
                    }
                    self.waiting.clear();
                    self.looked_at = 0;
                    let is_new = !std::mem::replace(&mut self.passing, true);
                    return is_new.then_some(Line::TooLong);
                }
            };
            self.looked_at = 0;
            if std::mem::replace(&mut self.passing, false) {
                continue;
            }
            if line.len() > self.longest {
                return Some(Line::TooLong);
            }
            let line = line.freeze();
            if !line.trim_ascii().is_empty() {
                return Some(Line::Whole(line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of `text`, however it is cut into frames.
    fn lines(text: &str, frame: usize) -> Vec<Option<String>> {
        let mut lines = Lines::new(8);
        let mut found = Vec::new();
        let mut take = |lines: &mut Lines| {
            while let Some(line) = lines.next() {
                found.push(match line {
                    Line::Whole(bytes) => Some(String::from_utf8(bytes.to_vec()).unwrap()),
                    Line::TooLong => None,
                });
            }
        };
        for frame in text.as_bytes().chunks(frame) {
            lines.push(frame);
            take(&mut lines);
        }
        lines.end();
        take(&mut lines);
        found
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        let text = "one\ntwo\r\n\n  \nmuch too long a line\n12345678\n123456789\nlast";
        for frame in 1..=text.len() {
            let expected = ["one", "two\r", "", "12345678", "", "last"];
            let found = lines(text, frame);
            let found: Vec<_> = found
                .iter()
                .map(|line| line.as_deref().unwrap_or(""))
                .collect();
            assert_eq!(found, expected, "frames of {frame}");
        }
        assert_eq!(lines("a\n", 1), [Some("a".to_owned())]);
        assert_eq!(lines("", 1), []);
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut lines = Lines::new(8);
        for _ in 0..1000 {
            lines.push(b"0123456789");
            lines.next();
        }
        assert!(lines.waiting.len() <= 10);
    }
}
