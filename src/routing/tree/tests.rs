use super::*;
use crate::mqtt::topic::{self, TopicFilter};
use proptest::{collection::vec, prelude::*, sample::select};
use std::collections::BTreeSet;

impl Subscriber for u64 {
    fn may_receive(&self, _topic: &str) -> bool {
        true
    }

    fn is_tail(&self) -> bool {
        false
    }

    fn key(&self) -> u64 {
        *self
    }
    fn is_durable(&self) -> bool {
        false
    }
    fn is_online(&self) -> bool {
        true
    }

    fn has_room(&self, _weight: usize) -> bool {
        true
    }
    fn is_held_up(&self) -> bool {
        false
    }
    fn is_away(&self) -> bool {
        false
    }
}

fn entry(subscriber: u64) -> Entry<u64> {
    Entry {
        subscriber,
        options: Default::default(),
        id: None,
    }
}

/// Whose entries match, once for each filter.
fn found(tree: &Node<u64>, topic: &str) -> Vec<u64> {
    let mut found = Vec::new();
    tree.visit(topic, &mut |entries| {
        found.extend(entries.iter().map(|entry| entry.subscriber));
    });
    found.sort_unstable();
    found
}

/// Panics unless every edge leads to where something ends or parts.
fn assert_joined(node: &Node<u64>) {
    for child in node.children.nodes() {
        assert!(!child.is_empty());
        assert!(!child.ends_nothing() || child.children.nodes().count() > 1);
        assert_joined(child);
    }
    if let Some(plus) = &node.plus {
        assert!(!plus.is_empty());
        assert_joined(plus);
    }
}

/// Few levels, so that filters meet; some begin with others, some have nothing in them.
fn path(levels: &'static [&'static str]) -> impl Strategy<Value = String> {
    vec(select(levels), 1..6).prop_map(|levels| levels.join("/"))
}

fn pattern() -> impl Strategy<Value = String> {
    path(&["", "a", "b", "ab", "é", "è", "$x", "+", "#"])
        .prop_filter("a filter", |text| TopicFilter::parse(text).is_ok())
}

proptest! {
    #[test]
    fn whatever_comes_and_goes_the_tree_finds_what_the_ten_line_matcher_finds(
        steps in vec((any::<bool>(), 0..4_u64, pattern()), 1..80),
        topics in vec(path(&["", "a", "b", "ab", "é", "è", "$x", "c"]), 1..8),
    ) {
        let mut tree = Node::default();
        let mut model = BTreeSet::new();
        for (comes, key, pattern) in steps {
            let new = if comes {
                tree.entries_mut(&pattern).insert(entry(key)) == model.insert((key, pattern))
            } else {
                let went = tree.remove(&pattern, |entries| entries.remove(key));
                went == model.remove(&(key, pattern))
            };
            prop_assert!(new);
            assert_joined(&tree);
            for topic in &topics {
                // one level deeper nothing is kept from wildcards for its $, which is done one floor up
                let matching = model.iter().filter(|(_, pattern)| {
                    topic::matches(&format!("/{pattern}"), &format!("/{topic}"))
                });
                let expected: Vec<u64> = matching.map(|(key, _)| *key).collect();
                prop_assert_eq!(found(&tree, topic), expected, "{}", topic);
            }
        }
        for (key, pattern) in &model {
            prop_assert!(tree.find(pattern).is_some_and(|e| e.iter().any(|e| e.subscriber == *key)));
            prop_assert!(tree.remove(pattern, |entries| entries.remove(*key)));
            prop_assert!(!tree.remove(pattern, |entries| entries.remove(*key)));
        }
        prop_assert!(tree.is_empty());
    }
}

#[test]
fn children_come_and_go_in_any_order_and_none_is_lost() {
    let mut tree = Node::default();
    let filters: Vec<String> = (0..100).map(|n| format!("{n}/x")).collect();
    for filter in &filters {
        assert!(tree.entries_mut(filter).insert(entry(0)));
    }
    // the first one and those of the table in turn
    let ((front, back), mut left) = (filters.split_at(50), 100);
    for (gone, also) in front.iter().zip(back) {
        for filter in [gone, also] {
            assert!(tree.remove(filter, |entries| entries.remove(0)));
            assert!(found(&tree, filter).is_empty());
            left -= 1;
        }
        assert!(!tree.remove("never/there", |entries| entries.remove(0)));
        let there = filters
            .iter()
            .filter(|filter| !found(&tree, filter).is_empty());
        assert_eq!(there.count(), left);
    }
    assert!(tree.is_empty());
}

#[test]
fn a_node_is_small() {
    assert!(size_of::<Node<u64>>() <= 64, "{}", size_of::<Node<u64>>());
}
