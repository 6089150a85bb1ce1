//! Whether the client still lives: a ping when nothing was heard for a while, and how long its answer may take.

use std::time::Duration;
use tokio::time::Instant;

/// How often a client is asked, and how long it may take to answer.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Between a ping and the next.
    pub ping: Duration,
    /// From a ping to whatever is heard.
    pub patience: Duration,
    /// From the beginning until the client has said who it is.
    pub auth: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            ping: Duration::from_secs(20),
            patience: Duration::from_secs(20),
            auth: Duration::from_secs(10),
        }
    }
}

/// What to do when a moment has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// Send a ping.
    Ping,
    /// The client is gone.
    Dead,
}

/// The pulse of one client.
#[derive(Debug)]
pub struct Pulse {
    pace: Pace,
    next: Instant,
    asked: bool,
}

impl Pulse {
    /// Of a client that is alive at `now`.
    pub fn new(pace: Pace, now: Instant) -> Self {
        let next = now + pace.ping;
        Pulse {
            pace,
            next,
            asked: false,
        }
    }

    /// When [`Pulse::beat`] wants to be called.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Anything was heard, at `now`: that answers every ping.
    pub fn heard(&mut self, now: Instant) {
        if self.asked {
            self.asked = false;
            self.next = now + self.pace.ping;
        }
    }

    /// What is due at `now`. A client that cannot be `judged` has time: not everything was written to it, or nothing
    /// more is read from it for now.
    pub fn beat(&mut self, now: Instant, judged: bool) -> Option<Beat> {
        if now < self.next {
            return None;
        }
        if !judged {
            self.next = now + self.pace.patience;
            return None;
        }
        if self.asked {
            return Some(Beat::Dead);
        }
        self.asked = true;
        self.next = now + self.pace.patience;
        Some(Beat::Ping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_client_that_answers_is_asked_again() {
        let begin = Instant::now();
        let mut pulse = Pulse::new(Pace::default(), begin);
        assert_eq!(pulse.beat(begin + 19 * SECOND, true), None);
        assert_eq!(pulse.beat(begin + 20 * SECOND, true), Some(Beat::Ping));
        pulse.heard(begin + 21 * SECOND);
        assert_eq!(pulse.next(), begin + 41 * SECOND);
        assert_eq!(pulse.beat(begin + 41 * SECOND, true), Some(Beat::Ping));
    }

    #[test]
    fn a_client_that_does_not_answer_is_dead() {
        let begin = Instant::now();
        let mut pulse = Pulse::new(Pace::default(), begin);
        assert_eq!(pulse.beat(begin + 20 * SECOND, true), Some(Beat::Ping));
        assert_eq!(pulse.beat(begin + 39 * SECOND, true), None);
        assert_eq!(pulse.beat(begin + 40 * SECOND, true), Some(Beat::Dead));
    }

    #[test]
    fn a_client_that_could_not_have_answered_is_given_time() {
        let begin = Instant::now();
        let mut pulse = Pulse::new(Pace::default(), begin);
        assert_eq!(pulse.beat(begin + 20 * SECOND, true), Some(Beat::Ping));
        assert_eq!(pulse.beat(begin + 40 * SECOND, false), None);
        assert_eq!(pulse.beat(begin + 60 * SECOND, true), Some(Beat::Dead));
    }
}
