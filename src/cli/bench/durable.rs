//! Messages that are kept for sessions that are away: how many, how long their acknowledgements take, and how many of
//! them share a sync.
//!
//! The sessions are opened and left, and ended when all is measured, so that the server keeps nothing. Should this
//! process not come to that, they expire.

use super::{
    flow::Flow,
    frames,
    load::{Case, Load, WARM_UP, client_id},
    outcome::Outcome,
    percentile::Histogram,
    ring::Ring,
    syncs,
    traffic::{OPENING, Traffic},
    wire::{Door, Wire},
};
use crate::{cli::client::Failure, mqtt::Version};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

/// Seconds that the server keeps a session: longer than anybody measures.
const EXPIRY: u32 = 3600;

/// Sessions that are ended at a time: a server may let each of them wait for the disk.
const ENDING: usize = 256;

/// What all sessions subscribe to.
const FILTER: &str = "bench/durable/+";

/// Publishes at QoS 1 what matches sessions that are away.
pub async fn measure(load: &Load) -> Result<Outcome, Failure> {
    let load = Load {
        qos: 1,
        ..load.clone()
    };
    // only that version can say for how long a session is to be kept
    let door = Door {
        version: Version::V5,
        ..load.door(false)
    };
    let outcome = match park(&door, load.subscribers(Case::Durable)).await {
        Ok(()) => publish(&load).await,
        Err(error) => Err(error),
    };
    let ended = end(&door, load.subscribers(Case::Durable)).await;
    let outcome = outcome?;
    ended?;
    Ok(outcome)
}

/// Opens the sessions and leaves them.
async fn park(door: &Door, sessions: usize) -> Result<(), Failure> {
    stream::iter(0..sessions)
        .map(|number| async move {
            let id = client_id("away", number);
            let mut wire = door.open_session(id, Some(EXPIRY)).await?;
            wire.subscribe(&[FILTER.to_owned()], 1).await?;
            wire.leave().await?;
            Ok(())
        })
        .buffer_unordered(OPENING)
        .try_collect()
        .await
}

/// Ends the sessions, and with them what waits for them.
async fn end(door: &Door, sessions: usize) -> Result<(), Failure> {
    stream::iter(0..sessions)
        .map(|number| async move {
            let wire = door.open(client_id("away", number)).await?;
            wire.leave().await?;
            Ok(())
        })
        .buffer_unordered(ENDING)
        .try_collect()
        .await
}

async fn publish(load: &Load) -> Result<Outcome, Failure> {
    let case = Case::Durable;
    let mut traffic = Traffic::default();
    let window = load.window(case);
    let delays = Arc::new(Mutex::<Histogram>::default());
    let measured = Arc::new(AtomicBool::new(false));
    for number in 0..load.publishers(case) {
        let topics = (0..window).map(|_| format!("bench/durable/{number:06}"));
        let keeper = Keeper {
            wire: load.door(false).open(client_id("pub", number)).await?,
            ring: Ring::new(load.shape(false), number as u32, topics),
            flow: Arc::new(Flow::new(1)),
            window: window.into(),
            open: traffic.open.clone(),
            measured: measured.clone(),
            delays: delays.clone(),
        };
        traffic.flows.push(keeper.flow.clone());
        traffic.tasks.spawn(keeper.run());
    }
    let beside = async {
        tokio::time::sleep(WARM_UP).await;
        measured.store(true, Relaxed);
        let syncs = syncs::per_second(load).await;
        measured.store(false, Relaxed);
        syncs
    };
    let (outcome, syncs) = tokio::join!(traffic.measure(case, load), beside);
    let mut outcome = outcome?;
    outcome.syncs_per_second = syncs;
    outcome.latency = delays
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .latency();
    Ok(outcome)
}

/// A publisher that takes the time of each acknowledgement.
struct Keeper {
    wire: Wire,
    ring: Ring,
    /// An acknowledgement counts as the delivery.
    flow: Arc<Flow>,
    window: u64,
    /// Whether to publish now.
    open: Arc<AtomicBool>,
    /// Whether delays count now.
    measured: Arc<AtomicBool>,
    delays: Arc<Mutex<Histogram>>,
}

impl Keeper {
    /// Publishes while the gate is open, reads for as long as it is polled.
    async fn run(mut self) -> io::Result<()> {
        let window = self.window.min(self.wire.receive_maximum.into());
        // PUBACKs come in the order of the messages [MQTT-4.6.0-2]
        let mut sent_at = VecDeque::new();
        loop {
            let free = window - sent_at.len() as u64;
            if free > 0 && self.open.load(Relaxed) {
                let sent = self.flow.sent();
                self.flow.send(free);
                let now = Instant::now();
                sent_at.extend((0..free).map(|_| now));
                let batch = self.ring.slice(sent, free as usize);
                self.wire.write(batch).await?;
            }
            tokio::select! {
                biased;
                filled = self.wire.fill() => {
                    filled?;
                    self.acknowledge(&mut sent_at)?;
                }
                () = self.flow.wake.notified() => {}
            }
        }
    }

    fn acknowledge(&mut self, sent_at: &mut VecDeque<Instant>) -> io::Result<()> {
        let now = Instant::now();
        let (mut done, mut refusal) = (0, None);
        let measured = self.measured.load(Relaxed);
        // one thread generates all load: nobody else waits for this
        let mut delays = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
        self.wire.take(|frame| {
            if frame.kind() != frames::PUBACK {
                return;
            }
            done += 1;
            refusal = refusal.or(frame.body().get(2).filter(|code| **code >= 0x80).copied());
            if let Some(at) = sent_at.pop_front().filter(|_| measured) {
                delays.add(now - at);
            }
        })?;
        drop(delays);
        match refusal {
            Some(code) => Err(io::Error::other(format!(
                "a message was refused with {code:#04x}"
            ))),
            None => {
                self.flow.receive(done);
                Ok(())
            }
        }
    }
}
