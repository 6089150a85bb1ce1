//! What must hold of a topic's retained message before it is touched: compare-and-set.

use crate::message::Position;

/// Writes that are spoken of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writes {
    /// Whichever: that anything is retained at all.
    Any,
    /// One of these.
    These(Vec<Position>),
}

impl Writes {
    fn contain(&self, current: Option<Position>) -> bool {
        match (self, current) {
            (_, None) => false,
            (Writes::Any, Some(_)) => true,
            (Writes::These(writes), Some(current)) => writes.contains(&current),
        }
    }
}

/// What must hold; nothing by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// What is retained was written there.
    pub is: Option<Writes>,
    /// What is retained, if anything, was not written there.
    pub is_not: Option<Writes>,
}

impl Condition {
    /// Whether anything is demanded.
    pub fn is_some(&self) -> bool {
        self.is.is_some() || self.is_not.is_some()
    }

    /// Whether it holds where `current` is the position of what is retained.
    pub fn holds(&self, current: Option<Position>) -> bool {
        self.is_what_must_be(current) && !self.is_what_must_not_be(current)
    }

    /// The one half of it.
    pub fn is_what_must_be(&self, current: Option<Position>) -> bool {
        let writes = self.is.as_ref();
        writes.is_none_or(|writes| writes.contain(current))
    }

    /// The other half. For who reads it means that he has this state already.
    pub fn is_what_must_not_be(&self, current: Option<Position>) -> bool {
        let writes = self.is_not.as_ref();
        writes.is_some_and(|writes| writes.contain(current))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Epoch;

    fn at(offset: u64) -> Position {
        Position {
            epoch: Epoch(*b"k7q2m9xa"),
            offset,
        }
    }

    #[test]
    fn a_condition_holds_of_the_right_write_or_of_none() {
        let is = |writes| Condition {
            is: Some(writes),
            is_not: None,
        };
        let is_not = |writes| Condition {
            is: None,
            is_not: Some(writes),
        };
        let one = || Writes::These(vec![at(1), at(2)]);
        let table = [
            // condition, of write 1, of write 3, of nothing
            (Condition::default(), [true, true, true]),
            (is(Writes::Any), [true, true, false]),
            (is(one()), [true, false, false]),
            (is(Writes::These(vec![])), [false, false, false]),
            (is_not(Writes::Any), [false, false, true]),
            (is_not(one()), [false, true, true]),
            (is_not(Writes::These(vec![])), [true, true, true]),
        ];
        for (condition, expected) in table {
            let held = [Some(at(1)), Some(at(3)), None].map(|current| condition.holds(current));
            assert_eq!(held, expected, "{condition:?}");
        }
        let both = Condition {
            is: Some(Writes::Any),
            is_not: Some(one()),
        };
        assert!(both.holds(Some(at(3))) && !both.holds(Some(at(1))) && !both.holds(None));
    }

    #[test]
    fn the_same_offset_of_another_log_is_another_write() {
        let other = Position {
            epoch: Epoch(*b"aaaaaaaa"),
            offset: 1,
        };
        assert!(!Writes::These(vec![at(1)]).contain(Some(other)));
    }
}
