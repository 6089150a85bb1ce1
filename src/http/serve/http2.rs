//! HTTP/2 over TLS: many requests at a time on one connection, each of them bounded, and their number, too.

use super::{
    Connection, WRITE_STALL, introduce, log_end, unread,
    window::{self, Pieces},
};
use crate::http::App;
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
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Requests that may be open at a time on one connection.
const STREAMS: u32 = 256;
/// The header fields of a request, as HTTP/2 counts them.
const HEADER_BYTES: u32 = 16 * 1024;
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
    stopping: CancellationToken,
) {
    let head_timeout = app.head_timeout();
    let tasks = Tasks(connection.life.tasks.clone());
    let forgetting = connection.life.tasks.clone();
    let has_asked = Arc::new(AtomicBool::new(false));
    let asked = has_asked.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        let (head, body) = request.into_parts();
        let (lent, unread) = unread::lend(body);
        let request = introduce(hyper::Request::from_parts(head, lent), &connection, &app);
        let (app, tasks) = (app.clone(), forgetting.clone());
        async move {
            let answer = app.answer(request).await;
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
    let mut stop = pin!(stopping.cancelled());
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

/// Where requests run: they count as the connection's, and do not wait for ever for their client's leave to answer.
#[derive(Clone)]
struct Tasks(TaskTracker);

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, request: F) {
        self.0.spawn(window::run(request, WRITE_STALL));
    }
}
