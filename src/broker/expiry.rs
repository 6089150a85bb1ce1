//! One timer queue for sessions and wills, and the housekeeping that goes with it.

use super::Broker;
use crate::message::Millis;
use parking_lot::Mutex;
use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc, time::Duration};
use tokio::task::JoinHandle;

/// How often the log is cleaned and expired retained messages are looked for.
const ROUND: Duration = Duration::from_secs(1);

/// Void timers that are not worth looking for.
const VOID_TIMERS: usize = 1024;

/// What is due when, soonest first.
#[derive(Default)]
pub struct Timers {
    queue: Mutex<BinaryHeap<Reverse<Timer>>>,
    sooner: tokio::sync::Notify,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Timer {
    due: Millis,
    pub(super) client_id: Arc<str>,
    /// The connection that ended: a later one makes the timer void.
    pub(super) number: u64,
    pub(super) session_ends: bool,
}

impl Timers {
    pub(super) fn add(&self, due: Millis, client_id: Arc<str>, number: u64, session_ends: bool) {
        self.queue.lock().push(Reverse(Timer {
            due,
            client_id,
            number,
            session_ends,
        }));
        self.sooner.notify_one();
    }

    /// Drops timers that a reconnection made void, once they are many more than the sessions that wait.
    fn thin_out(&self, waiting: usize, stands: impl Fn(&Arc<str>, u64) -> bool) {
        let mut thinned = {
            let mut queue = self.queue.lock();
            if queue.len() <= 2 * waiting + VOID_TIMERS {
                return;
            }
            std::mem::take(&mut *queue)
        };
        // without the lock: `stands` asks the registry, whose holder may be about to add a timer
        thinned.retain(|Reverse(timer)| stands(&timer.client_id, timer.number));
        self.queue.lock().append(&mut thinned);
    }

    fn next_due(&self) -> Option<Millis> {
        self.queue.lock().peek().map(|timer| timer.0.due)
    }

    pub(super) fn take_due(&self, now: Millis) -> Option<Timer> {
        let mut queue = self.queue.lock();
        let is_due = queue.peek().is_some_and(|timer| timer.0.due <= now);
        if is_due {
            queue.pop().map(|timer| timer.0)
        } else {
            None
        }
    }
}

impl Broker {
    /// Gives back room on the disk, one at a time, on a thread that may wait for the disk.
    fn compact_aside(&self, running: &mut Option<JoinHandle<()>>) {
        if running
            .as_ref()
            .is_some_and(|running| !running.is_finished())
        {
            return;
        }
        let broker = self.clone();
        *running = Some(tokio::task::spawn_blocking(move || broker.compact()));
    }

    /// Ends sessions and publishes wills when they are due, and cleans up, until dropped.
    pub async fn keep_time(&self) {
        let mut round = tokio::time::interval(ROUND);
        round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut swept, mut compacting) = (None, None);
        loop {
            let wait = match self.0.timers.next_due() {
                Some(due) => Duration::from_millis(due.0.saturating_sub(self.now().0)),
                None => Duration::from_secs(3600),
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.0.timers.sooner.notified() => {}
                _ = round.tick() => {
                    self.keep_cursors();
                    self.end_expired();
                    self.publish_late_wills();
                    self.clean_log();
                    self.stop_recording();
                    self.forget_requests();
                    self.compact_aside(&mut compacting);
                    self.0.timers.thin_out(self.parked(), |id, number| self.is_parked(id, number));
                    swept = self.0.retained.sweep(swept.as_ref(), self.now());
                }
            }
            while let Some(timer) = self.0.timers.take_due(self.now()) {
                self.due(&timer.client_id, timer.number, timer.session_ends);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn void_timers_are_thinned_out_without_holding_up_those_who_add_new_ones() {
        let timers = Timers::default();
        for number in 0..=VOID_TIMERS as u64 {
            timers.add(Millis(number), "c".into(), number, true);
        }
        timers.thin_out(0, |_, number| {
            assert!(timers.queue.try_lock().is_some());
            number == 7
        });
        assert_eq!(
            timers.take_due(Millis(9999)).map(|timer| timer.number),
            Some(7)
        );
        assert!(timers.take_due(Millis(9999)).is_none());
    }
}
