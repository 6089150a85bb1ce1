//! How long messages take at a fixed rate, from the time they are due until a subscriber has read them.

use super::{
    frames,
    load::{Case, Load, WARM_UP, client_id},
    outcome::Outcome,
    pace::{self, Clockwork, STAMPED, stamp},
    percentile::Histogram,
    process, ring, traffic,
    wire::Wire,
};
use crate::cli::client::Failure;
use crate::mqtt::packet_type::PacketType;
use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// How long the last messages may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a server is left alone after it was saturated.
const REST: Duration = Duration::from_millis(300);

/// What came, as the subscribers saw it.
#[derive(Debug, Default)]
struct Seen {
    count: usize,
    delays: Histogram,
}

/// Pairs whose publishers take turns at half of what they reach without a limit.
pub async fn at_half_load(load: &Load) -> Result<Outcome, Failure> {
    let mut saturated = traffic::pairs(load, false, 1).await?;
    let most = saturated.measure(Case::Pairs, load).await?.per_second;
    drop(saturated);
    tokio::time::sleep(REST).await;
    let half = Load {
        rate: (most / 2.0).max(1.0) as u32,
        ..load.clone()
    };
    measure(Case::HalfLoad, &half).await
}

/// Pairs whose publishers take turns at the rate of the load.
pub async fn measure(case: Case, load: &Load) -> Result<Outcome, Failure> {
    if load.payload < STAMPED {
        return Err(format!("{case} needs a payload of {STAMPED} bytes for the time").into());
    }
    pace::sleep_precisely();
    let mut tasks = JoinSet::new();
    let seen = Arc::new(Mutex::<Seen>::default());
    let start = Instant::now();
    let measured_from = Arc::new(OnceLock::new());
    let mut publishers = Vec::new();
    for number in 0..load.publishers(case) {
        let topic = format!("bench/latency/{number:06}");
        let mut wire = load.door(false).open(client_id("sub", number)).await?;
        wire.subscribe(std::slice::from_ref(&topic), load.qos)
            .await?;
        let receiver = Receiver {
            wire,
            payload: load.payload,
            start,
            measured_from: measured_from.clone(),
            seen: seen.clone(),
        };
        tasks.spawn(receiver.run());
        let wire = load.door(false).open(client_id("pub", number)).await?;
        let (stream, wire) = wire.split_writer()?;
        tasks.spawn(answer(wire));
        let shape = load.shape(false);
        publishers.push(Clockwork::new(stream, shape, number as u32, &topic));
    }
    let cpu = load.pid.and_then(process::cpu);
    let _ = measured_from.set(start.elapsed() + WARM_UP);
    let (time, rate) = (WARM_UP + load.time(), load.rate);
    let pacing =
        tokio::task::spawn_blocking(move || pace::pace(&mut publishers, start, time, rate));
    let sent = pacing.await??;
    let patient = Instant::now();
    while locked(&seen).count < sent && patient.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let cpu = load.pid.and_then(process::cpu).zip(cpu);
    let cpu = cpu.map(|(after, before)| after - before);
    let seen = locked(&seen);
    let mut outcome = Outcome::new(case, load);
    outcome.window = 0;
    outcome.rate(seen.count as u64, time, cpu);
    outcome.lost = (sent - seen.count.min(sent)) as u64;
    outcome.rss = load.pid.and_then(process::rss);
    outcome.latency = seen.delays.latency();
    Ok(outcome)
}

fn locked(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A subscriber.
struct Receiver {
    wire: Wire,
    payload: usize,
    start: Instant,
    /// What was due earlier is not measured.
    measured_from: Arc<OnceLock<Duration>>,
    seen: Arc<Mutex<Seen>>,
}

impl Receiver {
    /// Receives for as long as it is polled.
    async fn run(mut self) -> io::Result<()> {
        let mut answers = Vec::new();
        loop {
            self.wire.fill().await?;
            let now = self.start.elapsed();
            let from = self.measured_from.get().copied().unwrap_or(Duration::MAX);
            {
                // only this thread takes it while messages flow
                let mut seen = locked(&self.seen);
                self.wire.take(|frame| match frame.kind() {
                    frames::PUBLISH => {
                        seen.count += 1;
                        if let Some(due) =
                            stamp(frame.payload(self.payload)).filter(|due| *due >= from)
                        {
                            seen.delays.add(now.saturating_sub(due));
                        }
                        match frame.qos() {
                            0 => {}
                            1 => ring::put_answer(&mut answers, PacketType::PubAck, frame.id()),
                            _ => ring::put_answer(&mut answers, PacketType::PubRec, frame.id()),
                        }
                    }
                    frames::PUBREL => {
                        ring::put_answer(&mut answers, PacketType::PubComp, frame.id());
                    }
                    _ => {}
                })?;
            }
            if !answers.is_empty() {
                self.wire.answer(&answers).await?;
                answers.clear();
            }
        }
    }
}

/// Reads what the server says to a publisher. Its few bytes go into a socket that is never full, so they do not mix with
/// those of the thread that publishes.
async fn answer(mut wire: Wire) -> io::Result<()> {
    let mut release = Vec::new();
    loop {
        wire.fill().await?;
        wire.take(|frame| {
            if frame.kind() == frames::PUBREC {
                ring::put_answer(&mut release, PacketType::PubRel, frame.id());
            }
        })?;
        if !release.is_empty() {
            wire.answer(&release).await?;
            release.clear();
        }
    }
}
