//! A trie over topic levels with exact, `+` and `#` edges.
//!
//! Most nodes have one child or none, and most filters one subscriber: those take no table and no list.

mod children;

use super::{Subscriber, shared::Group, shared::Member};
use crate::mqtt::subscribe::SubscriptionOptions;
use children::Children;
use smallvec::SmallVec;
use std::{num::NonZeroU32, sync::Arc};

/// One level. A filter that ends in `#` is kept at the level before it, so that it matches that level too.
pub struct Node<S> {
    children: Children<S>,
    plus: Option<Box<Node<S>>>,
    here: Entries<S>,
    hash: Option<Box<Entries<S>>>,
}

/// The subscriptions to one filter.
pub struct Entries<S> {
    direct: SmallVec<[Entry<S>; 1]>,
    groups: Vec<Arc<Group<S>>>,
}

/// One subscription.
pub struct Entry<S> {
    pub subscriber: S,
    pub options: SubscriptionOptions,
    pub id: Option<NonZeroU32>,
}

impl<S> Default for Entries<S> {
    fn default() -> Self {
        Entries {
            direct: SmallVec::new(),
            groups: Vec::new(),
        }
    }
}

impl<S> Default for Node<S> {
    fn default() -> Self {
        Node {
            children: Children::default(),
            plus: None,
            here: Entries::default(),
            hash: None,
        }
    }
}

impl<S: Subscriber> Entries<S> {
    pub fn iter(&self) -> impl Iterator<Item = &Entry<S>> {
        self.direct.iter()
    }

    pub fn groups(&self) -> impl Iterator<Item = &Arc<Group<S>>> {
        self.groups.iter()
    }

    pub fn group(&self, name: &str) -> Option<Arc<Group<S>>> {
        self.groups
            .iter()
            .find(|group| group.name() == name)
            .cloned()
    }

    pub fn insert(&mut self, entry: Entry<S>) -> bool {
        match self
            .direct
            .iter_mut()
            .find(|e| e.subscriber.key() == entry.subscriber.key())
        {
            Some(old) => {
                *old = entry;
                false
            }
            None => {
                self.direct.push(entry);
                true
            }
        }
    }

    pub fn group_mut(&mut self, name: &str, new: impl FnOnce() -> Group<S>) -> &Arc<Group<S>> {
        let at = self
            .groups
            .iter()
            .position(|group| group.name() == name)
            .unwrap_or_else(|| {
                self.groups.push(Arc::new(new()));
                self.groups.len() - 1
            });
        &self.groups[at]
    }

    pub fn remove(&mut self, key: u64) -> bool {
        let found = self
            .direct
            .iter()
            .position(|entry| entry.subscriber.key() == key);
        if let Some(at) = found {
            self.direct.swap_remove(at);
        }
        found.is_some()
    }

    pub fn leave(&mut self, name: &str, key: u64) -> bool {
        let Some(at) = self.groups.iter().position(|group| group.name() == name) else {
            return false;
        };
        let left: Option<Member<S>> = self.groups[at].leave(key);
        if self.groups[at].is_empty() {
            self.groups.swap_remove(at);
        }
        left.is_some()
    }

    fn is_empty(&self) -> bool {
        self.direct.is_empty() && self.groups.is_empty()
    }
}

impl<S: Subscriber> Node<S> {
    /// The entries of a pattern; the way there is made.
    pub fn entries_mut(&mut self, pattern: &str) -> &mut Entries<S> {
        let mut node = self;
        for level in pattern.split('/') {
            node = match level {
                "#" => return node.hash.get_or_insert_default(),
                "+" => node.plus.get_or_insert_default(),
                level => node.children.get_or_insert(level),
            };
        }
        &mut node.here
    }

    /// The entries of a pattern, if it has any.
    pub fn find(&self, pattern: &str) -> Option<&Entries<S>> {
        let mut node = self;
        for level in pattern.split('/') {
            node = match level {
                "#" => return node.hash.as_deref(),
                "+" => node.plus.as_deref()?,
                level => node.children.get(level)?,
            };
        }
        Some(&node.here)
    }

    /// Applies `change` to the entries of a pattern, then removes the levels that became empty.
    pub fn remove(&mut self, pattern: &str, change: impl FnOnce(&mut Entries<S>) -> bool) -> bool {
        self.remove_level(Some(pattern), change)
    }

    // depth is bounded: filters are admitted up to limits.topic_levels only
    fn remove_level(
        &mut self,
        rest: Option<&str>,
        change: impl FnOnce(&mut Entries<S>) -> bool,
    ) -> bool {
        let Some(rest) = rest else {
            return change(&mut self.here);
        };
        let (level, rest) = split_level(rest);
        match level {
            "#" => {
                let Some(hash) = &mut self.hash else {
                    return false;
                };
                let removed = change(hash);
                if hash.is_empty() {
                    self.hash = None;
                }
                removed
            }
            "+" => {
                let Some(child) = &mut self.plus else {
                    return false;
                };
                let removed = child.remove_level(rest, change);
                if child.is_empty() {
                    self.plus = None;
                }
                removed
            }
            level => {
                let Some(child) = self.children.get_mut(level) else {
                    return false;
                };
                let removed = child.remove_level(rest, change);
                if child.is_empty() {
                    self.children.remove(level);
                }
                removed
            }
        }
    }

    /// Shows all entries whose filter matches `topic`.
    pub fn visit<'a>(&'a self, topic: &str, see: &mut impl FnMut(&'a Entries<S>)) {
        self.visit_level(Some(topic), see);
    }

    // depth is bounded by the depth of the filters, see remove_level
    fn visit_level<'a>(&'a self, rest: Option<&str>, see: &mut impl FnMut(&'a Entries<S>)) {
        if let Some(hash) = &self.hash {
            see(hash);
        }
        let Some(rest) = rest else {
            if !self.here.is_empty() {
                see(&self.here);
            }
            return;
        };
        let (level, rest) = split_level(rest);
        if let Some(child) = self.children.get(level) {
            child.visit_level(rest, see);
        }
        if let Some(child) = &self.plus {
            child.visit_level(rest, see);
        }
    }

    fn is_empty(&self) -> bool {
        self.children.is_empty()
            && self.plus.is_none()
            && self.here.is_empty()
            && self.hash.is_none()
    }
}

fn split_level(rest: &str) -> (&str, Option<&str>) {
    match memchr::memchr(b'/', rest.as_bytes()) {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    }
}
