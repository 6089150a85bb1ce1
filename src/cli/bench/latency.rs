//! How long messages take at a fixed rate.
//!
//! A thread of its own writes one message after the other, each stamped when it is written; a message that is
//! late because the thread or the server held it up is stamped with the time it was due, so that a stall counts for all
//! messages that would have been sent during it.

use super::{
    frames,
    load::{Case, Load, WARM_UP, client_id},
    outcome::Outcome,
    percentile::Latency,
    process,
    ring::{self, Shape},
    wire::Wire,
};
use crate::cli::client::Failure;
use crate::mqtt::frame::PacketType;
use std::{
    io::{self, Write},
    net::TcpStream,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Bytes of a payload that carry whose message it is and when it was sent.
const STAMPED: usize = 12;
/// A message that is later than this is stamped with the time it was due; less is the accuracy of a sleeping thread.
const LATE: Duration = Duration::from_millis(1);
/// How long the last messages may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// When messages were sent and how long they took.
type Delays = Arc<Mutex<Vec<(Duration, Duration)>>>;

/// Pairs whose publishers take turns at the rate of the load.
pub async fn measure(load: &Load) -> Result<Outcome, Failure> {
    if load.payload < STAMPED {
        return Err(format!("latency needs a payload of {STAMPED} bytes for the time").into());
    }
    let mut tasks = JoinSet::new();
    let delays = Delays::default();
    let start = Instant::now();
    let mut publishers = Vec::new();
    for number in 0..load.publishers(Case::Latency) {
        let topic = format!("bench/latency/{number:06}");
        let mut wire = load.door(false).open(client_id("sub", number)).await?;
        wire.subscribe(std::slice::from_ref(&topic), load.qos)
            .await?;
        tasks.spawn(receive(wire, load.payload, start, delays.clone()));
        let wire = load.door(false).open(client_id("pub", number)).await?;
        let (stream, wire) = wire.split_writer()?;
        tasks.spawn(answer(wire));
        publishers.push(Clockwork::new(
            stream,
            load.shape(false),
            number as u32,
            &topic,
        ));
    }
    let cpu = load.pid.and_then(process::cpu);
    let (from, rate) = (start.elapsed(), load.rate);
    let time = WARM_UP + load.time();
    let pacing = tokio::task::spawn_blocking(move || pace(&mut publishers, start, time, rate));
    let sent = pacing.await??;
    let patient = Instant::now();
    while taken(&delays).len() < sent && patient.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let cpu = load.pid.and_then(process::cpu).zip(cpu);
    let all = taken(&delays);
    let mut outcome = Outcome::new(Case::Latency, load);
    outcome.window = 0;
    outcome.rate(
        all.len() as u64,
        time,
        cpu.map(|(after, before)| after - before),
    );
    outcome.lost = (sent - all.len().min(sent)) as u64;
    outcome.rss = load.pid.and_then(process::rss);
    let mut measured: Vec<_> = all
        .into_iter()
        .filter(|(sent, _)| *sent >= from + WARM_UP)
        .map(|(_, delay)| delay)
        .collect();
    outcome.latency = Latency::of(&mut measured);
    Ok(outcome)
}

fn taken(delays: &Delays) -> Vec<(Duration, Duration)> {
    delays
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

async fn receive(mut wire: Wire, payload: usize, start: Instant, delays: Delays) -> io::Result<()> {
    let mut answers = Vec::new();
    loop {
        wire.fill().await?;
        let now = start.elapsed();
        {
            let mut delays = delays.lock().unwrap_or_else(PoisonError::into_inner);
            wire.take(|frame| match frame.kind() {
                frames::PUBLISH => {
                    if let Some(sent) = stamp(frame.payload(payload)) {
                        delays.push((sent, now.saturating_sub(sent)));
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

fn stamp(payload: &[u8]) -> Option<Duration> {
    let nanos = payload.get(4..STAMPED)?.try_into().ok()?;
    Some(Duration::from_nanos(u64::from_be_bytes(nanos)))
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

/// A publisher of the pacing thread.
struct Clockwork {
    stream: TcpStream,
    packet: Vec<u8>,
    id_at: Option<usize>,
    stamp_at: usize,
    id: u16,
}

impl Clockwork {
    fn new(stream: TcpStream, shape: Shape, index: u32, topic: &str) -> Self {
        let packet = ring::publish(shape, index, topic, 1);
        let payload = packet.len() - shape.payload;
        Clockwork {
            stream,
            packet,
            id_at: (shape.qos > 0).then(|| payload - usize::from(shape.version.is_v5()) - 2),
            stamp_at: payload + 4,
            id: 0,
        }
    }

    fn send(&mut self, stamp: Duration) -> io::Result<()> {
        if let Some(at) = self.id_at {
            self.id = self.id.checked_add(1).unwrap_or(1);
            self.packet[at..at + 2].copy_from_slice(&self.id.to_be_bytes());
        }
        let nanos = (stamp.as_nanos() as u64).to_be_bytes();
        self.packet[self.stamp_at..self.stamp_at + 8].copy_from_slice(&nanos);
        let mut left = &self.packet[..];
        while !left.is_empty() {
            match self.stream.write(left) {
                Ok(count) => left = &left[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Sends for `time`; returns how many messages were sent.
fn pace(
    publishers: &mut [Clockwork],
    start: Instant,
    time: Duration,
    rate: u32,
) -> io::Result<usize> {
    let began = Instant::now();
    let mut sent = 0;
    loop {
        let due = Duration::from_secs_f64(sent as f64 / f64::from(rate));
        if due >= time {
            return Ok(sent);
        }
        if let Some(early) = due.checked_sub(began.elapsed()) {
            std::thread::sleep(early);
        }
        let late = began.elapsed().saturating_sub(due);
        let stamp = match late > LATE {
            true => start.elapsed().saturating_sub(late),
            false => start.elapsed(),
        };
        let turn = sent % publishers.len();
        publishers[turn].send(stamp)?;
        sent += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::frames::walk;
    use crate::mqtt::Version;
    use std::{io::Read, net::TcpListener};

    #[test]
    fn identifier_and_time_are_written_where_they_are_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for (version, qos) in [(Version::V311, 0), (Version::V311, 1), (Version::V5, 1)] {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut reader, _) = listener.accept().unwrap();
            let shape = Shape {
                version,
                qos,
                retain: false,
                payload: 20,
                websocket: false,
            };
            let mut clockwork = Clockwork::new(stream, shape, 3, "a/b");
            let length = clockwork.packet.len();
            for id in 1..=2 {
                clockwork.send(Duration::from_nanos(77)).unwrap();
                let mut bytes = vec![0; length];
                reader.read_exact(&mut bytes).unwrap();
                walk(&bytes, |frame| {
                    assert_eq!(stamp(frame.payload(20)), Some(Duration::from_nanos(77)));
                    if qos > 0 {
                        assert_eq!(frame.id(), [0, id]);
                    }
                });
            }
        }
    }
}
