//! The cases over HTTP: streams that receive, and keep-alive clients that publish.

use super::{
    flow::Flow,
    load::{Case, Load},
    traffic::{ALL, Traffic},
};
use crate::cli::client::Failure;
use memchr::memmem;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const READ: usize = 64 * 1024;

/// One MQTT publisher whose messages go to many SSE streams.
pub async fn sse(load: &Load) -> Result<Traffic, Failure> {
    let mut traffic = Traffic::default();
    let count = load.subscribers(Case::Sse);
    let flow = Arc::new(Flow::new(count));
    for _ in 0..count {
        let (stream, events) = open_stream(load, ALL).await?;
        traffic
            .tasks
            .spawn(count_events(stream, events, flow.clone()));
    }
    traffic.publish_all(load, flow).await?;
    Ok(traffic)
}

/// Opens a stream of one topic and waits until it is live.
pub async fn open_stream(load: &Load, topic: &str) -> Result<(TcpStream, Events), Failure> {
    let mut stream = load.door(true).tcp().await?;
    let request = format!(
        "GET /api/v1/stream?topic={topic} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    // the head, and behind it the event that says that messages come from now on
    while memmem::find(&bytes, b"event: ready").is_none() || !bytes.ends_with(b"\r\n") {
        if stream.read_buf(&mut bytes).await? == 0 || !bytes.starts_with(b"HTTP/1.1 200") {
            return Err("the stream was refused".into());
        }
        if memmem::find(&bytes, b"\r\n\r\n").is_some()
            && memmem::find(&bytes, b"text/event-stream").is_none()
        {
            return Err("the server has no streams".into());
        }
    }
    let mut events = Events::default();
    events.feed(&bytes);
    Ok((stream, events))
}

async fn count_events(
    mut stream: TcpStream,
    mut events: Events,
    flow: Arc<Flow>,
) -> io::Result<()> {
    let mut buffer = vec![0; READ];
    let mut credited = events.messages();
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => events.feed(&buffer[..count]),
        }
        let messages = events.messages();
        if messages > credited {
            flow.receive(messages - credited);
            credited = messages;
        }
    }
}

/// Counts the messages of a stream: the data lines of events that have no name.
#[derive(Debug, Default)]
pub struct Events {
    data: Occurrences,
    named: Occurrences,
}

impl Events {
    fn feed(&mut self, bytes: &[u8]) {
        self.data.feed(b"data: ", bytes);
        self.named.feed(b"event: ", bytes);
    }

    fn messages(&self) -> u64 {
        self.data.count.saturating_sub(self.named.count)
    }
}

/// How often a short text occurs in a stream, however it is split.
#[derive(Debug, Default)]
struct Occurrences {
    count: u64,
    /// The last bytes seen, one fewer than the text has.
    tail: Vec<u8>,
}

impl Occurrences {
    fn feed(&mut self, needle: &[u8], bytes: &[u8]) {
        let keep = needle.len() - 1;
        self.tail.extend_from_slice(&bytes[..bytes.len().min(keep)]);
        self.count += memmem::find_iter(&self.tail, needle).count() as u64;
        self.count += memmem::find_iter(bytes, needle).count() as u64;
        if bytes.len() > keep {
            self.tail.clear();
            self.tail.extend_from_slice(&bytes[bytes.len() - keep..]);
        } else {
            let surplus = self.tail.len().saturating_sub(keep);
            self.tail.drain(..surplus);
        }
    }
}

/// Clients that publish one message after the other, each over a connection of its own.
pub async fn http_post(load: &Load) -> Result<Traffic, Failure> {
    let mut traffic = Traffic::default();
    for number in 0..load.publishers(Case::HttpPost) {
        let stream = load.door(true).tcp().await?;
        let request = format!(
            "POST /api/v1/topics/bench/post/{number}?qos={} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{}",
            load.qos,
            load.payload,
            "x".repeat(load.payload)
        );
        let flow = Arc::new(Flow::new(1));
        traffic.flows.push(flow.clone());
        traffic.tasks.spawn(post(
            stream,
            request.into_bytes(),
            flow,
            traffic.open.clone(),
        ));
    }
    Ok(traffic)
}

async fn post(
    mut stream: TcpStream,
    request: Vec<u8>,
    flow: Arc<Flow>,
    open: Arc<AtomicBool>,
) -> io::Result<()> {
    let mut response = Vec::with_capacity(4096);
    loop {
        if !open.load(Relaxed) {
            flow.wake.notified().await;
            continue;
        }
        flow.send(1);
        stream.write_all(&request).await?;
        response.clear();
        while !is_complete(&response)? {
            if stream.read_buf(&mut response).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        flow.receive(1);
    }
}

/// Whether a whole response with a length is there; an error if it is no success.
fn is_complete(response: &[u8]) -> io::Result<bool> {
    let Some(head) = memmem::find(response, b"\r\n\r\n") else {
        return Ok(false);
    };
    let wrong = |why: &str| io::Error::other(why.to_owned());
    let text = std::str::from_utf8(&response[..head]).map_err(|_| wrong("no HTTP response"))?;
    if !text.starts_with("HTTP/1.1 2") {
        return Err(wrong(text.lines().next().unwrap_or_default()));
    }
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    let length = length.ok_or_else(|| wrong("a response without Content-Length"))?;
    Ok(response.len() >= head + 4 + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_events_without_a_name_are_messages_however_they_are_split() {
        let stream = b"5\r\nretry: 1\n\nevent: ready\ndata: {}\n\n\r\n9\r\ndata: {1}\n\ndata: {2}\n\n: hb\n\n\r\n";
        for size in 1..stream.len() {
            let mut events = Events::default();
            for part in stream.chunks(size) {
                events.feed(part);
            }
            assert_eq!(events.messages(), 2, "in parts of {size}");
        }
    }

    #[test]
    fn a_response_is_complete_with_its_body() {
        let response = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
        for end in 0..response.len() {
            assert!(!is_complete(&response[..end]).unwrap(), "{end}");
        }
        assert!(is_complete(response).unwrap());
        assert!(is_complete(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n").is_err());
        assert!(is_complete(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
