//! An answer over HTTP/2 that its client leaves no room for: it waits so long, and is then taken back.
//!
//! hyper asks for a piece of the body, and for the next one when the client's window has let that one go. A deadline for
//! writes does not see this: the connection goes on, and nothing is written. A stream that merely has nothing to say was
//! asked and has not answered, so it is not late.

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// The most that is handed out at a time: who takes so much within the patience is not late.
const PIECE: usize = 16 * 1024;

tokio::task_local! {
    static TURNS: Arc<AtomicU64>;
}

/// Runs a request, to its end or until a piece of its answer has waited for `patience`. To drop it resets its stream.
pub async fn run(request: impl Future, patience: Duration) {
    let turns = Arc::new(AtomicU64::new(0));
    let mut request = pin!(TURNS.scope(turns.clone(), request));
    let mut late = pin!(sleep(patience));
    let mut seen = 0;
    poll_fn(|cx| {
        if request.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let turn = turns.load(Ordering::Relaxed);
        if turn.is_multiple_of(2) {
            return Poll::Pending;
        }
        if turn != seen {
            seen = turn;
            late.as_mut().reset(Instant::now() + patience);
        }
        late.as_mut().poll(cx)
    })
    .await;
}

/// The body of an answer, piece by piece.
pub struct Pieces {
    body: Body,
    rest: Bytes,
    /// Even while a piece is asked for, odd while one waits to be sent.
    turns: Arc<AtomicU64>,
}

impl Pieces {
    /// Within [`run`].
    pub fn new(body: Body) -> Self {
        Pieces {
            body,
            rest: Bytes::new(),
            turns: TURNS.try_with(Arc::clone).unwrap_or_default(),
        }
    }

    fn hand_out(&mut self, mut bytes: Bytes) -> Frame<Bytes> {
        self.rest = bytes.split_off(bytes.len().min(PIECE));
        self.turns.fetch_add(1, Ordering::Relaxed);
        Frame::data(bytes)
    }
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if !self.turns.load(Ordering::Relaxed).is_multiple_of(2) {
            self.turns.fetch_add(1, Ordering::Relaxed);
        }
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            return Poll::Ready(Some(Ok(self.hand_out(rest))));
        }
        Pin::new(&mut self.body).poll_frame(cx).map(|frame| {
            let frame = frame?.map(|frame| match frame.into_data() {
                Ok(bytes) => self.hand_out(bytes),
                Err(frame) => frame,
            });
            Some(frame)
        })
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let mut hint = self.body.size_hint();
        if let Some(most) = hint.upper() {
            hint.set_upper(most + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt, StreamExt, stream};
    use hyper::body::Body as _;

    const SHORT: Duration = Duration::from_millis(100);

    async fn next(pieces: &mut Pieces) -> Option<Bytes> {
        let frame = poll_fn(|cx| Pin::new(&mut *pieces).poll_frame(cx)).await?;
        frame.unwrap().into_data().ok()
    }

    #[tokio::test]
    async fn a_piece_that_nobody_has_room_for_ends_its_request() {
        let request = async {
            let mut pieces = Pieces::new(Body::from("a"));
            assert_eq!(next(&mut pieces).await.unwrap(), "a");
            std::future::pending::<()>().await;
        };
        run(request, SHORT).await;
    }

    #[tokio::test]
    async fn a_stream_that_has_nothing_to_say_and_an_answer_that_takes_its_time_are_not_late() {
        let silent = async {
            let once = stream::iter([Ok::<_, axum::Error>(Bytes::from("a"))]);
            let mut pieces = Pieces::new(Body::from_stream(once.chain(stream::pending())));
            next(&mut pieces).await;
            next(&mut pieces).await;
        };
        for request in [silent.boxed(), std::future::pending().boxed()] {
            let ended = tokio::time::timeout(5 * SHORT, run(request, SHORT)).await;
            assert!(ended.is_err());
        }
    }

    #[tokio::test]
    async fn whoever_takes_piece_by_piece_gets_all_of_it_however_long_it_takes() {
        let is_done = AtomicU64::new(0);
        let request = async {
            let mut pieces = Pieces::new(Body::from(vec![7; 10 * PIECE + 1]));
            let mut got = 0;
            assert_eq!(pieces.size_hint().exact(), Some(10 * PIECE as u64 + 1));
            while let Some(piece) = next(&mut pieces).await {
                assert!(piece.len() <= PIECE);
                got += piece.len();
                let all = got + pieces.size_hint().exact().unwrap() as usize;
                assert_eq!(all, 10 * PIECE + 1);
                tokio::time::sleep(SHORT / 5).await;
            }
            assert!(pieces.is_end_stream());
            assert_eq!(got, 10 * PIECE + 1);
            is_done.store(1, Ordering::Relaxed);
        };
        // a piece waits for a fifth of the patience, all of them for more than it
        run(request, SHORT).await;
        assert_eq!(is_done.into_inner(), 1);
    }
}
