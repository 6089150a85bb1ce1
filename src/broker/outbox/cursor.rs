//! The outbox's part in the session's cursor: what was taken from here and what of it is answered, so that the log keeps
//! what is still needed.

use super::{Mode, NONE, Outbox, is_logged};
use std::sync::atomic::Ordering;

impl Outbox {
    /// Whether it still reads this record from the log, or may have to: a live receiver needs only what is queued, as
    /// its cursor stands still at what was not for it. Under the order lock only.
    pub(in crate::broker) fn needs(&self, offset: u64) -> bool {
        let inner = self.inner.lock();
        if self.unanswered.load(Ordering::Relaxed) <= offset {
            return true;
        }
        if self.taken_through() >= offset {
            return false;
        }
        inner.mode != Mode::Live || {
            let mut recorded = inner.queue.iter().filter(|d| is_logged(d));
            recorded.any(|queued| queued.position.is_some_and(|at| at.offset <= offset))
        }
    }

    /// Everything up to here that was for it has been answered. `head` is the head of the log. Under the order lock
    /// only.
    pub(in crate::broker) fn answered_through(&self, head: u64) -> u64 {
        let inner = self.inner.lock();
        let taken = match inner.mode {
            // what a former connection left unanswered may stand behind what was never taken
            Mode::Offline | Mode::Behind => self.taken_through(),
            Mode::Live => {
                let mut recorded = inner.queue.iter().filter(|queued| is_logged(queued));
                let first = recorded.find_map(|queued| queued.position);
                first.map_or(head, |position| position.offset - 1)
            }
        };
        match self.unanswered.load(Ordering::Relaxed) {
            NONE => taken,
            unanswered => taken.min(unanswered - 1),
        }
    }

    /// Records up to here were taken up by the session.
    pub fn taken_through(&self) -> u64 {
        self.taken_through.load(Ordering::Relaxed)
    }

    /// What the session has taken up, and the oldest of it that its client has not answered. True if the cursor is to
    /// be written down and nobody knows yet.
    pub(in crate::broker) fn note_taken(&self, through: u64, unanswered: Option<u64>) -> bool {
        // a message that is taken is under this lock, too
        let _inner = self.inner.lock();
        let unanswered = unanswered.unwrap_or(NONE);
        let before = (
            self.taken_through.fetch_max(through, Ordering::Relaxed),
            self.unanswered.swap(unanswered, Ordering::Relaxed),
        );
        before != (through, unanswered) && !self.moved.swap(true, Ordering::Relaxed)
    }

    /// A message was read from the log for it: until the session says more, it counts as unanswered.
    pub(in crate::broker) fn hold_back(&self, offset: u64) {
        self.unanswered.fetch_min(offset, Ordering::Relaxed);
    }

    /// The cursor is about to be written down.
    pub(in crate::broker) fn begin_noting(&self) {
        self.moved.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Bounds, Kind};
    use super::*;
    use crate::auth::identity::Identity;

    #[test]
    fn what_was_never_taken_is_not_answered_although_something_behind_it_waits_for_an_answer() {
        let bounds = Bounds {
            messages: 10,
            bytes: 1000,
        };
        let reader = Identity::anonymous();
        let outbox = Outbox::new(1, Kind::Session, bounds, true, 10, reader);
        outbox.go_offline();
        // as a start restores it: record 11 was sent and not answered at QoS 1, 12 has an identifier at QoS 2
        outbox.note_taken(10, Some(12));
        assert!(outbox.needs(11));
        assert_eq!(outbox.answered_through(20), 10);
        outbox.go_online();
        assert_eq!(outbox.answered_through(20), 10);
        outbox.note_taken(12, Some(12));
        assert_eq!(outbox.answered_through(20), 11);
    }
}
