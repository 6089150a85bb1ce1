//! HTTP/2 over TLS: many requests at a time on one connection, each of them bounded, and their number, too.

use super::{
    Connection, Ends, HEAD_BYTES, WRITE_STALL, introduce, log_end, unread,
    window::{self, Pieces},
};
use crate::http::{
    App,
    problem::{Kind, Problem},
};
use axum::http::{StatusCode, request::Parts};
use hyper::{body::Incoming, rt::Executor, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tokio_util::task::TaskTracker;

/// Requests that may be open at a time on one connection.
const STREAMS: u32 = 256;
/// The header fields of a request, as HTTP/2 counts them. What is longer than a head may be over HTTP/1.1 and not longer
/// than this is refused in our words, and beyond it h2 answers with a bare 431.
const HEADER_BYTES: u32 = 160 * 1024;
/// What a field costs beside its name and its value, as HTTP/2 counts it (RFC 9113, 6.5.2): many short ones take more memory
/// than few long ones.
const FIELD: usize = 32;
/// The bytes of a head that are free.
const ORDINARY_HEAD: usize = 16 * 1024;
/// The bytes of all longer heads of the requests that are open at a time on one connection.
const LONG_HEADS: usize = 1024 * 1024;
/// What a client may have sent of all its bodies that nobody has read yet, and of one of them.
const WINDOW: u32 = 1024 * 1024;
const STREAM_WINDOW: u32 = 256 * 1024;
/// What may wait for a client in each stream.
const SEND_BUFFER: usize = 64 * 1024;
/// Requests a client may take back before anybody looked at them; one more ends the connection (CVE-2023-44487).
const RESETS: usize = 32;
/// Requests that the gateway resets because something is wrong with them, in all, before it ends the connection.
const OWN_RESETS: usize = 256;
/// How long nothing may come before the client is asked whether it is there, and how long that may take.
const SILENCE: Duration = Duration::from_secs(20);

/// Answers requests until the connection ends.
pub async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    connection: Connection,
    app: Arc<App>,
    ends: Ends,
) {
    let head_timeout = app.head_timeout();
    let tasks = Tasks {
        all: connection.life.tasks.clone(),
        busy: connection.life.busy.clone(),
    };
    let long_heads = Arc::new(Semaphore::new(LONG_HEADS));
    let forgetting = connection.life.tasks.clone();
    let has_asked = Arc::new(AtomicBool::new(false));
    let asked = has_asked.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        let (head, body) = request.into_parts();
        let room = room_for(&head, &long_heads);
        let (lent, unread) = unread::lend(body);
        let request = introduce(hyper::Request::from_parts(head, lent), &connection, &app);
        let (app, tasks) = (app.clone(), forgetting.clone());
        async move {
            // taken until the answer is there: by then nobody needs the head any more
            let answer = match room {
                Ok(_room) => app.answer(request).await,
                Err(problem) => app.refuse(request, problem).await,
            };
            if unread.is_abandoned() {
                tasks.spawn(unread.forget());
            }
            Ok::<_, Infallible>(answer.map(Pieces::new))
        }
    });
    let mut conversation = pin!(
        http2::Builder::new(tasks)
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEADER_BYTES)
            .initial_connection_window_size(WINDOW)
            .initial_stream_window_size(STREAM_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_pending_accept_reset_streams(RESETS)
            .max_local_error_reset_streams(OWN_RESETS)
            .keep_alive_interval(SILENCE)
            .keep_alive_timeout(SILENCE)
            .serve_connection(TokioIo::new(stream), service)
    );
    let mut stop = pin!(ends.closing.cancelled());
    // whoever does not even begin is not asked whether it is there
    let mut late = pin!(sleep(head_timeout));
    let (mut running, mut watching) = (true, true);
    let ended = poll_fn(|cx| {
        if running && stop.as_mut().poll(cx).is_ready() {
            running = false;
            conversation.as_mut().graceful_shutdown();
        }
        if watching && late.as_mut().poll(cx).is_ready() {
            watching = false;
            if !has_asked.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
        }
        conversation.as_mut().poll(cx)
    })
    .await;
    ended.unwrap_or_else(|error| log_end(&error));
}

/// Room for the head of a request: none if it is ordinary, and the problem if it may not be so long, or not now.
fn room_for(
    head: &Parts,
    long_heads: &Arc<Semaphore>,
) -> Result<Option<OwnedSemaphorePermit>, Problem> {
    let target = head.uri.path_and_query();
    let target = target.map_or(0, |target| target.as_str().len());
    // each line as HTTP/1.1 writes it: `name: value`
    let fields = head.headers.iter();
    let fields: usize = fields
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    let bytes = target + fields;
    if bytes > HEAD_BYTES {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Problem::no_request(status));
    }
    let held = bytes + FIELD * head.headers.len();
    if held <= ORDINARY_HEAD {
        return Ok(None);
    }
    let room = long_heads.clone().try_acquire_many_owned(held as u32);
    room.map(Some).map_err(|_| {
        let detail =
            "the heads of the requests that are open on this connection may have 1 MiB together";
        Problem::new(Kind::QuotaExceeded, detail).retry_later()
    })
}

/// Where requests run: they count as the connection's, and do not wait for ever for their client's leave to answer.
#[derive(Clone)]
struct Tasks {
    all: TaskTracker,
    /// Only those that are under way.
    busy: TaskTracker,
}

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, request: F) {
        let request = window::run(request, WRITE_STALL);
        self.all.spawn(self.busy.track_future(request));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn head(fields: usize, value: &str) -> Parts {
        let mut request = Request::get("/");
        for _ in 0..fields {
            request = request.header("a", value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn many_short_fields_are_no_ordinary_head_and_share_the_room_of_long_ones() {
        let all = Arc::new(Semaphore::new(LONG_HEADS));
        for ordinary in [head(1, &"x".repeat(16_000)), head(400, "")] {
            assert!(matches!(room_for(&ordinary, &all), Ok(None)));
        }
        let long = room_for(&head(1, &"x".repeat(20_000)), &all).unwrap();
        assert!(LONG_HEADS - all.available_permits() >= 20_000);
        drop(long);
        // 15 kB as HTTP/1.1 would write them
        let many = head(3000, "");
        let held = (0..20).map_while(|_| room_for(&many, &all).ok());
        let held: Vec<_> = held.collect();
        assert!(held.len() < 10, "{} heads of 3000 fields", held.len());
        assert!(held.iter().all(Option::is_some));
    }
}
