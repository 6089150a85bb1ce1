//! The exact edges of one node: the first is the node's own, the others stand in a table.

use super::{Node, split_at_level, split_level};
use crate::routing::Subscriber;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

/// Edges, no two of which begin with the same level.
pub struct Children<S> {
    /// Only empty if there is no edge at all.
    first: Option<Box<Edge<S>>>,
    others: Option<Box<Table<S>>>,
}

/// One or more exact levels, and the node behind them.
struct Edge<S> {
    path: Box<[u8]>,
    node: Node<S>,
}

/// The edges stand beside the table, whose free places then cost little.
struct Table<S> {
    edges: HashTable<Box<Edge<S>>>,
    hasher: DefaultHashBuilder,
}

impl<S> Default for Children<S> {
    fn default() -> Self {
        Children {
            first: None,
            others: None,
        }
    }
}

impl<S> Default for Table<S> {
    fn default() -> Self {
        Table {
            edges: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl<S: Subscriber> Children<S> {
    /// The node that `path`, which begins with `level`, leads to over one edge, and what is left of it there.
    #[inline]
    pub fn follow<'p>(&self, level: &[u8], path: &'p [u8]) -> Option<(&Node<S>, Option<&'p [u8]>)> {
        let first = self.first.as_ref()?;
        if let Some(rest) = first.behind(path) {
            return Some((&first.node, rest));
        }
        // no two edges begin with the same level: one that has its hash and leads elsewhere is not looked for
        let Table { edges, hasher } = &**self.others.as_ref()?;
        let edge = edges.find(hasher.hash_one(level), |edge| edge.behind(path).is_some())?;
        Some((&edge.node, path.get(edge.path.len() + 1..)))
    }

    /// As [`Children::follow`].
    pub fn follow_mut<'p>(
        &mut self,
        level: &[u8],
        path: &'p [u8],
    ) -> Option<(&mut Node<S>, Option<&'p [u8]>)> {
        let edge = self.get_mut(level)?;
        let rest = edge.behind(path)?;
        Some((&mut edge.node, rest))
    }

    /// As [`Children::follow`] for a pattern whose first level is exact. What is missing is made.
    pub fn make_way<'p>(
        &mut self,
        level: &[u8],
        pattern: &'p [u8],
    ) -> (&mut Node<S>, Option<&'p [u8]>) {
        let first = self.first.get_or_insert_with(|| Edge::along(pattern));
        let edge = if first.begins_with(level) {
            first
        } else {
            let others = self.others.get_or_insert_default();
            others.get_or_insert(level, pattern)
        };
        let common = common_levels(&edge.path, pattern);
        edge.end_at(common);
        (&mut edge.node, split_at_level(pattern, common).1)
    }

    /// For after something was removed behind the edge that begins with `level`: an edge to an empty node goes, one to a
    /// node that only leads on is joined with the next.
    pub fn tidy(&mut self, level: &[u8]) {
        match self.get_mut(level) {
            Some(edge) if edge.node.is_empty() => self.remove(level),
            Some(edge) => edge.join(),
            None => {}
        }
    }

    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn get_mut(&mut self, level: &[u8]) -> Option<&mut Edge<S>> {
        match &mut self.first {
            Some(edge) if edge.begins_with(level) => Some(edge),
            _ => self.others.as_mut()?.get_mut(level),
        }
    }

    fn remove(&mut self, level: &[u8]) {
        let first = self.first.take_if(|edge| edge.begins_with(level)).is_some();
        let Some(others) = &mut self.others else {
            return;
        };
        if first {
            self.first = others.edges.extract_if(|_| true).next();
        } else {
            others.remove(level);
        }
        if others.edges.is_empty() {
            self.others = None;
        } else {
            others.shrink();
        }
    }

    /// The only edge, if there is but one.
    fn take_only(&mut self) -> Option<Edge<S>> {
        match self.others {
            None => self.first.take().map(|edge| *edge),
            Some(_) => None,
        }
    }
}

impl<S: Subscriber> Edge<S> {
    /// To a new node, along the exact levels that `pattern` begins with.
    fn along(pattern: &[u8]) -> Box<Self> {
        let mut end = 0;
        while let (level, after) = split_level(&pattern[end..])
            && !matches!(level, b"+" | b"#")
        {
            end += level.len() + 1;
            if after.is_none() {
                break;
            }
        }
        let path = pattern[..end - 1].into();
        let node = Node::default();
        Box::new(Edge { path, node })
    }

    fn begins_with(&self, level: &[u8]) -> bool {
        leads_over(level, &self.path)
    }

    /// What is left of `path` behind this edge, if it leads over it.
    #[inline]
    fn behind<'p>(&self, path: &'p [u8]) -> Option<Option<&'p [u8]>> {
        leads_over(&self.path, path).then(|| path.get(self.path.len() + 1..))
    }

    /// Makes it end where one of its levels does.
    fn end_at(&mut self, end: usize) {
        if let (upper, Some(lower)) = split_at_level(&self.path, end) {
            let (upper, path) = (upper.into(), lower.into());
            let node = std::mem::take(&mut self.node);
            self.path = upper;
            self.node.children.first = Some(Box::new(Edge { path, node }));
        }
    }

    fn join(&mut self) {
        if self.node.ends_nothing()
            && let Some(lower) = self.node.children.take_only()
        {
            self.path = [&*self.path, b"/", &lower.path].concat().into();
            self.node = lower.node;
        }
    }
}

impl<S: Subscriber> Table<S> {
    fn get_mut(&mut self, level: &[u8]) -> Option<&mut Edge<S>> {
        let hash = self.hasher.hash_one(level);
        self.edges
            .find_mut(hash, |edge| edge.begins_with(level))
            .map(|edge| &mut **edge)
    }

    fn get_or_insert(&mut self, level: &[u8], pattern: &[u8]) -> &mut Box<Edge<S>> {
        let Table { edges, hasher } = self;
        let hash = hasher.hash_one(level);
        edges
            .entry(
                hash,
                |edge| edge.begins_with(level),
                |edge| hash_of(hasher, edge),
            )
            .or_insert_with(|| Edge::along(pattern))
            .into_mut()
    }

    fn remove(&mut self, level: &[u8]) {
        let hash = self.hasher.hash_one(level);
        if let Ok(edge) = self.edges.find_entry(hash, |edge| edge.begins_with(level)) {
            edge.remove();
        }
    }

    fn shrink(&mut self) {
        let Table { edges, hasher } = self;
        if edges.len() < edges.capacity() / 4 {
            edges.shrink_to_fit(|edge| hash_of(hasher, edge));
        }
    }
}

fn hash_of<S>(hasher: &DefaultHashBuilder, edge: &Edge<S>) -> u64 {
    hasher.hash_one(split_level(&edge.path).0)
}

/// Whether `start` is `path` or whole levels in front of others.
#[inline]
fn leads_over(start: &[u8], path: &[u8]) -> bool {
    // this byte decides mostly, and costs less than to compare
    let end = path.get(start.len());
    matches!(end, None | Some(b'/')) && path.starts_with(start)
}

/// Where the last level ends that both have in common, as all those before it.
fn common_levels(one: &[u8], other: &[u8]) -> usize {
    let same = one.iter().zip(other);
    let same = same.take_while(|(one, other)| one == other).count();
    let ends = |path: &[u8]| matches!(path.get(same), None | Some(b'/'));
    match ends(one) && ends(other) {
        true => same,
        false => memchr::memrchr(b'/', &one[..same]).unwrap_or(0),
    }
}

#[cfg(test)]
impl<S> Children<S> {
    /// The nodes at the other ends.
    pub fn nodes(&self) -> impl Iterator<Item = &Node<S>> {
        let others = self.others.iter().flat_map(|others| others.edges.iter());
        self.first.iter().chain(others).map(|edge| &edge.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_in_common_as_a_whole_or_not_at_all() {
        for (one, other, common) in [
            ("a", "a", 1),
            ("a", "a/b", 1),
            ("a/b", "a/c", 1),
            ("a/bc", "a/b", 1),
            ("a/b", "a/b/c", 3),
            ("a/b/c", "a/b/+", 3),
            ("/a", "/b", 0),
            ("//a", "//b", 1),
            ("a//", "a//", 3),
            ("", "/+", 0),
        ] {
            assert_eq!(
                common_levels(one.as_bytes(), other.as_bytes()),
                common,
                "{one:?} {other:?}"
            );
        }
    }
}
