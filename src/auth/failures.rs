//! Failed logins, by address: after a few of them each further one makes the address wait, longer every time.
//!
//! While it waits nothing of it is looked at, so a guess costs the gateway nothing and tells the guesser nothing. The same
//! credentials again count once: clients try an older protocol when a newer one is refused, and a device with an old
//! password tries it for days. They are known again, so that nobody need look at them anew. Reads no clock. Keeps no
//! password, only keyed sums that are worth nothing elsewhere.

use super::address::Address;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    hash::{BuildHasher, Hash, RandomState},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// Addresses that are remembered at most. The one that failed longest ago gives way.
const MOST: usize = 100_000;

/// An address without a failure for so long is forgotten.
const LIFETIME: Duration = Duration::from_secs(600);

/// Longest that a failure makes an address wait; each waits twice as long as the one before it.
const LONGEST: Duration = Duration::from_secs(60);

/// Different wrong credentials of one address that are recognized when they come again.
const KNOWN: usize = 16;

/// What all addresses did wrong lately.
pub struct Failures {
    /// Wrong logins that cost nothing; `None`: none ever costs anything.
    free: Option<u32>,
    most: usize,
    hasher: RandomState,
    /// Whether anything is remembered at all, so that nobody takes the lock who need not.
    any: AtomicBool,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    entries: HashMap<Address, Entry>,
    /// Each address once, with when it had failed as it was put here: later failures put it off when its turn comes.
    order: VecDeque<(Instant, Address)>,
}

struct Entry {
    /// Different wrong credentials so far.
    count: u32,
    last: Instant,
    /// Nothing is looked at before.
    closed_until: Option<Instant>,
    /// The last of them.
    known: VecDeque<Wrong>,
}

/// Credentials that were wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wrong {
    /// Stands for the user who was named; `None` if nobody was.
    pub user: Option<u64>,
    /// Stands for all that was shown, and for what it was compared with.
    pub sum: u64,
}

impl Default for Failures {
    /// Five are free.
    fn default() -> Self {
        Failures::new(5)
    }
}

impl Failures {
    /// After `free` wrong logins further ones make an address wait; 0: never.
    pub fn new(free: u32) -> Self {
        Failures::with_room_for(MOST, free)
    }

    fn with_room_for(most: usize, free: u32) -> Self {
        Failures {
            free: (free > 0).then_some(free),
            most,
            hasher: RandomState::new(),
            any: AtomicBool::new(false),
            table: Mutex::default(),
        }
    }

    /// Stands for a user or for credentials, in this process.
    pub fn sum(&self, of: impl Hash) -> u64 {
        self.hasher.hash_one(of)
    }

    /// Whether what this address shows may be looked at; an error says for how long not.
    pub fn admit(&self, address: Address, now: Instant) -> Result<(), Duration> {
        if !self.any.load(Ordering::Relaxed) {
            return Ok(());
        }
        let table = self.table.lock();
        let closed_until = table.entries.get(&address).and_then(|it| it.closed_until);
        match closed_until {
            Some(until) if until > now => Err(until - now),
            _ => Ok(()),
        }
    }

    /// Whether these credentials of this address were wrong lately.
    pub fn knows(&self, address: Address, wrong: Wrong) -> bool {
        self.any.load(Ordering::Relaxed) && {
            let table = self.table.lock();
            let entry = table.entries.get(&address);
            entry.is_some_and(|entry| entry.known.contains(&wrong))
        }
    }

    /// These credentials were wrong.
    pub fn failed(&self, address: Address, wrong: Wrong, now: Instant) {
        let Some(free) = self.free else { return };
        let mut table = self.table.lock();
        table.forget_old(now);
        if !table.entries.contains_key(&address) {
            if table.entries.len() >= self.most {
                table.forget_oldest();
            }
            table.order.push_back((now, address));
        }
        let entry = table.entries.entry(address).or_insert(Entry {
            count: 0,
            last: now,
            closed_until: None,
            known: VecDeque::new(),
        });
        entry.last = now;
        if !entry.known.contains(&wrong) {
            if entry.known.len() == KNOWN {
                entry.known.pop_front();
            }
            entry.known.push_back(wrong);
            entry.count = entry.count.saturating_add(1);
            entry.closed_until = delay(entry.count, free).map(|delay| now + delay);
        }
        self.any.store(true, Ordering::Relaxed);
    }

    /// Somebody at this address showed that he is the user for whom this stands: what was wrong for that user is
    /// forgotten. What was wrong for others stays, or whoever has a name of his own could guess theirs without end.
    pub fn succeeded(&self, address: Address, user: Option<u64>) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let mut table = self.table.lock();
        if let Some(entry) = table.entries.get_mut(&address) {
            let before = entry.known.len();
            entry.known.retain(|wrong| wrong.user != user);
            let forgotten = before - entry.known.len();
            entry.count = entry.count.saturating_sub(forgotten as u32);
            // its place in the order stays for when its turn comes
            if entry.known.is_empty() {
                (entry.count, entry.closed_until) = (0, None);
            }
        }
    }
}

/// How long the failure with this number makes its address wait.
fn delay(number: u32, free: u32) -> Option<Duration> {
    let beyond = number.checked_sub(free)?.checked_sub(1)?;
    let delay = Duration::from_secs(1u64 << beyond.min(16));
    Some(delay.min(LONGEST))
}

impl Table {
    fn forget_old(&mut self, now: Instant) {
        while let Some((then, address)) = self.order.front().copied()
            && now.saturating_duration_since(then) >= LIFETIME
        {
            self.order.pop_front();
            match self.entries.get(&address).map(|entry| entry.last) {
                Some(last) if now.saturating_duration_since(last) < LIFETIME => {
                    self.order.push_back((last, address));
                }
                _ => {
                    self.entries.remove(&address);
                }
            }
        }
    }

    fn forget_oldest(&mut self) {
        while let Some((then, address)) = self.order.pop_front() {
            match self.entries.get(&address) {
                Some(entry) if entry.last > then => self.order.push_back((entry.last, address)),
                _ => {
                    self.entries.remove(&address);
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn address(number: u32) -> Address {
        Address::V4(number.into())
    }

    fn wrong(sum: u64) -> Wrong {
        Wrong { user: None, sum }
    }

    #[test]
    fn the_first_failures_cost_nothing_and_each_further_one_twice_as_much_as_the_one_before() {
        let failures = Failures::new(5);
        let mut now = Instant::now();
        for sum in 0..5 {
            failures.failed(address(1), wrong(sum), now);
            assert_eq!(failures.admit(address(1), now), Ok(()));
        }
        for (sum, wait) in (5..).zip([1, 2, 4, 8, 16, 32, 60, 60]) {
            failures.failed(address(1), wrong(sum), now);
            assert_eq!(failures.admit(address(1), now), Err(wait * SECOND));
            assert_eq!(failures.admit(address(2), now), Ok(()), "somebody else");
            now += wait * SECOND;
            assert_eq!(failures.admit(address(1), now), Ok(()));
        }
    }

    #[test]
    fn the_same_credentials_count_once() {
        let (failures, now) = (Failures::new(1), Instant::now());
        for _ in 0..100 {
            failures.failed(address(1), wrong(7), now);
        }
        assert_eq!(failures.admit(address(1), now), Ok(()));
        failures.failed(address(1), wrong(8), now);
        assert_eq!(failures.admit(address(1), now), Err(SECOND));
    }

    #[test]
    fn a_success_forgets_what_was_wrong_for_its_user_however_much_that_was() {
        let (failures, now) = (Failures::new(5), Instant::now());
        let fail = |user, sums: std::ops::Range<u64>| {
            for sum in sums {
                let user = Some(user);
                failures.failed(address(1), Wrong { user, sum }, now);
            }
        };
        fail(1, 0..100);
        assert!(failures.admit(address(1), now).is_err());
        failures.succeeded(address(1), Some(1));
        fail(1, 0..3);
        fail(2, 0..2);
        failures.succeeded(address(1), Some(1));
        fail(2, 2..5);
        assert_eq!(failures.admit(address(1), now), Ok(()));
        fail(2, 5..6);
        assert_eq!(failures.admit(address(1), now), Err(SECOND));
        let known = |user, sum| {
            let user = Some(user);
            failures.knows(address(1), Wrong { user, sum })
        };
        assert!(known(2, 5) && !known(2, 6) && !known(1, 1));
    }

    #[test]
    fn a_sum_tells_users_and_passwords_apart() {
        let failures = Failures::new(1);
        let sum = |user: &str, password: &str| failures.sum((user, password));
        assert_eq!(sum("a", "bc"), sum("a", "bc"));
        assert_ne!(sum("a", "bc"), sum("ab", "c"));
        assert_ne!(sum("a", "b"), Failures::new(1).sum(("a", "b")));
    }

    #[test]
    fn a_success_and_ten_minutes_clear_it() {
        let (failures, now) = (Failures::new(1), Instant::now());
        let fail = |sums: [u64; 2], now| {
            for sum in sums {
                failures.failed(address(1), wrong(sum), now);
            }
            failures.admit(address(1), now)
        };
        assert_eq!(fail([1, 2], now), Err(SECOND));
        failures.succeeded(address(1), None);
        assert_eq!(failures.admit(address(1), now), Ok(()));
        assert_eq!(fail([3, 4], now), Err(SECOND));
        let later = now + LIFETIME;
        assert_eq!(fail([5, 6], later), Err(SECOND), "it begins anew");
        failures.failed(address(2), wrong(1), later + LIFETIME);
        assert_eq!(failures.table.lock().entries.len(), 1);
    }

    #[test]
    fn the_address_that_failed_longest_ago_gives_way() {
        let failures = Failures::with_room_for(2, 1);
        let now = Instant::now();
        for (number, seconds) in [(1, 0), (2, 1), (1, 2), (3, 3)] {
            failures.failed(address(number), wrong(1), now + seconds * SECOND);
        }
        let table = failures.table.lock();
        assert!(table.entries.contains_key(&address(1)), "it failed again");
        assert!(table.entries.contains_key(&address(3)));
        assert_eq!((table.entries.len(), table.order.len()), (2, 2));
    }

    #[test]
    fn switched_off_nobody_ever_waits() {
        let (failures, now) = (Failures::new(0), Instant::now());
        for sum in 0..100 {
            failures.failed(address(1), wrong(sum), now);
        }
        assert_eq!(failures.admit(address(1), now), Ok(()));
    }
}
