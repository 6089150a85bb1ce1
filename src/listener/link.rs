//! A byte stream with a decoder on one side and a write queue on the other.
//!
//! An idle link owns no buffer: bytes are read into a scratch buffer of the worker thread and decoded there; only an
//! unfinished packet is kept. Packets and bytes to write stand in buffers that the worker thread lends, too, and takes
//! back as soon as they are handled or written.

use crate::{
    metrics::METRICS,
    mqtt::{
        Packet,
        error::DecodeError,
        frame::{Decoder, Peer},
        write_queue::WriteQueue,
    },
};
use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes read at a time.
const SCRATCH: usize = 64 * 1024;

/// Slices of one vectored write.
const SLICES: usize = 64;

/// Most bytes of a buffer that a worker thread takes back.
const SPARE: usize = 4 * SCRATCH;

// what a worker thread lends to the connection it is busy with
thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
    static PACKETS: Cell<Vec<Packet>> = const { Cell::new(Vec::new()) };
    static WRITE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// One connection's bytes.
pub struct Link<T> {
    stream: T,
    /// From bytes to packets.
    pub decoder: Decoder,
    /// Decoded, not yet handled.
    pub packets: Vec<Packet>,
    /// To be written.
    pub out: WriteQueue,
    unflushed: bool,
}

/// Why nothing more can be read.
#[derive(Debug)]
pub enum ReadEnd {
    /// The peer closed its side.
    Closed,
    /// The connection broke.
    Io(io::Error),
    /// What came is no MQTT. Packets before it are in [`Link::packets`].
    Decode(DecodeError),
}

impl<T: AsyncRead + AsyncWrite + Unpin> Link<T> {
    /// A link to a client; its first packet may have up to `limit` bytes.
    pub fn new(stream: T, limit: usize) -> Self {
        Link {
            stream,
            decoder: Decoder::new(Peer::Client, limit),
            packets: Vec::new(),
            out: WriteQueue::default(),
            unflushed: false,
        }
    }

    /// Reads once and decodes.
    pub fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReadEnd>> {
        READ.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Err(error) => Poll::Ready(Err(ReadEnd::Io(error))),
                Ok(()) if buffer.filled().is_empty() => Poll::Ready(Err(ReadEnd::Closed)),
                Ok(()) => {
                    METRICS.received.bytes.add(buffer.filled().len() as u64);
                    if self.packets.capacity() == 0 {
                        self.packets = PACKETS.take();
                    }
                    Poll::Ready(
                        self.decoder
                            .feed(buffer.filled(), &mut self.packets)
                            .map_err(ReadEnd::Decode),
                    )
                }
            }
        })
    }

    /// Borrows a buffer for what is to be written.
    pub fn borrow_buffer(&mut self) {
        if !self.out.has_buffer() {
            self.out.lend(WRITE.take());
        }
    }

    /// Gives back the packets' buffer, once they are handled, and that of the written bytes if all are out.
    pub fn return_buffers(&mut self) {
        let packets = std::mem::take(&mut self.packets);
        if (1..=SPARE).contains(&(packets.capacity() * size_of::<Packet>())) {
            PACKETS.set(packets);
        }
        if let Some(buffer) = self.out.reclaim()
            && buffer.capacity() <= SPARE
        {
            WRITE.set(buffer);
        }
    }

    /// Writes all that waits; ready when it is out.
    pub fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let used = self.out.slices(&mut slices);
            let stream = Pin::new(&mut self.stream);
            let written = ready!(match &slices[..used] {
                // the cheaper system call, and the most frequent case
                [slice] => stream.poll_write(cx, slice),
                slices => stream.poll_write_vectored(cx, slices),
            })?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            METRICS.sent.bytes.add(written as u64);
            METRICS.sent.packets.add(self.out.take_packets().into());
            self.out.advance(written);
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what waits, then closes.
    pub async fn finish(mut self) {
        let written = std::future::poll_fn(|cx| self.poll_write(cx)).await;
        if written.is_ok() {
            let _ = std::future::poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await;
        }
    }
}
