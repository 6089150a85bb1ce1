//! What hyper refuses by itself, because it is no HTTP request, said in our words.
//!
//! hyper answers a broken request line, conflicting lengths or an oversize head with a bare status before any handler
//! exists. This layer, between hyper and the socket, knows that answer by its form (a head of hyper's alone, without the
//! Request-Id that every answer of ours has) and writes the problem it stands for instead.

use axum::http::StatusCode;
use bytes::{Buf, Bytes};
use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A byte stream whose writer's refusals are reworded.
pub struct Rewording<S, F> {
    inner: S,
    /// The whole answer for a status.
    in_our_words: F,
    /// What is written instead, as far as it is not out yet.
    instead: Bytes,
    /// The last write was not taken whole: the next one begins inside an answer, whose bytes may look like anything.
    is_torn: bool,
    /// What is written are not answers any more.
    is_upgraded: bool,
}

impl<S, F> Rewording<S, F> {
    /// Under hyper and above `inner`.
    pub fn new(inner: S, in_our_words: F) -> Self {
        Rewording {
            inner,
            in_our_words,
            instead: Bytes::new(),
            is_torn: false,
            is_upgraded: false,
        }
    }

    /// The stream itself.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: AsyncWrite + Unpin, F: Fn(StatusCode) -> Bytes> Rewording<S, F> {
    /// Notices what begins with `first`; true if it is to be forgotten.
    fn rewords(&mut self, first: &[u8], total: usize) -> bool {
        if self.is_torn || self.is_upgraded || !first.starts_with(b"HTTP/1.1 ") {
            return false;
        }
        self.is_upgraded = first[9..].starts_with(b"101");
        let status = (first.len() == total).then(|| refusal(first)).flatten();
        if let Some(status) = status {
            self.instead = (self.in_our_words)(status);
        }
        status.is_some()
    }

    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.instead.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.instead))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.instead.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

/// The status of a refusal in hyper's words.
fn refusal(head: &[u8]) -> Option<StatusCode> {
    let is_whole = head.ends_with(b"\r\n\r\n");
    let names_no_request = memchr::memmem::find(head, b"\r\nrequest-id:").is_none();
    let status = StatusCode::from_bytes(head.get(9..12)?).ok()?;
    (status.is_client_error() && is_whole && names_no_request).then_some(status)
}

impl<S, F> AsyncWrite for Rewording<S, F>
where
    S: AsyncWrite + Unpin,
    F: Fn(StatusCode) -> Bytes + Unpin,
{
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_instead(cx))?;
        if self.rewords(bytes, bytes.len()) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.is_torn = written < bytes.len();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_instead(cx))?;
        let total = slices.iter().map(|slice| slice.len()).sum();
        let first = slices.iter().find(|slice| !slice.is_empty());
        if first.is_some_and(|first| self.rewords(first, total)) {
            return Poll::Ready(Ok(total));
        }
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, slices))?;
        self.is_torn = written < total;
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin, F: Unpin> AsyncRead for Rewording<S, F> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const OF_HYPER: &[u8] =
        b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

    /// What arrives of these writes, through a pipe that holds `room` bytes.
    async fn written(writes: &[&[u8]], room: usize) -> String {
        let (ours, mut theirs) = tokio::io::duplex(room);
        let ours = Rewording::new(ours, |status: StatusCode| format!("<{status}>").into());
        let writing = async move {
            let mut ours = ours;
            for bytes in writes {
                ours.write_all(bytes).await.unwrap();
            }
            ours.shutdown().await.unwrap();
        };
        let mut read = String::new();
        let (_, end) = tokio::join!(writing, theirs.read_to_string(&mut read));
        end.unwrap();
        read
    }

    #[tokio::test]
    async fn a_refusal_of_hypers_is_said_in_our_words() {
        assert_eq!(written(&[OF_HYPER], 1024).await, "<400 Bad Request>");
        assert_eq!(written(&[OF_HYPER], 3).await, "<400 Bad Request>");
        let answer = &b"HTTP/1.1 200 OK\r\nrequest-id: 1\r\n\r\n"[..];
        let both = written(&[answer, OF_HYPER], 1024).await;
        assert_eq!(
            both,
            "HTTP/1.1 200 OK\r\nrequest-id: 1\r\n\r\n<400 Bad Request>"
        );
    }

    #[tokio::test]
    async fn our_own_answers_pass_as_they_are() {
        for answer in [
            "HTTP/1.1 404 Not Found\r\nrequest-id: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 1\r\n\r\nx",
        ] {
            assert_eq!(written(&[answer.as_bytes()], 1024).await, answer);
        }
    }

    #[tokio::test]
    async fn bytes_inside_an_answer_are_never_taken_for_one() {
        // a payload that looks like a refusal, behind a head that the socket took only a part of
        let payload = [&[b'.'; 100][..], OF_HYPER].concat();
        let answer = [&b"HTTP/1.1 200 OK\r\nrequest-id: 1\r\n\r\n"[..], &payload].concat();
        for room in 1..=answer.len() {
            assert_eq!(written(&[&answer], room).await.as_bytes(), answer, "{room}");
        }
        // and what comes after an upgrade is no answer at all
        let upgraded = &b"HTTP/1.1 101 Switching Protocols\r\nrequest-id: 1\r\n\r\n"[..];
        let after = written(&[upgraded, OF_HYPER], 1024).await;
        assert_eq!(after.as_bytes(), [upgraded, OF_HYPER].concat());
    }
}
