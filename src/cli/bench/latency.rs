//! How long messages take at a fixed rate, from the time they are due until a subscriber has read them.

use super::{
    frames,
    load::{Case, Load, WARM_UP, client_id},
    outcome::Outcome,
    pace::{self, Clockwork, STAMPED, stamp},
    percentile::Latency,
    process, ring, traffic,
    wire::Wire,
};
use crate::cli::client::Failure;
use crate::mqtt::frame::PacketType;
use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// How long the last messages may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a server is left alone after it was saturated.
const REST: Duration = Duration::from_millis(300);

/// When messages were due and how long they took.
type Delays = Mutex<Vec<(Duration, Duration)>>;

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
    let delays = Arc::new(Delays::default());
    let start = Instant::now();
    let mut publishers = Vec::new();
    for number in 0..load.publishers(case) {
        let topic = format!("bench/latency/{number:06}");
        let mut wire = load.door(false).open(client_id("sub", number)).await?;
        wire.subscribe(std::slice::from_ref(&topic), load.qos)
            .await?;
        tasks.spawn(receive(wire, load.payload, start, delays.clone()));
        let wire = load.door(false).open(client_id("pub", number)).await?;
        let (stream, wire) = wire.split_writer()?;
        tasks.spawn(answer(wire));
        let shape = load.shape(false);
        publishers.push(Clockwork::new(stream, shape, number as u32, &topic));
    }
    let cpu = load.pid.and_then(process::cpu);
    let (from, rate) = (start.elapsed(), load.rate);
    let time = WARM_UP + load.time();
    let pacing =
        tokio::task::spawn_blocking(move || pace::pace(&mut publishers, start, time, rate));
    let sent = pacing.await??;
    let patient = Instant::now();
    while locked(&delays).len() < sent && patient.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let cpu = load.pid.and_then(process::cpu).zip(cpu);
    let all = std::mem::take(&mut *locked(&delays));
    let mut outcome = Outcome::new(case, load);
    outcome.window = 0;
    let cpu = cpu.map(|(after, before)| after - before);
    outcome.rate(all.len() as u64, time, cpu);
    outcome.lost = (sent - all.len().min(sent)) as u64;
    outcome.rss = load.pid.and_then(process::rss);
    let warm = all.into_iter().filter(|(due, _)| *due >= from + WARM_UP);
    let mut measured: Vec<_> = warm.map(|(_, delay)| delay).collect();
    outcome.latency = Latency::of(&mut measured);
    Ok(outcome)
}

fn locked(delays: &Delays) -> MutexGuard<'_, Vec<(Duration, Duration)>> {
    delays.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn receive(
    mut wire: Wire,
    payload: usize,
    start: Instant,
    delays: Arc<Delays>,
) -> io::Result<()> {
    let mut answers = Vec::new();
    loop {
        wire.fill().await?;
        let now = start.elapsed();
        {
            let mut delays = locked(&delays);
            wire.take(|frame| match frame.kind() {
                frames::PUBLISH => {
                    if let Some(due) = stamp(frame.payload(payload)) {
                        delays.push((due, now.saturating_sub(due)));
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
            wire.answer(&answers).await?;
            answers.clear();
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
