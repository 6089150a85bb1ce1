//! What is retained, looked through: by filter, or below a prefix.

use super::Broker;
use crate::{
    auth::identity::Identity,
    mqtt::topic::{TopicFilter, TopicName},
    routing::retained::level::{Found, Mark, Page},
};

/// Which retained messages are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Those that match.
    Matching(TopicFilter),
    /// Those whose topics begin so.
    Below {
        /// Any text.
        prefix: String,
        /// Whether deeper topics are told as the level that they have in common.
        rolled_up: bool,
    },
}

impl Broker {
    /// Up to `max` of what is selected, behind `after`. What `identity` may not read is not there. A page may be short
    /// and not the last one, see [`RetainedMessages::below`](crate::routing::retained::RetainedMessages::below).
    pub fn list(
        &self,
        identity: &Identity,
        selection: &Selection,
        after: Option<&Mark>,
        max: usize,
    ) -> Page {
        let now = self.now();
        let may_read = |topic: &TopicName| identity.may_read(topic).is_ok();
        let (filter, prefix, rolled_up) = match selection {
            Selection::Below { prefix, rolled_up } => {
                let retained = &self.0.retained;
                return retained.below(prefix, *rolled_up, after, max, now, may_read);
            }
            Selection::Matching(filter) => (filter, common_start(filter), false),
        };
        if !filter.has_wildcards() {
            // one topic or none, which is not looked for among all that begin so
            let topic = TopicName::parse(filter.pattern()).ok().filter(may_read);
            let retained = topic.and_then(|topic| self.0.retained.get(&topic, now));
            let found = retained.filter(|_| after.is_none()).map(Found::Topic);
            return Page {
                found: found.into_iter().collect(),
                resume: None,
            };
        }
        let wanted = |topic: &TopicName| filter.matches(topic) && may_read(topic);
        let retained = &self.0.retained;
        retained.below(prefix, rolled_up, after, max, now, wanted)
    }
}

/// What every topic begins with that a filter matches.
fn common_start(filter: &TopicFilter) -> &str {
    let pattern = filter.pattern();
    let wildcard = memchr::memchr2(b'+', b'#', pattern.as_bytes());
    match wildcard {
        // "a/#" also matches "a"
        Some(at) if pattern.as_bytes()[at] == b'#' => {
            let start = &pattern[..at];
            start.strip_suffix('/').unwrap_or(start)
        }
        Some(at) => &pattern[..at],
        None => pattern,
    }
}
