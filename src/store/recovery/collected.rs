//! What a start collects while it reads the log.

use super::Damage;
use crate::{
    message::Message,
    mqtt::topic::TopicName,
    store::{
        frame::Lsn,
        kept::Kept,
        log::{Segment, file_name},
        record::Logged,
    },
};
use hashbrown::HashMap;
use std::{collections::BTreeMap, sync::Arc};

/// What is collected on the way.
pub(super) struct Collected<'a> {
    pub kept: Kept,
    pub segments: BTreeMap<u64, Segment>,
    pub retained: HashMap<TopicName, (u64, Arc<Message>)>,
    pub damage: Vec<Damage>,
    /// Offset, size and what the caller noted of messages that are not known to be trimmed.
    pub messages: Vec<(u64, u32, u64)>,
    pub note: &'a dyn Fn(&str) -> u64,
    pub last: Lsn,
    pub last_offset: u64,
}

impl Collected<'_> {
    pub(super) fn message(&mut self, logged: Logged, segment: u64, at: u64, end: u64) {
        let Logged {
            offset,
            message,
            inbound,
            begins,
        } = logged;
        if let Some(once) = begins.and_then(|begins| begins.once) {
            self.kept.keys.insert(once, segment);
        }
        if let Some(packet_id) = inbound
            && let Some(client) = message.origin.as_ref().and_then(|o| o.client_id.as_deref())
        {
            self.kept.received(client, packet_id);
        }
        self.last_offset = self.last_offset.max(offset);
        self.segments
            .entry(segment)
            .or_default()
            .index
            .add(offset, &message.topic, at, end);
        let note = (self.note)(&message.topic);
        self.messages.push((offset, (end - at) as u32, note));
        if message.retain {
            self.retained(offset, message);
        }
    }

    pub(super) fn damaged(&mut self, segment: u64, at: u64, end: u64) {
        // a run may have begun there
        self.kept.stopped_at = None;
        self.damage.push(Damage {
            file: file_name(segment),
            at,
            bytes: end - at,
            after: self.last_offset,
        });
    }

    /// Of two, the higher position wins.
    pub(super) fn retained(&mut self, offset: u64, message: Message) {
        let known = self.retained.get(&message.topic);
        if known.is_none_or(|(before, _)| *before <= offset) {
            let message = Arc::new(message);
            self.retained
                .insert(message.topic.clone(), (offset, message));
        }
    }
}
