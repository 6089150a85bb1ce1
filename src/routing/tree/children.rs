//! The exact edges of one node: the first stands in the node itself, the others in a table.

use super::Node;
use hashbrown::HashMap;

/// Children by the text of their level.
pub struct Children<S> {
    /// Only empty if there is no child at all.
    first: Option<(Box<str>, Box<Node<S>>)>,
    /// The nodes stand beside the table, whose free places then cost little.
    others: Option<Box<Table<S>>>,
}

type Table<S> = HashMap<Box<str>, Box<Node<S>>>;

impl<S> Default for Children<S> {
    fn default() -> Self {
        Children {
            first: None,
            others: None,
        }
    }
}

impl<S> Children<S> {
    #[inline]
    pub fn get(&self, level: &str) -> Option<&Node<S>> {
        match &self.first {
            Some((text, node)) if **text == *level => Some(node),
            _ => self.others.as_ref()?.get(level).map(|node| &**node),
        }
    }

    pub fn get_mut(&mut self, level: &str) -> Option<&mut Node<S>> {
        match &mut self.first {
            Some((text, node)) if **text == *level => Some(node),
            _ => {
                let others = self.others.as_mut()?;
                others.get_mut(level).map(|node| &mut **node)
            }
        }
    }

    /// The child of this level, made if there is none.
    pub fn get_or_insert(&mut self, level: &str) -> &mut Node<S> {
        let new = || (level.into(), Box::default());
        let (text, node) = self.first.get_or_insert_with(new);
        if **text == *level {
            return node;
        }
        let others = self.others.get_or_insert_default();
        others.entry(level.into()).or_default()
    }

    pub fn remove(&mut self, level: &str) {
        if self.first.take_if(|(text, _)| **text == *level).is_some() {
            let next = self.others.as_ref().and_then(|o| o.keys().next().cloned());
            self.first = next.and_then(|text| self.others.as_mut()?.remove_entry(&text));
        } else if let Some(others) = &mut self.others {
            others.remove(level);
        }
        if let Some(others) = &mut self.others {
            if others.is_empty() {
                self.others = None;
            } else if others.len() < others.capacity() / 4 {
                others.shrink_to_fit();
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_come_and_go_in_any_order_and_none_is_lost() {
        let mut children = Children::<()>::default();
        let levels: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        levels.iter().for_each(|level| {
            children.get_or_insert(level);
        });
        // the first one and those of the table in turn
        let ((front, back), mut left) = (levels.split_at(50), 100);
        for (gone, also) in front.iter().zip(back) {
            children.remove(gone);
            children.remove(also);
            children.remove("never there");
            assert!(children.get(gone).is_none() && children.get_mut(also).is_none());
            left -= 2;
            let found = levels.iter().filter(|level| children.get(level).is_some());
            assert_eq!(found.count(), left);
        }
        assert!(children.is_empty() && children.others.is_none());
    }
}
