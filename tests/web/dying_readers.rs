//! Readers that are reset, hung up, frozen and killed: what comes back with its last id gets every message once, and in
//! order.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::task::spawn_blocking;

use crate::{
    got::{Got, WRITERS, amount},
    random::{Random, Repeat, seed},
    support::{
        DEADLINE,
        gateway::Gateway,
        http::{Request, encode},
        mqtt::Client,
        stream::{Encoding, Stream},
        unique,
        wire::{Opening, Publish},
    },
};

const SEED: &str = "TIDEGATE_TEST_SEED";

/// Publishes numbers in two ways, and counts them.
async fn write(
    gateway: Arc<Gateway>,
    topic: String,
    nth: usize,
    each: usize,
    done: Arc<AtomicUsize>,
) {
    let mut mqtt = Client::tcp(&gateway, &Opening::v5(&unique("writer"))).await;
    for number in 0..each {
        if nth.is_multiple_of(2) {
            let message = Publish::new(&topic, number.to_string(), 1);
            mqtt.publish(&message).await;
        } else {
            let request = Request::post(&format!("/api/v1/topics/{topic}"), number.to_string());
            assert_eq!(request.send(gateway.http).await.status, 200);
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads to the end; each connection ends after a few messages, with a reset or properly.
async fn read_by_socket(address: SocketAddr, filter: String, begun: String, seed: u64) -> Got {
    let mut random = Random::seeded(seed);
    let mut got = Got {
        last_id: Some(begun),
        ..Got::default()
    };
    loop {
        let target = format!("/api/v1/stream?topic={}", encode(&filter));
        let request = Request::get(&target)
            .header("Accept", "text/event-stream")
            .header("Last-Event-ID", got.last_id.as_deref().unwrap_or_default());
        // a narrow one is torn off with more on the way
        let opened = match random.once_in(2) {
            true => request.open_narrow(address).await,
            false => request.open(address).await,
        };
        let mut stream = Stream::on(opened, Encoding::Sse);
        let life = random.between(0, 60);
        for _ in 0..life {
            let event = stream.next().await;
            match event.name.as_str() {
                "ready" => {}
                "gap" => got.gaps.push(event.data),
                _ => {
                    if got.message(&event.last_id, &event.data) {
                        return got;
                    }
                }
            }
        }
        match random.once_in(2) {
            true => stream.reset(),
            false => stream.abandon(),
        }
    }
}

/// A real curl on a stream, event by event.
struct Curl {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Curl {
    fn start(address: SocketAddr, filter: &str, last_id: &str) -> Self {
        let mut child = Command::new("curl")
            .args(["-sSN", "--max-time", "300"])
            .arg(format!(
                "http://{address}/api/v1/stream?topic={}",
                encode(filter)
            ))
            .args(["-H", &format!("Last-Event-ID: {last_id}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/run.sh installs curl");
        let lines = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        Self { child, lines }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status();
        assert!(sent.expect("kill runs").success());
    }

    /// The next event that is complete: its name, its id and its data.
    fn next(&mut self) -> (String, String, Value) {
        let (mut name, mut id, mut data) = (String::new(), String::new(), None);
        loop {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line).expect("text");
            assert!(read > 0, "curl has ended");
            let line = line.trim_end_matches('\n');
            if let Some(value) = line.strip_prefix("event: ") {
                name = value.to_owned();
            } else if let Some(value) = line.strip_prefix("id: ") {
                id = value.to_owned();
            } else if let Some(value) = line.strip_prefix("data: ") {
                data = Some(serde_json::from_str(value).expect("JSON"));
            } else if let ("", Some(data)) = (line, data.take()) {
                return (name, id, data);
            }
        }
    }
}

impl Drop for Curl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads to the end by curl, which is frozen until more was published, thawed, and killed, again and again.
fn read_by_curl(
    address: SocketAddr,
    filter: &str,
    begun: String,
    seed: u64,
    published: &AtomicUsize,
    total: usize,
) -> Got {
    let mut random = Random::seeded(seed);
    let mut got = Got {
        last_id: Some(begun),
        ..Got::default()
    };
    loop {
        let last_id = got.last_id.clone().unwrap_or_default();
        let mut curl = Curl::start(address, filter, &last_id);
        let life = random.between(1, 200);
        let frozen_at = random.below(life);
        for nth in 0..life {
            if nth == frozen_at {
                curl.signal("STOP");
                let more = (published.load(Ordering::Relaxed) + 100).min(total);
                let end = Instant::now() + DEADLINE;
                while published.load(Ordering::Relaxed) < more {
                    assert!(Instant::now() < end, "nothing more is published");
                    thread::sleep(Duration::from_millis(1));
                }
                curl.signal("CONT");
            }
            let (name, id, data) = curl.next();
            match name.as_str() {
                "ready" => {}
                "gap" => got.gaps.push(data),
                _ => {
                    if got.message(&id, &data) {
                        return got;
                    }
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_befalls_its_readers_each_message_arrives_once_and_in_order() {
    let gateway = Arc::new(Gateway::start(&[]));
    let root = unique("violence");
    let filter = format!("{root}/#");
    let each = amount(10_000) / WRITERS;
    let (seed, _) = seed(SEED);
    let _repeat = Repeat(format!("{SEED}={seed}"));
    let mut first = Stream::open(gateway.http, Encoding::Sse, &[&filter], "").await;
    let begun = first.next().await.last_id;
    first.abandon();

    let published = Arc::new(AtomicUsize::new(0));
    let mut writers = vec![];
    for nth in 0..WRITERS {
        let topic = format!("{root}/{nth}");
        let (gateway, published) = (gateway.clone(), published.clone());
        writers.push(tokio::spawn(write(gateway, topic, nth, each, published)));
    }
    let sockets: Vec<_> = (0..2)
        .map(|nth| {
            let reading = read_by_socket(gateway.http, filter.clone(), begun.clone(), seed + nth);
            tokio::spawn(reading)
        })
        .collect();
    let curls: Vec<_> = (2..4)
        .map(|nth| {
            let (address, filter, begun) = (gateway.http, filter.clone(), begun.clone());
            let (published, total) = (published.clone(), WRITERS * each);
            spawn_blocking(move || {
                read_by_curl(address, &filter, begun, seed + nth, &published, total)
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("the writer is fine");
    }
    let end = Request::post(&format!("/api/v1/topics/{root}/end"), "end");
    assert_eq!(end.send(gateway.http).await.status, 200);
    for (nth, reader) in sockets.into_iter().chain(curls).enumerate() {
        let got = reader.await.expect("the reader is fine");
        got.is_everything_once(&root, each, &format!("reader {nth}"));
    }
}
