//! HTTP/2 in raw frames (RFC 9113), for clients that mean no good.

use super::within;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const REFUSED_STREAM: u32 = 7;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame, byte for byte.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A head of a request in frames of at most 16 KiB: HEADERS, and what it goes on in.
pub fn head(flags: u8, stream: u32, block: &[u8]) -> Vec<u8> {
    let pieces: Vec<_> = block.chunks(16 * 1024).collect();
    let last = pieces.len() - 1;
    let framed = pieces.iter().enumerate().map(|(nth, piece)| {
        let ends = if nth == last { END_HEADERS } else { 0 };
        match nth {
            0 => frame(HEADERS, flags | ends, stream, piece),
            _ => frame(CONTINUATION, ends, stream, piece),
        }
    });
    framed.collect::<Vec<_>>().concat()
}

/// A field with a name of its own, that goes behind the others.
pub fn field(name: &str, value: &str) -> Vec<u8> {
    [vec![0], string(name), string(value)].concat()
}

/// A string without Huffman coding: its length (RFC 7541, 5.1), and the bytes.
fn string(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 4);
    match text.len() {
        short @ 0..127 => out.push(short as u8),
        long => {
            out.push(127);
            let mut rest = long - 127;
            while rest >= 128 {
                out.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            out.push(rest as u8);
        }
    }
    out.extend_from_slice(text.as_bytes());
    out
}

/// GET of a path, in HPACK without a table: indexed :method and :scheme, literal :path and :authority.
pub fn get(path: &str) -> Vec<u8> {
    request(0x82, path)
}

/// As [`get`], with the static table's number of a method: 0x82 is GET, 0x83 is POST.
pub fn request(method: u8, path: &str) -> Vec<u8> {
    let literal = |index: u8, text: &str| [vec![index], string(text)].concat();
    [
        vec![method, 0x87],
        literal(0x04, path),
        literal(0x01, "localhost"),
    ]
    .concat()
}

/// A client that says what a test wants.
pub struct Http2<S> {
    pub stream: S,
}

/// One frame, as it came.
pub struct Frame {
    pub kind: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of a RST_STREAM, or of a GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Http2<S> {
    /// Says the preface and these settings.
    pub async fn begin(stream: S, settings: &[u8]) -> Self {
        let mut client = Http2 { stream };
        client.say(PREFACE).await;
        client.say(&frame(SETTINGS, 0, 0, settings)).await;
        client
    }

    pub async fn say(&mut self, bytes: &[u8]) {
        // it may be closed in the middle
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    /// The next frame; `None` at the end.
    pub async fn next(&mut self) -> Option<Frame> {
        within("a frame", async {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; length];
            self.stream.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes(head[5..9].try_into().ok()?);
            Some(Frame {
                kind: head[3],
                stream,
                payload,
            })
        })
        .await
    }

    /// The next frame of this kind, or `None` if the connection ends before.
    pub async fn next_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }
}
