//! A web stream's subscription: many filters, one queue, gone when dropped.
//!
//! Its filters are recorded, so it has a place in the log and never more than that to lose. It is *live* while it takes
//! what is offered, and *behind* while it reads the log at its own speed: from where its client left off, or because
//! it could not keep up. What the log has let go of meanwhile is told as a gap.

use super::{
    Broker, Refused,
    outbox::{Bounds, CloseReason, Kind, Outbox},
    resume::{Begun, Coverage, Gap, Past, Reason, Start},
    subscribe::Replay,
};
use crate::{
    auth::{
        identity::Identity,
        quota::{Held, Thing},
    },
    message::{Delivery, Millis, Position},
    metrics::METRICS,
    mqtt::{
        Qos,
        subscribe::SubscriptionOptions,
        topic::{self, TopicFilter},
    },
    routing::{Subscriber, retained::Retained},
    store::{Floor, Record, Wanted},
};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::{
    cell::Cell,
    collections::VecDeque,
    sync::{Arc, Weak},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

/// What may wait for one stream; beyond it reads the log.
const BOUNDS: Bounds = Bounds {
    messages: 256,
    bytes: 1024 * 1024,
};

/// Messages handed out at a time.
const BATCH: usize = 64;

/// Steps through the log before others get their turn.
const STEPS: usize = 8;

/// Records of the log looked at per step.
const CHUNK: usize = 256;

/// How many streams may read files at a time: half of the processors are left to those who publish.
pub(super) fn turns() -> Arc<Semaphore> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Arc::new(Semaphore::new(processors.div_ceil(2)))
}

/// All open streams, to be told when the gateway stops.
#[derive(Default)]
pub struct Streams {
    open: Mutex<HashMap<u64, Open>>,
}

struct Open {
    outbox: Weak<Outbox>,
    filters: Box<[TopicFilter]>,
}

impl Streams {
    pub(super) fn close_all(&self, reason: CloseReason) {
        let open = self.open.lock();
        for outbox in open.values().filter_map(|open| open.outbox.upgrade()) {
            outbox.close(reason);
        }
    }

    /// All or nothing: a stream that lost one of its filters ends, since a narrower one would be silently so.
    pub(super) fn close_unauthorized(&self) {
        for open in self.open.lock().values() {
            if let Some(outbox) = open.outbox.upgrade() {
                let reader = outbox.reader();
                let mut filters = open.filters.iter();
                if filters.any(|filter| reader.may_subscribe(filter).is_err()) {
                    outbox.close(CloseReason::RightsLost);
                }
            }
        }
    }

    pub(super) fn each(&self, mut see: impl FnMut(&Outbox)) {
        let open = self.open.lock();
        let outboxes = open.values().filter_map(|open| open.outbox.upgrade());
        outboxes.for_each(|outbox| see(&outbox));
    }
}

/// An open stream. Filter `n` (from 0) marks its deliveries with subscription identifier `n + 1`.
pub struct Stream {
    broker: Broker,
    outbox: Arc<Outbox>,
    filters: Box<[Watched]>,
    replays: VecDeque<Replay>,
    /// Taken from the outbox or the log, the next one last. Borrowed from the worker thread while there is any.
    ready: Vec<Delivery>,
    /// What is to be told before anything else.
    gap: Option<Gap>,
    /// Everything up to here was taken from the outbox or the log.
    taken: u64,
    /// Everything up to here was handed out.
    given: u64,
    is_fresh: bool,
    is_behind: bool,
    /// Records of the log looked at so far.
    scanned: usize,
    /// Where it queues to read files.
    queue: PollSemaphore,
    /// Its turn has come.
    turn: Option<OwnedSemaphorePermit>,
    /// It can go on only when its turn has come.
    waits: bool,
    /// Its place among those that its identity may have.
    _held: Option<Held>,
}

struct Watched {
    filter: TopicFilter,
    /// What is delivered for it comes from above this.
    since: u64,
    /// Since when it is recorded; `None` for one that shares, which has no place in the log.
    coverage: Option<Coverage>,
}

thread_local! {
    static READY: Cell<Vec<Delivery>> = const { Cell::new(Vec::new()) };
}

/// What a stream brings next.
#[derive(Debug)]
pub enum StreamItem {
    /// A message.
    Message(Delivery),
    /// Messages may be missing here. What is retained for the filters it is about can be read.
    Gap(Gap),
    /// The stream is to end. Told once.
    Closed(CloseReason),
}

impl Broker {
    /// Opens a stream: each filter enters the routes, then what is retained, missed or new is ready to be read.
    pub fn stream(
        &self,
        identity: Arc<Identity>,
        filters: &[TopicFilter],
        start: Start,
    ) -> Result<Stream, Refused> {
        if self.is_draining() {
            return Err(Refused::ShuttingDown);
        }
        for filter in filters {
            self.admit_stream_filter(&identity, filter)?;
        }
        let held = identity.quota().map(|quota| quota.hold(Thing::Stream));
        if matches!(held, Some(None)) {
            return Err(Refused::TooMany { quota: "streams" });
        }
        let held = held.flatten();
        // may read files: not under the order lock
        let found = match start {
            Start::Since(time) => self.0.store.before(time),
            Start::Last(count) => self.position_of_last(filters, count),
            _ => 0,
        };
        let key = self.0.registry.next_key();
        let outbox = Arc::new(Outbox::new(key, Kind::Stream, BOUNDS, false, 0, identity));
        let open = Open {
            outbox: Arc::downgrade(&outbox),
            filters: filters.into(),
        };
        self.0.streams.open.lock().insert(key, open);
        self.watch_expiry(&outbox);
        METRICS.streams_open.inc();
        let order = self.0.order.lock();
        let head = self.0.store.head();
        let watched = filters.iter().map(|filter| Watched {
            filter: filter.clone(),
            since: head,
            coverage: filter.share().is_none().then(|| Coverage {
                tail: self.begin_recording(filter, head),
                kept: self.0.history.since(filter),
            }),
        });
        let mut stream = Stream {
            broker: self.clone(),
            outbox,
            filters: watched.collect(),
            replays: VecDeque::new(),
            ready: Vec::new(),
            gap: None,
            taken: head,
            given: head,
            is_fresh: true,
            is_behind: false,
            scanned: 0,
            queue: PollSemaphore::new(self.0.turns.clone()),
            turn: None,
            waits: false,
            _held: held,
        };
        let options = SubscriptionOptions {
            qos: Qos::ExactlyOnce,
            retain_as_published: true,
            ..Default::default()
        };
        for (nth, filter) in filters.iter().enumerate() {
            self.0
                .routes
                .subscribe(filter, stream.outbox.clone(), options, Some(nth as u32 + 1));
        }
        stream.begin(start, found, head);
        drop(order);
        Ok(stream)
    }

    fn admit_stream_filter(
        &self,
        identity: &Identity,
        filter: &TopicFilter,
    ) -> Result<(), Refused> {
        identity.may_subscribe(filter)?;
        let limits = &self.0.limits;
        if filter.share().is_some() && !limits.features.shared_subscriptions {
            return Err(Refused::SharedNotSupported);
        }
        if filter.has_wildcards() && !limits.features.wildcard_subscriptions {
            return Err(Refused::WildcardsNotSupported);
        }
        if topic::is_deeper(filter.pattern(), limits.topic_levels) {
            return Err(Refused::TopicTooDeep);
        }
        if filter.as_str().len() > limits.topic_bytes {
            return Err(Refused::TopicTooLong);
        }
        Ok(())
    }

    /// The newest position in front of the first message that was taken at `time` or later. May read files.
    pub fn position_before(&self, time: Millis) -> u64 {
        self.0.store.before(time)
    }

    /// The position in front of the last `count` messages that match, of as many as a replay may look at.
    fn position_of_last(&self, filters: &[TopicFilter], count: usize) -> u64 {
        let store = &self.0.store;
        let wanted = Wanted::by(filters.iter());
        let (mut before, mut left) = (u64::MAX, count);
        let mut scanned = 0;
        if count == 0 {
            return store.head();
        }
        loop {
            let page = store.look_back(before, CHUNK, &wanted);
            for record in &page.records {
                if matches_any(filters.iter(), record) {
                    left -= 1;
                    if left == 0 {
                        return record.offset - 1;
                    }
                }
            }
            if page.records.is_empty() {
                return 0;
            }
            before = page.through;
            scanned += page.records.len();
            if scanned >= self.0.limits.replay_scan {
                return before - 1;
            }
        }
    }
}

fn matches_any<'a>(mut filters: impl Iterator<Item = &'a TopicFilter>, record: &Record) -> bool {
    filters.any(|filter| filter.share().is_none() && filter.matches(&record.message.topic))
}

/// Where a message stands that the log has for the stream, too; what is shared with others it has not.
pub fn place(delivery: &Delivery) -> Option<Position> {
    delivery.position.filter(|_| delivery.share.is_none())
}

impl Stream {
    /// Takes its place in the log. Under the order lock.
    fn begin(&mut self, start: Start, found: u64, head: u64) {
        let broker = self.broker.clone();
        let runs = broker.0.store.runs();
        let past = Past {
            epoch: broker.epoch(),
            head,
            floor: broker.0.store.floor(),
            runs: &runs,
            damaged: broker.0.damaged.get().map_or(&[], Vec::as_slice),
        };
        let recorded = self.filters.iter().filter_map(|one| one.coverage);
        let recorded: Vec<Coverage> = recorded.collect();
        let Begun {
            since,
            gap,
            is_fresh,
        } = past.begin(start, found, &recorded);
        let first = since.iter().copied().min().unwrap_or(head);
        let own = self.filters.iter_mut();
        let own = own.filter(|watched| watched.coverage.is_some());
        own.zip(since)
            .for_each(|(watched, since)| watched.since = since);
        (self.taken, self.given) = (first, first);
        (self.gap, self.is_fresh) = (gap, is_fresh);
        if first < head {
            self.outbox.fall_behind();
            self.is_behind = true;
        }
    }

    /// Its client has proved itself anew, as the same or as another user: true if it may go on.
    pub fn read_as(&self, identity: &Arc<Identity>) -> bool {
        let mut filters = self.filters.iter();
        let may = filters.all(|watched| identity.may_subscribe(&watched.filter).is_ok());
        if may {
            self.outbox.read_as(identity.clone());
            self.broker.watch_expiry(&self.outbox);
            self.broker.0.routes.rights_changed();
        }
        may
    }

    /// Whether its client knows nothing of the state yet.
    pub fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// The effective filters.
    pub fn filters(&self) -> impl ExactSizeIterator<Item = &TopicFilter> {
        self.filters.iter().map(|watched| &watched.filter)
    }

    /// What a client that is cut off before it was told anything presents, so that it misses nothing: in front of what is
    /// missing, which it is told when it comes back. `None` if it has nothing to present.
    pub fn beginning(&mut self) -> Option<Position> {
        match (self.is_resumable().0, &self.gap) {
            (false, _) => None,
            (true, Some(gap)) => gap.from,
            (true, None) => Some(self.cursor()),
        }
    }

    /// What is missing where it begins; then it is not told again.
    pub fn take_gap(&mut self) -> Option<Gap> {
        self.gap.take()
    }

    /// Whether any of its filters has a place in the log, and whether all have.
    pub fn is_resumable(&self) -> (bool, bool) {
        let mut recorded = self.filters.iter().map(|one| one.coverage.is_some());
        (recorded.clone().any(|one| one), recorded.all(|one| one))
    }

    /// Everything of its filters up to here was handed out: a client that presents this misses nothing.
    pub fn cursor(&mut self) -> Position {
        if self.ready.is_empty() && self.gap.is_none() {
            let _order = self.broker.0.order.lock();
            if self.outbox.is_up_to_date() {
                self.taken = self.broker.0.store.head();
            }
            self.given = self.taken;
        }
        self.position(self.given)
    }

    fn position(&self, offset: u64) -> Position {
        Position {
            epoch: self.broker.epoch(),
            offset,
        }
    }

    /// Makes what is retained ready to be read: as it was where each filter's messages begin, so that what comes later
    /// comes as a message and not twice.
    pub fn read_retained(&mut self) {
        let own = self.filters.iter().enumerate();
        let own = own.filter(|(_, watched)| watched.coverage.is_some());
        self.replays = own
            .map(|(nth, watched)| {
                let (filter, ids) = (watched.filter.clone(), Some([nth as u32 + 1].into()));
                Replay::new(filter, Qos::ExactlyOnce, ids, self.position(watched.since))
            })
            .collect();
    }

    /// The next retained messages, at most `max`; empty at the end. A topic that several filters match comes once.
    pub fn snapshot(&mut self, max: usize) -> Vec<Delivery> {
        while let Some(replay) = self.replays.front_mut() {
            let own = replay.filter().to_owned();
            let found = self
                .broker
                .replay_retained(replay, &self.outbox.reader(), max);
            if self.replays.front().is_some_and(Replay::is_done) {
                self.replays.pop_front();
            }
            let found: Vec<_> = found
                .into_iter()
                .filter_map(|retained| self.as_snapshot(&own, retained))
                .collect();
            if !found.is_empty() {
                return found;
            }
        }
        self.replays = VecDeque::new();
        Vec::new()
    }

    /// A retained message that no earlier filter has brought and that no filter brings as a message, with all filters
    /// that match.
    fn as_snapshot(&self, own: &str, retained: Retained) -> Option<Delivery> {
        let message = retained.message;
        let matching = self.matching(&message.topic, 0);
        let first = *matching.first()? as usize - 1;
        let is_live = |id: &u32| self.filters[*id as usize - 1].since < retained.position.offset;
        let is_ours = self.filters[first].filter.as_str() == own;
        (is_ours && !matching.iter().any(is_live)).then(|| Delivery {
            qos: message.qos,
            message,
            retain: true,
            position: Some(retained.position),
            subscription_ids: Some(matching.into()),
            share: None,
        })
    }

    /// The filters that match a topic and bring what stands at this position, numbered from 1.
    fn matching(&self, topic: &str, offset: u64) -> Vec<u32> {
        let all = (1..).zip(&self.filters);
        let matching = all.filter(|(_, watched)| {
            watched.coverage.is_some()
                && (offset == 0 || watched.since < offset)
                && topic::matches(watched.filter.pattern(), topic)
        });
        matching.map(|(id, _)| id).collect()
    }

    /// What comes next. Cancel safe.
    pub async fn next(&mut self) -> StreamItem {
        loop {
            if let Some(item) = self.try_next() {
                return item;
            }
            if self.is_behind {
                self.turn().await;
                continue;
            }
            std::future::poll_fn(|cx| self.outbox.poll_wait(cx, false)).await;
        }
    }

    /// Waits until it can read the log further: others get their turn, and of those that read files only a few at a
    /// time do. Cancel safe.
    pub async fn turn(&mut self) {
        if !self.waits {
            return tokio::task::yield_now().await;
        }
        // the place in the queue outlives this future; the semaphore is never closed
        self.turn = std::future::poll_fn(|cx| self.queue.poll_acquire(cx)).await;
        self.waits = false;
    }

    /// Whether it may read the log above `after` now: at once where that is in memory.
    fn may_read(&mut self, after: u64) -> bool {
        if self.broker.0.store.is_in_memory(after) || self.turn.is_some() {
            return true;
        }
        self.turn = self.broker.0.turns.clone().try_acquire_owned().ok();
        self.waits = self.turn.is_none();
        !self.waits
    }

    /// Whether it has looked at so many records of the log, or more, and has given out what it found.
    pub fn has_looked_at(&self, most: usize) -> bool {
        self.scanned >= most && self.is_behind && self.ready.is_empty()
    }

    /// Whether older messages are still read from the log.
    pub fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// What is there already. If it [is behind](Stream::is_behind), there may be more although this says no.
    pub fn try_next(&mut self) -> Option<StreamItem> {
        let item = self.look_further();
        self.turn = None;
        item
    }

    fn look_further(&mut self) -> Option<StreamItem> {
        let mut steps = 0;
        let most = self.broker.0.limits.replay_scan.div_ceil(CHUNK).min(STEPS);
        loop {
            if let Some(gap) = self.gap.take() {
                return Some(StreamItem::Gap(gap));
            }
            if let Some(delivery) = self.ready.pop() {
                if let Some(position) = place(&delivery) {
                    self.given = position.offset;
                }
                return Some(StreamItem::Message(delivery));
            }
            self.given = self.given.max(self.taken);
            let lost = self.outbox.take_lost();
            if lost > 0 {
                return Some(StreamItem::Gap(Gap {
                    reason: Reason::Overflow,
                    from: None,
                    to: None,
                    lost_at_most: Some(lost),
                }));
            }
            if self.ready.capacity() == 0 {
                self.ready = READY.take();
            }
            let seen = self.outbox.take(&mut self.ready, usize::MAX, BATCH);
            self.ready.reverse();
            let newest = self.ready.iter().find_map(place);
            self.taken = newest.map_or(self.taken, |newest| newest.offset);
            if !self.ready.is_empty() {
                continue;
            }
            self.is_behind = seen.behind;
            let goes_on = seen.behind && seen.closing.is_none() && steps < most;
            if !(goes_on && self.may_read(self.taken)) {
                READY.set(std::mem::take(&mut self.ready));
                return self.outbox.take_closing().map(StreamItem::Closed);
            }
            steps += 1;
            self.catch_up();
        }
    }

    /// Messages below a position that the log has, newest first, and the oldest position looked at; 0 at its beginning.
    pub async fn look_back(&mut self, before: u64) -> (Vec<Delivery>, u64) {
        while !self.may_read(before.saturating_sub(2)) {
            self.turn().await;
        }
        let found = self.look_below(before);
        self.turn = None;
        found
    }

    fn look_below(&mut self, before: u64) -> (Vec<Delivery>, u64) {
        let own = self.filters.iter().filter(|one| one.coverage.is_some());
        let wanted = Wanted::by(own.map(|watched| &watched.filter));
        let page = self.broker.0.store.look_back(before, CHUNK, &wanted);
        self.scanned += page.records.len().max(1);
        let found = page.records.into_iter().filter_map(|record| {
            let topic = &record.message.topic;
            let matching = self.matching(topic, 0);
            (!matching.is_empty() && self.outbox.may_receive(topic))
                .then(|| self.logged(record, matching))
        });
        (found.collect(), page.through)
    }

    fn logged(&self, record: Record, matching: Vec<u32>) -> Delivery {
        Delivery {
            qos: record.message.qos,
            retain: record.message.retain,
            position: Some(self.position(record.offset)),
            subscription_ids: Some(matching.into()),
            share: None,
            message: record.message,
        }
    }

    /// Reads the log on; at its end the stream goes live.
    fn catch_up(&mut self) {
        let broker = self.broker.clone();
        let store = &broker.0.store;
        let own = self.filters.iter().filter(|one| one.coverage.is_some());
        let wanted = Wanted::by(own.map(|watched| &watched.filter));
        let (mut page, mut floor) = store.look(self.taken, CHUNK, Some(&wanted));
        if page.is_end(self.taken) {
            let _order = broker.0.order.lock();
            (page, floor) = store.look(self.taken, 1, Some(&wanted));
            if page.is_end(self.taken) {
                self.taken = store.head();
                self.outbox.go_live();
                return;
            }
        }
        self.scanned += page.records.len().max(1);
        self.look_for_a_gap(floor);
        for record in page.records {
            let matching = self.matching(&record.message.topic, record.offset);
            if !matching.is_empty() && self.outbox.may_receive(&record.message.topic) {
                let delivery = self.logged(record, matching);
                self.ready.push(delivery);
            }
        }
        self.ready.reverse();
        self.taken = page.through;
    }

    /// Whether the log has let go of what was still to be read.
    fn look_for_a_gap(&mut self, floor: Floor) {
        let from = self.taken;
        let mut to = from;
        for watched in &mut self.filters {
            let whole = watched.coverage.map_or(0, |one| one.whole_above(floor));
            if whole > from.max(watched.since) {
                watched.since = whole;
                to = to.max(whole);
            }
        }
        if to > from {
            METRICS.stream_drops.add(to - from);
            let own = self.filters.iter().filter(|one| one.coverage.is_some());
            let first = own.map(|watched| watched.since).min();
            // what comes next comes from above this
            self.given = first.map_or(from, |first| first.max(from));
            self.gap = Some(Gap {
                reason: Reason::Overflow,
                from: Some(self.position(from)),
                to: Some(self.position(to)),
                lost_at_most: Some(to - from),
            });
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        for watched in &self.filters {
            self.broker
                .0
                .routes
                .unsubscribe(&watched.filter, self.outbox.key());
            if watched.coverage.is_some() {
                self.broker.end_recording(&watched.filter);
            }
        }
        self.broker.0.streams.open.lock().remove(&self.outbox.key());
        METRICS.streams_open.dec();
    }
}
