//! What waits for one receiver: the only point at which a publisher touches it.
//!
//! Bounded by count and bytes; what overflow means depends on who reads, and is never silent. The receiver's task is
//! woken only when the queue turns from empty to not empty, or when its connection is to end. The lock is never held
//! while anything is written.
//!
//! A durable session's outbox is *live* or *behind*. Live: recorded messages are queued as they are published. Behind:
//! they are not, because the session still reads older ones from the log; offers and the step from behind to live
//! happen under the broker's order lock, so nothing is missed or doubled in between.

use super::backlog::Backlog;
use crate::{
    auth::identity::Identity, message::Delivery, metrics::METRICS, mqtt::Qos, routing::Subscriber,
};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

mod cursor;
mod modes;
mod shared;

/// No position.
const NONE: u64 = u64::MAX;

/// Why the gateway ends a connection or a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// Another connection came with the same client identifier.
    TakenOver,
    /// Messages that must not be dropped had no room, and no log keeps them.
    TooSlow,
    /// The gateway stops.
    ShuttingDown,
    /// Somebody in charge ended it.
    Kicked,
    /// The rules have changed: it may no longer have what it asked for.
    RightsLost,
    /// What proved who it is has expired.
    Expired,
}

/// How much may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Messages.
    pub messages: usize,
    /// Bytes; a single message above it still waits.
    pub bytes: usize,
}

/// Who reads the outbox, which decides what overflow means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An MQTT session.
    Session,
    /// A web stream: what it misses it reads from the log, and what has no place there is told as a gap.
    Stream,
    /// The tail of the log: nobody reads it here.
    Tail,
}

/// What [`Outbox::take`] saw of the rest, under the same lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// What still waits here.
    pub rest: Rest,
    /// Whether recorded messages are read from the log instead.
    pub behind: bool,
    /// Why the reader is to end, if it is.
    pub closing: Option<CloseReason>,
    /// Whether the rules have changed, and the reader is to look whether it may stay.
    pub asked: bool,
}

/// What waits after some were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Nothing.
    Nothing,
    /// More.
    More,
    /// What waits cannot be sent before the client acknowledges something.
    Blocked,
}

/// The queue of one receiver, which outlives connections as its session does.
#[derive(Debug)]
pub struct Outbox {
    key: u64,
    kind: Kind,
    bounds: Bounds,
    /// Whether what it misses is kept for it. Stays so when a session is resumed without an expiry: what waits in the
    /// log for it must still be read in order.
    durable: bool,
    /// On whose rights it is given messages.
    reader: ArcSwap<Identity>,
    /// A copy of the session's cursor, for cleaning the log.
    taken_through: AtomicU64,
    /// The oldest recorded message that was taken and that its client has not answered; [`NONE`] if there is none.
    unanswered: AtomicU64,
    /// Its cursor moved since it was last written down.
    moved: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    queue: Backlog,
    bytes: usize,
    mode: Mode,
    waker: Option<Waker>,
    close: Option<CloseReason>,
    lost: u64,
    /// The client's window was full when last something was taken for it.
    is_held_up: bool,
    /// As [`Taken::asked`], until somebody takes.
    asked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Offline,
    Behind,
    Live,
}

impl Subscriber for Arc<Outbox> {
    fn key(&self) -> u64 {
        self.key
    }

    fn is_durable(&self) -> bool {
        self.durable
    }

    fn is_online(&self) -> bool {
        self.inner.lock().is_online()
    }

    fn has_room(&self, weight: usize) -> bool {
        let inner = self.inner.lock();
        inner.is_online() && !inner.is_full(self.bounds, weight)
    }

    fn is_held_up(&self) -> bool {
        self.inner.lock().is_held_up
    }

    fn may_receive(&self, topic: &str) -> bool {
        self.reader.load().may_read(topic).is_ok()
    }

    fn is_tail(&self) -> bool {
        self.kind == Kind::Tail
    }

    fn is_away(&self) -> bool {
        self.durable && self.inner.lock().mode == Mode::Offline
    }
}

impl Inner {
    fn is_online(&self) -> bool {
        self.mode != Mode::Offline && self.close.is_none()
    }

    fn is_full(&self, bounds: Bounds, more: usize) -> bool {
        !self.queue.is_empty()
            && (self.queue.len() >= bounds.messages || self.bytes + more > bounds.bytes)
    }

    fn push(&mut self, delivery: Delivery) -> Option<Waker> {
        self.bytes += delivery.message.weight();
        self.queue.push(delivery);
        if self.queue.len() == 1 {
            self.waker.take()
        } else {
            None
        }
    }

    fn retain(&mut self, mut keep: impl FnMut(&Delivery) -> bool) {
        let mut bytes = 0;
        self.queue.retain(|delivery| {
            let kept = keep(delivery);
            bytes += if kept { delivery.message.weight() } else { 0 };
            kept
        });
        self.bytes = bytes;
    }
}

/// Whether the log has it for a session that is kept, too.
fn is_logged(delivery: &Delivery) -> bool {
    delivery.qos > Qos::AtMostOnce && delivery.position.is_some() && delivery.share.is_none()
}

impl Outbox {
    /// An empty outbox that takes messages, for `reader`.
    pub fn new(
        key: u64,
        kind: Kind,
        bounds: Bounds,
        durable: bool,
        head: u64,
        reader: Arc<Identity>,
    ) -> Self {
        Outbox {
            key,
            reader: ArcSwap::new(reader),
            kind,
            bounds,
            durable,
            taken_through: AtomicU64::new(head),
            unanswered: AtomicU64::new(NONE),
            moved: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                queue: Backlog::default(),
                bytes: 0,
                mode: Mode::Live,
                waker: None,
                close: None,
                lost: 0,
                is_held_up: false,
                asked: false,
            }),
        }
    }

    /// Unique among all receivers.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// On whose rights it is given messages.
    pub fn reader(&self) -> Arc<Identity> {
        self.reader.load_full()
    }

    /// From now on it is given messages on the rights of `reader`; what waits and is denied to it goes.
    pub(super) fn read_as(&self, reader: Arc<Identity>) {
        self.reader.store(reader);
    }

    /// Offers messages, in order, under one lock: each is queued if there is room.
    pub fn offer(&self, deliveries: impl IntoIterator<Item = Delivery>) {
        let mut waker = None;
        let mut inner = self.inner.lock();
        for delivery in deliveries {
            let woken = self.offer_one(&mut inner, delivery);
            waker = waker.or(woken);
        }
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn offer_one(&self, inner: &mut Inner, delivery: Delivery) -> Option<Waker> {
        let in_log = self.has_in_log(&delivery);
        match inner.mode {
            // away, or still reading older records: the log keeps what must be kept
            Mode::Offline => None,
            Mode::Behind if in_log => None,
            _ if inner.is_full(self.bounds, delivery.message.weight()) => {
                self.overflow(inner, &delivery, in_log);
                None
            }
            _ => inner.push(delivery),
        }
    }

    /// Whether its receiver can read it from the log, too.
    fn has_in_log(&self, delivery: &Delivery) -> bool {
        match self.kind {
            Kind::Session => self.durable && is_logged(delivery),
            Kind::Stream => delivery.position.is_some() && delivery.share.is_none(),
            Kind::Tail => true,
        }
    }

    fn overflow(&self, inner: &mut Inner, delivery: &Delivery, in_log: bool) {
        if in_log {
            // forget what the log has anyway; the receiver reads it from there at its own speed
            inner.mode = Mode::Behind;
            inner.retain(|queued| !self.has_in_log(queued));
            return;
        }
        METRICS.publishes_dropped.inc();
        match self.kind {
            Kind::Stream => {
                METRICS.stream_drops.add(1 + inner.queue.len() as u64);
                inner.lost += 1 + inner.queue.len() as u64;
                inner.retain(|_| false);
            }
            Kind::Session if delivery.qos > Qos::AtMostOnce => {
                self.close_locked(inner, CloseReason::TooSlow)
            }
            Kind::Session | Kind::Tail => {}
        }
    }

    /// Moves up to `max` messages into `batch`, at most `quota` of them above QoS 0.
    pub fn take(&self, batch: &mut Vec<Delivery>, mut quota: usize, max: usize) -> Taken {
        let mut inner = self.inner.lock();
        let Inner {
            queue,
            bytes,
            mode,
            close,
            is_held_up,
            asked,
            ..
        } = &mut *inner;
        let rest = loop {
            if close.is_some() {
                // what waits stays for whoever decides what becomes of it
                break Rest::Nothing;
            }
            match queue.front() {
                None => break Rest::Nothing,
                Some(_) if batch.len() >= max => break Rest::More,
                Some(front) if front.qos > Qos::AtMostOnce => match quota.checked_sub(1) {
                    None => break Rest::Blocked,
                    Some(less) => quota = less,
                },
                Some(_) => {}
            }
            if let Some(delivery) = queue.pop() {
                *bytes -= delivery.message.weight();
                if self.durable && is_logged(&delivery) {
                    // until the session says more: nothing may take it for answered in between
                    let offset = delivery.position.map_or(NONE, |position| position.offset);
                    self.unanswered.fetch_min(offset, Ordering::Relaxed);
                }
                batch.push(delivery);
            }
        };
        *is_held_up = quota == 0;
        Taken {
            rest,
            behind: *mode == Mode::Behind,
            closing: *close,
            asked: std::mem::take(asked),
        }
    }

    /// Gives back room that an idle receiver does not need.
    pub fn rest(&self) {
        self.inner.lock().queue.shrink();
    }

    /// Ready when something waits or the end is asked for. `blocked`: what waits cannot be sent yet, so only the end
    /// counts.
    pub fn poll_wait(&self, cx: &mut Context<'_>, blocked: bool) -> Poll<()> {
        let mut inner = self.inner.lock();
        if inner.close.is_some()
            || inner.asked
            || inner.lost > 0
            || (!blocked && !inner.queue.is_empty())
        {
            return Poll::Ready(());
        }
        if !inner
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            inner.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Has the reader look whether it may stay.
    pub(super) fn ask_for_rights(&self) {
        let mut inner = self.inner.lock();
        inner.asked = true;
        if let Some(waker) = inner.waker.take() {
            waker.wake();
        }
    }

    /// Asks the reader to end; the first reason stands.
    pub fn close(&self, reason: CloseReason) {
        self.close_locked(&mut self.inner.lock(), reason);
    }

    fn close_locked(&self, inner: &mut Inner, reason: CloseReason) {
        inner.close.get_or_insert(reason);
        if let Some(waker) = inner.waker.take() {
            waker.wake();
        }
    }

    /// Why the reader is to end, told once; for a stream, which chooses its moment.
    pub fn take_closing(&self) -> Option<CloseReason> {
        self.inner.lock().close.take()
    }

    /// How many messages a stream missed since it last asked.
    pub fn take_lost(&self) -> u64 {
        std::mem::take(&mut self.inner.lock().lost)
    }

    /// Messages waiting.
    pub fn len(&self) -> usize {
        self.inner.lock().queue.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops what is no longer wanted.
    pub(super) fn retain(&self, keep: impl FnMut(&Delivery) -> bool) {
        self.inner.lock().retain(keep);
    }
}
