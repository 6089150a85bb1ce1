//! HTTP over accepted connections, with bounds on everything a client can stretch.
//!
//! HTTP/1.1, and HTTP/2 where TLS has agreed on it. hyper answers what is no HTTP at all by itself, with a bare 400, 414
//! or 431: see [`Rewording`].

mod http2;
mod unread;
mod window;

use crate::{
    http::{
        App,
        handover::{Handover, Socket},
        rewording::Rewording,
        stall::WriteDeadline,
        stream::Course,
    },
    listener::{
        arrival::Arrival,
        entrance::{Entered, Entrance},
        serve::{Place, WayIn, accept},
        socket::{Accepts, Bound},
        tls::H2,
    },
};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
};
use bytes::Bytes;
use futures_util::future::join_all;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A connection that takes none of what is written to it for this long is reset, and so is an answer over HTTP/2.
const WRITE_STALL: Duration = Duration::from_secs(30);
/// The head of a request: a URI of 64 KiB, the most hyper takes, and 16 KiB of headers.
const HEAD_BYTES: usize = (64 + 16) * 1024;
/// hyper's bound on what it reads ahead of and gathers before a write.
const BUFFER_BYTES: usize = 256 * 1024;
/// How long connections get, beyond the drain, before they are cut.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long connections on which nothing happens are kept when nobody else is there, for requests that are on their way and
/// for whoever asks whether it is ready.
const GRACE: Duration = Duration::from_secs(1);

/// What a handler may know of the connection behind its request; an extension of every request.
#[derive(Clone)]
pub struct Connection {
    /// How it came in. Behind a trusted proxy the peer is the one that this request came from.
    pub arrival: Arrival,
    life: Arc<Life>,
}

/// What ends with a connection, shared by its requests: each has a handle, so that must be cheap.
struct Life {
    /// Counts the connection until it is gone, upgraded or not.
    place: Place,
    handover: Arc<Handover<Box<Course>>>,
    tasks: TaskTracker,
    /// Counts what is under way beside ordinary requests: streams, and what a connection was upgraded to.
    busy: TaskTracker,
    cut: CancellationToken,
}

/// How a connection learns that it is to end.
struct Ends {
    /// The gateway stops: what is asked is answered, and the connection ends with the answer.
    stopping: CancellationToken,
    /// Nothing more is awaited. A token of its own: connections do not contend for one list of waiters.
    closing: CancellationToken,
}

/// What is under hyper, and under a stream that has left it.
type Wire<S> = Socket<S, Box<Course>>;

impl Life {
    /// Runs something on the connection. It counts as the connection, and is cut when connections are.
    fn spawn(self: &Arc<Self>, conversation: impl Future<Output = ()> + Send + 'static) {
        let life = self.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = conversation => {}
                () = life.cut.cancelled() => {}
            }
        });
    }
}

impl Connection {
    /// Where a stream is left that goes on without hyper. Nobody takes it up from an HTTP/2 connection.
    pub fn handover(&self) -> Arc<Handover<Box<Course>>> {
        self.life.handover.clone()
    }

    /// Runs what the connection was upgraded to.
    pub fn spawn(&self, conversation: impl Future<Output = ()> + Send + 'static) {
        let busy = self.life.busy.clone();
        self.life.spawn(busy.track_future(conversation));
    }
}

/// What the connections of all ways in share.
struct Server {
    app: Arc<App>,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
    busy: TaskTracker,
    cut: CancellationToken,
    shutdown: CancellationToken,
    closing: CancellationToken,
}

/// Serves `app` to everyone who connects by any of the ways, until `shutdown`.
///
/// Takes a permit before each accept, so that who comes when all are taken waits in the kernel's queue. At
/// `shutdown` it stops accepting, and every connection over HTTP/1.1 ends with its next answer; open streams and upgraded
/// connections watch the same token. When they have gone, or the `drain` is over, what is idle is closed; whatever is left
/// a moment later is cut.
pub async fn serve(
    ways: Vec<WayIn>,
    app: Arc<App>,
    permits: Arc<Semaphore>,
    drain: Duration,
    shutdown: CancellationToken,
) {
    let server = Server {
        app,
        permits,
        tasks: TaskTracker::new(),
        busy: TaskTracker::new(),
        cut: CancellationToken::new(),
        shutdown,
        closing: CancellationToken::new(),
    };
    let server = Arc::new(server);
    join_all(ways.into_iter().map(|way| server.clone().serve(way))).await;
    server.tasks.close();
    let stopped = Instant::now();
    tokio::select! {
        () = server.tasks.wait() => return,
        () = server.last_request(stopped, drain) => server.closing.cancel(),
    }
    if timeout_at(stopped + drain + LAST_WORDS, server.tasks.wait())
        .await
        .is_err()
    {
        server.cut.cancel();
        server.tasks.wait().await;
    }
}

impl Server {
    /// Until when requests are awaited on connections that are open.
    async fn last_request(&self, stopped: Instant, drain: Duration) {
        tokio::time::sleep_until(stopped + GRACE.min(drain)).await;
        self.busy.close();
        // who is still there then is told by other means
        let _ = timeout_at(stopped + drain, self.busy.wait()).await;
    }

    async fn serve(self: Arc<Self>, way: WayIn) {
        let entrance = Arc::new(way.entrance);
        match way.bound {
            Bound::Tcp(listener) => self.serve_at(listener, entrance).await,
            Bound::Unix(listener) => self.serve_at(listener, entrance).await,
        }
    }

    async fn serve_at<L: Accepts>(self: Arc<Self>, listener: L, entrance: Arc<Entrance>) {
        let (permits, shutdown) = (self.permits.clone(), self.shutdown.clone());
        accept(
            listener,
            &entrance.clone(),
            permits,
            shutdown,
            |stream, arrival, place| {
                let life = Arc::new(Life {
                    place,
                    handover: Arc::default(),
                    tasks: self.tasks.clone(),
                    busy: self.busy.clone(),
                    cut: self.cut.clone(),
                });
                let stream = WriteDeadline::new(stream, WRITE_STALL);
                let ends = Ends {
                    stopping: self.shutdown.clone(),
                    closing: self.closing.child_token(),
                };
                let app = self.app.clone();
                if entrance.is_open_to(&arrival) {
                    let connection = Connection {
                        arrival,
                        life: life.clone(),
                    };
                    life.spawn(converse(stream, connection, app, ends));
                } else {
                    let entrance = entrance.clone();
                    let entering = enter(entrance, stream, arrival, life.clone(), app, ends);
                    life.spawn(entering);
                }
            },
        )
        .await;
    }
}

/// What comes first, then HTTP in the version that was agreed on.
async fn enter<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    entrance: Arc<Entrance>,
    stream: S,
    mut arrival: Arrival,
    life: Arc<Life>,
    app: Arc<App>,
    ends: Ends,
) {
    let deadline = Instant::now() + app.head_timeout();
    // each step boxed, so that nothing is left of one while another is on
    let entering = Box::pin(entrance.enter(stream, &mut arrival, deadline, &life.place));
    let entered = tokio::select! {
        entered = entering => entered,
        () = ends.closing.cancelled() => return,
    };
    let entered = match entered {
        Ok(entered) => entered,
        Err(no_entry) => return app.note_no_entry(&no_entry, arrival.peer),
    };
    let connection = Connection { arrival, life };
    match entered {
        Entered::Plain(stream) => Box::pin(converse(stream, connection, app, ends)).await,
        Entered::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(H2) => {
            Box::pin(http2::converse(*stream, connection, app, ends)).await;
        }
        Entered::Tls(stream) => Box::pin(converse(*stream, connection, app, ends)).await,
    }
}

/// Requests and answers, by hyper, and streams, without it, in turn.
async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    connection: Connection,
    app: Arc<App>,
    ends: Ends,
) {
    let handover = connection.handover();
    let mut wire = Socket::new(stream, handover);
    loop {
        // boxed, so that nothing of it is left while a stream is on
        let answering = Box::pin(answer(wire, connection.clone(), app.clone(), &ends));
        let Some((taken_back, course)) = answering.await else {
            return;
        };
        wire = taken_back;
        let stopping = ends.stopping.child_token();
        let streaming = course.run(&mut wire, &stopping);
        match connection.life.busy.track_future(streaming).await {
            Ok(true) if !stopping.is_cancelled() => {}
            Ok(_) => {
                // it is over either way
                let _ = wire.shutdown().await;
                return;
            }
            Err(error) => return log_end(&error),
        }
    }
}

/// Answers requests until the connection ends, or a stream takes it over.
async fn answer<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    wire: Wire<S>,
    connection: Connection,
    app: Arc<App>,
    ends: &Ends,
) -> Option<(Wire<S>, Box<Course>)> {
    let handover = connection.handover();
    let (refusing, peer) = (app.clone(), connection.arrival.peer);
    let in_our_words = move |status| refusing.answer_no_request(peer, status);
    let (serving, stopping) = (app.clone(), ends.stopping.clone());
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let request = introduce(request, &connection, &serving);
        let (app, stopping) = (serving.clone(), stopping.clone());
        async move {
            let mut answer = app.answer(request).await;
            if stopping.is_cancelled() && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(header::CONNECTION, close);
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let head_timeout = app.head_timeout();
    let mut conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_header_size(HEAD_BYTES)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(Rewording::new(wire, in_our_words)), service)
        .with_upgrades();
    let mut stop = pin!(ends.closing.cancelled());
    let mut running = true;
    let ended = poll_fn(|cx| {
        if running && stop.as_mut().poll(cx).is_ready() {
            running = false;
            Pin::new(&mut conversation).graceful_shutdown();
        }
        match Pin::new(&mut conversation).poll(cx) {
            Poll::Pending if handover.is_due() => Poll::Ready(None),
            ended => ended.map(Some),
        }
    })
    .await;
    if let Some(ended) = ended {
        ended.unwrap_or_else(|error| log_end(&error));
        return None;
    }
    let parts = conversation.into_parts()?;
    let mut wire = parts.io.into_inner().into_inner();
    wire.put_back(&parts.read_buf);
    Some((wire, handover.take()?))
}

/// A request as handlers get it: with the connection it came over, whose peer a trusted proxy may have named.
fn introduce<B>(request: hyper::Request<B>, connection: &Connection, app: &App) -> Request
where
    B: hyper::body::Body<Data = Bytes, Error = hyper::Error> + Send + 'static,
{
    let mut request: Request = request.map(Body::new);
    let mut connection = connection.clone();
    connection.arrival.peer = app.peer_of(connection.arrival.peer, request.headers());
    request.extensions_mut().insert(connection);
    request
}

fn log_end(error: &dyn std::error::Error) {
    tracing::debug!(target: "tidegate::http", %error, "connection ended");
}

#[cfg(test)]
mod tests;
