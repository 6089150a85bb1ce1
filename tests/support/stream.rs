//! Readers of `/api/v1/stream`: Server-Sent Events by the rules of the HTML standard, and NDJSON.

use std::{collections::VecDeque, net::SocketAddr};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{
    http::{Body, Opened, Request, Response, encode},
    within,
};

/// The two encodings of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Sse,
    Ndjson,
}

/// One event: SSE's name and data, or NDJSON's `event` member and its object.
#[derive(Clone, Debug)]
pub struct Event {
    /// `message`, `ready`, `gap`, `bye`, `heartbeat`.
    pub name: String,
    /// The last event id that a browser would remember after this event (SSE only).
    pub last_id: String,
    pub data: Value,
}

impl Event {
    /// The bytes of a message's payload, decoded as `encoding` says.
    pub fn payload(&self) -> Vec<u8> {
        let text = self.data["payload"]
            .as_str()
            .unwrap_or_else(|| panic!("no payload in {self:?}"));
        match self.data["encoding"].as_str() {
            Some("utf8") => text.as_bytes().to_vec(),
            Some("base64") => STANDARD.decode(text).expect("padded base64"),
            other => panic!("encoding {other:?}"),
        }
    }
}

/// An open stream.
pub struct Stream {
    pub head: Response,
    pub encoding: Encoding,
    body: Body,
    buffer: Vec<u8>,
    scanned: usize,
    after_cr: bool,
    lines: VecDeque<String>,
    data: Option<String>,
    name: String,
    last_id: String,
    /// The last `retry` of an SSE stream.
    pub retry: Option<u64>,
    /// Comments of an SSE stream, in order.
    pub comments: Vec<String>,
}

impl Stream {
    /// Opens a stream on the filters; `options` is further query text such as `heartbeat=5`.
    pub async fn open(
        address: SocketAddr,
        encoding: Encoding,
        filters: &[&str],
        options: &str,
    ) -> Self {
        let mut query: Vec<String> = filters
            .iter()
            .map(|f| format!("topic={}", encode(f)))
            .collect();
        if !options.is_empty() {
            query.push(options.to_owned());
        }
        let stream = Self::raw(
            address,
            encoding,
            &format!("/api/v1/stream?{}", query.join("&")),
        )
        .await;
        assert_eq!(
            stream.head.status, 200,
            "opening a stream on {filters:?}: {:?}",
            stream.head
        );
        stream
    }

    /// Opens a stream and reads its `ready` event: from then on nothing published is missed.
    pub async fn ready(
        address: SocketAddr,
        encoding: Encoding,
        filters: &[&str],
        options: &str,
    ) -> Self {
        let mut stream = Self::open(address, encoding, filters, options).await;
        let first = stream.next().await;
        assert_eq!(
            first.name, "ready",
            "the first event of a stream: {first:?}"
        );
        stream
    }

    /// Opens whatever `target` says.
    pub async fn raw(address: SocketAddr, encoding: Encoding, target: &str) -> Self {
        let accept = match encoding {
            Encoding::Sse => "text/event-stream",
            Encoding::Ndjson => "application/x-ndjson",
        };
        let opened = Request::get(target)
            .header("Accept", accept)
            .open(address)
            .await;
        Self::on(opened, encoding)
    }

    /// Reads an answer that has been asked for.
    pub fn on(opened: Opened, encoding: Encoding) -> Self {
        Self {
            head: opened.head,
            encoding,
            body: opened.body,
            buffer: vec![],
            scanned: 0,
            after_cr: false,
            lines: VecDeque::new(),
            data: None,
            name: String::new(),
            last_id: String::new(),
            retry: None,
            comments: vec![],
        }
    }

    /// The next event; fails the test when the stream ends.
    pub async fn next(&mut self) -> Event {
        match self.next_or_end().await {
            Some(event) => event,
            None => panic!("the stream ended"),
        }
    }

    /// The next message, past heartbeats; fails on any other event.
    pub async fn message(&mut self) -> Event {
        loop {
            let event = self.next().await;
            match event.name.as_str() {
                "heartbeat" => {}
                "message" => return event,
                other => panic!("a message expected, not {other}: {event:?}"),
            }
        }
    }

    /// The next event, or nothing at the end of the stream.
    pub async fn next_or_end(&mut self) -> Option<Event> {
        within("an event of the stream", async {
            loop {
                while let Some(line) = self.lines.pop_front() {
                    let event = match self.encoding {
                        Encoding::Sse => self.sse_line(&line),
                        Encoding::Ndjson => Some(ndjson_line(&line)),
                    };
                    if event.is_some() {
                        return event;
                    }
                }
                if !self.body.chunk(&mut self.buffer).await {
                    return None;
                }
                self.split_lines();
            }
        })
        .await
    }

    /// Ends the connection without a word.
    pub fn abandon(self) {}

    /// Ends the connection with a reset.
    pub fn reset(self) {
        self.body.reset();
    }

    /// Cuts complete lines out of the buffer; SSE ends lines with CR, LF or CRLF, NDJSON with LF.
    fn split_lines(&mut self) {
        let mut start = 0;
        let sse = self.encoding == Encoding::Sse;
        loop {
            if self.after_cr && self.buffer.get(start) == Some(&b'\n') {
                start += 1;
            }
            if start < self.buffer.len() {
                self.after_cr = false;
            }
            let from = self.scanned.max(start);
            let rest = self.buffer.get(from..).unwrap_or_default();
            let found = if sse {
                memchr::memchr2(b'\n', b'\r', rest)
            } else {
                memchr::memchr(b'\n', rest)
            };
            let Some(at) = found.map(|at| at + from) else {
                break;
            };
            let line =
                String::from_utf8(self.buffer[start..at].to_vec()).expect("streams are UTF-8");
            self.lines.push_back(line);
            self.after_cr = self.buffer[at] == b'\r';
            start = at + 1;
            self.scanned = start;
        }
        self.buffer.drain(..start.min(self.buffer.len()));
        self.scanned = self.buffer.len();
    }

    /// Interprets one line as the HTML standard tells a browser to; an event on a blank line with data.
    fn sse_line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            let mut data = self.data.take()?; // a block without data fires no event in a browser either
            data.pop();
            return Some(Event {
                name: if name.is_empty() {
                    "message".to_owned()
                } else {
                    name
                },
                last_id: self.last_id.clone(),
                data: serde_json::from_str(&data)
                    .unwrap_or_else(|e| panic!("{e} in the data {data:.300}")),
            });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => self.comments.push(value.to_owned()),
            "event" => self.name = value.to_owned(),
            "data" => {
                let data = self.data.get_or_insert_default();
                data.push_str(value);
                data.push('\n');
            }
            "id" if !value.contains('\0') => self.last_id = value.to_owned(),
            "retry" => self.retry = value.parse().ok().or(self.retry),
            other => panic!("the gateway writes the unknown field {other:?}"),
        }
        None
    }
}

fn ndjson_line(line: &str) -> Event {
    let data: Value =
        serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in the line {line:.300}"));
    let name = data["event"]
        .as_str()
        .unwrap_or_else(|| panic!("no `event` in {line:.300}"))
        .to_owned();
    Event {
        name,
        last_id: String::new(),
        data,
    }
}
