//! Secrets that were given out, and what each stands for, until it ends.
//!
//! Only their hashes are here: whoever reads the process's memory or a dump of it cannot use them.

use crate::message::Millis;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hashbrown::HashMap;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

/// Entries beyond which what has ended is looked for, and nothing is given out if all are in use.
const MOST: usize = 100_000;

type Hash = [u8; 32];

/// Secrets by their hashes.
pub struct Table<V>(Mutex<HashMap<Hash, V>>);

impl<V> Default for Table<V> {
    fn default() -> Self {
        Table(Mutex::default())
    }
}

/// What a secret stands for.
pub trait Held: Clone {
    /// When it ends.
    fn ends(&self) -> Millis;
    /// Whether it is used up by its first use.
    fn is_once(&self) -> bool;
}

impl<V: Held> Table<V> {
    /// Gives out a secret of 256 random bits; none if there is no room, or no randomness.
    pub fn give_out(&self, value: V, now: Millis) -> Option<String> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).ok()?;
        let secret = URL_SAFE_NO_PAD.encode(secret);
        let mut held = self.0.lock();
        if held.len() >= MOST {
            held.retain(|_, value| value.ends() > now);
        }
        if held.len() >= MOST {
            return None;
        }
        held.insert(hash(&secret), value);
        Some(secret)
    }

    /// What a secret stands for now.
    pub fn redeem(&self, secret: &str, now: Millis) -> Option<V> {
        let hash = hash(secret);
        let mut held = self.0.lock();
        let value = held.get(&hash)?.clone();
        if value.is_once() || value.ends() <= now {
            held.remove(&hash);
        }
        (value.ends() > now).then_some(value)
    }

    /// Takes a secret back.
    pub fn take_back(&self, secret: &str) -> Option<V> {
        self.0.lock().remove(&hash(secret))
    }
}

/// A table of hashes needs no comparison in constant time: nobody can come near to one step by step.
fn hash(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct One(u64, bool);

    impl Held for One {
        fn ends(&self) -> Millis {
            Millis(self.0)
        }

        fn is_once(&self) -> bool {
            self.1
        }
    }

    #[test]
    fn a_secret_stands_for_its_value_until_it_ends_or_is_taken_back() {
        let table = Table::default();
        let secret = table.give_out(One(10, false), Millis(0)).unwrap();
        assert_eq!(secret.len(), 43);
        assert_eq!(table.redeem(&secret, Millis(9)), Some(One(10, false)));
        assert_eq!(table.redeem("another", Millis(9)), None);
        assert_eq!(table.redeem(&secret, Millis(10)), None);
        let secret = table.give_out(One(10, false), Millis(0)).unwrap();
        assert!(table.take_back(&secret).is_some());
        assert_eq!(table.redeem(&secret, Millis(9)), None);
    }

    #[test]
    fn what_is_for_once_is_used_up() {
        let table = Table::default();
        let secret = table.give_out(One(10, true), Millis(0)).unwrap();
        assert!(table.redeem(&secret, Millis(9)).is_some());
        assert_eq!(table.redeem(&secret, Millis(9)), None);
    }
}
