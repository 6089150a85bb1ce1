//! The last retained message of each topic.
//!
//! Sorted by topic, so that a filter reads only what begins as it does, in chunks that hold the lock briefly.

use crate::{
    message::{Message, Millis, Position},
    mqtt::topic::{self, TopicName},
};
use parking_lot::RwLock;
use std::{collections::BTreeMap, ops::Bound, sync::Arc};

pub mod level;

/// Topics looked at under one lock.
const CHUNK: usize = 1024;

/// All retained messages.
#[derive(Default)]
pub struct RetainedMessages {
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    by_topic: BTreeMap<TopicName, Retained>,
    bytes: usize,
}

/// One retained message.
#[derive(Debug, Clone)]
pub struct Retained {
    /// The message as published.
    pub message: Arc<Message>,
    /// When it was written, in the order of the log.
    pub position: Position,
}

/// A part of what a filter finds.
pub struct Chunk {
    /// In topic order.
    pub found: Vec<Retained>,
    /// Where to go on; `None` at the end.
    pub resume_after: Option<TopicName>,
}

impl RetainedMessages {
    /// Keeps `message` for its topic, or forgets the topic's message if its payload is empty [MQTT-3.3.1-6].
    pub fn set(&self, message: &Arc<Message>, position: Position) {
        let mut inner = self.inner.write();
        let old = if message.payload.is_empty() {
            inner.by_topic.remove(&message.topic)
        } else {
            inner.bytes += message.weight();
            let retained = Retained {
                message: message.clone(),
                position,
            };
            inner.by_topic.insert(message.topic.clone(), retained)
        };
        inner.bytes -= old.map_or(0, |old| old.message.weight());
    }

    /// Whether `message` may be kept within these bounds, or else the name of the bound in its way. What replaces a
    /// larger message always may, and so may what deletes one. Callers take turns, so that it still holds at `set`.
    pub fn admits(
        &self,
        message: &Message,
        messages: usize,
        bytes: usize,
    ) -> Result<(), &'static str> {
        if message.payload.is_empty() {
            return Ok(());
        }
        let inner = self.inner.read();
        let old = inner.by_topic.get(&message.topic);
        let old_weight = old.map_or(0, |old| old.message.weight());
        if old.is_none() && inner.by_topic.len() >= messages {
            return Err("retained_messages");
        }
        let grows = message.weight() > old_weight;
        if grows && inner.bytes - old_weight + message.weight() > bytes {
            return Err("retained_bytes");
        }
        Ok(())
    }

    /// The retained message of one topic.
    pub fn get(&self, topic: &TopicName, now: Millis) -> Option<Retained> {
        let inner = self.inner.read();
        inner
            .by_topic
            .get(topic)
            .filter(|retained| !retained.message.is_expired(now))
            .cloned()
    }

    /// How many there are, and their weight in bytes.
    pub fn size(&self) -> (usize, usize) {
        let inner = self.inner.read();
        (inner.by_topic.len(), inner.bytes)
    }

    /// Up to `max` messages that match `pattern`, on topics behind `after`, written at or before `through`.
    pub fn matching(
        &self,
        pattern: &str,
        after: Option<&TopicName>,
        through: Position,
        max: usize,
        now: Millis,
    ) -> Chunk {
        let inner = self.inner.read();
        let mut chunk = Chunk {
            found: Vec::new(),
            resume_after: None,
        };
        let wanted = |r: &Retained| r.position <= through && !r.message.is_expired(now);
        let Some(wildcard) = memchr::memchr2(b'+', b'#', pattern.as_bytes()) else {
            chunk
                .found
                .extend(inner.by_topic.get(pattern).filter(|r| wanted(r)).cloned());
            return chunk;
        };
        let mut prefix = &pattern[..wildcard];
        if pattern.as_bytes()[wildcard] == b'#' {
            // "a/#" also matches "a"
            prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        }
        let start = match after {
            Some(topic) => Bound::Excluded(&**topic),
            None => Bound::Included(prefix),
        };
        for (seen, (topic, retained)) in inner
            .by_topic
            .range::<str, _>((start, Bound::Unbounded))
            .enumerate()
        {
            if !topic.starts_with(prefix) {
                break;
            }
            if topic::matches(pattern, topic) && wanted(retained) {
                chunk.found.push(retained.clone());
            }
            if chunk.found.len() == max || seen == CHUNK {
                chunk.resume_after = Some(topic.clone());
                break;
            }
        }
        chunk
    }

    /// Forgets what has expired, a chunk of topics behind `after` at a time; where to go on, `None` at the end.
    pub fn sweep(&self, after: Option<&TopicName>, now: Millis) -> Option<TopicName> {
        let start = after.map_or(Bound::Unbounded, |topic| Bound::Excluded(&**topic));
        let (mut expired, mut last) = (Vec::new(), None);
        {
            let inner = self.inner.read();
            for (topic, retained) in inner
                .by_topic
                .range::<str, _>((start, Bound::Unbounded))
                .take(CHUNK)
            {
                last = Some(topic.clone());
                if retained.message.is_expired(now) {
                    expired.push(topic.clone());
                }
            }
        }
        let mut inner = self.inner.write();
        for topic in expired {
            if let Some(retained) = inner.by_topic.get(&topic)
                && retained.message.is_expired(now)
            {
                inner.bytes -= retained.message.weight();
                inner.by_topic.remove(&topic);
            }
        }
        last
    }
}
