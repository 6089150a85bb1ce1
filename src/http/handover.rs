//! How an endless answer leaves hyper, whose connection would keep two buffers of 8 KiB for as long as it lasts.
//!
//! hyper writes the head and the first chunk. Then the body hands over what it stands for and says nothing more, the
//! socket notices when hyper has flushed everything, and the connection's task takes the socket back: hyper and its
//! buffers are gone, and whoever was handed over writes the rest. This file does not know what that is.

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame};
use parking_lot::Mutex;
use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes read at a time while all that is looked for is the end.
const GLANCE: usize = 128;

/// Where a body leaves what it stands for, for the task of its connection.
///
/// All who touch it run in that task.
pub struct Handover<T> {
    left: Mutex<Option<T>>,
    /// Whether `left` is there and everything in front of it has been written.
    due: AtomicBool,
    waiting: AtomicBool,
}

impl<T> Default for Handover<T> {
    fn default() -> Self {
        Handover {
            left: Mutex::new(None),
            due: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
        }
    }
}

impl<T> Handover<T> {
    fn leave(&self, what: T) {
        *self.left.lock() = Some(what);
        self.waiting.store(true, Ordering::Relaxed);
    }

    /// hyper flushes the socket only when it holds no byte back, and what was left here is the last it hears of.
    fn flushed(&self) {
        if self.waiting.load(Ordering::Relaxed) {
            self.due.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the socket may be taken from hyper.
    pub fn is_due(&self) -> bool {
        self.due.load(Ordering::Relaxed)
    }

    /// What was handed over.
    pub fn take(&self) -> Option<T> {
        self.waiting.store(false, Ordering::Relaxed);
        self.due.store(false, Ordering::Relaxed);
        self.left.lock().take()
    }
}

/// The part of a body that hyper writes. Dropped before that, it drops what it stands for.
pub struct Leaving<T> {
    first: Bytes,
    rest: Option<T>,
    to: Arc<Handover<T>>,
}

impl<T> Leaving<T> {
    /// `first` goes out with the head, `rest` is handed over.
    pub fn new(first: Bytes, rest: T, to: Arc<Handover<T>>) -> Self {
        let rest = Some(rest);
        Leaving { first, rest, to }
    }
}

impl<T: Unpin> Body for Leaving<T> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // asked for a frame, hyper has encoded the head, and before a second one the first
        if !self.first.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.first)))));
        }
        if let Some(rest) = self.rest.take() {
            self.to.leave(rest);
        }
        Poll::Pending
    }
}

/// A connection's bytes, under hyper and after it.
pub struct Socket<S, T> {
    inner: S,
    /// Read, but for whoever reads next.
    unread: Bytes,
    handover: Arc<Handover<T>>,
}

impl<S, T> Socket<S, T> {
    /// Over `inner`; tells `handover` about flushes.
    pub fn new(inner: S, handover: Arc<Handover<T>>) -> Self {
        Socket {
            inner,
            unread: Bytes::new(),
            handover,
        }
    }

    /// Keeps what was read too early, in no more room than it needs.
    pub fn put_back(&mut self, bytes: &[u8]) {
        self.unread = match bytes {
            [] => Bytes::new(),
            bytes => Bytes::copy_from_slice(bytes),
        };
    }
}

impl<S: AsyncRead + Unpin, T> Socket<S, T> {
    /// Ready when the peer has ended its side or the connection is broken. A peer that says something has to wait: no
    /// more of it is read before somebody wants it.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if !self.unread.is_empty() {
            return Poll::Pending;
        }
        let mut glance = [0; GLANCE];
        let mut glance = ReadBuf::new(&mut glance);
        match ready!(Pin::new(&mut self.inner).poll_read(cx, &mut glance)) {
            Err(error) => Poll::Ready(error),
            Ok(()) if glance.filled().is_empty() => {
                Poll::Ready(io::ErrorKind::UnexpectedEof.into())
            }
            Ok(()) => {
                self.put_back(glance.filled());
                Poll::Pending
            }
        }
    }
}

impl<S: AsyncRead + Unpin, T> AsyncRead for Socket<S, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let count = self.unread.len().min(buf.remaining());
        buf.put_slice(&self.unread[..count]);
        self.unread.advance(count);
        if self.unread.is_empty() {
            self.unread = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin, T> AsyncWrite for Socket<S, T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.handover.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::poll_fn, task::Waker};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    fn pair() -> (Socket<DuplexStream, ()>, DuplexStream) {
        let (ours, theirs) = duplex(1024);
        (Socket::new(ours, Arc::default()), theirs)
    }

    #[tokio::test(flavor = "current_thread")]
    async fn nothing_is_due_before_what_stands_in_front_of_it_is_flushed() {
        let handover = Arc::new(Handover::default());
        let (ours, _theirs) = duplex(1024);
        let mut socket = Socket::new(ours, handover.clone());
        socket.flush().await.unwrap();
        let mut body = Leaving::new(Bytes::from_static(b"first"), 7, handover.clone());
        let mut poll = || Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Some(Ok(first))) = poll() else {
            panic!("no first chunk");
        };
        assert_eq!(first.into_data().unwrap(), "first");
        socket.flush().await.unwrap();
        assert!(poll().is_pending() && !handover.is_due());
        socket.flush().await.unwrap();
        assert!(handover.is_due());
        assert_eq!((handover.take(), handover.take()), (Some(7), None));
        socket.flush().await.unwrap();
        assert!(!handover.is_due(), "the next answer is hyper's again");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_a_peer_says_too_early_waits_for_its_reader() {
        let (mut socket, mut theirs) = pair();
        theirs.write_all(&[7; 2 * GLANCE]).await.unwrap();
        drop(theirs);
        for _ in 0..3 {
            let ended = poll_fn(|cx| Poll::Ready(socket.poll_end(cx).is_ready())).await;
            assert!(!ended, "not before the rest was read");
        }
        let mut all = Vec::new();
        socket.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, [7; 2 * GLANCE]);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_end_of_the_peer_is_an_end() {
        let (mut socket, theirs) = pair();
        drop(theirs);
        let end = poll_fn(|cx| socket.poll_end(cx)).await;
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    }
}
