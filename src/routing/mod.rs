//! Who wants it: the topic tree, its share groups, a publisher's memo, and the retained messages.
//!
//! Pure and synchronous, generic over the subscriber. It finds receivers and never delivers to them.

pub mod condition;
pub mod memo;
pub mod retained;
pub mod shared;
mod tree;

use crate::{
    message::{GroupId, SubscriptionIds},
    mqtt::{
        Qos,
        subscribe::SubscriptionOptions,
        topic::{self, TopicFilter},
    },
};
use hashbrown::{DefaultHashBuilder, HashMap};
use parking_lot::RwLock;
use shared::{Group, Member};
use std::{
    hash::BuildHasher,
    num::NonZeroU32,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};
use tree::{Entry, Node};

const SHARDS: usize = 64;

/// What the tree needs to know about whoever subscribes.
pub trait Subscriber: Clone {
    /// Unique among all subscribers.
    fn key(&self) -> u64;
    /// Whether what it misses must be kept for it; never changes.
    fn is_durable(&self) -> bool;
    /// Whether somebody reads what it is given.
    fn is_online(&self) -> bool;
    /// Whether it is online and would take one more message of this weight.
    fn has_room(&self, weight: usize) -> bool;
    /// Whether a message above QoS 0 would wait, because its client has yet to acknowledge others.
    fn is_held_up(&self) -> bool;
    /// Whether nobody reads what is offered to it: a log keeps what it must not miss. Whoever changes this tells
    /// [`Routes::presence_changed`].
    fn is_away(&self) -> bool;
    /// Whether it may be given what is published on this topic. Whoever changes this tells
    /// [`Routes::presence_changed`] or [`Routes::rights_changed`].
    fn may_receive(&self, topic: &str) -> bool;
    /// Whether it stands for the tail of the log: what it subscribes to is recorded, and nothing is offered to it.
    fn is_tail(&self) -> bool;
}

/// All subscriptions: a tree per hash of the first level, and one for filters that begin with a wildcard.
///
/// Each tree has a generation that moves with every change, so that a [`memo::Memo`] knows whether it still holds.
pub struct Routes<S> {
    shards: Box<[Shard<S>]>,
    wild: Shard<S>,
    hasher: DefaultHashBuilder,
    next_group: AtomicU64,
    /// The groups that have members, for whoever was given something by one and has left it since. Locked last.
    groups: RwLock<HashMap<GroupId, Weak<Group<S>>>>,
    /// Filters whose messages are recorded whoever subscribes; 64 at most.
    recorded: Vec<TopicFilter>,
}

struct Shard<S> {
    tree: RwLock<Node<S>>,
    generation: AtomicU64,
}

/// The generations a match was made in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    shard: u64,
    wild: u64,
}

/// Everyone a message on one topic is for, each once.
#[derive(Debug)]
pub struct Targets<S> {
    /// One per subscriber, however many of its filters match.
    pub direct: Vec<Target<S>>,
    /// Groups of which one member each gets the message.
    pub shared: Vec<Arc<Group<S>>>,
    /// Whether anyone must not miss it: has a durable session and was granted QoS 1 or 2. Those of them that are away
    /// are not among the others.
    pub durable: bool,
    /// Which of the filters match whose messages are recorded whoever subscribes, one bit each.
    pub recorded: u64,
    /// Whether it is recorded for whoever reads the tail of the log.
    pub tail: bool,
}

/// One subscriber, its overlapping subscriptions merged.
#[derive(Debug, Clone)]
pub struct Target<S> {
    /// Who.
    pub subscriber: S,
    /// The highest of its granted QoS [MQTT-3.3.4-2].
    pub qos: Qos,
    /// Whether any of its subscriptions keeps the RETAIN flag.
    pub retain_as_published: bool,
    /// Identifiers of all its matching subscriptions [MQTT-3.3.4-4].
    pub ids: SubscriptionIds,
}

impl<S> Default for Shard<S> {
    fn default() -> Self {
        Shard {
            tree: RwLock::new(Node::default()),
            generation: AtomicU64::new(0),
        }
    }
}

impl<S: Subscriber> Default for Routes<S> {
    fn default() -> Self {
        Routes {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            wild: Shard::default(),
            hasher: DefaultHashBuilder::default(),
            next_group: AtomicU64::new(1),
            groups: RwLock::new(HashMap::new()),
            recorded: Vec::new(),
        }
    }
}

impl<S: Subscriber> Routes<S> {
    /// Without subscriptions. Messages of these filters, 64 at most, are recorded whoever subscribes.
    pub fn recording(filters: Vec<TopicFilter>) -> Self {
        Routes {
            recorded: filters,
            ..Routes::default()
        }
    }

    /// Which of the filters match whose messages are recorded whoever subscribes, one bit each.
    pub fn recorded(&self, topic: &str) -> u64 {
        matching_bits(&self.recorded, topic)
    }

    /// Adds the subscription or replaces it [MQTT-3.8.4-3]. True if it is new.
    pub fn subscribe(
        &self,
        filter: &TopicFilter,
        subscriber: S,
        options: SubscriptionOptions,
        id: Option<u32>,
    ) -> bool {
        let shard = self.shard_of_filter(filter);
        let mut tree = shard.tree.write();
        let entries = tree.entries_mut(filter.pattern());
        let new = match filter.share() {
            None => entries.insert(Entry {
                subscriber,
                options,
                id: id.and_then(NonZeroU32::new), // 0 is not one (3.8.2.1.2)
            }),
            Some(name) => {
                let group =
                    entries.group_mut(name, || Group::new(&self.next_group, filter.clone()));
                let new = group.join(Member {
                    subscriber,
                    qos: options.qos,
                    retain_as_published: options.retain_as_published,
                    id,
                });
                if new {
                    let named = Arc::downgrade(group);
                    self.groups.write().insert(group.id(), named);
                }
                new
            }
        };
        shard.generation.fetch_add(1, Ordering::Release);
        new
    }

    /// Removes the subscription; false if there was none.
    pub fn unsubscribe(&self, filter: &TopicFilter, key: u64) -> bool {
        let shard = self.shard_of_filter(filter);
        let mut tree = shard.tree.write();
        let removed = tree.remove(filter.pattern(), |entries| match filter.share() {
            None => entries.remove(key),
            Some(name) => {
                let group = entries.group(name);
                let left = entries.leave(name, key);
                if let Some(group) = group.filter(|group| group.is_empty()) {
                    self.groups.write().remove(&group.id());
                }
                left
            }
        });
        if removed {
            shard.generation.fetch_add(1, Ordering::Release);
        }
        removed
    }

    /// A subscriber of this filter has come or gone, or has other rights: what was remembered of the filter's shard holds
    /// no longer, nor what its share group set aside.
    pub fn presence_changed(&self, filter: &TopicFilter) {
        if filter.share().is_some() {
            // members of a share group are asked each time
            if let Some(group) = self.group(filter) {
                group.look_again();
            }
            return;
        }
        let shard = self.shard_of_filter(filter);
        // under its lock, so that whoever matches sees the subscriber before or after, and knows which
        let _tree = shard.tree.write();
        shard.generation.fetch_add(1, Ordering::Release);
    }

    /// What subscribers may receive has changed: nothing that was remembered holds any longer.
    pub fn rights_changed(&self) {
        for shard in self.shards.iter().chain([&self.wild]) {
            let _tree = shard.tree.write();
            shard.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// The group behind a shared filter, if it has members.
    pub fn group(&self, filter: &TopicFilter) -> Option<Arc<Group<S>>> {
        self.shard_of_filter(filter)
            .tree
            .read()
            .find(filter.pattern())?
            .group(filter.share()?)
    }

    /// The group of this name, if it has members.
    pub fn group_named(&self, id: GroupId) -> Option<Arc<Group<S>>> {
        self.groups.read().get(&id)?.upgrade()
    }

    /// All groups that have members.
    pub fn all_groups(&self) -> Vec<Arc<Group<S>>> {
        self.groups
            .read()
            .values()
            .filter_map(Weak::upgrade)
            .collect()
    }

    /// Which tree, beside the one for leading wildcards, decides about `topic`.
    pub fn shard(&self, topic: &str) -> usize {
        let first = memchr::memchr(b'/', topic.as_bytes()).map_or(topic, |at| &topic[..at]);
        self.hasher.hash_one(first) as usize % SHARDS
    }

    /// The generations that decide about the topics of a shard now.
    pub fn stamp(&self, shard: usize) -> Stamp {
        Stamp {
            shard: self.shards[shard].generation.load(Ordering::Acquire),
            wild: self.wild.generation.load(Ordering::Acquire),
        }
    }

    /// Whom a message on `topic` is for, without what No Local keeps from `publisher` [MQTT-3.8.3-3].
    pub fn matching(&self, topic: &str, publisher: Option<u64>) -> Targets<S> {
        let mut found = Found {
            targets: Vec::new(),
            shared: Vec::new(),
            sources: 0,
            durable: false,
            tail: false,
            publisher,
            topic,
        };
        self.shard_of_topic(topic)
            .tree
            .read()
            .visit(topic, &mut |entries| found.add(entries));
        // [MQTT-4.7.2-1]
        if !topic.starts_with('$') {
            self.wild
                .tree
                .read()
                .visit(topic, &mut |entries| found.add(entries));
        }
        Targets {
            recorded: self.recorded(topic),
            ..found.merged()
        }
    }

    /// Whether `decides` says so of any subscriber, away or not, that a message on `topic` is for at QoS 1 or 2.
    pub fn any_above_qos_0(&self, topic: &str, mut decides: impl FnMut(&S) -> bool) -> bool {
        self.any_node(topic, |entries| {
            let mut above = entries
                .iter()
                .filter(|entry| entry.options.qos > Qos::AtMostOnce);
            above.any(|entry| decides(&entry.subscriber))
        })
    }

    /// Whether `decides` says so of any share group that a message on `topic` is for.
    pub fn any_group(&self, topic: &str, mut decides: impl FnMut(&Group<S>) -> bool) -> bool {
        self.any_node(topic, |entries| {
            entries.groups().iter().any(|group| decides(group))
        })
    }

    fn any_node(&self, topic: &str, mut decides: impl FnMut(&tree::Entries<S>) -> bool) -> bool {
        let mut found = false;
        let mut look = |entries: &tree::Entries<S>| found = found || decides(entries);
        self.shard_of_topic(topic)
            .tree
            .read()
            .visit(topic, &mut look);
        if !topic.starts_with('$') {
            self.wild.tree.read().visit(topic, &mut look);
        }
        found
    }

    fn shard_of_filter(&self, filter: &TopicFilter) -> &Shard<S> {
        let pattern = filter.pattern();
        if pattern.starts_with(['+', '#']) {
            &self.wild
        } else {
            self.shard_of_topic(pattern)
        }
    }

    fn shard_of_topic(&self, topic: &str) -> &Shard<S> {
        &self.shards[self.shard(topic)]
    }
}

/// Which of these filters, 64 at most, match a topic: one bit each.
pub fn matching_bits(filters: &[TopicFilter], topic: &str) -> u64 {
    let matching = filters.iter().enumerate();
    let matching = matching.filter(|(_, filter)| topic::matches(filter.pattern(), topic));
    matching.fold(0, |bits, (nth, _)| bits | 1 << nth)
}

/// Entries collected on the way through the trees.
struct Found<'a, S> {
    targets: Vec<(Target<S>, Option<u32>)>,
    shared: Vec<Arc<Group<S>>>,
    /// Nodes that contributed: within one node no subscriber stands twice.
    sources: usize,
    /// Somebody who must not miss it is away.
    durable: bool,
    tail: bool,
    publisher: Option<u64>,
    topic: &'a str,
}

impl<S: Subscriber> Found<'_, S> {
    fn add(&mut self, entries: &tree::Entries<S>) {
        let before = self.targets.len();
        for entry in entries.iter() {
            if entry.options.no_local && self.publisher == Some(entry.subscriber.key()) {
                continue;
            }
            if entry.subscriber.is_tail() {
                self.tail = true;
                continue;
            }
            if entry.subscriber.is_away() {
                self.durable |= entry.options.qos > Qos::AtMostOnce;
                continue;
            }
            if !entry.subscriber.may_receive(self.topic) {
                continue;
            }
            let target = Target {
                subscriber: entry.subscriber.clone(),
                qos: entry.options.qos,
                retain_as_published: entry.options.retain_as_published,
                ids: None,
            };
            self.targets.push((target, entry.id.map(NonZeroU32::get)));
        }
        self.sources += usize::from(self.targets.len() > before);
        self.shared.extend(entries.groups().iter().cloned());
    }

    fn merged(mut self) -> Targets<S> {
        if self.sources > 1 {
            self.targets
                .sort_by_key(|(target, _)| target.subscriber.key());
        }
        let mut direct: Vec<Target<S>> = Vec::with_capacity(self.targets.len());
        let mut ids: Vec<u32> = Vec::new();
        let mut rest = self.targets.into_iter().peekable();
        while let Some((mut target, id)) = rest.next() {
            ids.extend(id);
            while let Some((other, id)) =
                rest.next_if(|(other, _)| other.subscriber.key() == target.subscriber.key())
            {
                target.qos = target.qos.max(other.qos);
                target.retain_as_published |= other.retain_as_published;
                ids.extend(id);
            }
            if !ids.is_empty() {
                // the same identifier of two subscriptions stays twice (3.3.4)
                ids.sort_unstable();
                target.ids = Some(ids.drain(..).collect());
            }
            direct.push(target);
        }
        let durable = self.durable
            || direct
                .iter()
                .any(|t| t.qos > Qos::AtMostOnce && t.subscriber.is_durable())
            || self.shared.iter().any(|group| group.is_durable());
        Targets {
            direct,
            shared: self.shared,
            durable,
            recorded: 0,
            tail: self.tail,
        }
    }
}

#[cfg(test)]
mod tests;
