//! MQTT over WebSocket: binary messages as one byte stream, for the same driver as TCP.
//!
//! Packets and frames are independent of each other [MQTT-6.0.0-2]. No pings are sent: MQTT has its own keep-alive, and
//! some clients break on them. One write is one binary message, never fragmented.

use super::door::Door;
use bytes::Bytes;
use futures_util::{Sink, Stream};
use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
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

/// Buffer of one connection in each direction, in bytes; the library's default is 128 KiB.
const BUFFER: usize = 4 * 1024;

/// Most bytes put into one binary message, unless a single write is larger.
const FRAME: usize = 64 * 1024;

/// Serves MQTT over an upgraded connection to its end.
pub async fn serve<T>(door: &Door, stream: T, peer: SocketAddr, max_packet: usize)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * FRAME + max_packet)
        .max_message_size(Some(max_packet))
        .max_frame_size(Some(max_packet));
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    door.serve(
        Bytestream {
            socket,
            unread: Bytes::new(),
            close: CloseCode::Normal,
        },
        peer,
        "websocket",
    )
    .await;
}

/// The bytes in a WebSocket's binary messages.
struct Bytestream<T> {
    socket: WebSocketStream<T>,
    /// The rest of a message that did not fit.
    unread: Bytes,
    close: CloseCode,
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Bytestream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.unread = bytes,
                // pings are answered by the library
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                None | Some(Ok(Message::Close(_))) => return Poll::Ready(Ok(())),
                // [MQTT-6.0.0-1]
                Some(Ok(Message::Text(_) | Message::Frame(_))) => {
                    self.close = CloseCode::Unsupported;
                    return Poll::Ready(Err(io::Error::other("a text frame")));
                }
                Some(Err(error)) => {
                    self.close = match error {
                        Error::Capacity(_) => CloseCode::Size,
                        _ => CloseCode::Protocol,
                    };
                    return Poll::Ready(Err(io::Error::other(error)));
                }
            }
        }
        let count = buffer.remaining().min(self.unread.len());
        buffer.put_slice(&self.unread.split_to(count));
        Poll::Ready(Ok(()))
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
