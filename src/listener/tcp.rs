//! The accept loop, and MQTT over TCP.

use super::door::Door;
use crate::metrics::METRICS;
use socket2::{SockRef, TcpKeepalive};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long to wait after an accept failed, for example because no file descriptor was left.
const BACK_OFF: Duration = Duration::from_millis(100);

/// How long written data may stay unacknowledged by the peer's machine before the connection counts as broken.
const USER_TIMEOUT: Duration = Duration::from_secs(45);

/// The right to serve one socket; counts it as open until dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        METRICS.sockets_open.inc();
        Place { _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        METRICS.sockets_open.dec();
    }
}

/// Accepts until stopped. A permit is taken before each accept: at the limit, peers wait in the kernel's queue.
pub async fn accept(
    listener: TcpListener,
    permits: Arc<Semaphore>,
    stop: CancellationToken,
    serve: impl Fn(TcpStream, SocketAddr, Place),
) {
    loop {
        let permit = tokio::select! {
            () = stop.cancelled() => return,
            // the semaphore is never closed
            permit = permits.clone().acquire_owned() => match permit { Ok(permit) => permit, Err(_) => return },
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                METRICS.sockets_opened.inc();
                if prepare(&stream).is_ok() {
                    serve(stream, peer, Place::new(permit));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

/// Serves MQTT on `listener` until stopped; connections are tracked by `tasks`.
pub async fn serve(
    listener: TcpListener,
    permits: Arc<Semaphore>,
    door: Arc<Door>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    accept(listener, permits, stop, |stream, peer, place| {
        let serving = door.clone().serve(stream, peer, "tcp");
        tasks.spawn(async move {
            serving.await;
            drop(place);
        });
    })
    .await;
}

/// No delay for small packets; a peer that vanished without a word is noticed.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
}
