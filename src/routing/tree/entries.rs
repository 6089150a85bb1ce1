//! The subscriptions to one filter. One stands in its place; very many are found by an index.

use crate::{
    mqtt::subscribe::SubscriptionOptions,
    routing::{
        Subscriber,
        shared::{Group, Member},
    },
};
use hashbrown::{DefaultHashBuilder, HashTable};
use smallvec::SmallVec;
use std::{hash::BuildHasher, num::NonZeroU32, sync::Arc};

/// Up to this many subscribers are looked through; more are indexed.
const LOOKED_THROUGH: usize = 32;

/// Who subscribes to a filter, each once, and the groups that share it.
pub struct Entries<S> {
    direct: SmallVec<[Entry<S>; 1]>,
    rare: Option<Box<Rare<S>>>,
}

/// One subscription.
pub struct Entry<S> {
    pub subscriber: S,
    pub options: SubscriptionOptions,
    pub id: Option<NonZeroU32>,
}

/// What few filters have.
struct Rare<S> {
    groups: Vec<Arc<Group<S>>>,
    index: Option<Index>,
}

/// Where in `direct` a key stands.
#[derive(Default)]
struct Index {
    places: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl<S> Default for Entries<S> {
    fn default() -> Self {
        Entries {
            direct: SmallVec::new(),
            rare: None,
        }
    }
}

impl<S> Default for Rare<S> {
    fn default() -> Self {
        Rare {
            groups: Vec::new(),
            index: None,
        }
    }
}

impl<S: Subscriber> Entries<S> {
    pub fn iter(&self) -> impl Iterator<Item = &Entry<S>> {
        self.direct.iter()
    }

    pub fn groups(&self) -> &[Arc<Group<S>>] {
        self.rare.as_ref().map_or(&[], |rare| &rare.groups)
    }

    pub fn group(&self, name: &str) -> Option<Arc<Group<S>>> {
        let mut groups = self.groups().iter();
        groups.find(|group| group.name() == name).cloned()
    }

    /// Adds a subscription, or replaces the one of its subscriber. True if it is new.
    pub fn insert(&mut self, entry: Entry<S>) -> bool {
        let found = self.position(entry.subscriber.key());
        if let Some(at) = found {
            self.direct[at] = entry;
            return false;
        }
        self.direct.push(entry);
        if self.direct.len() > LOOKED_THROUGH {
            let index = &mut self.rare.get_or_insert_default().index;
            let index = index.get_or_insert_default();
            index.extend_to_all_of(&self.direct);
        }
        true
    }

    /// Removes the subscription of a subscriber; false if it has none.
    pub fn remove(&mut self, key: u64) -> bool {
        let Some(at) = self.position(key) else {
            return false;
        };
        if let Some(rare) = &mut self.rare {
            if self.direct.len() <= LOOKED_THROUGH / 2 {
                rare.index = None;
            }
            if let Some(index) = &mut rare.index {
                index.swap_remove(&self.direct, at);
            }
        }
        self.direct.swap_remove(at);
        if self.direct.len() < self.direct.capacity() / 4 {
            self.direct.shrink_to_fit();
        }
        self.drop_unneeded();
        true
    }

    pub fn group_mut(&mut self, name: &str, new: impl FnOnce() -> Group<S>) -> &Arc<Group<S>> {
        let groups = &mut self.rare.get_or_insert_default().groups;
        let at = groups.iter().position(|group| group.name() == name);
        let at = at.unwrap_or_else(|| {
            groups.push(Arc::new(new()));
            groups.len() - 1
        });
        &groups[at]
    }

    pub fn leave(&mut self, name: &str, key: u64) -> bool {
        let Some(rare) = &mut self.rare else {
            return false;
        };
        let at = rare.groups.iter().position(|group| group.name() == name);
        let Some(at) = at else {
            return false;
        };
        let left: Option<Member<S>> = rare.groups[at].leave(key);
        if rare.groups[at].is_empty() {
            rare.groups.swap_remove(at);
        }
        self.drop_unneeded();
        left.is_some()
    }

    pub fn is_empty(&self) -> bool {
        self.direct.is_empty() && self.groups().is_empty()
    }

    fn position(&self, key: u64) -> Option<usize> {
        match self.rare.as_ref().and_then(|rare| rare.index.as_ref()) {
            Some(index) => index.find(&self.direct, key),
            None => self.direct.iter().position(|e| e.subscriber.key() == key),
        }
    }

    fn drop_unneeded(&mut self) {
        let is_needed = |rare: &Rare<S>| rare.index.is_some() || !rare.groups.is_empty();
        self.rare.take_if(|rare| !is_needed(rare));
    }
}

impl Index {
    fn find<S: Subscriber>(&self, all: &[Entry<S>], key: u64) -> Option<usize> {
        let is_it = |place: &u32| all[*place as usize].subscriber.key() == key;
        let place = self.places.find(self.hasher.hash_one(key), is_it);
        place.map(|place| *place as usize)
    }

    /// Adds those at the end of `all` that it does not have yet.
    fn extend_to_all_of<S: Subscriber>(&mut self, all: &[Entry<S>]) {
        let Index { places, hasher } = self;
        let hash = |place: &u32| hasher.hash_one(all[*place as usize].subscriber.key());
        for place in places.len() as u32..all.len() as u32 {
            places.insert_unique(hash(&place), place, hash);
        }
    }

    /// For before the same is done to `all`.
    fn swap_remove<S: Subscriber>(&mut self, all: &[Entry<S>], at: usize) {
        let Index { places, hasher } = self;
        let hash = |place: usize| hasher.hash_one(all[place].subscriber.key());
        if let Ok(found) = places.find_entry(hash(at), |place| *place as usize == at) {
            found.remove();
        }
        let last = all.len() - 1;
        if let Some(moved) = places.find_mut(hash(last), |place| *place as usize == last) {
            *moved = at as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(entries: &Entries<u64>) -> Vec<u64> {
        let mut keys: Vec<_> = entries.iter().map(|entry| entry.subscriber).collect();
        keys.sort_unstable();
        keys
    }

    fn entry(subscriber: u64, id: u32) -> Entry<u64> {
        Entry {
            subscriber,
            options: SubscriptionOptions::default(),
            id: NonZeroU32::new(id),
        }
    }

    #[test]
    fn however_many_subscribe_each_stands_once_and_is_found() {
        let mut entries = Entries::default();
        let all: Vec<u64> = (0..10 * LOOKED_THROUGH as u64).collect();
        for &key in &all {
            assert!(entries.insert(entry(key, 1)));
            assert!(!entries.insert(entry(key, 2)));
        }
        assert_eq!(keys(&entries), all);
        assert!(entries.iter().all(|entry| entry.id == NonZeroU32::new(2)));
        // every third goes, then every other of the rest, then all
        for step in [3, 2, 1] {
            let left = keys(&entries);
            for &key in left.iter().step_by(step) {
                assert!(entries.remove(key));
                assert!(!entries.remove(key));
            }
            let gone = |key: &u64| left.iter().step_by(step).any(|gone| gone == key);
            let rest: Vec<u64> = left.iter().copied().filter(|key| !gone(key)).collect();
            assert_eq!(keys(&entries), rest);
            for key in rest {
                assert!(!entries.insert(entry(key, 3)));
            }
        }
        assert!(entries.is_empty() && entries.rare.is_none());
    }

    #[test]
    fn few_subscribers_have_no_index_and_shares_may_stand_beside_many() {
        let mut entries = Entries::default();
        let ids = std::sync::atomic::AtomicU64::new(1);
        let filter = crate::mqtt::topic::TopicFilter::parse("$share/g/a").unwrap();
        for key in 0..=LOOKED_THROUGH as u64 {
            assert!(entries.rare.is_none());
            entries.insert(entry(key, 1));
        }
        let group = entries.group_mut("g", || Group::new(&ids, filter));
        group.join(Member {
            subscriber: 7,
            qos: crate::mqtt::Qos::AtMostOnce,
            retain_as_published: false,
            id: None,
        });
        for key in 0..=LOOKED_THROUGH as u64 {
            assert!(entries.remove(key));
        }
        assert!(!entries.is_empty() && entries.group("g").is_some());
        assert!(entries.leave("g", 7) && !entries.leave("g", 7));
        assert!(entries.is_empty() && entries.rare.is_none());
    }
}
