//! Publishing at a fixed rate: when each message is due is known beforehand, and no message waits for another.
//!
//! A thread of its own sleeps until messages are due and writes them; it never spins. Each is stamped with the time it
//! was due, not with the time it was written: what holds the thread or the server up counts for every message that
//! should have gone out meanwhile.

use super::ring::{self, Shape};
use std::{
    io::{self, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

/// Bytes of a payload that carry whose message it is and when it was due.
pub const STAMPED: usize = 12;
/// Up to this rate each message is due at a time of its own; above it they are due in bursts, since a write for each
/// would cost more than the server takes.
const ONE_BY_ONE: u32 = 20_000;
/// The time between bursts.
const BURST: Duration = Duration::from_millis(1);
/// How long to leave a full socket alone.
const FULL: Duration = Duration::from_micros(50);

/// When a message was due, as its payload says.
pub fn stamp(payload: &[u8]) -> Option<Duration> {
    let nanos = payload.get(4..STAMPED)?.try_into().ok()?;
    Some(Duration::from_nanos(u64::from_be_bytes(nanos)))
}

/// Lets sleeping threads of this process that start from now on wake without the delay by which Linux saves power.
pub fn sleep_precisely() {
    // where that is not possible, delays come out longer by the same for every server
    let _ = std::fs::write("/proc/self/timerslack_ns", "1");
}

/// A publisher of the pacing thread.
#[derive(Debug)]
pub struct Clockwork {
    stream: TcpStream,
    packet: Vec<u8>,
    id_at: Option<usize>,
    stamp_at: usize,
    id: u16,
    batch: Vec<u8>,
}

impl Clockwork {
    /// Publishes to one topic; `stream` does not block.
    pub fn new(stream: TcpStream, shape: Shape, index: u32, topic: &str) -> Self {
        let packet = ring::publish(shape, index, topic, 1);
        let payload = packet.len() - shape.payload;
        Clockwork {
            stream,
            packet,
            id_at: (shape.qos > 0).then(|| payload - usize::from(shape.version.is_v5()) - 2),
            stamp_at: payload + 4,
            id: 0,
            batch: Vec::new(),
        }
    }

    /// Writes `count` messages that were due at `stamp`.
    fn send(&mut self, count: usize, stamp: Duration) -> io::Result<()> {
        let nanos = (stamp.as_nanos() as u64).to_be_bytes();
        self.packet[self.stamp_at..self.stamp_at + 8].copy_from_slice(&nanos);
        self.batch.clear();
        for _ in 0..count {
            if let Some(at) = self.id_at {
                self.id = self.id.checked_add(1).unwrap_or(1);
                self.packet[at..at + 2].copy_from_slice(&self.id.to_be_bytes());
            }
            self.batch.extend_from_slice(&self.packet);
        }
        let mut left = &self.batch[..];
        while !left.is_empty() {
            match self.stream.write(left) {
                Ok(count) => left = &left[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(FULL);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Lets the publishers take turns for `time`, with stamps counted from `start`; returns how many messages were sent.
pub fn pace(
    publishers: &mut [Clockwork],
    start: Instant,
    time: Duration,
    rate: u32,
) -> io::Result<usize> {
    let began = start.elapsed();
    let all = publishers.len();
    let mut sent = 0;
    for (at, due) in schedule(rate).take_while(|(at, _)| *at < time) {
        let at = began + at;
        if let Some(early) = at.checked_sub(start.elapsed()) {
            std::thread::sleep(early);
        }
        let count = due - sent;
        for turn in 0..count.min(all) {
            let share = count / all + usize::from(turn < count % all);
            publishers[(sent + turn) % all].send(share, at)?;
        }
        sent = due;
    }
    Ok(sent)
}

/// Times at which messages are due, and how many are due by then.
fn schedule(rate: u32) -> impl Iterator<Item = (Duration, usize)> {
    let rate_per_second = f64::from(rate);
    let step = match rate <= ONE_BY_ONE {
        true => 1.0 / rate_per_second,
        false => BURST.as_secs_f64(),
    };
    (0_usize..).map(move |nth| {
        let due = (rate_per_second * step * (nth + 1) as f64).round() as usize;
        (Duration::from_secs_f64(step * nth as f64), due)
    })
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
            let mut bytes = vec![0; 2 * clockwork.packet.len()];
            clockwork.send(2, Duration::from_nanos(77)).unwrap();
            reader.read_exact(&mut bytes).unwrap();
            let mut ids = vec![];
            walk(&bytes, |frame| {
                assert_eq!(stamp(frame.payload(20)), Some(Duration::from_nanos(77)));
                ids.push(frame.id()[1]);
            });
            assert_eq!(ids.len(), 2);
            assert!(qos == 0 || ids == [1, 2]);
        }
    }

    #[test]
    fn slow_messages_are_due_one_by_one_and_fast_ones_in_bursts() {
        let slow: Vec<_> = schedule(5_000).take(3).collect();
        let micros = Duration::from_micros;
        assert_eq!(slow, [(micros(0), 1), (micros(200), 2), (micros(400), 3)]);
        let fast: Vec<_> = schedule(250_500).take(3).map(|(_, due)| due).collect();
        assert_eq!(fast, [251, 501, 752]);
    }

    #[test]
    fn every_publisher_gets_its_share_of_a_burst() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shape = Shape {
            version: Version::V311,
            qos: 0,
            retain: false,
            payload: 20,
            websocket: false,
        };
        let (mut publishers, mut readers) = (vec![], vec![]);
        for _ in 0..3 {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            publishers.push(Clockwork::new(stream, shape, 0, "a"));
            readers.push(listener.accept().unwrap().0);
        }
        // two bursts of 25
        let time = Duration::from_millis(2);
        let sent = pace(&mut publishers, Instant::now(), time, 25_000).unwrap();
        drop(publishers);
        let counts = readers.iter_mut().map(|reader| {
            let mut bytes = vec![];
            reader.read_to_end(&mut bytes).unwrap();
            let mut count = 0;
            walk(&bytes, |_| count += 1);
            count
        });
        assert_eq!((sent, counts.collect::<Vec<_>>()), (50, vec![17, 17, 16]));
    }
}
