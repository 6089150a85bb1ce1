//! A web stream's subscription: many filters, one queue, gone when dropped.

use super::{
    Broker, Refused,
    outbox::{Bounds, CloseReason, Kind, Outbox},
    subscribe::Replay,
};
use crate::{
    auth::identity::Identity,
    message::Delivery,
    metrics::METRICS,
    mqtt::{
        Qos,
        subscribe::SubscriptionOptions,
        topic::{self, TopicFilter},
    },
};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::{
    cell::Cell,
    collections::VecDeque,
    sync::{Arc, Weak},
};

/// What may wait for one stream. The messages themselves are shared by all that wait for them.
const BOUNDS: Bounds = Bounds {
    messages: 1024,
    bytes: 8 * 1024 * 1024,
};

/// Messages handed out at a time.
const BATCH: usize = 64;

/// All open streams, to be told when the gateway stops.
#[derive(Default)]
pub struct Streams {
    open: Mutex<HashMap<u64, Weak<Outbox>>>,
}

impl Streams {
    pub(super) fn close_all(&self, reason: CloseReason) {
        for outbox in self.open.lock().values().filter_map(Weak::upgrade) {
            outbox.close(reason);
        }
    }
}

/// An open stream. Filter `n` (from 0) marks its deliveries with subscription identifier `n + 1`.
pub struct Stream {
    broker: Broker,
    outbox: Arc<Outbox>,
    filters: Box<[TopicFilter]>,
    replays: VecDeque<Replay>,
    /// Taken from the outbox, the next one last. Borrowed from the worker thread while there is any.
    ready: Vec<Delivery>,
}

thread_local! {
    static READY: Cell<Vec<Delivery>> = const { Cell::new(Vec::new()) };
}

/// What a stream brings next.
#[derive(Debug)]
pub enum StreamItem {
    /// A message.
    Message(Delivery),
    /// The stream fell behind: that many messages are missing here.
    Overflow {
        /// How many.
        lost: u64,
    },
    /// The stream is to end. Told once.
    Closed(CloseReason),
}

impl Broker {
    /// Opens a stream: each filter enters the routes, then what is retained is ready to be read.
    pub fn stream(
        &self,
        identity: Arc<Identity>,
        filters: &[TopicFilter],
    ) -> Result<Stream, Refused> {
        if self.is_draining() {
            return Err(Refused::ShuttingDown);
        }
        for filter in filters {
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
        }
        let key = self.0.registry.next_key();
        let outbox = Arc::new(Outbox::new(key, Kind::Stream, BOUNDS, false, 0));
        self.0
            .streams
            .open
            .lock()
            .insert(key, Arc::downgrade(&outbox));
        METRICS.streams_open.inc();
        let mut stream = Stream {
            broker: self.clone(),
            outbox,
            filters: filters.into(),
            replays: VecDeque::new(),
            ready: Vec::new(),
        };
        let order = self.0.order.lock();
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
        // the snapshot ends where the live messages begin: none comes twice
        stream.read_retained();
        drop(order);
        Ok(stream)
    }
}

impl Stream {
    /// The effective filters.
    pub fn filters(&self) -> &[TopicFilter] {
        &self.filters
    }

    /// Starts the retained snapshot over, for after a gap.
    pub fn read_retained(&mut self) {
        let through = self.broker.head();
        let own = self
            .filters
            .iter()
            .enumerate()
            .filter(|(_, filter)| filter.share().is_none());
        self.replays = own
            .map(|(nth, filter)| {
                Replay::new(
                    filter.clone(),
                    Qos::ExactlyOnce,
                    Some([nth as u32 + 1].into()),
                    through,
                )
            })
            .collect();
    }

    /// The next retained messages, at most `max`; empty at the end. A topic that several filters match comes once.
    pub fn snapshot(&mut self, max: usize) -> Vec<Delivery> {
        while let Some(replay) = self.replays.front_mut() {
            let mut found = self.broker.replay(replay, max);
            if self.replays.front().is_some_and(Replay::is_done) {
                self.replays.pop_front();
            }
            self.merge_overlaps(&mut found);
            if !found.is_empty() {
                return found;
            }
        }
        self.replays = VecDeque::new();
        Vec::new()
    }

    /// Keeps what no earlier filter has brought, and names all filters that match.
    fn merge_overlaps(&self, found: &mut Vec<Delivery>) {
        found.retain_mut(|delivery| {
            let own = delivery
                .subscription_ids
                .as_ref()
                .and_then(|ids| ids.first().copied())
                .unwrap_or(1);
            let matching: Vec<u32> = (1..)
                .zip(&self.filters)
                .filter(|(_, filter)| {
                    filter.share().is_none() && filter.matches(&delivery.message.topic)
                })
                .map(|(id, _)| id)
                .collect();
            let first = matching.first() == Some(&own);
            delivery.subscription_ids = Some(matching.into());
            first
        });
    }

    /// What comes next. Cancel safe.
    pub async fn next(&mut self) -> StreamItem {
        loop {
            if let Some(item) = self.try_next() {
                return item;
            }
            std::future::poll_fn(|cx| self.outbox.poll_wait(cx, false)).await;
        }
    }

    /// What is there already.
    pub fn try_next(&mut self) -> Option<StreamItem> {
        if let Some(delivery) = self.ready.pop() {
            return Some(StreamItem::Message(delivery));
        }
        let lost = self.outbox.take_lost();
        if lost > 0 {
            return Some(StreamItem::Overflow { lost });
        }
        if self.ready.capacity() == 0 {
            self.ready = READY.take();
        }
        self.outbox.take(&mut self.ready, usize::MAX, BATCH);
        self.ready.reverse();
        match self.ready.pop() {
            Some(delivery) => Some(StreamItem::Message(delivery)),
            None => {
                READY.set(std::mem::take(&mut self.ready));
                self.outbox.take_closing().map(StreamItem::Closed)
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        for filter in &self.filters {
            self.broker.0.routes.unsubscribe(filter, self.outbox.key());
        }
        self.broker.0.streams.open.lock().remove(&self.outbox.key());
        METRICS.streams_open.dec();
    }
}
