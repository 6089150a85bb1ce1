//! The body of a request over HTTP/2 that was answered without it.
//!
//! A body that is let go of resets its stream, and clients throw the answer away with it. So what is left of it is read and
//! forgotten, within bounds.

use bytes::Bytes;
use futures_util::future::poll_fn;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::timeout;

/// How much is forgotten.
const FORGIVEN: usize = 8 * 1024 * 1024;
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// A body in the hands of whoever answers.
pub struct Lent(Arc<Mutex<Incoming>>);

/// What is left when he has let go of it.
pub struct Unread(Arc<Mutex<Incoming>>);

/// Lends a body.
pub fn lend(body: Incoming) -> (Lent, Unread) {
    let body = Arc::new(Mutex::new(body));
    (Lent(body.clone()), Unread(body))
}

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut *self.0.lock()).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().size_hint()
    }
}

impl Unread {
    /// Whether something is left that nobody will read.
    pub fn is_abandoned(&self) -> bool {
        // an answer may go on while its request is read
        Arc::strong_count(&self.0) == 1 && !self.0.lock().is_end_stream()
    }

    /// Reads what is left.
    pub async fn forget(self) {
        let Some(body) = Arc::into_inner(self.0) else {
            return;
        };
        let mut body = body.into_inner();
        let forget = async {
            let mut forgotten = 0;
            while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                forgotten += frame.data_ref().map_or(0, Bytes::len);
                if forgotten > FORGIVEN {
                    break;
                }
            }
        };
        // late or not, the answer is the same
        let _ = timeout(PATIENCE, forget).await;
    }
}
