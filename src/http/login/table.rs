//! Secrets that were given out, and what each stands for, until it ends.
//!
//! Only their hashes are here: whoever reads the process's memory or a dump of it cannot use them. Nobody can take the
//! room of all others: whoever has as many as he may gives up his own oldest for a new one.

use crate::{
    auth::{address::Address, identity::Identity},
    message::Millis,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hashbrown::HashMap;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

/// Entries beyond which nothing is given out to whoever has none.
const MOST: usize = 100_000;

type Hash = [u8; 32];

/// Secrets by their hashes.
pub struct Table<V> {
    /// How many anybody has at most.
    each: usize,
    /// How many all have together at most.
    all: usize,
    entries: Mutex<Entries<V>>,
}

struct Entries<V> {
    by_hash: HashMap<Hash, Entry<V>>,
    /// In the order in which they were given out.
    by_owner: HashMap<Owner, BTreeMap<u64, Hash>>,
    /// Soonest first, as far as is known: it may have been put off.
    by_end: BTreeSet<(Millis, Hash)>,
    given_out: u64,
}

struct Entry<V> {
    value: V,
    owner: Owner,
    /// How many were given out before it.
    number: u64,
    /// Where it stands among the ends.
    noted_end: Millis,
}

/// Whose it is, as far as it is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A user's, wherever he comes from.
    User(Arc<str>),
    /// Of those at an address who are nobody.
    Nobody(Address),
}

impl Owner {
    /// Who `identity` is that came from this address; `None` is one without an IP address.
    pub fn of(identity: &Identity, ip: Option<IpAddr>) -> Self {
        match identity.user() {
            Some(user) => Owner::User(user.clone()),
            None => Owner::Nobody(Address::of(ip)),
        }
    }
}

/// What a secret stands for.
pub trait Held: Clone {
    /// When it ends.
    fn ends(&self) -> Millis;
    /// Whether it is used up by its first use.
    fn is_once(&self) -> bool;
}

/// A new secret.
#[derive(Debug)]
pub struct GivenOut<V> {
    /// 256 random bits, in base64url.
    pub secret: String,
    /// What its owner had to give up for it.
    pub gave_way: Option<V>,
}

impl<V: Held> Table<V> {
    /// Nobody has more than `each` at a time.
    pub fn new(each: usize) -> Self {
        Table {
            each,
            all: MOST,
            entries: Mutex::new(Entries {
                by_hash: HashMap::new(),
                by_owner: HashMap::new(),
                by_end: BTreeSet::new(),
                given_out: 0,
            }),
        }
    }

    /// Gives out a secret; none if there is no room, or no randomness.
    pub fn give_out(&self, value: V, owner: Owner, now: Millis) -> Option<GivenOut<V>> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).ok()?;
        let secret = URL_SAFE_NO_PAD.encode(secret);
        let mut entries = self.entries.lock();
        entries.forget_ended(now);
        let own = entries.by_owner.get(&owner).map_or(0, BTreeMap::len);
        let is_full = entries.by_hash.len() >= self.all;
        let gave_way = match own >= self.each || is_full {
            true => entries.remove_oldest_of(&owner),
            false => None,
        };
        if is_full && gave_way.is_none() {
            return None;
        }
        entries.insert(hash(&secret), value, owner);
        Some(GivenOut { secret, gave_way })
    }

    /// What a secret stands for now.
    pub fn redeem(&self, secret: &str, now: Millis) -> Option<V> {
        let hash = hash(secret);
        let mut entries = self.entries.lock();
        let value = entries.by_hash.get(&hash)?.value.clone();
        if value.is_once() || value.ends() <= now {
            entries.remove(&hash);
        }
        (value.ends() > now).then_some(value)
    }

    /// Takes a secret back.
    pub fn take_back(&self, secret: &str) -> Option<V> {
        self.entries.lock().remove(&hash(secret))
    }
}

impl<V: Held> Entries<V> {
    fn insert(&mut self, hash: Hash, value: V, owner: Owner) {
        let (number, noted_end) = (self.given_out, value.ends());
        self.given_out += 1;
        self.by_end.insert((noted_end, hash));
        let own = self.by_owner.entry(owner.clone()).or_default();
        own.insert(number, hash);
        let entry = Entry {
            value,
            owner,
            number,
            noted_end,
        };
        self.by_hash.insert(hash, entry);
    }

    fn remove(&mut self, hash: &Hash) -> Option<V> {
        let entry = self.by_hash.remove(hash)?;
        self.by_end.remove(&(entry.noted_end, *hash));
        if let Some(own) = self.by_owner.get_mut(&entry.owner) {
            own.remove(&entry.number);
            if own.is_empty() {
                self.by_owner.remove(&entry.owner);
            }
        }
        Some(entry.value)
    }

    fn remove_oldest_of(&mut self, owner: &Owner) -> Option<V> {
        let own = self.by_owner.get(owner)?;
        let (_, oldest) = own.first_key_value()?;
        let oldest = *oldest;
        self.remove(&oldest)
    }

    /// Looks at no more than what has ended or was to end by now.
    fn forget_ended(&mut self, now: Millis) {
        while let Some((noted_end, hash)) = self.by_end.first().copied()
            && noted_end <= now
        {
            self.by_end.pop_first();
            let entry = self.by_hash.get_mut(&hash);
            match entry.filter(|entry| entry.value.ends() > now) {
                Some(put_off) => {
                    put_off.noted_end = put_off.value.ends();
                    self.by_end.insert((put_off.noted_end, hash));
                }
                None => {
                    self.remove(&hash);
                }
            }
        }
    }
}

/// A table of hashes needs no comparison in constant time: nobody can come near to one step by step.
fn hash(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::identity::Deadline;

    #[derive(Clone, Debug)]
    struct One(Deadline, bool);

    impl Held for One {
        fn ends(&self) -> Millis {
            self.0.time()
        }

        fn is_once(&self) -> bool {
            self.1
        }
    }

    fn until(end: u64) -> One {
        One(Deadline::at(Millis(end)), false)
    }

    fn of(user: &str) -> Owner {
        Owner::User(user.into())
    }

    fn give(table: &Table<One>, value: One, user: &str) -> Option<String> {
        let given_out = table.give_out(value, of(user), Millis(0));
        given_out.map(|given_out| given_out.secret)
    }

    #[test]
    fn a_secret_stands_for_its_value_until_it_ends_or_is_taken_back() {
        let table = Table::new(9);
        let secret = give(&table, until(10), "u").unwrap();
        assert_eq!(secret.len(), 43);
        let value = table.redeem(&secret, Millis(9));
        assert_eq!(value.map(|value| value.ends()), Some(Millis(10)));
        assert!(table.redeem("another", Millis(9)).is_none());
        assert!(table.redeem(&secret, Millis(10)).is_none());
        let secret = give(&table, until(10), "u").unwrap();
        assert!(table.take_back(&secret).is_some());
        assert!(table.redeem(&secret, Millis(9)).is_none());
        let entries = table.entries.lock();
        assert!(entries.by_owner.is_empty() && entries.by_end.is_empty());
    }

    #[test]
    fn what_is_for_once_is_used_up() {
        let table = Table::new(9);
        let once = One(Deadline::at(Millis(10)), true);
        let secret = give(&table, once, "u").unwrap();
        assert!(table.redeem(&secret, Millis(9)).is_some());
        assert!(table.redeem(&secret, Millis(9)).is_none());
    }

    #[test]
    fn whoever_wants_more_than_he_may_have_gives_up_his_own_oldest() {
        let table = Table::new(2);
        let others = give(&table, until(9), "other").unwrap();
        let [first, second] = [8, 5].map(|end| give(&table, until(end), "u").unwrap());
        let third = table.give_out(until(7), of("u"), Millis(0)).unwrap();
        assert_eq!(third.gave_way.map(|oldest| oldest.ends()), Some(Millis(8)));
        assert!(table.redeem(&first, Millis(0)).is_none());
        for secret in [&others, &second, &third.secret] {
            assert!(table.redeem(secret, Millis(0)).is_some());
        }
    }

    #[test]
    fn in_a_full_table_room_is_found_where_something_has_ended_and_else_by_its_owner() {
        let mut table = Table::new(9);
        table.all = 2;
        let put_off = until(5);
        let first = give(&table, put_off.clone(), "a").unwrap();
        put_off.0.move_to(Millis(20));
        give(&table, until(10), "b").unwrap();
        assert!(give(&table, until(10), "c").is_none());
        assert!(give(&table, until(11), "b").is_some());
        let at = |now| table.give_out(until(30), of("c"), Millis(now));
        assert!(at(10).is_none());
        assert!(at(11).is_some());
        assert!(table.redeem(&first, Millis(11)).is_some());
        assert_eq!(table.entries.lock().by_end.len(), 2);
    }
}
