//! The bytes of a stream on their way to its socket: what has gathered goes out as one chunk, in one write.
//!
//! An idle stream owns no buffer: bytes gather in one that the worker thread lends, and takes back when they are written.

use crate::http::rendering::Sink;
use bytes::{BufMut, Bytes};
use std::{
    cell::Cell,
    io::{self, IoSlice, Write},
    ops::Range,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::AsyncWrite;

/// Enough has gathered when it is this many bytes.
const FULL: usize = 64 * 1024;
/// Bytes from this many on go out as they are, not copied.
const SHARED: usize = 16 * 1024;
/// Room for the line in front of a chunk: its size in hexadecimal digits.
const SIZE_LINE: usize = size_of::<usize>() * 2 + 2;
/// More pieces than gather before enough is there.
const SLICES: usize = 16;
/// Most bytes of a buffer that a worker thread takes back.
const SPARE_BYTES: usize = 4 * FULL;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// Chunks, of which the last is empty (RFC 9112, 7.1).
    Chunked,
    /// It ends with the connection; all that HTTP/1.0 knows.
    ToTheEnd,
}

/// What gathers, then is written.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Behind room for the size line.
    copied: Vec<u8>,
    /// Where in `copied` it belongs, and what is not copied.
    shared: Vec<(usize, Bytes)>,
    shared_bytes: usize,
    /// Set while it is written.
    flight: Option<Flight>,
}

#[derive(Debug)]
struct Flight {
    /// Where in `copied` it begins.
    from: usize,
    /// Bytes that are out.
    written: usize,
}

impl Outgoing {
    /// Whether nothing has gathered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether enough has gathered for one write.
    pub fn is_full(&self) -> bool {
        self.len() >= FULL
    }

    fn len(&self) -> usize {
        self.copied.len().saturating_sub(SIZE_LINE) + self.shared_bytes
    }

    /// Takes what has gathered for somebody else to write.
    pub fn take(&mut self) -> Bytes {
        let mut all = Vec::with_capacity(self.len());
        if !self.is_empty() {
            self.pieces(SIZE_LINE)
                .for_each(|piece| all.extend_from_slice(piece));
        }
        self.clear();
        all.into()
    }

    /// Writes what has gathered as one chunk; after the `last`, the end of the body.
    pub fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut S,
        coding: Coding,
        last: bool,
    ) -> Poll<io::Result<()>> {
        let Flight { from, mut written } = match self.flight.take() {
            Some(flight) => flight,
            None => self.seal(coding, last),
        };
        loop {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let used = self.fill(&mut slices, from, written);
            let step = match &slices[..used] {
                [] => break,
                // the cheaper system call, and the most frequent case
                [slice] => Pin::new(&mut *socket).poll_write(cx, slice),
                slices => Pin::new(&mut *socket).poll_write_vectored(cx, slices),
            };
            match step {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => written += count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.flight = Some(Flight { from, written });
                    return Poll::Pending;
                }
            }
        }
        self.clear();
        Pin::new(socket).poll_flush(cx)
    }

    /// Puts what the coding asks for around it.
    fn seal(&mut self, coding: Coding, last: bool) -> Flight {
        let (mut from, size) = (SIZE_LINE, self.len());
        let buffer = self.buffer();
        if coding == Coding::Chunked {
            // an empty chunk would be the end
            if size > 0 {
                from -= digits(size) + 2;
                // the room is as long as what is written there
                let _ = write!(&mut buffer[from..SIZE_LINE], "{size:x}\r\n");
                buffer.put_slice(b"\r\n");
            }
            if last {
                buffer.put_slice(b"0\r\n\r\n");
            }
        }
        Flight { from, written: 0 }
    }

    fn pieces(&self, from: usize) -> impl Iterator<Item = &[u8]> {
        let places = self.shared.iter().map(|(place, _)| *place);
        let starts = std::iter::once(from).chain(places.clone());
        let ends = places.chain([self.copied.len()]);
        let copied = starts
            .zip(ends)
            .map(|(start, end)| &self.copied[start..end]);
        let shared = self.shared.iter().map(|(_, bytes)| &bytes[..]);
        // one more stretch was copied than shared
        copied
            .zip(shared.chain(std::iter::once(&[][..])))
            .flat_map(|(copied, shared)| [copied, shared])
    }

    fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>], from: usize, written: usize) -> usize {
        let (mut skip, mut used) = (written, 0);
        for piece in self.pieces(from) {
            match piece.get(skip..) {
                Some(left) if !left.is_empty() && used < slices.len() => {
                    slices[used] = IoSlice::new(left);
                    (skip, used) = (0, used + 1);
                }
                Some(_) => skip = 0,
                None => skip -= piece.len(),
            }
        }
        used
    }

    fn clear(&mut self) {
        let mut buffer = std::mem::take(&mut self.copied);
        if (1..=SPARE_BYTES).contains(&buffer.capacity()) {
            buffer.clear();
            SPARE.set(buffer);
        }
        self.shared = Vec::new();
        self.shared_bytes = 0;
    }
}

impl Sink for Outgoing {
    #[inline]
    fn buffer(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.flight.is_none(), "a chunk under way has its size");
        if self.copied.is_empty() {
            self.copied = SPARE.take();
            self.copied.resize(SIZE_LINE, 0);
        }
        &mut self.copied
    }

    fn append(&mut self, whole: &Bytes, part: Range<usize>) {
        if part.len() < SHARED {
            self.buffer().extend_from_slice(&whole[part]);
        } else {
            let place = self.buffer().len();
            self.shared_bytes += part.len();
            self.shared.push((place, whole.slice(part)));
        }
    }
}

fn digits(size: usize) -> usize {
    (size.checked_ilog2().unwrap_or(0) / 4 + 1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    /// What a reader gets who takes `room` bytes at a time.
    async fn written(mut outgoing: Outgoing, coding: Coding, last: bool, room: usize) -> Vec<u8> {
        let (mut ours, mut theirs): (DuplexStream, _) = duplex(room);
        let write = async {
            poll_fn(|cx| outgoing.poll_write(cx, &mut ours, coding, last))
                .await
                .unwrap();
            assert!(outgoing.is_empty() && outgoing.copied.capacity() == 0);
            drop(ours);
        };
        let mut all = Vec::new();
        let (read, ()) = tokio::join!(theirs.read_to_end(&mut all), write);
        read.unwrap();
        all
    }

    fn gathered() -> (Outgoing, Vec<u8>) {
        let mut outgoing = Outgoing::default();
        let large = Bytes::from(vec![b'x'; SHARED]);
        outgoing.buffer().put_slice(b"before");
        outgoing.append(&large, 0..SHARED);
        outgoing.append(&large, 0..SHARED);
        outgoing.append(&Bytes::from_static(b"(after)"), 1..6);
        let body = [b"before", &large[..], &large[..], b"after"].concat();
        (outgoing, body)
    }

    #[tokio::test(flavor = "current_thread")]
    async fn all_that_has_gathered_is_one_chunk_however_little_the_reader_takes() {
        for room in [1, 7, 4096, 1 << 20] {
            let (outgoing, body) = gathered();
            let chunk = [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n"].concat();
            assert!(
                written(outgoing, Coding::Chunked, false, room).await == chunk,
                "{room}"
            );
            let (outgoing, body) = gathered();
            assert!(
                written(outgoing, Coding::ToTheEnd, true, room).await == body,
                "{room}"
            );
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_last_chunk_is_followed_by_the_end_also_if_it_is_empty() {
        let mut outgoing = Outgoing::default();
        outgoing.buffer().put_slice(&[b'x'; 16]);
        let chunks = written(outgoing, Coding::Chunked, true, 64).await;
        assert_eq!(chunks, b"10\r\nxxxxxxxxxxxxxxxx\r\n0\r\n\r\n");
        let nothing = written(Outgoing::default(), Coding::Chunked, true, 64).await;
        assert_eq!(nothing, b"0\r\n\r\n");
        assert!(
            written(Outgoing::default(), Coding::ToTheEnd, true, 64)
                .await
                .is_empty()
        );
    }

    #[test]
    fn large_bytes_are_not_copied_but_go_out_in_their_place() {
        let mut outgoing = Outgoing::default();
        let large = Bytes::from(vec![b'x'; SHARED]);
        outgoing.append(&large, 0..SHARED);
        let Flight { from, .. } = outgoing.seal(Coding::Chunked, false);
        let mut slices = [IoSlice::new(&[]); SLICES];
        assert_eq!(outgoing.fill(&mut slices, from, 0), 3);
        assert_eq!(slices[1].as_ptr(), large.as_ptr());
        assert!(!outgoing.is_full());
    }

    #[test]
    fn taken_bytes_have_no_coding_around_them() {
        let (mut outgoing, body) = gathered();
        assert!(outgoing.take() == body);
        assert!(outgoing.is_empty() && outgoing.take().is_empty());
    }
}
