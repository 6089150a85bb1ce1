//! A stream is opened: its filters enter the routes, and it takes its place in the log.

use super::{Open, Stream, Watched, reading::CHUNK};
use crate::{
    auth::{identity::Identity, quota::Thing},
    broker::{
        Broker, Refused,
        outbox::{Bounds, Kind, Outbox},
        resume::{Begun, Coverage, Past, Start},
    },
    message::Millis,
    metrics::METRICS,
    mqtt::{
        Qos,
        subscribe::SubscriptionOptions,
        topic::{self, TopicFilter},
    },
    store::{Record, Wanted},
};
use std::{collections::VecDeque, sync::Arc};
use tokio_util::sync::PollSemaphore;

/// What may wait for one stream; beyond it reads the log.
const BOUNDS: Bounds = Bounds {
    messages: 256,
    bytes: 1024 * 1024,
};

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
            holes: Vec::new(),
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
            holes,
            is_fresh,
        } = past.begin(start, found, &recorded);
        let first = since.iter().copied().min().unwrap_or(head);
        let own = self.filters.iter_mut();
        let own = own.filter(|watched| watched.coverage.is_some());
        own.zip(since)
            .for_each(|(watched, since)| watched.since = since);
        (self.taken, self.given) = (first, first);
        (self.gap, self.holes, self.is_fresh) = (gap, holes, is_fresh);
        if first < head {
            self.outbox.fall_behind();
            self.is_behind = true;
        }
    }
}

fn matches_any<'a>(mut filters: impl Iterator<Item = &'a TopicFilter>, record: &Record) -> bool {
    filters.any(|filter| filter.share().is_none() && filter.matches(&record.message.topic))
}
