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

/// All filters that are recorded for the web.
#[derive(Default)]
pub struct Recording {
    filters: Mutex<HashMap<Box<str>, Recorded>>,
    tail: OnceLock<Arc<Outbox>>,
}

struct Recorded {
    filter: TopicFilter,
    /// Everything above this that matches is recorded.
    since: u64,
    readers: usize,
    /// When the last reader left.
    left: Option<Millis>,
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
        let mut filters = self.0.recording.filters.lock();
        let known = filters.entry(filter.as_str().into());
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
        recorded.left = None;
        recorded.since
    }

    /// He has left.
    pub(super) fn end_recording(&self, filter: &TopicFilter) {
        let now = self.now();
        if let Some(recorded) = self.0.recording.filters.lock().get_mut(filter.as_str()) {
            recorded.readers -= 1;
            recorded.left = (recorded.readers == 0).then_some(now);
        }
    }

    /// Stops recording what nobody has read for `history_defaults.linger`.
    pub(super) fn stop_recording(&self) {
        let linger = self.0.config.linger.as_millis() as u64;
        let now = self.now().0;
        let mut filters = self.0.recording.filters.lock();
        let mut left: Vec<u64> = filters
            .values()
            .filter_map(|recorded| recorded.left)
            .map(|left| left.0)
            .collect();
        left.sort_unstable();
        let surplus = left.len().saturating_sub(LINGERING);
        // whoever left at this moment or before
        let crowded_out = surplus.checked_sub(1).map(|nth| left[nth]);
        filters.retain(|_, recorded| {
            let is_over = recorded
                .left
                .is_some_and(|left| left.0 + linger <= now || Some(left.0) <= crowded_out);
            if is_over {
                let key = self.tail().key();
                self.0.routes.unsubscribe(&recorded.filter, key);
            }
            !is_over
        });
    }
}
