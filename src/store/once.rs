//! Requests that happen once, however often they are sent: under which key, what was asked, what was answered.
//!
//! The table of those that are done, bounded by age, number and bytes for each principal. It reads no clock and does not
//! know what an answer says.

use crate::message::Millis;
use hashbrown::HashMap;
use std::{collections::BTreeMap, sync::Arc};

/// How long a request is remembered, in seconds.
pub const REMEMBERED: u64 = 24 * 60 * 60;

/// How many requests of one principal are remembered.
pub const MOST: usize = 100_000;

/// What the remembered requests of one principal may take, in bytes.
pub const BYTES: usize = 32 * 1024 * 1024;

/// What an entry takes beside its key and its answer.
const BESIDE: usize = 128;

/// SHA-256 of all that makes two requests the same.
pub type Fingerprint = [u8; 32];

/// A request that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// Who asked; `None` for anonymous.
    pub user: Option<Arc<str>>,
    /// The key he gave it.
    pub key: Arc<str>,
    /// What he asked.
    pub fingerprint: Fingerprint,
    /// When.
    pub at: Millis,
    /// What he was answered, in a form of whoever answered.
    pub answer: Box<[u8]>,
}

impl Once {
    fn weight(&self) -> usize {
        self.key.len() + self.answer.len() + BESIDE
    }

    /// Whether it is too long ago to count at `now`.
    pub fn is_over(&self, now: Millis) -> bool {
        self.at.plus_seconds(REMEMBERED) <= now
    }
}

/// The requests that are remembered.
#[derive(Debug, Default)]
pub struct Keys {
    principals: HashMap<Option<Arc<str>>, Principal>,
}

#[derive(Debug, Default)]
struct Principal {
    by_key: HashMap<Arc<str>, Entry>,
    /// Oldest first; numbered, as many may be of one moment.
    by_age: BTreeMap<(Millis, u64), Arc<str>>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    once: Arc<Once>,
    /// The segment of the log that holds it whole.
    segment: u64,
    number: u64,
}

impl Principal {
    fn insert(&mut self, once: Arc<Once>, segment: u64) {
        self.remove(&once.key.clone());
        self.next += 1;
        self.bytes += once.weight();
        self.by_age.insert((once.at, self.next), once.key.clone());
        let number = self.next;
        let entry = Entry {
            once,
            segment,
            number,
        };
        self.by_key.insert(entry.once.key.clone(), entry);
    }

    fn remove(&mut self, key: &str) {
        if let Some(entry) = self.by_key.remove(key) {
            self.bytes -= entry.once.weight();
            self.by_age.remove(&(entry.once.at, entry.number));
        }
    }

    /// Lets the oldest go that are over at `now`, or too many.
    fn shrink(&mut self, now: Millis) {
        while let Some(((at, _), key)) = self.by_age.first_key_value() {
            let is_over = at.plus_seconds(REMEMBERED) <= now;
            if !is_over && self.by_key.len() <= MOST && self.bytes <= BYTES {
                break;
            }
            self.remove(&key.clone());
        }
    }
}

impl Keys {
    /// Remembers a request that stands whole in this segment of the log, and lets go of those that are too many.
    pub fn insert(&mut self, once: Arc<Once>, segment: u64) {
        let now = once.at;
        let principal = self.principals.entry(once.user.clone()).or_default();
        principal.insert(once, segment);
        principal.shrink(now);
    }

    /// What is remembered of a key.
    pub fn get(&self, user: &Option<Arc<str>>, key: &str) -> Option<&Arc<Once>> {
        let principal = self.principals.get(user)?;
        Some(&principal.by_key.get(key)?.once)
    }

    /// Forgets what is over at `now`.
    pub fn forget(&mut self, now: Millis) {
        self.principals.retain(|_, principal| {
            principal.shrink(now);
            !principal.by_key.is_empty()
        });
    }

    /// Those that stand whole in no later segment than this one.
    pub fn held_by(&self, segment: u64) -> impl Iterator<Item = &Arc<Once>> {
        let entries = self.principals.values();
        let entries = entries.flat_map(|principal| principal.by_key.values());
        let held = entries.filter(move |entry| entry.segment <= segment);
        held.map(|entry| &entry.once)
    }

    /// Rough size in bytes.
    pub fn weight(&self) -> usize {
        let principals = self.principals.values();
        principals.map(|principal| principal.bytes).sum()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        let principals = self.principals.values();
        principals.map(|principal| principal.by_key.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn once(user: Option<&str>, key: &str, at: u64, answer: usize) -> Arc<Once> {
        Arc::new(Once {
            user: user.map(Arc::from),
            key: key.into(),
            fingerprint: [7; 32],
            at: Millis(at),
            answer: vec![0; answer].into(),
        })
    }

    #[test]
    fn a_key_is_its_principals_own() {
        let mut keys = Keys::default();
        keys.insert(once(None, "k", 1, 0), 1);
        keys.insert(once(Some("ann"), "k", 2, 5), 1);
        assert_eq!(keys.get(&None, "k").unwrap().at, Millis(1));
        assert_eq!(keys.get(&Some("ann".into()), "k").unwrap().at, Millis(2));
        assert_eq!(keys.get(&Some("bob".into()), "k"), None);
    }

    #[test]
    fn the_oldest_go_after_a_day_whatever_the_order_they_came_in() {
        let day = REMEMBERED * 1000;
        let mut keys = Keys::default();
        keys.insert(once(None, "young", day, 0), 1);
        keys.insert(once(None, "old", 1, 0), 1);
        keys.forget(Millis(day));
        assert_eq!(keys.len(), 2);
        keys.forget(Millis(day + 1));
        assert!(keys.get(&None, "old").is_none() && keys.get(&None, "young").is_some());
        keys.insert(once(None, "new", 2 * day, 0), 1);
        assert!(keys.get(&None, "young").is_none());
    }

    #[test]
    fn one_principal_has_so_many_and_takes_no_place_from_another() {
        let mut keys = Keys::default();
        keys.insert(once(Some("ann"), "hers", 0, 0), 1);
        for nth in 0..=MOST as u64 {
            keys.insert(once(None, &format!("k{nth}"), nth, 0), 1);
        }
        assert!(keys.get(&None, "k0").is_none() && keys.get(&None, "k1").is_some());
        assert_eq!(keys.len(), MOST + 1);
        assert!(keys.get(&Some("ann".into()), "hers").is_some());
    }

    #[test]
    fn large_answers_are_bounded_by_their_bytes() {
        let mut keys = Keys::default();
        for nth in 0..40 {
            keys.insert(once(None, &format!("k{nth}"), nth, 1 << 20), 1);
        }
        assert!(keys.weight() <= BYTES);
        assert!(keys.get(&None, "k39").is_some() && keys.get(&None, "k0").is_none());
    }

    #[test]
    fn what_was_written_anew_is_held_by_its_new_segment() {
        let mut keys = Keys::default();
        keys.insert(once(None, "a", 1, 3), 1);
        keys.insert(once(None, "b", 2, 3), 2);
        assert_eq!(keys.held_by(1).count(), 1);
        let weight = keys.weight();
        keys.insert(once(None, "a", 1, 3), 3);
        assert_eq!((keys.held_by(1).count(), keys.held_by(3).count()), (0, 2));
        assert_eq!((keys.len(), keys.weight()), (2, weight));
    }
}
