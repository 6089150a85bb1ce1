//! HTTP/1.1 over accepted connections, with bounds on everything a client can stretch.
//!
//! hyper answers what is no HTTP at all by itself, with a bare 400, 414 or 431: see [`Rewording`].

use crate::{
    http::{
        App,
        handover::{Handover, Socket},
        rewording::Rewording,
        stall::WriteDeadline,
        stream::Course,
    },
    listener::tcp::{Place, accept},
};
use axum::{body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    future::poll_fn,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A request's head must be complete within this time, from the first byte or the end of the answer before it.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// A connection that takes none of what is written to it for this long is reset.
const WRITE_STALL: Duration = Duration::from_secs(30);
/// The head of a request: a URI of 64 KiB, the most hyper takes, and 16 KiB of headers.
const HEAD_BYTES: usize = (64 + 16) * 1024;
/// hyper's bound on what it reads ahead of and gathers before a write.
const BUFFER_BYTES: usize = 256 * 1024;
/// How long connections get, beyond the drain, before they are cut.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a handler may know of the connection behind its request; an extension of every request.
#[derive(Clone)]
pub struct Connection {
    /// The other end.
    pub peer: SocketAddr,
    /// Our end, as the peer reached it.
    pub local: SocketAddr,
    life: Arc<Life>,
}

/// What ends with a connection, shared by its requests: each has a handle, so that must be cheap.
struct Life {
    /// Counts the connection until it is gone, upgraded or not.
    _place: Place,
    handover: Arc<Handover<Box<Course>>>,
    tasks: TaskTracker,
    cut: CancellationToken,
}

/// What is under hyper, and under a stream that has left it.
type Wire = Socket<WriteDeadline<TcpStream>, Box<Course>>;

impl Connection {
    /// Where a stream is left that goes on without hyper.
    pub fn handover(&self) -> Arc<Handover<Box<Course>>> {
        self.life.handover.clone()
    }

    /// Runs what the connection was upgraded to. It counts as this connection, and is cut when connections are.
    pub fn spawn(&self, conversation: impl Future<Output = ()> + Send + 'static) {
        let life = self.life.clone();
        self.life.tasks.spawn(async move {
            tokio::select! {
                () = conversation => {}
                () = life.cut.cancelled() => {}
            }
        });
    }
}

/// Serves `app` to everyone who connects, until `shutdown`.
///
/// Takes a permit before each accept, so that who comes when all are taken waits in the kernel's queue. At
/// `shutdown` it stops accepting and idle connections end; open streams and upgraded connections watch the same
/// token; whatever is left after `drain` and a moment more is cut.
pub async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    permits: Arc<Semaphore>,
    drain: Duration,
    shutdown: CancellationToken,
) {
    let tasks = TaskTracker::new();
    let cut = CancellationToken::new();
    accept(
        listener,
        permits,
        shutdown.clone(),
        |stream, peer, place| {
            // a socket without a local address is gone already
            let Ok(local) = stream.local_addr() else {
                return;
            };
            let connection = Connection {
                peer,
                local,
                life: Arc::new(Life {
                    _place: place,
                    handover: Arc::default(),
                    tasks: tasks.clone(),
                    cut: cut.clone(),
                }),
            };
            // a token of its own: connections do not contend for one list of waiters
            let stopping = shutdown.child_token();
            connection.spawn(converse(stream, connection.clone(), app.clone(), stopping));
        },
    )
    .await;
    tasks.close();
    if tokio::time::timeout(drain + LAST_WORDS, tasks.wait())
        .await
        .is_err()
    {
        cut.cancel();
        tasks.wait().await;
    }
}

/// Requests and answers, by hyper, and streams, without it, in turn.
async fn converse(
    stream: TcpStream,
    connection: Connection,
    app: Arc<App>,
    stopping: CancellationToken,
) {
    let handover = connection.handover();
    let mut wire = Socket::new(WriteDeadline::new(stream, WRITE_STALL), handover);
    loop {
        // boxed, so that nothing of it is left while a stream is on
        let answering = Box::pin(answer(wire, connection.clone(), app.clone(), &stopping));
        let Some((taken_back, course)) = answering.await else {
            return;
        };
        wire = taken_back;
        match course.run(&mut wire, &stopping).await {
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
async fn answer(
    wire: Wire,
    connection: Connection,
    app: Arc<App>,
    stopping: &CancellationToken,
) -> Option<(Wire, Box<Course>)> {
    let handover = connection.handover();
    let (refusing, peer) = (app.clone(), connection.peer);
    let in_our_words = move |status| refusing.answer_no_request(peer, status);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(connection.clone());
        let app = app.clone();
        async move { Ok::<_, Infallible>(app.answer(request).await) }
    });
    let mut conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_header_size(HEAD_BYTES)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(Rewording::new(wire, in_our_words)), service)
        .with_upgrades();
    let mut stop = pin!(stopping.cancelled());
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

fn log_end(error: &dyn std::error::Error) {
    tracing::debug!(target: "tidegate::http", %error, "connection ended");
}

#[cfg(test)]
mod tests;
