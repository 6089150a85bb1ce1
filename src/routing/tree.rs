//! A trie over topic levels with exact, `+` and `#` edges. Exact levels between which nothing branches off are one edge.
//!
//! Most nodes have one child or none, and most filters one subscriber: those take no table and no list.

mod children;
mod entries;

use super::Subscriber;
use children::Children;
pub use entries::{Entries, Entry};

/// A point at which filters end or part. A filter that ends in `#` is kept at the level before it, so that it matches that
/// level too.
pub struct Node<S> {
    children: Children<S>,
    plus: Option<Box<Node<S>>>,
    here: Entries<S>,
    hash: Option<Box<Entries<S>>>,
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

impl<S: Subscriber> Node<S> {
    /// The entries of a pattern; the way there is made.
    pub fn entries_mut(&mut self, pattern: &str) -> &mut Entries<S> {
        let (mut node, mut rest) = (self, Some(pattern.as_bytes()));
        while let Some(pattern) = rest {
            (node, rest) = match split_level(pattern) {
                (b"#", _) => return node.hash.get_or_insert_default(),
                (b"+", after) => (&mut **node.plus.get_or_insert_default(), after),
                (level, _) => node.children.make_way(level, pattern),
            };
        }
        &mut node.here
    }

    /// The entries of a pattern, if it has any.
    pub fn find(&self, pattern: &str) -> Option<&Entries<S>> {
        let (mut node, mut rest) = (self, Some(pattern.as_bytes()));
        while let Some(pattern) = rest {
            (node, rest) = match split_level(pattern) {
                (b"#", _) => return node.hash.as_deref(),
                (b"+", after) => (node.plus.as_deref()?, after),
                (level, _) => node.children.follow(level, pattern)?,
            };
        }
        Some(&node.here)
    }

    /// Applies `change` to the entries of a pattern, then removes what became empty on the way there.
    pub fn remove(&mut self, pattern: &str, change: impl FnOnce(&mut Entries<S>) -> bool) -> bool {
        self.remove_level(Some(pattern.as_bytes()), change)
    }

    // depth is bounded: filters are admitted up to limits.topic_levels only
    fn remove_level(
        &mut self,
        rest: Option<&[u8]>,
        change: impl FnOnce(&mut Entries<S>) -> bool,
    ) -> bool {
        let Some(rest) = rest else {
            return change(&mut self.here);
        };
        match split_level(rest) {
            (b"#", _) => {
                let Some(hash) = &mut self.hash else {
                    return false;
                };
                let removed = change(hash);
                if hash.is_empty() {
                    self.hash = None;
                }
                removed
            }
            (b"+", after) => {
                let Some(child) = &mut self.plus else {
                    return false;
                };
                let removed = child.remove_level(after, change);
                if child.is_empty() {
                    self.plus = None;
                }
                removed
            }
            (level, _) => {
                let Some((child, after)) = self.children.follow_mut(level, rest) else {
                    return false;
                };
                let removed = child.remove_level(after, change);
                if removed {
                    self.children.tidy(level);
                }
                removed
            }
        }
    }

    /// Shows all entries whose filter matches `topic`.
    pub fn visit<'a>(&'a self, topic: &str, see: &mut impl FnMut(&'a Entries<S>)) {
        self.visit_level(Some(topic.as_bytes()), see);
    }

    // depth is bounded by the depth of the filters, see remove_level
    fn visit_level<'a>(&'a self, rest: Option<&[u8]>, see: &mut impl FnMut(&'a Entries<S>)) {
        if let Some(hash) = &self.hash {
            see(hash);
        }
        let Some(rest) = rest else {
            if !self.here.is_empty() {
                see(&self.here);
            }
            return;
        };
        let (level, after) = split_level(rest);
        if let Some((child, after)) = self.children.follow(level, rest) {
            child.visit_level(after, see);
        }
        if let Some(child) = &self.plus {
            child.visit_level(after, see);
        }
    }

    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.ends_nothing()
    }

    /// Whether exact edges are all it has.
    fn ends_nothing(&self) -> bool {
        self.plus.is_none() && self.here.is_empty() && self.hash.is_none()
    }
}

// topics are UTF-8, and levels of them end where a byte is `/`: nothing here needs to know more of letters
fn split_level(rest: &[u8]) -> (&[u8], Option<&[u8]>) {
    split_at_level(rest, memchr::memchr(b'/', rest).unwrap_or(rest.len()))
}

/// Splits at `end`, where a level ends.
fn split_at_level(path: &[u8], end: usize) -> (&[u8], Option<&[u8]>) {
    (&path[..end], path.get(end + 1..))
}

#[cfg(test)]
mod tests;
