//! Filters that are read over the web: what matches one is recorded for as long as somebody reads it, and a while longer,
//! so that whoever lost his connection comes back to all of it.
//!
//! Each such filter is a subscription like any other, with the tail of the log as its receiver. It never keeps a message
//! on the disk: that is what history rules are for.

use super::{
    Broker,
    outbox::{Bounds, Kind, Outbox},
};
use crate::{
    auth::identity::Identity,
    message::Millis,
    mqtt::{subscribe::SubscriptionOptions, topic::TopicFilter},
};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};

/// Filters that nobody reads any more and that are still recorded, at most; then those that were left first go.
const LINGERING: usize = 10_000;

/// Bytes of their texts, at most: what a filter takes in all is a small multiple of that.
const LINGERING_BYTES: usize = 4 << 20;

/// All filters that are recorded for the web.
#[derive(Default)]
pub struct Recording {
    filters: Mutex<Filters>,
    tail: OnceLock<Arc<Outbox>>,
}

#[derive(Default)]
struct Filters {
    all: HashMap<Box<str>, Recorded>,
    /// How many of them nobody reads, and the bytes of their texts.
    lingering: usize,
    lingering_bytes: usize,
}

struct Recorded {
    filter: TopicFilter,
    /// Everything above this that matches is recorded.
    since: u64,
    readers: usize,
    /// When the last reader left.
    left: Option<Millis>,
}

impl Filters {
    fn is_crowded(&self) -> bool {
        self.lingering > LINGERING || self.lingering_bytes > LINGERING_BYTES
    }

    /// Up to when readers must have left for their filters to go, so that half of what may linger does.
    fn crowded_out(&self) -> Option<Millis> {
        let lingering = self.all.values();
        let lingering = lingering.filter_map(|one| Some((one.left?, one.filter.as_str().len())));
        let mut lingering: Vec<(Millis, usize)> = lingering.collect();
        lingering.sort_unstable_by(|one, other| other.cmp(one));
        let (mut count, mut bytes) = (0, 0);
        let first = lingering.into_iter().find(|(_, len)| {
            (count, bytes) = (count + 1, bytes + len);
            count > LINGERING / 2 || bytes > LINGERING_BYTES / 2
        });
        first.map(|(left, _)| left)
    }
}

impl Broker {
    fn tail(&self) -> &Arc<Outbox> {
        self.0.recording.tail.get_or_init(|| {
            let bounds = Bounds {
                messages: 0,
                bytes: 0,
            };
            let key = self.0.registry.next_key();
            Arc::new(Outbox::new(
                key,
                Kind::Tail,
                bounds,
                false,
                0,
                Identity::anonymous(),
            ))
        })
    }

    /// Somebody reads this filter, which shares with nobody. Tells since when it is recorded. Under the order lock only.
    pub(super) fn begin_recording(&self, filter: &TopicFilter, head: u64) -> u64 {
        let filters = &mut *self.0.recording.filters.lock();
        let known = filters.all.entry(filter.as_str().into());
        let recorded = known.or_insert_with(|| {
            let options = SubscriptionOptions::default();
            self.0
                .routes
                .subscribe(filter, self.tail().clone(), options, None);
            Recorded {
                filter: filter.clone(),
                since: head,
                readers: 0,
                left: None,
            }
        });
        recorded.readers += 1;
        if recorded.left.take().is_some() {
            filters.lingering -= 1;
            filters.lingering_bytes -= filter.as_str().len();
        }
        recorded.since
    }

    /// He has left.
    pub(super) fn end_recording(&self, filter: &TopicFilter) {
        let mut filters = self.0.recording.filters.lock();
        let Some(recorded) = filters.all.get_mut(filter.as_str()) else {
            return;
        };
        recorded.readers -= 1;
        if recorded.readers > 0 {
            return;
        }
        recorded.left = Some(self.now());
        filters.lingering += 1;
        filters.lingering_bytes += filter.as_str().len();
        // at once: readers that come and go may be very quick
        if filters.is_crowded() {
            let first = filters.crowded_out();
            self.let_go(&mut filters, |left| Some(left) <= first);
        }
    }

    /// Stops recording what nobody has read for `history_defaults.linger`.
    pub(super) fn stop_recording(&self) {
        let linger = self.0.config.linger.as_millis() as u64;
        let now = self.now().0;
        let mut filters = self.0.recording.filters.lock();
        self.let_go(&mut filters, |left| left.0 + linger <= now);
    }

    fn let_go(&self, filters: &mut Filters, is_over: impl Fn(Millis) -> bool) {
        let (mut count, mut bytes) = (0, 0);
        filters.all.retain(|text, recorded| {
            let is_over = recorded.left.is_some_and(&is_over);
            if is_over {
                (count, bytes) = (count + 1, bytes + text.len());
                let key = self.tail().key();
                self.0.routes.unsubscribe(&recorded.filter, key);
            }
            !is_over
        });
        filters.lingering -= count;
        filters.lingering_bytes -= bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        broker::resume::Start, message::Epoch, session::limits::Limits, store::memory::MemoryStore,
    };

    #[test]
    fn readers_that_come_and_go_leave_no_more_than_so_many_bytes_behind() {
        let store = MemoryStore::new(Epoch(*b"testtest"), 1 << 20, 1 << 20);
        let broker = Broker::new(Default::default(), Limits::default(), Box::new(store));
        let long = "x".repeat(60_000);
        let mut last = None;
        for number in 0..200 {
            let filter = TopicFilter::parse(&format!("{number}/{long}")).unwrap();
            let filters = [filter.clone()];
            drop(broker.stream(Identity::anonymous(), &filters, Start::Now));
            last = Some(filter);
        }
        let filters = broker.0.recording.filters.lock();
        let texts: usize = filters.all.keys().map(|text| text.len()).sum();
        assert_eq!(
            (filters.lingering, filters.lingering_bytes),
            (filters.all.len(), texts)
        );
        assert!(
            (LINGERING_BYTES / 4..=LINGERING_BYTES).contains(&texts),
            "{texts}"
        );
        assert!(filters.all.contains_key(last.unwrap().as_str()));
    }
}
