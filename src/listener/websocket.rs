//! MQTT over WebSocket: binary messages as one byte stream, for the same driver as TCP.
//!
//! Packets and frames are independent of each other [MQTT-6.0.0-2]. No pings are sent: MQTT has its own keep-alive, and
//! some clients break on them. One write is one binary message, never fragmented.

use super::{arrival::Arrival, door::Door, listened::Listened};
use bytes::Bytes;
use futures_util::{Sink, Stream};
use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

/// Buffer of one connection in each direction, in bytes; the library's default is 128 KiB. Twenty small
/// packets fit.
const BUFFER: usize = 1536;

/// Most bytes put into one binary message, unless a single write is larger.
const FRAME: usize = 64 * 1024;

/// Serves MQTT over an upgraded connection to its end.
pub async fn serve<T>(door: Arc<Door>, stream: T, arrival: Arrival, max_packet: usize)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    // frames know nothing of packets: one may hold the end of a packet and all of the next [MQTT-6.0.0-2], and a packet
    // that is too large is for the decoder to refuse, with its reason
    let max_message = 2 * max_packet;
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * FRAME + max_packet)
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message));
    let stream = Listened::new(stream);
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    let deadline = door.deadline();
    let stream = Bytestream {
        socket,
        unread: Bytes::new(),
        given: 0,
        waiting: arrival.waiting.clone(),
        close: CloseCode::Normal,
        fault: None,
    };
    door.serve(stream, arrival.over_websocket(), deadline).await;
}

/// The bytes in a WebSocket's binary messages.
struct Bytestream<T> {
    socket: WebSocketStream<Listened<T>>,
    /// The rest of a message that did not fit.
    unread: Bytes,
    /// Bytes given on so far.
    given: u64,
    /// What came and is not given on: frames that are not whole yet, above all.
    waiting: Arc<AtomicUsize>,
    close: CloseCode,
    /// Why nothing more can be read.
    fault: Option<&'static str>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Bytestream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.poll_payload(cx, buffer);
        self.given += (buffer.filled().len() - before) as u64;
        let waiting = self.socket.get_ref().bytes().saturating_sub(self.given);
        self.waiting.store(waiting as usize, Ordering::Relaxed);
        read
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Bytestream<T> {
    fn poll_payload(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        // all that is there at once: clients put every packet into a frame of its own
        while buffer.remaining() > 0 {
            if self.unread.is_empty() {
                match self.poll_message(cx) {
                    Poll::Ready(Ok(Some(bytes))) => self.unread = bytes,
                    Poll::Pending if buffer.filled().len() == before => return Poll::Pending,
                    Poll::Pending => break,
                    Poll::Ready(Ok(None)) => break,
                    // what came before the fault counts; the fault comes again
                    Poll::Ready(Err(_)) if buffer.filled().len() > before => break,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                }
            }
            let count = buffer.remaining().min(self.unread.len());
            buffer.put_slice(&self.unread.split_to(count));
        }
        Poll::Ready(Ok(()))
    }

    /// The next binary message; `None` at the end.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        if let Some(fault) = self.fault {
            return Poll::Ready(Err(io::Error::other(fault)));
        }
        loop {
            let (code, fault) = match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => return Poll::Ready(Ok(Some(bytes))),
                // pings are answered by the library
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                None | Some(Ok(Message::Close(_))) => return Poll::Ready(Ok(None)),
                // [MQTT-6.0.0-1]
                Some(Ok(Message::Text(_) | Message::Frame(_))) => {
                    (CloseCode::Unsupported, "a text frame")
                }
                Some(Err(Error::Capacity(_))) => (CloseCode::Size, "a frame that is too large"),
                Some(Err(Error::Io(error))) => return Poll::Ready(Err(error)),
                Some(Err(_)) => (CloseCode::Protocol, "no valid WebSocket frame"),
            };
            (self.close, self.fault) = (code, Some(fault));
            return Poll::Ready(Err(io::Error::other(fault)));
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Bytestream<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(io::Error::other)?;
        let mut message = Vec::with_capacity(
            slices
                .iter()
                .map(|slice| slice.len())
                .sum::<usize>()
                .min(FRAME),
        );
        for slice in slices {
            if !message.is_empty() && message.len() + slice.len() > FRAME {
                break;
            }
            message.extend_from_slice(slice);
        }
        let count = message.len();
        Pin::new(&mut self.socket)
            .start_send(Message::Binary(message.into()))
            .map_err(io::Error::other)?;
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket)
            .poll_flush(cx)
            .map_err(io::Error::other)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let frame = CloseFrame {
            code: self.close,
            reason: "".into(),
        };
        // a peer that closed first has had its answer already
        let _ = Pin::new(&mut self.socket).start_send(Message::Close(Some(frame)));
        match ready!(Pin::new(&mut self.socket).poll_flush(cx)) {
            Ok(()) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(io::Error::other(error))),
        }
    }
}
