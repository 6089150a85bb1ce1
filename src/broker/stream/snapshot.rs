//! The state that a stream's filters have where their messages begin: what is retained.

use super::Stream;
use crate::{broker::subscribe::Replay, message::Delivery, mqtt::Qos, routing::retained::Retained};
use std::collections::VecDeque;

impl Stream {
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
}
