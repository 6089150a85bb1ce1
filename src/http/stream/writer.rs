//! The course of one stream: ready, retained messages, live messages and signs of life, bye.
//!
//! Dropping a writer drops its source, which leaves the routing tree at once: a client that vanishes costs nothing
//! from then on, wherever its stream stood.

use super::{
    Wishes,
    framing::{Frames, Framing},
    outgoing::Coding,
    random,
};
use crate::{
    broker::{
        Broker,
        outbox::CloseReason,
        resume::Gap,
        stream::{self, Stream, StreamItem},
    },
    http::{
        envelope::{self, PayloadForm},
        handover::Socket,
        problem::Problem,
        rendering::Rendered,
        since::Retained,
    },
    message::{Delivery, Position},
};
use bytes::Bytes;
use futures_util::{Stream as Chunks, stream::unfold};
use serde_json::{Map, Value, json};
use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, Sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

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
    heartbeat: Duration,
    /// Whether signs of life tell how far the client has got.
    heartbeat_ids: bool,
    next_heartbeat: Instant,
    end: Instant,
    ending: Ending,
    drain: Duration,
    /// The source has nothing more to give; only the time of the end is awaited.
    exhausted: bool,
    finished: bool,
}

impl Writer {
    /// A stream that begins where its source does.
    pub fn new(mut source: Stream, wishes: &Wishes, broker: Broker, drain: Duration) -> Self {
        let age = random::between(wishes.max_age.mul_f64(0.8)..wishes.max_age);
        let mut frames = Frames::new(wishes.framing);
        frames.greet();
        frames.retry_after(retry());
        let expires = broker.now().plus_seconds(age.as_secs());
        let cursor = source.beginning();
        let gap = source.take_gap();
        let ready = ready(&source, wishes, cursor, &envelope::rfc3339(expires));
        let mut snapshot = Vec::new();
        if gap.is_none() && wishes.retained.opens(source.is_fresh()) {
            source.read_retained();
            snapshot = source.snapshot(SNAPSHOT_STEP);
        }
        // an id would make a browser that is cut off here forget to ask for what comes first
        let id = cursor.filter(|_| gap.is_none() && snapshot.is_empty());
        frames.control("ready", id, ready);
        let many_filters = source.filters().len() > 1;
        let now = Instant::now();
        let mut writer = Writer {
            in_snapshot: !snapshot.is_empty(),
            payload: wishes.payload,
            retained: wishes.retained,
            many_filters,
            source,
            broker,
            frames,
            snapshot: snapshot.into_iter(),
            heartbeat: wishes.heartbeat,
            heartbeat_ids: wishes.heartbeat_ids,
            next_heartbeat: now + wishes.heartbeat,
            end: now + age,
            ending: Ending::MaxAge,
            drain,
            exhausted: false,
            finished: false,
        };
        if let Some(gap) = gap {
            writer.tell_gap(gap);
        }
        writer
    }

    fn begin_snapshot(&mut self) {
        self.source.read_retained();
        self.go_on_with_snapshot();
    }

    fn go_on_with_snapshot(&mut self) {
        self.snapshot = self.source.snapshot(SNAPSHOT_STEP).into_iter();
        self.in_snapshot = self.snapshot.len() > 0;
    }

    fn tell_gap(&mut self, gap: Gap) {
        // what the client knows of the state may be outdated
        if gap.to.is_some() && self.retained != Retained::Never {
            self.begin_snapshot();
        }
        // who is cut off amid the state comes back to the gap, and to all of the state
        let id = self.cursor().filter(|_| !self.in_snapshot);
        self.frames.control("gap", id, object(envelope::gap(gap)));
    }

    /// What a client that comes back presents, so that it misses nothing.
    fn cursor(&mut self) -> Option<Position> {
        let has_place = self.source.is_resumable().0;
        has_place.then(|| self.source.cursor())
    }

    /// What can be said at once, for whoever writes the head of the answer.
    pub fn opening(&mut self) -> Bytes {
        self.write_snapshot();
        self.frames.out.take()
    }

    /// Writes everything that follows, to the end of the body. An error if the peer leaves before.
    pub async fn run<S: AsyncRead + AsyncWrite + Unpin, T>(
        &mut self,
        socket: &mut Socket<S, T>,
        coding: Coding,
        stopping: &CancellationToken,
    ) -> io::Result<()> {
        let mut timer = pin!(sleep_until(self.next_moment()));
        let mut stopping = pin!(stopping.cancelled());
        loop {
            self.write_snapshot();
            if self.finished || !self.frames.out.is_empty() {
                // that may take as long as the client likes
                self.source.leave_queue();
                poll_fn(|cx| self.poll_write(cx, socket, coding)).await?;
                if self.finished {
                    return Ok(());
                }
                continue;
            }
            tokio::select! {
                biased;
                end = poll_fn(|cx| socket.poll_end(cx)) => return Err(end),
                () = self.wait(timer.as_mut(), stopping.as_mut()) => {}
            }
        }
    }

    /// Everything that follows the head of the answer, to the end of the body, for somebody else to write. Whoever
    /// does not want it any more drops it.
    pub fn chunks(self, stopping: CancellationToken) -> impl Chunks<Item = Bytes> + Send {
        let timer = Box::pin(sleep_until(self.next_moment()));
        let stopping = Box::pin(stopping.cancelled_owned());
        unfold(
            (self, timer, stopping),
            |(mut writer, mut timer, mut stopping)| async move {
                loop {
                    writer.write_snapshot();
                    if !writer.frames.out.is_empty() {
                        let chunk = writer.frames.out.take();
                        writer.source.leave_queue();
                        return Some((chunk, (writer, timer, stopping)));
                    }
                    if writer.finished {
                        return None;
                    }
                    writer.wait(timer.as_mut(), stopping.as_mut()).await;
                }
            },
        )
    }

    /// Waits for whatever comes first, and takes it with everything else that is there already.
    async fn wait(
        &mut self,
        mut timer: Pin<&mut Sleep>,
        stopping: Pin<&mut impl Future<Output = ()>>,
    ) {
        tokio::select! {
            biased;
            () = timer.as_mut() => self.be_on_time(),
            () = stopping, if self.ending != Ending::ShuttingDown => self.begin_to_leave(),
            item = self.source.next(), if !self.exhausted => self.take_all(item),
        }
        let next = self.next_moment();
        if timer.deadline() != next {
            timer.as_mut().reset(next);
        }
    }

    /// Ready when everything is out, or as soon as there is nobody to write for.
    fn poll_write<S: AsyncRead + AsyncWrite + Unpin, T>(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket<S, T>,
        coding: Coding,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(end) = socket.poll_end(cx) {
            return Poll::Ready(Err(end));
        }
        self.frames
            .out
            .poll_write(cx, socket, coding, self.finished)
    }

    fn next_moment(&self) -> Instant {
        self.next_heartbeat.min(self.end)
    }

    fn be_on_time(&mut self) {
        let now = Instant::now();
        if self.end <= now {
            self.leave();
        } else if self.next_heartbeat <= now {
            self.next_heartbeat = now + self.heartbeat;
            self.sign_of_life();
        }
    }

    /// Tells how far the client has got, if it wants to know.
    fn sign_of_life(&mut self) {
        let cursor = match self.heartbeat_ids {
            true => self.cursor(),
            false => None,
        };
        self.frames.heartbeat(cursor);
    }

    fn write_snapshot(&mut self) {
        while self.in_snapshot && !self.frames.out.is_full() {
            match self.snapshot.next() {
                Some(delivery) => self.write(&delivery, true),
                None => {
                    self.go_on_with_snapshot();
                    if !self.in_snapshot {
                        self.sign_of_life();
                    }
                }
            }
        }
    }

    fn take_all(&mut self, first: StreamItem) {
        self.take(first);
        while !self.frames.out.is_full() && !self.in_snapshot && !self.exhausted && !self.finished {
            match self.source.try_next() {
                Some(item) => self.take(item),
                None => break,
            }
        }
    }

    fn take(&mut self, item: StreamItem) {
        match item {
            StreamItem::Message(delivery) => self.write(&delivery, false),
            StreamItem::Gap(gap) => self.tell_gap(gap),
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
        // the clock is only read for those that it matters to
        let now = match message.expires {
            Some(_) => self.broker.now(),
            None => message.time,
        };
        if message.is_expired(now) {
            return;
        }
        let matched = delivery.subscription_ids.as_deref().unwrap_or_default();
        let copy = envelope::Copy {
            snapshot,
            position: stream::place(delivery),
            matched: self.many_filters.then_some(matched),
            now,
        };
        let rendered = Rendered::new(message, self.payload, delivery.position, copy);
        self.frames.message(&rendered);
    }

    /// The gateway stops: leave at a moment of our own within the drain, so that not all clients return at once.
    fn begin_to_leave(&mut self) {
        self.ending = Ending::ShuttingDown;
        self.end = Instant::now() + random::between(Duration::ZERO..self.drain);
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
            None,
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
        None,
        object(json!({"reason": reason, "status": status, "reconnect": true})),
    );
    frames.out.take()
}

fn retry() -> Duration {
    random::between(Duration::from_secs(2)..Duration::from_secs(5))
}

fn ready(
    source: &Stream,
    wishes: &Wishes,
    cursor: Option<Position>,
    expires: &str,
) -> Map<String, Value> {
    let filters: Vec<_> = wishes.filters.iter().map(ToString::to_string).collect();
    let cut_off = filters.iter().any(|filter| filter.ends_with('/'));
    let mut ready = object(json!({
        "filters": filters,
        "live": true,
        "resumable": match source.is_resumable() {
            (_, true) => json!(true),
            (true, false) => json!("partial"),
            (false, false) => json!(false),
        },
        "heartbeat": wishes.heartbeat.as_secs(),
        "expires": expires,
    }));
    if let Some(cursor) = cursor {
        ready.insert("since".to_owned(), cursor.to_string().into());
    }
    if let (true, false) = source.is_resumable() {
        let shared = wishes.filters.iter().filter(|one| one.share().is_some());
        let shared: Vec<_> = shared.map(ToString::to_string).collect();
        ready.insert("not_recorded".to_owned(), shared.into());
    }
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
        // coming again tells with which rights, or asks for a fresh token
        CloseReason::RightsLost => ("rights_lost", true),
        CloseReason::Expired => ("token_expired", true),
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
