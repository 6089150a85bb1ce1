//! The filters of one session, by their text. Small: most sessions have one or two, some have a thousand.

use crate::mqtt::{subscribe::SubscriptionOptions, topic::TopicFilter};
use hashbrown::HashSet;
use std::{
    borrow::Borrow,
    hash::{Hash, Hasher},
};

/// One filter of a session.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// What is wanted.
    pub filter: TopicFilter,
    /// How it is wanted; the QoS is the granted one.
    pub options: SubscriptionOptions,
    /// Subscription Identifier.
    pub id: Option<u32>,
    /// Records above this offset of the log are for it. Replacing the subscription keeps it.
    pub since: u64,
}

/// All subscriptions of a session. They stand beside the table, whose free places then cost little.
#[derive(Debug, Default)]
pub struct Subscriptions(HashSet<ByFilter>);

#[derive(Debug)]
struct ByFilter(Box<Subscription>);

impl Borrow<str> for ByFilter {
    fn borrow(&self) -> &str {
        self.0.filter.as_str()
    }
}

impl Hash for ByFilter {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.filter.as_str().hash(state);
    }
}

impl PartialEq for ByFilter {
    fn eq(&self, other: &Self) -> bool {
        self.0.filter.as_str() == other.0.filter.as_str()
    }
}

impl Eq for ByFilter {}

impl Subscriptions {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Subscription> {
        self.0.iter().map(|by_filter| &*by_filter.0)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one with exactly this filter [MQTT-3.10.4-1].
    pub fn get(&self, filter: &str) -> Option<&Subscription> {
        self.0.get(filter).map(|by_filter| &*by_filter.0)
    }

    /// Adds a subscription or replaces the one with its filter, whose `since` it takes over. True if it is new
    /// [MQTT-3.8.4-3].
    pub fn insert(&mut self, mut subscription: Subscription) -> bool {
        let old = self.get(subscription.filter.as_str());
        let since = old.map(|old| old.since);
        subscription.since = since.unwrap_or(subscription.since);
        self.0.replace(ByFilter(Box::new(subscription)));
        since.is_none()
    }

    /// Forgets a subscription.
    pub fn remove(&mut self, filter: &str) -> Option<Subscription> {
        self.0.take(filter).map(|by_filter| *by_filter.0)
    }
}
