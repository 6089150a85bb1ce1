//! A publisher's own memory of whom its topics are for: a repeated topic costs no lock and no walk.

use super::{Routes, Stamp, Subscriber, Targets};
use crate::mqtt::topic::TopicName;
use hashbrown::HashMap;
use std::sync::Arc;

/// Topics remembered per publisher; one more and the memory starts over.
const CAPACITY: usize = 256;

/// Topic to targets, each valid while the generation it was made in stands.
pub struct Memo<S> {
    publisher: Option<u64>,
    last: Option<Last<S>>,
    others: HashMap<TopicName, (Stamp, Arc<Targets<S>>)>,
}

/// The topic of the message before: most publishers stay with one for a while.
struct Last<S> {
    topic: TopicName,
    shard: usize,
    stamp: Stamp,
    targets: Arc<Targets<S>>,
    /// It is among the others, too.
    kept: bool,
}

impl<S: Subscriber> Last<S> {
    /// Consecutive messages mostly have the topic itself in common, not only its text.
    #[inline]
    fn is_for(&self, topic: &TopicName, routes: &Routes<S>) -> bool {
        (std::ptr::eq(&*self.topic, &**topic) || self.topic == *topic)
            && self.stamp == routes.stamp(self.shard)
    }
}

impl<S: Subscriber> Memo<S> {
    /// An empty memory; `publisher` is the subscriber key that No Local looks at.
    pub fn new(publisher: Option<u64>) -> Self {
        Memo {
            publisher,
            last: None,
            others: HashMap::new(),
        }
    }

    /// Whom a message on `topic` is for, now.
    #[inline]
    pub fn targets(&mut self, routes: &Routes<S>, topic: &TopicName) -> &Arc<Targets<S>> {
        let last = match self.last.take() {
            Some(last) if last.is_for(topic, routes) => last,
            before => self.look_up(routes, topic, before),
        };
        &self.last.insert(last).targets
    }

    /// `before` was the last topic. Only now does it get a place among the others: a publisher with a single topic
    /// needs none.
    fn look_up(
        &mut self,
        routes: &Routes<S>,
        topic: &TopicName,
        before: Option<Last<S>>,
    ) -> Last<S> {
        if let Some(before) = before.filter(|before| !before.kept && before.topic != *topic) {
            if self.others.len() >= CAPACITY {
                self.others.clear();
            }
            let entry = (before.stamp, before.targets);
            self.others.insert(before.topic, entry);
        }
        let shard = routes.shard(topic);
        // read before the match: a change in between makes the entry stale, never wrong
        let stamp = routes.stamp(shard);
        let (targets, kept) = match self.others.get(topic) {
            Some((made, targets)) if *made == stamp => (targets.clone(), true),
            _ => (Arc::new(routes.matching(topic, self.publisher)), false),
        };
        Last {
            topic: topic.clone(),
            shard,
            stamp,
            targets,
            kept,
        }
    }
}
