//! The filters of one session, by their text. Small: most sessions have one or two, some have a thousand.

use crate::mqtt::{subscribe::SubscriptionOptions, topic::TopicFilter};
use hashbrown::HashSet;
use std::{
    borrow::Borrow,
    hash::{Hash, Hasher},
};

/// One filter of a session.
#[derive(Debug, Clone, PartialEq)]
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

/// All subscriptions of a session: most have one, which takes no table. The others stand beside the table, whose free
/// places then cost little.
#[derive(Debug, Default)]
pub struct Subscriptions {
    /// Any of them; only empty if there is none at all.
    one: Option<Box<Subscription>>,
    others: Option<Box<HashSet<ByFilter>>>,
}

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
        let others = self.others.iter().flat_map(|others| others.iter());
        let others = others.map(|by_filter| &*by_filter.0);
        self.one.as_deref().into_iter().chain(others)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        usize::from(self.one.is_some()) + self.others.as_ref().map_or(0, |others| others.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.one.is_none()
    }

    /// The one with exactly this filter [MQTT-3.10.4-1].
    pub fn get(&self, filter: &str) -> Option<&Subscription> {
        match &self.one {
            Some(one) if one.filter.as_str() == filter => Some(one),
            _ => self
                .others
                .as_ref()?
                .get(filter)
                .map(|by_filter| &*by_filter.0),
        }
    }

    /// Adds a subscription or replaces the one with its filter, whose `since` it takes over. True if it is new
    /// [MQTT-3.8.4-3].
    pub fn insert(&mut self, mut subscription: Subscription) -> bool {
        let filter = subscription.filter.as_str();
        let since = self.get(filter).map(|old| old.since);
        subscription.since = since.unwrap_or(subscription.since);
        match &mut self.one {
            Some(one) if one.filter.as_str() != filter => {
                let others = self.others.get_or_insert_default();
                others.replace(ByFilter(Box::new(subscription)));
            }
            one => *one = Some(Box::new(subscription)),
        }
        since.is_none()
    }

    /// Forgets a subscription.
    pub fn remove(&mut self, filter: &str) -> Option<Subscription> {
        let one = self.one.take_if(|one| one.filter.as_str() == filter);
        let removed = match (one, &mut self.others) {
            (Some(one), Some(others)) => {
                let next = others.extract_if(|_| true).next();
                self.one = next.map(|by_filter| by_filter.0);
                Some(*one)
            }
            (None, Some(others)) => others.take(filter).map(|by_filter| *by_filter.0),
            (one, None) => one.map(|one| *one),
        };
        self.others.take_if(|others| others.is_empty());
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(filter: &str, since: u64) -> Subscription {
        Subscription {
            filter: TopicFilter::parse(filter).unwrap(),
            options: SubscriptionOptions::default(),
            id: None,
            since,
        }
    }

    #[test]
    fn subscriptions_come_and_go_in_any_order_and_none_is_lost() {
        let filters: Vec<String> = (0..10).map(|n| format!("a/{n}")).collect();
        for first in 0..filters.len() {
            let mut all = Subscriptions::default();
            for filter in &filters {
                assert!(all.insert(subscription(filter, 1)));
                assert!(!all.insert(subscription(filter, 2)));
                assert_eq!(all.get(filter).map(|s| s.since), Some(1));
            }
            let mut order = filters.clone();
            order.rotate_left(first);
            for (gone, filter) in order.iter().enumerate() {
                assert_eq!((all.len(), all.iter().count()), (10 - gone, 10 - gone));
                assert!(
                    all.remove(filter)
                        .is_some_and(|s| s.filter.as_str() == filter)
                );
                assert!(all.remove(filter).is_none() && all.get(filter).is_none());
            }
            assert!(all.is_empty() && all.others.is_none());
        }
    }
}
