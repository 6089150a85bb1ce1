//! HTTP/1.1 over accepted connections, with bounds on everything a client can stretch.
//!
//! hyper answers what is no HTTP at all by itself, with a bare 400, 414 or 431: no request exists yet to have a
//! problem.

use crate::{
    http::{App, stall::WriteDeadline},
    listener::tcp::{Place, accept},
};
use axum::{body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
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
#[derive(Debug, Clone)]
pub struct Connection {
    /// The other end.
    pub peer: SocketAddr,
    /// Our end, as the peer reached it.
    pub local: SocketAddr,
    life: Arc<Life>,
}

/// What ends with a connection, shared by its requests: each has a handle, so that must be cheap.
#[derive(Debug)]
struct Life {
    /// Counts the connection until it is gone, upgraded or not.
    _place: Place,
    tasks: TaskTracker,
    cut: CancellationToken,
}

impl Connection {
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

async fn converse(
    stream: TcpStream,
    connection: Connection,
    app: Arc<App>,
    shutdown: CancellationToken,
) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(connection.clone());
        let app = app.clone();
        async move { Ok::<_, Infallible>(app.answer(request).await) }
    });
    let io = TokioIo::new(WriteDeadline::new(stream, WRITE_STALL));
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_header_size(HEAD_BYTES)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(io, service)
        .with_upgrades();
    let mut conversation = std::pin::pin!(conversation);
    let ended = tokio::select! {
        ended = conversation.as_mut() => ended,
        () = shutdown.cancelled() => {
            conversation.as_mut().graceful_shutdown();
            conversation.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(target: "tidegate::http", %error, "connection ended");
    }
}
