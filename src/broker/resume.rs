//! Where a web reader begins, and what he must be told is missing. Pure.
//!
//! A reader names a place in the log; for each of his filters the log is whole from some place on. What lies between
//! the two may be missing, and is told as one gap.

use crate::{
    message::{Epoch, Millis, Position},
    store::{Floor, kept::Run},
};

/// Where a stream or a history read is to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// With what is published from now on.
    #[default]
    Now,
    /// With the oldest message that is there.
    Earliest,
    /// Behind this position, of whatever log; `None` if what was presented is no position at all.
    After(Option<Position>),
    /// With what was taken at this time or later.
    Since(Millis),
    /// So many messages back.
    Last(usize),
}

/// Why something may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The log has let go of it.
    Expired,
    /// It is the cursor of another log.
    Epoch,
    /// The gateway ended without a stop in between: what it had not synced is lost.
    Crash,
    /// The gateway was started anew in between, and no history rule keeps it.
    Restart,
    /// It is no cursor that was ever given.
    Unknown,
    /// Nothing recorded it at that time.
    NotRecorded,
    /// The reader was too slow, and the log has let go of it.
    Overflow,
    /// The disk has lost it.
    Damaged,
}

impl Reason {
    /// As the web is told.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Expired => "expired",
            Reason::Epoch => "epoch",
            Reason::Crash => "crash",
            Reason::Restart => "restart",
            Reason::Unknown => "unknown",
            Reason::NotRecorded => "not-recorded",
            Reason::Overflow => "overflow",
            Reason::Damaged => "damaged",
        }
    }
}

/// A range in which messages may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Why.
    pub reason: Reason,
    /// What came up to here was delivered; `None` if that is not known.
    pub from: Option<Position>,
    /// What comes above this is not missing; `None` if nobody knows, as with shared filters.
    pub to: Option<Position>,
    /// Messages, at most, if it is known.
    pub lost_at_most: Option<u64>,
}

impl Gap {
    /// From where the first of both begins to where the last ends, for this one's reason: nothing was delivered in
    /// between.
    pub fn and(self, other: Gap) -> Gap {
        let from = self.from.zip(other.from).map(|(one, other)| one.min(other));
        let to = self.to.zip(other.to).map(|(one, other)| one.max(other));
        let range = from.zip(to);
        Gap {
            reason: self.reason,
            from,
            to,
            lost_at_most: range.map(|(from, to)| to.offset.saturating_sub(from.offset)),
        }
    }
}

/// Since when the messages of one filter are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coverage {
    /// In the tail.
    pub tail: u64,
    /// By a history rule.
    pub kept: Option<u64>,
}

impl Coverage {
    /// Above which position nothing of the filter is missing.
    pub fn whole_above(self, floor: Floor) -> u64 {
        let tail = self.tail.max(floor.tail);
        let kept = self.kept.map(|since| since.max(floor.kept));
        kept.map_or(tail, |kept| kept.min(tail))
    }
}

/// What is known of the log at the moment a reader comes.
#[derive(Debug)]
pub struct Past<'a> {
    /// Which log.
    pub epoch: Epoch,
    /// The newest position given.
    pub head: u64,
    /// From where on everything is there.
    pub floor: Floor,
    /// The runs that wrote it, oldest first.
    pub runs: &'a [Run],
    /// Positions behind which something was damaged.
    pub damaged: &'a [u64],
}

/// Where a reader begins.
#[derive(Debug, PartialEq, Eq)]
pub struct Begun {
    /// Per filter, what is delivered comes from above this.
    pub since: Vec<u64>,
    /// What he is told first.
    pub gap: Option<Gap>,
    /// Where the holes end that crashes have left further on, the first of them last: he is told when he comes there.
    pub holes: Vec<u64>,
    /// Whether he knows nothing of the state yet.
    pub is_fresh: bool,
}

impl Past<'_> {
    /// For a reader of these filters. `found` is the place of a [`Start::Since`] or [`Start::Last`].
    pub fn begin(&self, start: Start, found: u64, filters: &[Coverage]) -> Begun {
        let all_at = |at: u64| vec![at; filters.len()];
        let lost = |reason, from| Begun {
            since: all_at(self.head),
            gap: Some(Gap {
                reason,
                from,
                to: Some(self.position(self.head)),
                lost_at_most: None,
            }),
            holes: Vec::new(),
            is_fresh: false,
        };
        match start {
            Start::Now => Begun {
                since: all_at(self.head),
                gap: None,
                holes: Vec::new(),
                is_fresh: true,
            },
            // what is there of it; nobody was promised more
            Start::Last(_) => Begun {
                since: self.whole_above(found.min(self.head), filters),
                gap: None,
                holes: Vec::new(),
                is_fresh: false,
            },
            Start::After(None) => lost(Reason::Unknown, None),
            Start::After(Some(at)) if at.epoch != self.epoch => lost(Reason::Epoch, Some(at)),
            Start::After(Some(at)) if at.offset > self.head => lost(Reason::Unknown, None),
            Start::After(Some(at)) => self.go_on(at.offset, false, filters),
            Start::Since(_) => self.go_on(found, true, filters),
            Start::Earliest => {
                let oldest = filters.iter().map(|one| one.whole_above(self.floor));
                self.go_on(oldest.min().unwrap_or(self.head), false, filters)
            }
        }
    }

    fn go_on(&self, from: u64, by_time: bool, filters: &[Coverage]) -> Begun {
        let since = self.whole_above(from, filters);
        let to = since.iter().copied().max().unwrap_or(from);
        // a run that did not follow a stop begins behind a hole
        let holes = self.runs.iter().rev().filter(|run| !run.clean);
        let mut holes: Vec<u64> = holes.map(|run| run.first - 1).collect();
        let is_behind_a_crash = holes.iter().any(|hole| *hole > from && *hole <= to);
        // up to there all of it is told as missing in any case
        holes.retain(|hole| *hole > to);
        // what was lost stood behind the position
        let damage = self.damaged.iter().copied().max();
        let damage = damage.filter(|last_whole| *last_whole >= from);
        let missing = || {
            filters
                .iter()
                .zip(&since)
                .filter(|(_, since)| **since > from)
        };
        let cause = if to > from {
            let reason = if is_behind_a_crash {
                Reason::Crash
            } else if missing().all(|(one, _)| one.kept.is_some_and(|kept| kept <= from)) {
                Reason::Expired
            } else if by_time {
                Reason::NotRecorded
            } else if self.runs.last().is_some_and(|run| run.first - 1 > from) {
                Reason::Restart
            } else if missing().any(|(one, _)| one.tail > from) {
                Reason::NotRecorded
            } else {
                Reason::Expired
            };
            Some((reason, to))
        } else {
            damage.map(|last_whole| (Reason::Damaged, last_whole + 1))
        };
        Begun {
            since,
            gap: cause.map(|(reason, to)| self.gap(reason, from, to)),
            holes,
            is_fresh: false,
        }
    }

    /// Above which position, not below `from`, each filter is whole.
    fn whole_above(&self, from: u64, filters: &[Coverage]) -> Vec<u64> {
        let whole = filters.iter().map(|one| one.whole_above(self.floor));
        whole.map(|whole| whole.max(from)).collect()
    }

    /// What lies between two positions may be missing.
    pub fn gap(&self, reason: Reason, from: u64, to: u64) -> Gap {
        Gap {
            reason,
            from: Some(self.position(from)),
            to: Some(self.position(to)),
            lost_at_most: Some(to - from),
        }
    }

    fn position(&self, offset: u64) -> Position {
        Position {
            epoch: self.epoch,
            offset,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Epoch = Epoch(*b"testtest");

    fn past(runs: &[Run]) -> Past<'_> {
        Past {
            epoch: EPOCH,
            head: 1_000,
            floor: Floor {
                tail: 600,
                kept: 200,
            },
            runs,
            damaged: &[],
        }
    }

    fn run(first: u64, clean: bool) -> Run {
        Run {
            at: Millis(0),
            first,
            clean,
        }
    }

    fn after(offset: u64) -> Start {
        Start::After(Some(Position {
            epoch: EPOCH,
            offset,
        }))
    }

    fn told(begun: &Begun) -> Option<(&'static str, u64)> {
        let gap = begun.gap?;
        Some((gap.reason.as_str(), gap.to.map_or(0, |to| to.offset)))
    }

    const WATCHED: Coverage = Coverage {
        tail: 300,
        kept: None,
    };
    const RULED: Coverage = Coverage {
        tail: 300,
        kept: Some(0),
    };

    #[test]
    fn what_the_log_has_from_the_cursor_on_is_no_gap() {
        let begun = past(&[]).begin(after(700), 0, &[WATCHED, RULED]);
        assert_eq!((told(&begun), begun.since), (None, vec![700, 700]));
        // the disk has what the tail let go of
        let begun = past(&[run(1, true), run(500, true)]).begin(after(250), 0, &[RULED]);
        assert_eq!((told(&begun), begun.since), (None, vec![250]));
    }

    #[test]
    fn what_may_be_missing_is_told_with_its_reason_and_the_rest_is_kept() {
        for (start, filters, runs, reason, to, since) in [
            (after(400), vec![WATCHED], vec![], "expired", 600, vec![600]),
            (after(100), vec![RULED], vec![], "expired", 200, vec![200]),
            (
                after(100),
                vec![WATCHED],
                vec![],
                "not-recorded",
                600,
                vec![600],
            ),
            (
                after(400),
                vec![WATCHED, RULED],
                vec![run(1, true), run(601, true)],
                "restart",
                600,
                vec![600, 400],
            ),
            (
                after(400),
                vec![WATCHED, RULED],
                vec![run(1, true), run(501, false), run(601, true)],
                "crash",
                600,
                vec![600, 400],
            ),
            (
                after(1_001),
                vec![RULED],
                vec![],
                "unknown",
                1_000,
                vec![1_000],
            ),
            (
                Start::After(None),
                vec![RULED],
                vec![],
                "unknown",
                1_000,
                vec![1_000],
            ),
            (
                Start::After(Some(Position {
                    epoch: Epoch(*b"anothers"),
                    offset: 700,
                })),
                vec![RULED],
                vec![],
                "epoch",
                1_000,
                vec![1_000],
            ),
        ] {
            let begun = past(&runs).begin(start, 0, &filters);
            assert_eq!(told(&begun), Some((reason, to)), "{start:?}");
            assert_eq!(begun.since, since, "{start:?}");
        }
    }

    #[test]
    fn a_hole_that_a_crash_left_is_told_where_it_is() {
        let runs = [
            run(1, true),
            run(801, false),
            run(850, false),
            run(900, true),
        ];
        let begun = past(&runs).begin(after(400), 0, &[RULED]);
        assert_eq!((told(&begun), begun.since), (None, vec![400]));
        assert_eq!(begun.holes, [849, 800]);
        assert_eq!(past(&runs).begin(after(849), 0, &[RULED]).holes, [0; 0]);
        // what the log has let go of before was not lost in the crash
        let begun = past(&runs).begin(after(100), 0, &[RULED]);
        assert_eq!(
            (told(&begun), begun.holes),
            (Some(("expired", 200)), vec![849, 800])
        );
    }

    #[test]
    fn a_time_before_anything_was_recorded_is_answered_with_what_there_is() {
        let begun = past(&[]).begin(Start::Since(Millis(5)), 0, &[WATCHED]);
        assert_eq!(told(&begun), Some(("not-recorded", 600)));
        let begun = past(&[]).begin(Start::Earliest, 0, &[WATCHED, RULED]);
        assert_eq!(
            (told(&begun), begun.since),
            (Some(("not-recorded", 600)), vec![600, 200])
        );
        let begun = past(&[]).begin(Start::Earliest, 0, &[RULED]);
        assert_eq!((told(&begun), begun.since), (None, vec![200]));
    }

    #[test]
    fn a_replay_over_damage_says_so() {
        let past = Past {
            damaged: &[650],
            ..past(&[])
        };
        let told = |at| told(&past.begin(after(at), 0, &[RULED]));
        assert_eq!(told(650), Some(("damaged", 651)));
        assert_eq!(told(651), None);
    }
}
