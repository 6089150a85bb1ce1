//! Passwords that were right a moment ago, so that a storm of clients that come back does not hash each of theirs again.
//!
//! What is kept is a keyed sum over user, password and the stored line: nobody can try passwords on it who does not
//! have the key, which never leaves the process; and when the password file changes, what was known of the old line is
//! no longer found. Only successes are kept, so a wrong password always costs the same. Reads no clock.

use super::secret::random;
use parking_lot::Mutex;
use pbkdf2::hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::{
    collections::{HashSet, VecDeque},
    io,
    time::{Duration, Instant},
};

/// A bounded memory of successes.
pub struct Recent {
    key: Hmac<Sha256>,
    capacity: usize,
    lifetime: Duration,
    known: Mutex<Known>,
}

/// A success: worthless without the key.
type Sum = [u8; 32];

#[derive(Default)]
struct Known {
    sums: HashSet<Sum>,
    /// The same, with the moments they are forgotten at, in that order: each lives equally long.
    ends: VecDeque<(Instant, Sum)>,
}

impl Known {
    fn forget_first(&mut self) {
        if let Some((_, sum)) = self.ends.pop_front() {
            self.sums.remove(&sum);
        }
    }

    fn forget_what_ended(&mut self, now: Instant) {
        while self.ends.front().is_some_and(|(end, _)| *end <= now) {
            self.forget_first();
        }
    }
}

impl Recent {
    /// Keeps up to `capacity` successes, each for `lifetime`. An error if the system has no random numbers.
    pub fn new(capacity: usize, lifetime: Duration) -> io::Result<Self> {
        let key = random::<32>()?;
        Ok(Recent {
            key: Hmac::new_from_slice(&key).map_err(io::Error::other)?,
            capacity,
            lifetime,
            known: Mutex::default(),
        })
    }

    /// Whether this password was right for this user and stored line less than a lifetime ago.
    pub fn knows(&self, user: &str, password: &[u8], stored: &str, now: Instant) -> bool {
        let sum = self.sum(user, password, stored);
        let mut known = self.known.lock();
        known.forget_what_ended(now);
        known.sums.contains(&sum)
    }

    /// The password was right. It is remembered for one lifetime from the first time that it is told, not longer for
    /// being used; what has been known longest gives way.
    pub fn remember(&self, user: &str, password: &[u8], stored: &str, now: Instant) {
        let sum = self.sum(user, password, stored);
        let mut known = self.known.lock();
        known.forget_what_ended(now);
        if self.capacity == 0 || !known.sums.insert(sum) {
            return;
        }
        known.ends.push_back((now + self.lifetime, sum));
        if known.ends.len() > self.capacity {
            known.forget_first();
        }
    }

    fn sum(&self, user: &str, password: &[u8], stored: &str) -> Sum {
        let mut sum = self.key.clone();
        for part in [user.as_bytes(), password, stored.as_bytes()] {
            // with its length, so that no byte can move from one part to the next
            sum.update(&(part.len() as u64).to_le_bytes());
            sum.update(part);
        }
        sum.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_success_is_known_for_its_lifetime_and_using_it_does_not_prolong_it() {
        let (recent, start) = (Recent::new(10, MINUTE).unwrap(), Instant::now());
        assert!(!recent.knows("ann", b"secret", "line", start));
        recent.remember("ann", b"secret", "line", start);
        let late = start + MINUTE - Duration::from_millis(1);
        assert!(recent.knows("ann", b"secret", "line", late));
        recent.remember("ann", b"secret", "line", late);
        assert!(!recent.knows("ann", b"secret", "line", start + MINUTE));
    }

    #[test]
    fn another_user_password_or_stored_line_is_not_known() {
        let (recent, now) = (Recent::new(10, MINUTE).unwrap(), Instant::now());
        recent.remember("ann", b"secret", "line", now);
        for (user, password, line) in [
            ("bob", "secret", "line"),
            ("ann", "Secret", "line"),
            ("ann", "secret", "another line"),
            // the same bytes, cut elsewhere
            ("anns", "ecret", "line"),
            ("ann", "secretl", "ine"),
        ] {
            assert!(!recent.knows(user, password.as_bytes(), line, now));
        }
    }

    #[test]
    fn no_more_are_kept_than_there_is_room_for_and_the_oldest_goes_first() {
        let (recent, now) = (Recent::new(2, MINUTE).unwrap(), Instant::now());
        for user in ["a", "b", "c"] {
            recent.remember(user, b"p", "line", now);
        }
        let knows = |user| recent.knows(user, b"p", "line", now);
        assert_eq!(["a", "b", "c"].map(knows), [false, true, true]);
        assert_eq!(recent.known.lock().sums.len(), 2);
    }

    #[test]
    fn two_processes_share_no_sums() {
        let [one, other] = [1, 2].map(|_| Recent::new(1, MINUTE).unwrap());
        assert_ne!(one.sum("a", b"p", "l"), other.sum("a", b"p", "l"));
    }
}
