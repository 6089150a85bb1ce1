//! HTTP/1.1 over a bare socket: sends the request line as it is given, so that paths reach the gateway
//! as no well-behaved client would write them, and reads answers by length, by chunks or to the end.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::within;

/// A request in the making.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    host: Option<String>,
}

impl Request {
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: vec![],
            body: vec![],
            host: None,
        }
    }
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }
    pub fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", target).body(body)
    }
    pub fn put(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("PUT", target).body(body)
    }
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
    /// Says another `Host` than the address connected to.
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// The bytes on the wire; a length is added unless a header already speaks of the body's length.
    pub fn encode(&self, address: SocketAddr) -> Vec<u8> {
        let host = self.host.clone().unwrap_or_else(|| address.to_string());
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {host}\r\n",
            self.method, self.target
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let has = |name: &str| {
            self.headers
                .iter()
                .any(|(n, _)| n.eq_ignore_ascii_case(name))
        };
        let sized = has("content-length") || has("transfer-encoding");
        if !sized && (!self.body.is_empty() || matches!(self.method.as_str(), "POST" | "PUT")) {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Sends the request on a connection of its own and reads the whole answer.
    pub async fn send(&self, address: SocketAddr) -> Response {
        let what = format!("the answer to {} {:.200}", self.method, self.target);
        within(&what, async {
            let mut opened = self.open(address).await;
            let mut body = Vec::new();
            if self.method != "HEAD" {
                while opened.body.chunk(&mut body).await {}
            }
            opened.head.body = body;
            opened.head
        })
        .await
    }

    /// Sends the request and reads no further than the head of the answer.
    pub async fn open(&self, address: SocketAddr) -> Opened {
        let stream = TcpStream::connect(address)
            .await
            .expect("the gateway accepts");
        self.open_on(stream, address).await
    }

    /// As [`Request::open`], with a receive buffer as small as the kernel allows.
    pub async fn open_narrow(&self, address: SocketAddr) -> Opened {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(2048).expect("SO_RCVBUF");
        let stream = socket.connect(address).await.expect("the gateway accepts");
        self.open_on(stream, address).await
    }

    async fn open_on(&self, mut stream: TcpStream, address: SocketAddr) -> Opened {
        let what = format!(
            "the head of the answer to {} {:.200}",
            self.method, self.target
        );
        within(&what, async {
            stream.set_nodelay(true).expect("TCP_NODELAY");
            // an early refusal may close the connection before it has read everything: the answer counts
            let _ = stream.write_all(&self.encode(address)).await;
            read_head(stream).await
        })
        .await
    }
}

/// Reads the head of an answer from a connection on which a request was written.
pub async fn read_head(mut stream: TcpStream) -> Opened {
    let mut buffer = Vec::with_capacity(4096);
    let end = loop {
        if let Some(at) = memchr::memmem::find(&buffer, b"\r\n\r\n") {
            break at;
        }
        let count = stream.read_buf(&mut buffer).await.unwrap_or(0);
        assert!(
            count > 0,
            "the gateway closed without an answer after {:?}",
            String::from_utf8_lossy(&buffer)
        );
    };
    let text = String::from_utf8(buffer[..end].to_vec()).expect("a head in ASCII");
    let mut lines = text.split("\r\n");
    let status_line = lines.next().expect("a status line");
    let status = status_line
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .expect("a status");
    let headers = lines
        .map(|line| line.split_once(':').expect("`name: value`"))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let head = Response {
        status,
        headers,
        body: vec![],
    };
    buffer.drain(..end + 4);
    let framing = if head
        .header("transfer-encoding")
        .is_some_and(|v| v.contains("chunked"))
    {
        Framing::Chunks
    } else if let Some(length) = head.header("content-length") {
        Framing::Length(length.parse().expect("a length"))
    } else if matches!(status, 204 | 304) {
        Framing::Length(0)
    } else {
        Framing::ToTheEnd
    };
    Opened {
        head,
        body: Body {
            stream,
            buffer,
            framing,
        },
    }
}

/// An answer whose body is still to come.
pub struct Opened {
    pub head: Response,
    pub body: Body,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
            .collect()
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e} in {:?} ({})", self.text(), self.status))
    }

    /// Asserts that this is a problem of the status and slug, complete as the web API promises.
    pub fn assert_problem(&self, status: u16, slug: &str) -> serde_json::Value {
        let seen = format!("{} {:?} {:.500}", self.status, self.headers, self.text());
        assert_eq!(self.status, status, "status for {slug}: {seen}");
        let kind = self.header("content-type").unwrap_or_default();
        assert!(
            kind.starts_with("application/problem+json"),
            "content type of a problem: {seen}"
        );
        let problem = self.json();
        let address = problem["type"].as_str().unwrap_or_default();
        let last = address.rsplit(['/', '#']).next().unwrap_or_default();
        assert_eq!(last, slug, "slug: {seen}");
        assert!(address.contains("://"), "`type` is an absolute URI: {seen}");
        assert_eq!(
            problem["status"], status,
            "`status` repeats the status: {seen}"
        );
        assert!(
            problem["title"].as_str().is_some_and(|t| !t.is_empty()),
            "a title: {seen}"
        );
        assert!(
            problem["detail"].as_str().is_some_and(|t| !t.is_empty()),
            "a detail: {seen}"
        );
        problem
    }
}

enum Framing {
    Length(usize),
    Chunks,
    ToTheEnd,
    Finished,
}

/// A body that arrives.
pub struct Body {
    stream: TcpStream,
    buffer: Vec<u8>,
    framing: Framing,
}

impl Body {
    /// Ends the connection with a reset, as a machine does that has forgotten it: what is on the way is lost.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket
            .set_linger(Some(std::time::Duration::ZERO))
            .expect("SO_LINGER");
    }

    /// Reads what is left of the body; then the connection is free for another request.
    pub async fn into_stream(mut self) -> TcpStream {
        let mut rest = Vec::new();
        while self.chunk(&mut rest).await {}
        self.stream
    }

    async fn more(&mut self) -> bool {
        self.stream
            .read_buf(&mut self.buffer)
            .await
            .is_ok_and(|count| count > 0)
    }

    /// Appends the next piece of the body to `out`; false at its end, also when the connection breaks.
    pub async fn chunk(&mut self, out: &mut Vec<u8>) -> bool {
        match self.framing {
            Framing::Finished => false,
            Framing::Length(0) => {
                self.framing = Framing::Finished;
                false
            }
            Framing::Length(left) => {
                if self.buffer.is_empty() && !self.more().await {
                    return false;
                }
                let count = left.min(self.buffer.len());
                out.extend(self.buffer.drain(..count));
                self.framing = Framing::Length(left - count);
                true
            }
            Framing::ToTheEnd => {
                if self.buffer.is_empty() && !self.more().await {
                    return false;
                }
                out.append(&mut self.buffer);
                true
            }
            Framing::Chunks => {
                let (size, head) = loop {
                    if let Some(at) = memchr::memchr(b'\n', &self.buffer) {
                        let line = String::from_utf8_lossy(&self.buffer[..at])
                            .trim()
                            .to_owned();
                        let digits = line.split(';').next().unwrap_or_default();
                        break (
                            usize::from_str_radix(digits, 16).expect("a chunk size"),
                            at + 1,
                        );
                    }
                    if !self.more().await {
                        return false;
                    }
                };
                while self.buffer.len() < head + size + 2 {
                    if !self.more().await {
                        return false;
                    }
                }
                out.extend_from_slice(&self.buffer[head..head + size]);
                self.buffer.drain(..head + size + 2);
                if size == 0 {
                    self.framing = Framing::Finished;
                }
                size > 0
            }
        }
    }
}

/// Percent-encodes everything that is not unreserved: right in a path segment and in a query value.
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
