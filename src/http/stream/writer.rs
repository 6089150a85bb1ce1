//! The course of one stream: ready, retained messages, live messages and signs of life, bye.
//!
//! Dropping a writer drops its source, which leaves the routing tree at once: a client that vanishes costs nothing
//! from then on, wherever its stream stood.

use super::{
    Retained, Wishes,
    framing::{Frames, Framing},
    random,
};
use crate::{
    broker::{
        Broker,
        outbox::CloseReason,
        stream::{Stream, StreamItem},
    },
    http::{
        envelope::{self, PayloadForm},
        problem::Problem,
    },
    message::Delivery,
};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::{pin::Pin, time::Duration};
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep, interval_at, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How many retained messages are asked for at a time.
const SNAPSHOT_STEP: usize = 64;

/// Why a stream ends, when its time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    MaxAge,
    ShuttingDown,
}

/// Writes one stream.
pub struct Writer {
    source: Stream,
    broker: Broker,
    frames: Frames,
    payload: PayloadForm,
    retained: Retained,
    many_filters: bool,
    /// Retained messages fetched but not yet written.
    snapshot: std::vec::IntoIter<Delivery>,
    /// Whether there may be more of them.
    in_snapshot: bool,
    heartbeat: Interval,
    end: Pin<Box<Sleep>>,
    ending: Ending,
    drain: Duration,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
    /// The source has nothing more to give; only the time of the end is awaited.
    exhausted: bool,
    finished: bool,
}

impl Writer {
    /// A stream that begins now.
    pub fn new(
        source: Stream,
        wishes: &Wishes,
        broker: Broker,
        drain: Duration,
        shutdown: &CancellationToken,
    ) -> Self {
        let age = random::between(wishes.max_age.mul_f64(0.8)..wishes.max_age);
        let mut heartbeat = interval_at(Instant::now() + wishes.heartbeat, wishes.heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut frames = Frames::new(wishes.framing);
        frames.greet();
        frames.retry_after(retry());
        let expires = broker.now().plus_seconds(age.as_secs());
        frames.control("ready", ready(wishes, &envelope::rfc3339(expires)));
        if wishes.lost_track {
            frames.control("gap", object(json!({"reason": "unknown"})));
        }
        Writer {
            source,
            broker,
            frames,
            payload: wishes.payload,
            retained: wishes.retained,
            many_filters: wishes.filters.len() > 1,
            snapshot: Vec::new().into_iter(),
            in_snapshot: wishes.retained != Retained::Never,
            heartbeat,
            end: Box::pin(sleep(age)),
            ending: Ending::MaxAge,
            drain,
            // a token of its own: streams do not contend for one list of waiters
            shutdown: Box::pin(shutdown.child_token().cancelled_owned()),
            exhausted: false,
            finished: false,
        }
    }

    /// The next piece of the body; `None` after the last one.
    pub async fn next_chunk(&mut self) -> Option<Bytes> {
        loop {
            if let Some(chunk) = self.frames.take() {
                return Some(chunk);
            }
            if self.finished {
                return None;
            }
            match self.in_snapshot {
                true => self.write_snapshot(),
                false => self.wait().await,
            }
        }
    }

    fn write_snapshot(&mut self) {
        while !self.frames.is_full() {
            let Some(delivery) = self.snapshot.next() else {
                self.snapshot = self.source.snapshot(SNAPSHOT_STEP).into_iter();
                self.in_snapshot = self.snapshot.len() > 0;
                if self.in_snapshot {
                    continue;
                }
                return;
            };
            self.write(&delivery, true);
        }
    }

    /// Waits for whatever comes first, and writes it with everything else that is there already.
    async fn wait(&mut self) {
        tokio::select! {
            biased;
            () = self.end.as_mut() => self.leave(),
            () = self.shutdown.as_mut(), if self.ending != Ending::ShuttingDown => self.begin_to_leave(),
            item = self.source.next(), if !self.exhausted => {
                self.take(item);
                while !self.frames.is_full() && !self.in_snapshot && !self.exhausted && !self.finished {
                    match self.source.try_next() {
                        Some(item) => self.take(item),
                        None => break,
                    }
                }
            }
            _ = self.heartbeat.tick() => self.frames.heartbeat(),
        }
    }

    fn take(&mut self, item: StreamItem) {
        match item {
            StreamItem::Message(delivery) => self.write(&delivery, false),
            StreamItem::Overflow { lost } => {
                self.frames.control(
                    "gap",
                    object(json!({"reason": "overflow", "lost_at_most": lost})),
                );
                // what the client knows of the state may be outdated
                if self.retained != Retained::Never {
                    self.source.read_retained();
                    self.in_snapshot = true;
                }
            }
            StreamItem::Closed(CloseReason::ShuttingDown) => {
                self.exhausted = true;
                if self.ending != Ending::ShuttingDown {
                    self.begin_to_leave();
                }
            }
            StreamItem::Closed(reason) => {
                let (reason, reconnect) = in_words(reason);
                self.close(reason, reconnect);
            }
        }
    }

    fn write(&mut self, delivery: &Delivery, snapshot: bool) {
        let message = &delivery.message;
        let now = self.broker.now();
        if message.is_expired(now) {
            return;
        }
        let matched = delivery.subscription_ids.as_deref().unwrap_or_default();
        let copy = envelope::Copy {
            snapshot,
            position: delivery.position,
            matched: self.many_filters.then_some(matched),
            now,
        };
        let shared = envelope::shared(message, self.payload);
        self.frames
            .message(shared, |out| envelope::write_own(out, message, copy));
    }

    /// The gateway stops: leave at a moment of our own within the drain, so that not all clients return at once.
    fn begin_to_leave(&mut self) {
        self.ending = Ending::ShuttingDown;
        self.end
            .as_mut()
            .reset(Instant::now() + random::between(Duration::ZERO..self.drain));
    }

    fn leave(&mut self) {
        match self.ending {
            Ending::MaxAge => self.close("max_age", true),
            Ending::ShuttingDown => {
                self.frames
                    .retry_after(random::between(Duration::from_secs(1)..self.drain));
                self.close("shutting_down", true);
            }
        }
    }

    fn close(&mut self, reason: &str, reconnect: bool) {
        self.frames.control(
            "bye",
            object(json!({"reason": reason, "reconnect": reconnect})),
        );
        self.finished = true;
    }
}

/// What an EventSource gets instead of an error that will pass.
pub fn busy_goodbye(problem: &Problem) -> Bytes {
    let mut frames = Frames::new(Framing::Sse);
    frames.greet();
    frames.retry_after(retry());
    let (reason, status) = (
        problem.kind().slug().replace('-', "_"),
        problem.kind().status().as_u16(),
    );
    frames.control(
        "bye",
        object(json!({"reason": reason, "status": status, "reconnect": true})),
    );
    frames.take().unwrap_or_default()
}

fn retry() -> Duration {
    random::between(Duration::from_secs(2)..Duration::from_secs(5))
}

fn ready(wishes: &Wishes, expires: &str) -> Map<String, Value> {
    let filters: Vec<_> = wishes.filters.iter().map(ToString::to_string).collect();
    let cut_off = filters.iter().any(|filter| filter.ends_with('/'));
    let mut ready = object(json!({
        "filters": filters,
        "live": true,
        "resumable": false,
        "heartbeat": wishes.heartbeat.as_secs(),
        "expires": expires,
    }));
    if cut_off {
        let hint = "filter ends with '/': if you meant '#', send it as %23";
        ready.insert("hint".to_owned(), hint.into());
    }
    ready
}

/// Why the broker ended a stream, and whether its client should come back.
fn in_words(reason: CloseReason) -> (&'static str, bool) {
    match reason {
        CloseReason::TakenOver => ("taken_over", false),
        CloseReason::TooSlow => ("too_slow", true),
        CloseReason::ShuttingDown => ("shutting_down", true),
        CloseReason::Kicked => ("kicked", false),
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
