//! A web stream's subscription: many filters, one queue, gone when dropped.
//!
//! Its filters are recorded, so it has a place in the log and never more than that to lose. It is *live* while it takes
//! what is offered, and *behind* while it reads the log at its own speed: from where its client left off, or because
//! it could not keep up. What the log has let go of meanwhile is told as a gap.

use super::{
    Broker,
    outbox::{CloseReason, Outbox},
    resume::{Coverage, Gap},
    subscribe::Replay,
};
use crate::{
    auth::{identity::Identity, quota::Held},
    message::{Delivery, Position},
    metrics::METRICS,
    mqtt::topic::{self, TopicFilter},
    routing::Subscriber,
    store::Record,
};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

mod opening;
mod reading;
mod snapshot;

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

    pub(super) fn outboxes(&self) -> Vec<Arc<Outbox>> {
        let open = self.open.lock();
        let outboxes = open.values().filter_map(|open| open.outbox.upgrade());
        outboxes.collect()
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
    /// Where holes of crashes end that it has not come to, the first of them last.
    holes: Vec<u64>,
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

/// Where a message stands that the log has for the stream, too; what is shared with others it has not.
pub fn place(delivery: &Delivery) -> Option<Position> {
    delivery.position.filter(|_| delivery.share.is_none())
}

impl Stream {
    /// Its client has proved itself anew, as the same or as another user: true if it may go on. What waits and is denied
    /// to it is not handed out any more.
    pub fn read_as(&mut self, identity: &Arc<Identity>) -> bool {
        let mut filters = self.filters.iter();
        let may = filters.all(|watched| identity.may_subscribe(&watched.filter).is_ok());
        if may {
            self.outbox.read_as(identity.clone());
            self.broker.watch_expiry(&self.outbox);
            let routes = &self.broker.0.routes;
            self.filters
                .iter()
                .for_each(|watched| routes.presence_changed(&watched.filter));
            self.broker.drop_denied(&self.outbox);
            let denied = self
                .ready
                .extract_if(.., |taken| identity.may_read(&taken.message.topic).is_err());
            let shared = denied.filter(|taken| taken.share.is_some());
            shared.for_each(|taken| self.broker.pass_on(&taken, Some(self.outbox.key())));
        }
        may
    }

    /// Assigns what waits for its share groups, now that it has room. True if some of it is for this stream.
    fn serve_groups(&self) -> bool {
        let shared = self.filters.iter();
        let shared = shared.filter(|watched| watched.coverage.is_none());
        let groups = shared.filter_map(|watched| self.broker.0.routes.group(&watched.filter));
        let mut waiting = groups.filter(|group| group.has_waiting()).peekable();
        if waiting.peek().is_none() {
            return false;
        }
        waiting.for_each(|group| self.broker.serve(&group));
        !self.outbox.is_empty()
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

    /// Whether older messages are still read from the log.
    pub fn is_behind(&self) -> bool {
        self.is_behind
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
        // from here on nobody assigns it anything: what it has not brought of its share groups is all there is
        self.outbox.go_offline();
        let taken = self.ready.drain(..).rev();
        let taken = taken.filter(|taken| taken.share.is_some());
        taken
            .chain(self.outbox.release_shared(|_| true))
            .for_each(|taken| self.broker.pass_on(&taken, None));
        METRICS.streams_open.dec();
    }
}
