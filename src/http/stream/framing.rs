//! The two framings of a stream, and the bytes on their way into its body.
//!
//! Everything a client or publisher can choose is inside JSON, which has no raw newline: nothing can break out.

use crate::http::{
    negotiate,
    problem::{Kind, Problem},
};
use axum::http::HeaderMap;
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value};
use std::{collections::VecDeque, time::Duration};

/// The media type of Server-Sent Events.
pub const SSE_TYPE: &str = "text/event-stream";
const NDJSON_TYPE: &str = "application/x-ndjson";

/// A chunk of the body is closed when it has this many bytes.
const CHUNK: usize = 64 * 1024;
/// Renderings of this size go out as they are, not copied into a chunk.
const SHARED: usize = 16 * 1024;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Server-Sent Events.
    Sse,
    /// One JSON object per line.
    Ndjson,
}

impl Framing {
    /// What the client prefers; SSE if it does not care, since proxies let that through.
    pub fn negotiate(headers: &HeaderMap) -> Result<Self, Problem> {
        let sse = negotiate::weight(headers, SSE_TYPE);
        let ndjson = negotiate::weight(headers, NDJSON_TYPE);
        match (sse, ndjson) {
            (0, 0) => Err(Problem::new(
                Kind::NotAcceptable,
                "a stream is text/event-stream or application/x-ndjson",
            )),
            (sse, ndjson) if ndjson > sse => Ok(Framing::Ndjson),
            _ => Ok(Framing::Sse),
        }
    }

    /// Its Content-Type.
    pub fn content_type(self) -> &'static str {
        match self {
            Framing::Sse => "text/event-stream; charset=utf-8",
            Framing::Ndjson => NDJSON_TYPE,
        }
    }
}

/// Frames that wait to be taken as chunks of the body.
#[derive(Debug)]
pub struct Frames {
    framing: Framing,
    closed: VecDeque<Bytes>,
    open: BytesMut,
}

impl Frames {
    /// Nothing yet.
    pub fn new(framing: Framing) -> Self {
        Frames {
            framing,
            closed: VecDeque::new(),
            open: BytesMut::new(),
        }
    }

    /// The next chunk, if there is anything.
    pub fn take(&mut self) -> Option<Bytes> {
        let closed = self.closed.pop_front();
        closed.or_else(|| (!self.open.is_empty()).then(|| self.open.split().freeze()))
    }

    /// Whether a chunk is complete, so that the next one should be taken before more is added.
    pub fn is_full(&self) -> bool {
        !self.closed.is_empty() || self.open.len() >= CHUNK
    }

    /// The first bytes, flushed with the headers.
    pub fn greet(&mut self) {
        if self.framing == Framing::Sse {
            self.open.put_slice(b": tidegate v1\n");
        }
    }

    /// How long a browser waits before it comes back.
    pub fn retry_after(&mut self, wait: Duration) {
        if self.framing == Framing::Sse {
            self.open
                .put_slice(format!("retry: {}\n\n", wait.as_millis()).as_bytes());
        }
    }

    /// A control event: `ready`, `gap` or `bye`.
    pub fn control(&mut self, event: &'static str, members: Map<String, Value>) {
        let json = Value::Object(members).to_string();
        match self.framing {
            Framing::Sse => self
                .open
                .put_slice(format!("event: {event}\ndata: {json}\n\n").as_bytes()),
            Framing::Ndjson => {
                let comma = if json.len() > 2 { "," } else { "" };
                self.open.put_slice(
                    format!("{{\"event\":\"{event}\"{comma}{}\n", &json[1..]).as_bytes(),
                );
            }
        }
    }

    /// A sign of life without news.
    pub fn heartbeat(&mut self) {
        match self.framing {
            Framing::Sse => self.open.put_slice(b": hb\n\n"),
            Framing::Ndjson => self.open.put_slice(b"{\"event\":\"heartbeat\"}\n"),
        }
    }

    /// A message: members that are shared with other receivers, then what `own` appends.
    pub fn message(&mut self, shared: Bytes, own: impl FnOnce(&mut BytesMut)) {
        match self.framing {
            Framing::Sse => self.open.put_slice(b"data: {"),
            Framing::Ndjson => self.open.put_slice(b"{\"event\":\"message\","),
        }
        if shared.len() < SHARED {
            self.open.put_slice(&shared);
        } else {
            self.closed.push_back(self.open.split().freeze());
            self.closed.push_back(shared);
        }
        own(&mut self.open);
        match self.framing {
            Framing::Sse => self.open.put_slice(b"}\n\n"),
            Framing::Ndjson => self.open.put_slice(b"}\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderValue, header};
    use serde_json::json;

    fn written(framing: Framing, write: impl FnOnce(&mut Frames)) -> String {
        let mut frames = Frames::new(framing);
        write(&mut frames);
        let mut all = Vec::new();
        while let Some(chunk) = frames.take() {
            all.extend_from_slice(&chunk);
        }
        String::from_utf8(all).unwrap()
    }

    fn everything(frames: &mut Frames) {
        frames.greet();
        frames.retry_after(Duration::from_millis(2500));
        frames.control("ready", json!({"live": true}).as_object().unwrap().clone());
        frames.control("gap", Map::new());
        frames.heartbeat();
        frames.message(Bytes::from_static(b"\"topic\":\"a\""), |out| {
            out.put_slice(b",\"snapshot\":false")
        });
    }

    #[test]
    fn server_sent_events_are_blocks_with_an_empty_line() {
        assert_eq!(
            written(Framing::Sse, everything),
            ": tidegate v1\nretry: 2500\n\nevent: ready\ndata: {\"live\":true}\n\nevent: gap\ndata: {}\n\n: hb\n\n\
             data: {\"topic\":\"a\",\"snapshot\":false}\n\n"
        );
    }

    #[test]
    fn ndjson_is_one_object_per_line() {
        let text = written(Framing::Ndjson, everything);
        let events: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let names: Vec<_> = events
            .iter()
            .map(|event| event["event"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["ready", "gap", "heartbeat", "message"]);
        assert_eq!(
            events[3],
            json!({"event": "message", "topic": "a", "snapshot": false})
        );
    }

    #[test]
    fn large_renderings_are_passed_on_uncopied() {
        let large = Bytes::from(vec![b'x'; SHARED]);
        let mut frames = Frames::new(Framing::Sse);
        frames.message(large.clone(), |_| {});
        assert!(frames.is_full());
        let chunks: Vec<_> = std::iter::from_fn(|| frames.take()).collect();
        assert_eq!(chunks.len(), 3);
        assert_eq!(chunks[1].as_ptr(), large.as_ptr());
        assert_eq!(chunks[2], "}\n\n");
    }

    #[test]
    fn sse_unless_ndjson_is_preferred() {
        let choose = |accept| {
            let headers =
                HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            Framing::negotiate(&headers).ok()
        };
        assert_eq!(choose("*/*"), Some(Framing::Sse));
        assert_eq!(choose("text/event-stream"), Some(Framing::Sse));
        assert_eq!(choose("application/x-ndjson"), Some(Framing::Ndjson));
        assert_eq!(choose("application/json"), None);
        assert_eq!(
            Framing::negotiate(&HeaderMap::new()).ok(),
            Some(Framing::Sse)
        );
    }
}
