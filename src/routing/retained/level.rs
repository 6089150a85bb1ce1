//! Listings: what is retained below a prefix, a page at a time, one by one or one level of the tree.
//!
//! As object stores list their keys: rolled up, all topics that have another `/` behind the prefix are told as what they
//! begin with, and stepped over at once, however many they are.

use super::{CHUNK, Retained, RetainedMessages};
use crate::{message::Millis, mqtt::topic::TopicName};
use std::ops::Bound;

/// What a listing finds.
#[derive(Debug)]
pub enum Found {
    /// A topic with its message.
    Topic(Retained),
    /// What one topic or more begin with; ends in `/`.
    Level(String),
}

/// A place in a listing: behind what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// Behind this topic.
    Topic(String),
    /// Behind all that begins so.
    Level(String),
}

impl Found {
    /// The place behind it.
    pub fn mark(&self) -> Mark {
        match self {
            Found::Topic(retained) => Mark::Topic(retained.message.topic.to_string()),
            Found::Level(level) => Mark::Level(level.clone()),
        }
    }
}

/// A part of a listing.
#[derive(Debug, Default)]
pub struct Page {
    /// In topic order.
    pub found: Vec<Found>,
    /// Where to go on; `None` at the end.
    pub resume: Option<Mark>,
}

impl RetainedMessages {
    /// Up to `max` of what begins with `prefix` and is `wanted`, behind `after`. A page may be short, even empty, and not
    /// the last one: it is cut off when so many topics were looked at. Where it goes on may name one that is not `wanted`.
    pub fn below(
        &self,
        prefix: &str,
        rolled_up: bool,
        after: Option<&Mark>,
        max: usize,
        now: Millis,
        wanted: impl Fn(&TopicName) -> bool,
    ) -> Page {
        let inner = self.inner.read();
        let mut page = Page::default();
        let mut place = after.cloned();
        let mut looked_at = 0;
        'levels: loop {
            // copied once, at the end: topics are long
            let mut last: Option<&TopicName> = None;
            let behind;
            let start = match &place {
                Some(Mark::Topic(topic)) if topic.as_str() >= prefix => Bound::Excluded(&**topic),
                Some(Mark::Level(level)) if level.as_str() >= prefix => {
                    behind = behind_all(level);
                    Bound::Included(&*behind)
                }
                _ => Bound::Included(prefix),
            };
            let range = inner.by_topic.range::<str, _>((start, Bound::Unbounded));
            for (topic, retained) in range {
                if !topic.starts_with(prefix) {
                    break;
                }
                if page.found.len() == max || looked_at == CHUNK {
                    page.resume = match last {
                        Some(topic) => Some(Mark::Topic(topic.to_string())),
                        None => place,
                    };
                    return page;
                }
                looked_at += 1;
                last = Some(topic);
                if retained.message.is_expired(now) || !wanted(topic) {
                    continue;
                }
                let end = memchr::memchr(b'/', &topic.as_bytes()[prefix.len()..]);
                let Some(end) = end.filter(|_| rolled_up) else {
                    page.found.push(Found::Topic(retained.clone()));
                    continue;
                };
                let level = topic[..prefix.len() + end + 1].to_owned();
                page.found.push(Found::Level(level.clone()));
                place = Some(Mark::Level(level));
                continue 'levels;
            }
            return page;
        }
    }
}

/// The first text behind everything that begins with `level`, which ends in `/`.
fn behind_all(level: &str) -> String {
    let mut behind = level.strip_suffix('/').unwrap_or(level).to_owned();
    // the character after `/`
    behind.push('0');
    behind
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        message::{Epoch, Message, Position},
        mqtt::Qos,
    };
    use std::{collections::BTreeSet, sync::Arc};

    fn holding(topics: &[&str]) -> RetainedMessages {
        let retained = RetainedMessages::default();
        for (offset, topic) in (1..).zip(topics) {
            let message = Message::new(
                TopicName::parse(topic).unwrap(),
                b"x"[..].to_vec().into(),
                Qos::AtLeastOnce,
                true,
                None,
                None,
                Millis(0),
            );
            let epoch = Epoch(*b"k7q2m9xa");
            retained.set(&Arc::new(message), Position { epoch, offset });
        }
        retained
    }

    /// All of a listing, in pages of `max`.
    fn list(
        retained: &RetainedMessages,
        prefix: &str,
        rolled_up: bool,
        max: usize,
        wanted: impl Fn(&TopicName) -> bool + Copy,
    ) -> Vec<String> {
        let (mut all, mut after) = (vec![], None);
        loop {
            let page = retained.below(prefix, rolled_up, after.as_ref(), max, Millis(0), wanted);
            assert!(page.found.len() <= max);
            all.extend(page.found.iter().map(|found| match found {
                Found::Topic(retained) => retained.message.topic.to_string(),
                Found::Level(level) => format!("{level}…"),
            }));
            after = page.resume;
            if after.is_none() {
                return all;
            }
        }
    }

    const TOPICS: [&str; 11] = [
        "/a",
        "home",
        "home-2/x",
        "home/",
        "home//",
        "home//b",
        "home/a",
        "home/a/b",
        "home/a/c/d",
        "home0",
        "homes/x",
    ];

    #[test]
    fn a_level_has_its_topics_and_what_deeper_ones_begin_with() {
        let retained = holding(&TOPICS);
        let table: [(&str, &[&str]); 8] = [
            (
                "",
                &["/…", "home", "home-2/…", "home/…", "home0", "homes/…"],
            ),
            ("home/", &["home/", "home//…", "home/a", "home/a/…"]),
            ("home//", &["home//", "home//b"]),
            ("home/a/", &["home/a/b", "home/a/c/…"]),
            ("home", &["home", "home-2/…", "home/…", "home0", "homes/…"]),
            ("/", &["/a"]),
            ("home/a/c/d", &["home/a/c/d"]),
            ("nothing", &[]),
        ];
        for (prefix, expected) in table {
            for max in [1, 2, 100] {
                assert_eq!(
                    list(&retained, prefix, true, max, |_| true),
                    expected,
                    "{prefix:?}"
                );
            }
        }
    }

    #[test]
    fn without_levels_everything_is_told_once_in_order() {
        let retained = holding(&TOPICS);
        for max in [1, 3, 100] {
            assert_eq!(list(&retained, "", false, max, |_| true), TOPICS);
        }
    }

    #[test]
    fn a_level_of_which_nothing_may_be_read_is_not_told() {
        let retained = holding(&["a/x/1", "a/x/2", "a/y/1", "a/y/2", "a/z"]);
        let wanted = |topic: &TopicName| !topic.starts_with("a/x/") && &**topic != "a/y/1";
        for max in [1, 100] {
            assert_eq!(list(&retained, "a/", true, max, wanted), ["a/y/…", "a/z"]);
        }
    }

    #[test]
    fn a_page_looks_at_a_bounded_number_of_topics_and_a_level_is_one() {
        let topics: Vec<_> = (0..3 * CHUNK).map(|n| format!("a/b/{n:06}")).collect();
        let topics: Vec<_> = topics.iter().map(String::as_str).chain(["a/c"]).collect();
        let retained = holding(&topics);
        let page = retained.below("a/", true, None, 10, Millis(0), |_| true);
        assert_eq!((page.found.len(), page.resume), (2, None));
        let looked_at = std::cell::Cell::new(0);
        let nothing = |_: &TopicName| {
            looked_at.set(looked_at.get() + 1);
            false
        };
        let page = retained.below("a/", false, None, 10, Millis(0), nothing);
        assert!(page.found.is_empty() && page.resume.is_some());
        assert_eq!(looked_at.get(), CHUNK);
        let all = list(&retained, "", false, 1000, |_| true);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), topics.len());
    }

    #[test]
    fn a_place_from_elsewhere_is_no_harm() {
        let retained = holding(&TOPICS);
        for mark in [
            Mark::Topic("a".to_owned()),
            Mark::Level(String::new()),
            Mark::Level("a/".to_owned()),
        ] {
            let page = retained.below("home/", true, Some(&mark), 100, Millis(0), |_| true);
            assert_eq!(page.found.len(), 4, "{mark:?}");
        }
        let behind = Mark::Topic("zzz".to_owned());
        let page = retained.below("home/", true, Some(&behind), 100, Millis(0), |_| true);
        assert!(page.found.is_empty() && page.resume.is_none());
    }
}
