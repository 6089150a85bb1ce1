//! The two framings of a stream.
//!
//! Everything a client or publisher can choose is inside JSON, which has no raw newline: nothing can break out.

use super::outgoing::Outgoing;
use crate::{
    http::{
        negotiate,
        problem::{Kind, Problem},
        rendering::{Rendered, Sink},
    },
    message::Position,
};
use axum::http::HeaderMap;
use bytes::BufMut;
use serde_json::{Map, Value};
use std::{io::Write, time::Duration};

/// The media type of Server-Sent Events.
pub const SSE_TYPE: &str = "text/event-stream";
const NDJSON_TYPE: &str = "application/x-ndjson";

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

/// Writes events into what goes out.
#[derive(Debug)]
pub struct Frames {
    framing: Framing,
    /// Where they gather.
    pub out: Outgoing,
}

impl Frames {
    /// Nothing yet.
    pub fn new(framing: Framing) -> Self {
        Frames {
            framing,
            out: Outgoing::default(),
        }
    }

    /// The first bytes, flushed with the headers.
    pub fn greet(&mut self) {
        if self.framing == Framing::Sse {
            self.put(b": tidegate v1\n");
        }
    }

    /// How long a browser waits before it comes back.
    pub fn retry_after(&mut self, wait: Duration) {
        if self.framing == Framing::Sse {
            self.put(format!("retry: {}\n\n", wait.as_millis()).as_bytes());
        }
    }

    /// A control event: `ready`, `gap` or `bye`. A browser remembers `id`; so must others, who find it in the members.
    pub fn control(
        &mut self,
        event: &'static str,
        id: Option<Position>,
        members: Map<String, Value>,
    ) {
        let json = Value::Object(members).to_string();
        match self.framing {
            Framing::Sse => {
                self.put(format!("event: {event}\n").as_bytes());
                self.id(id);
                self.put(format!("data: {json}\n\n").as_bytes());
            }
            Framing::Ndjson => {
                let comma = if json.len() > 2 { "," } else { "" };
                self.put(format!("{{\"event\":\"{event}\"{comma}{}\n", &json[1..]).as_bytes());
            }
        }
    }

    /// A sign of life without news, but for how far the client has got: an SSE block with an id and no data moves
    /// what a browser remembers, and dispatches nothing.
    pub fn heartbeat(&mut self, cursor: Option<Position>) {
        match (self.framing, cursor) {
            (Framing::Sse, cursor) => {
                self.id(cursor);
                self.put(b": hb\n\n");
            }
            (Framing::Ndjson, Some(cursor)) => {
                let line = format!("{{\"event\":\"heartbeat\",\"cursor\":\"{cursor}\"}}\n");
                self.put(line.as_bytes());
            }
            (Framing::Ndjson, None) => self.put(b"{\"event\":\"heartbeat\"}\n"),
        }
    }

    fn id(&mut self, id: Option<Position>) {
        if let Some(id) = id {
            // writing to memory cannot fail
            let _ = writeln!(self.out.buffer(), "id: {id}");
        }
    }

    /// A message.
    pub fn message(&mut self, message: &Rendered<'_>) {
        match self.framing {
            Framing::Sse => message.write_event(&mut self.out),
            Framing::Ndjson => {
                self.put(b"{\"event\":\"message\",");
                message.write_members(&mut self.out);
                self.put(b"}\n");
            }
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.out.buffer().put_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        http::envelope::{Copy, PayloadForm},
        message::{Epoch, Message, Millis},
        mqtt::{Qos, payload::Payload, topic::TopicName},
    };
    use axum::http::{HeaderValue, header};
    use serde_json::json;

    fn written(framing: Framing, write: impl FnOnce(&mut Frames)) -> String {
        let mut frames = Frames::new(framing);
        write(&mut frames);
        String::from_utf8(frames.out.take().to_vec()).unwrap()
    }

    fn everything(frames: &mut Frames) {
        frames.greet();
        frames.retry_after(Duration::from_millis(2500));
        let at = |offset| {
            Some(Position {
                epoch: Epoch(*b"k7q2m9xa"),
                offset,
            })
        };
        let ready = json!({"live": true}).as_object().unwrap().clone();
        frames.control("ready", at(1), ready);
        frames.control("gap", None, Map::new());
        frames.heartbeat(at(2));
        let message = Message::new(
            TopicName::parse("a").unwrap(),
            Payload::EMPTY,
            Qos::AtMostOnce,
            false,
            None,
            None,
            Millis(0),
        );
        let copy = Copy {
            snapshot: false,
            position: at(3),
            matched: None,
            now: Millis(0),
        };
        frames.message(&Rendered::new(&message, PayloadForm::None, at(3), copy));
    }

    #[test]
    fn server_sent_events_are_blocks_with_an_empty_line() {
        let text = written(Framing::Sse, everything);
        let (before, data) = text.rsplit_once("data: ").unwrap();
        assert_eq!(
            before,
            ": tidegate v1\nretry: 2500\n\nevent: ready\nid: k7q2m9xa-1\ndata: {\"live\":true}\n\n\
             event: gap\ndata: {}\n\nid: k7q2m9xa-2\n: hb\n\nid: k7q2m9xa-3\n"
        );
        assert!(data.starts_with(r#"{"topic":"a","#) && data.ends_with("}\n\n"));
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
        assert_eq!(events[2]["cursor"], "k7q2m9xa-2");
        assert_eq!(events[3]["topic"], "a");
        assert_eq!(events[3]["cursor"], "k7q2m9xa-3");
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
