//! History rules: what is kept in the log although nobody who is away waits for it.
//!
//! A rule holds the newest messages of its filter, up to an age and a number of bytes. The log is cleaned from its oldest
//! end, so what a rule lets go stays as long as something older is held.

use crate::{
    message::{Message, Millis},
    mqtt::topic::{self, TopicFilter},
};
use std::{
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Most rules there may be: which ones match a topic is remembered as one bit each.
pub const MAX_RULES: usize = 64;

/// One `[[history]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Which topics.
    pub filter: TopicFilter,
    /// How long a message is kept; as long as there is room if not said.
    pub max_age: Option<Duration>,
    /// How many bytes of messages are kept.
    pub max_bytes: Option<usize>,
}

/// The rules, and how much each of them holds.
#[derive(Debug, Default)]
pub struct History {
    rules: Vec<Rule>,
    bytes: Vec<AtomicUsize>,
    /// Above which position everything that matches was recorded.
    since: OnceLock<Vec<u64>>,
}

/// The rules that match a topic, one bit each.
pub type Matching = u64;

impl History {
    /// By these rules.
    pub fn new(rules: Vec<Rule>) -> Self {
        let bytes = rules.iter().map(|_| AtomicUsize::new(0)).collect();
        History {
            rules,
            bytes,
            since: OnceLock::new(),
        }
    }

    /// Takes note of what the run before recorded by which rules, and tells the same of this one, which begins at `head`.
    pub fn go_on(&self, before: &[(Box<str>, u64)], head: u64) -> Vec<(Box<str>, u64)> {
        let known = |rule: &Rule| {
            let same = before
                .iter()
                .find(|(filter, _)| **filter == *rule.filter.as_str());
            same.map_or(head, |(_, since)| *since)
        };
        let since = self
            .since
            .get_or_init(|| self.rules.iter().map(known).collect());
        let filters = self.rules.iter().map(|rule| rule.filter.as_str().into());
        filters.zip(since.iter().copied()).collect()
    }

    /// Above which position everything that matches a filter was recorded, if a rule covers it.
    pub fn since(&self, filter: &TopicFilter) -> Option<u64> {
        let covers = |rule: &Rule| topic::covers(rule.filter.pattern(), filter.pattern());
        let all = self.rules.iter().zip(self.since.get()?);
        let covering = all.filter(|(rule, _)| covers(rule));
        covering.map(|(_, since)| *since).min()
    }

    /// The rules' filters.
    pub fn filters(&self) -> Vec<TopicFilter> {
        self.rules.iter().map(|rule| rule.filter.clone()).collect()
    }

    fn each(&self, matching: Matching) -> impl Iterator<Item = (&Rule, &AtomicUsize)> {
        let all = self.rules.iter().zip(&self.bytes).enumerate();
        all.filter(move |(nth, _)| matching >> nth & 1 == 1)
            .map(|(_, one)| one)
    }

    /// A message of this size was added to the log.
    pub fn added(&self, matching: Matching, size: usize) {
        for (_, bytes) in self.each(matching) {
            bytes.fetch_add(size, Ordering::Relaxed);
        }
    }

    /// The oldest message of the log went.
    pub fn removed(&self, matching: Matching, size: usize) {
        for (_, bytes) in self.each(matching) {
            bytes.fetch_sub(size, Ordering::Relaxed);
        }
    }

    /// Whether a rule still holds the oldest message of the log.
    pub fn holds(&self, matching: Matching, message: &Message, now: Millis) -> bool {
        self.each(matching).any(|(rule, bytes)| {
            let age = now.0.saturating_sub(message.time.0);
            let is_young = rule
                .max_age
                .is_none_or(|max| u128::from(age) <= max.as_millis());
            let has_room = rule
                .max_bytes
                .is_none_or(|max| bytes.load(Ordering::Relaxed) <= max);
            is_young && has_room
        })
    }
}
