//! The accept loop, and MQTT over whatever it accepts.

use super::{
    arrival::Arrival,
    door::Door,
    entrance::{Entered, Entrance},
    newcomers::Seat,
    socket::{Accepts, Bound},
};
use crate::metrics::{METRICS, Refusal};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long to wait after an accept failed, for example because no file descriptor was left.
const BACK_OFF: Duration = Duration::from_millis(100);

/// The right to serve one socket; counts it as open until dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
    /// Counts it as one of its address.
    seat: OnceLock<Seat>,
}

impl Place {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        METRICS.sockets_open.inc();
        Place {
            _permit: permit,
            seat: OnceLock::new(),
        }
    }

    /// Keeps what counts it as one of its address.
    pub(super) fn take_seat(&self, seat: Option<Seat>) {
        if let Some(seat) = seat {
            // a connection has one address
            let _ = self.seat.set(seat);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        METRICS.sockets_open.dec();
    }
}

/// One way in: where connections are accepted, and what they pass before they are served.
#[derive(Debug)]
pub struct WayIn {
    /// Where.
    pub bound: Bound,
    /// What comes first.
    pub entrance: Entrance,
}

/// Accepts until stopped. A permit is taken before each accept: at the limit, peers wait in the kernel's queue.
pub async fn accept<L: Accepts>(
    listener: L,
    entrance: &Entrance,
    permits: Arc<Semaphore>,
    stop: CancellationToken,
    serve: impl Fn(L::Stream, Arrival, Place),
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
                let seat = match entrance.trusted.contains(peer) {
                    true => Ok(None),
                    false => entrance.newcomers.admit(peer),
                };
                let Ok(seat) = seat else {
                    METRICS.refused(Refusal::Address).inc();
                    continue;
                };
                // otherwise it is gone already
                if let Ok(local) = L::prepare(&stream) {
                    let arrival = Arrival::new(entrance.listener, peer, local);
                    let place = Place::new(permit);
                    place.take_seat(seat);
                    serve(stream, arrival, place);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

/// Serves MQTT on a way in until stopped; connections are tracked by `tasks`.
pub async fn serve(
    way: WayIn,
    permits: Arc<Semaphore>,
    door: Arc<Door>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let WayIn { bound, entrance } = way;
    match bound {
        Bound::Tcp(listener) => serve_at(listener, entrance, permits, door, tasks, stop).await,
        Bound::Unix(listener) => serve_at(listener, entrance, permits, door, tasks, stop).await,
    }
}

async fn serve_at<L: Accepts>(
    listener: L,
    entrance: Entrance,
    permits: Arc<Semaphore>,
    door: Arc<Door>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let entrance = Arc::new(entrance);
    accept(
        listener,
        &entrance.clone(),
        permits,
        stop.clone(),
        |stream, arrival, place| {
            let deadline = door.deadline();
            if entrance.is_open_to(&arrival) {
                let serving = door.clone().serve(stream, arrival, deadline);
                tasks.spawn(async move {
                    serving.await;
                    drop(place);
                });
                return;
            }
            let (door, entrance, stop) = (door.clone(), entrance.clone(), stop.clone());
            tasks.spawn(async move {
                let mut arrival = arrival;
                // boxed, so that nothing of it is left while the connection is served
                let entering = Box::pin(entrance.enter(stream, &mut arrival, deadline, &place));
                let entered = tokio::select! {
                    entered = entering => entered,
                    () = stop.cancelled_owned() => return,
                };
                match entered {
                    Ok(Entered::Plain(stream)) => door.serve(stream, arrival, deadline).await,
                    Ok(Entered::Tls(stream)) => door.serve(*stream, arrival, deadline).await,
                    Err(no_entry) => door.note_no_entry(&no_entry, arrival.peer),
                }
                drop(place);
            });
        },
    )
    .await;
}
