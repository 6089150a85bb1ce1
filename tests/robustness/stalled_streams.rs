//! Very many streams whose readers have stopped: what they cost, what their neighbours notice, and what they get when
//! they read again.

use std::{
    collections::HashMap,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::time::MissedTickBehavior;

use crate::support::{
    DEADLINE,
    gateway::Gateway,
    http::{Request, encode},
    mqtt::Client,
    stream::{Encoding, Stream},
    wire::{self, Opening, Publish, Version},
    within,
};

const MIB: u64 = 1 << 20;
const TOPIC: &str = "stalled/a";

/// Messages in each hundredth of a second: about 5,000 in a second.
const BURST: usize = 50;

/// How wide each message is.
const WIDTH: usize = 1_000;

/// How far a healthy reader of this process may be behind before its publisher waits: half of what the tail holds, so
/// that a machine with other work does not make it a slow one.
const LEAD: usize = 2_000;

/// The log's tail is far smaller than what is published, so that a stalled stream falls off its end.
const SETTINGS: &[&str] = &[
    "--set",
    "log.level=warn",
    "--set",
    "history_defaults.tail_bytes=5 MiB",
];

fn is_long() -> bool {
    std::env::var_os("TIDEGATE_TEST_LONG").is_some()
}

fn offset(cursor: &str) -> u64 {
    let (_, offset) = cursor.split_once('-').expect("epoch and offset");
    offset.parse().expect("a number")
}

/// Opens a stream and reads nothing but its head.
async fn stall(gateway: &Gateway, encoding: Encoding) -> Stream {
    let accept = match encoding {
        Encoding::Sse => "text/event-stream",
        Encoding::Ndjson => "application/x-ndjson",
    };
    let target = format!("/api/v1/stream?topic={}", encode(TOPIC));
    let request = Request::get(&target).header("Accept", accept);
    let opened = request.open_narrow(gateway.http).await;
    assert_eq!(opened.head.status, 200);
    Stream::on(opened, encoding)
}

/// Reads to the last message; the number and the position of each. Tells how many it has.
async fn read_all(mut stream: Stream, last: usize, so_far: Arc<AtomicUsize>) -> Vec<(usize, u64)> {
    let mut got = vec![];
    loop {
        let event = stream.message().await;
        let (number, at) = numbered(&event.data);
        got.push((number, at));
        so_far.store(got.len(), Ordering::Relaxed);
        if number == last {
            return got;
        }
    }
}

fn numbered(data: &serde_json::Value) -> (usize, u64) {
    let text = data["payload"].as_str().expect("text").trim();
    let at = offset(data["cursor"].as_str().expect("a cursor"));
    (text.parse().expect("a number"), at)
}

/// Publishes the numbers below `count` at their pace, the last of each burst so that it is acknowledged.
async fn publish(gateway: &Gateway, count: usize, readers: &[Arc<AtomicUsize>]) {
    let mut publisher = Client::tcp(gateway, &Opening::v311("in")).await;
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let message = |number: usize, qos| Publish::new(TOPIC, format!("{number:<WIDTH$}"), qos);
    for burst in 0..count / BURST {
        pace.tick().await;
        let first = burst * BURST;
        let mut bytes = vec![];
        for number in first..first + BURST - 1 {
            bytes.extend(wire::publish(Version::V311, &message(number, 0)));
        }
        publisher.send(&bytes).await;
        publisher.publish(&message(first + BURST - 1, 1)).await;
        let is_near = |reader: &Arc<AtomicUsize>| reader.load(Ordering::Relaxed) + LEAD > first;
        within("the healthy readers", async {
            while !readers.iter().all(is_near) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }
    publisher.disconnect().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn very_many_stalled_streams_cost_little_disturb_nobody_and_are_told_the_truth_when_they_wake()
 {
    let (streams, count) = if is_long() {
        (1_000, 25_000)
    } else {
        (100, 10_000)
    };
    let gateway = Gateway::start(SETTINGS);
    let (mut healthy, mut readers) = (vec![], vec![]);
    for encoding in [
        Encoding::Sse,
        Encoding::Ndjson,
        Encoding::Sse,
        Encoding::Ndjson,
    ] {
        let stream = Stream::ready(gateway.http, encoding, &[TOPIC], "").await;
        let so_far = Arc::new(AtomicUsize::new(0));
        healthy.push(tokio::spawn(read_all(stream, count - 1, so_far.clone())));
        readers.push(so_far);
    }
    let mut stalled = vec![];
    for nth in 0..streams {
        let encoding = [Encoding::Sse, Encoding::Ndjson][nth % 2];
        stalled.push(stall(&gateway, encoding).await);
    }
    let before = gateway.resident();
    publish(&gateway, count, &readers).await;
    let mut positions = HashMap::new();
    for reader in healthy {
        let got = reader.await.expect("the reader is fine");
        let numbers: Vec<usize> = got.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (0..count).collect::<Vec<_>>());
        positions.extend(got);
    }

    // What one of them may hold: a buffer of 64 KiB that its socket does not take, which one message more may have made
    // twice as large; a queue of 256 messages, of which each is shared with all, until it falls back to the log. All
    // together: the tail, and what was on its way through it.
    let grown = gateway.resident().saturating_sub(before);
    let bound = streams as u64 * 192 * 1024 + 24 * MIB;
    assert!(
        grown < bound,
        "{} MiB more for {streams} stalled streams, {} allowed",
        grown / MIB,
        bound / MIB
    );

    let mut gaps = 0;
    for stream in stalled.into_iter().step_by(streams / 10) {
        gaps += wake(&gateway, stream, count, &positions).await;
    }
    assert!(
        gaps > 0,
        "the log had let go of nothing: this test asked nothing"
    );
}

/// Reads what a stalled stream has, over as many connections as it takes: all of it in order, but for what a gap names at
/// the place where the log had let go of it. Tells how many gaps there were.
///
/// There may be several: whenever the kernel takes more for the stream in between, as it does when it finds room for
/// larger buffers, the gateway reads on in the log, and stalls again. But each is told once, with messages behind it.
async fn wake(
    gateway: &Gateway,
    mut stream: Stream,
    count: usize,
    positions: &HashMap<usize, u64>,
) -> usize {
    let (mut next, mut place, mut gap_to) = (0, None::<String>, None);
    let (mut gaps, mut reached) = (0, 0);
    loop {
        let Some(event) = stream.next_or_end().await else {
            // it was given up meanwhile: it goes on where it was
            let since = place.as_deref().map(|at| format!("since={at}"));
            let since = since.expect("it has heard where it is");
            stream = Stream::open(gateway.http, stream.encoding, &[TOPIC], &since).await;
            continue;
        };
        match event.name.as_str() {
            "ready" => place = event.data["since"].as_str().map(str::to_owned),
            "gap" => {
                gaps += 1;
                assert_eq!(gap_to, None, "two gaps in one place: {event:?}");
                let told = |end: &str| event.data[end].as_str().expect("a place").to_owned();
                // it begins where the stream is, and not behind what is missing
                let from = offset(&told("from"));
                assert!(from < positions[&next], "{event:?} before message {next}");
                assert!(reached <= from, "{event:?}, and {reached} was there");
                let to = told("to");
                gap_to = Some(offset(&to));
                place = Some(to);
            }
            "message" => {
                let (number, at) = numbered(&event.data);
                reached = at;
                place = event.data["cursor"].as_str().map(str::to_owned);
                assert!(number >= next, "{number} again, {next} was due");
                for missing in next..number {
                    let position = positions[&missing];
                    let is_told = gap_to.is_some_and(|to| position <= to);
                    assert!(
                        is_told,
                        "{missing} at {position} is missing, told up to {gap_to:?}"
                    );
                }
                if let Some(to) = gap_to.take() {
                    assert!(
                        at > to,
                        "{number} at {at} is there, and told as missing up to {to}"
                    );
                }
                next = number + 1;
                if next == count {
                    break;
                }
            }
            "heartbeat" => {}
            other => panic!("{other}: {event:?}"),
        }
    }
    gaps
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kernel_asks_whether_the_peer_of_a_stream_is_still_there() {
    let gateway = Gateway::start(&[]);
    let _stream = Stream::ready(gateway.http, Encoding::Sse, &[TOPIC], "").await;
    // the timer that `ss` shows is set by SO_KEEPALIVE, and runs for TCP_KEEPIDLE while nothing else is to be done
    let filter = format!("( sport = :{} )", gateway.http.port());
    let end = Instant::now() + DEADLINE;
    loop {
        let shown = Command::new("ss")
            .args(["-tnoH", "state", "established", &filter])
            .output();
        let shown = shown.expect("tests/run.sh installs ss");
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        let sockets: Vec<&str> = text.lines().collect();
        let timer = sockets
            .first()
            .and_then(|line| line.split_once("timer:(keepalive,"));
        if let (1, Some((_, left))) = (sockets.len(), timer) {
            let left = left.split(',').next().expect("how long");
            let is_soon = left == "1min" || left.ends_with("sec") || left.ends_with("ms");
            assert!(is_soon, "asked whether it is there after {left}: {text}");
            break;
        }
        // what was written is acknowledged at once by this machine
        assert!(Instant::now() < end, "no keep-alive: {text}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_takes_nothing_for_half_a_minute_is_given_up() {
    if !is_long() {
        return;
    }
    let gateway = Gateway::start(&[]);
    let _stalled = stall(&gateway, Encoding::Sse).await;
    let mut publisher = Client::tcp(&gateway, &Opening::v311("in")).await;
    for _ in 0..200 {
        let message = Publish::new(TOPIC, vec![b'x'; 100_000], 1);
        publisher.publish(&message).await;
    }
    let begun = Instant::now();
    let open = async {
        loop {
            let page = Request::get("/metrics").send(gateway.http).await.text();
            if page.contains("tidegate_streams_open 0\n") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    within("the end of the stalled stream", open).await;
    assert!(begun.elapsed() > Duration::from_secs(20), "no sooner");
}
