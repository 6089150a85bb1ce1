//! How much one identity may do: publish per second, hold open, subscribe to, over all ways in together.
//!
//! A user has one [`Quota`] wherever he comes from; whoever is nobody shares that of his address. The registry keeps a
//! quota as long as somebody has it or it is not yet as good as new: a user who publishes by requests is nobody in
//! between, and must not begin anew with each. Reads no clock.

use super::address::Address;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// How much may be done at once, as the time that it is worth.
const BURST: Duration = Duration::from_secs(1);

/// Quotas that are kept before those that are as good as new are looked for.
const FEW: usize = 1024;

/// `[quota]`; 0 is no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Messages published per second.
    pub messages: u32,
    /// Payload bytes published per second.
    pub bytes: usize,
    /// Streams, waiting reads of the history and subscriptions of JSON WebSockets open at a time.
    pub streams: u32,
    /// MQTT connections and JSON WebSockets at a time.
    pub connections: u32,
    /// Subscriptions of all MQTT sessions of one user together.
    pub subscriptions: u32,
    /// Connections of any kind from one address at a time.
    pub connections_per_address: u32,
    /// New connections of any kind from one address per second.
    pub connection_rate: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            messages: 0,
            bytes: 0,
            streams: 100,
            connections: 0,
            subscriptions: 0,
            connections_per_address: 0,
            connection_rate: 0,
        }
    }
}

/// What leaks at a steady rate (the generic cell rate algorithm): how far ahead of its rate somebody is.
#[derive(Debug)]
pub struct Bucket {
    /// Per second; 0 is no limit.
    rate: u64,
    begun: Instant,
    /// When all that was done would be paid off, in nanoseconds since it began.
    paid_at: AtomicU64,
}

impl Bucket {
    /// As much per second, and as much at once.
    pub fn new(rate: u64, begun: Instant) -> Self {
        Bucket {
            rate,
            begun,
            paid_at: AtomicU64::new(0),
        }
    }

    fn since_begun(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.begun).as_nanos() as u64
    }

    /// In nanoseconds.
    fn cost(&self, amount: u64) -> u64 {
        let nanos = u128::from(amount) * 1_000_000_000 / u128::from(self.rate.max(1));
        u64::try_from(nanos).unwrap_or(u64::MAX / 2)
    }

    /// Takes `amount`, unless more than the burst would be used up; an error says when to try again. What is more than
    /// a whole burst needs one that is wholly unused, and is paid off afterwards.
    pub fn take(&self, amount: u64, now: Instant) -> Result<(), Duration> {
        if self.rate == 0 || amount == 0 {
            return Ok(());
        }
        let (now, cost, burst) = (
            self.since_begun(now),
            self.cost(amount),
            BURST.as_nanos() as u64,
        );
        let taken = self.paid_at.fetch_update(Relaxed, Relaxed, |paid_at| {
            let paid_at = paid_at.max(now);
            let fits = paid_at - now + cost.min(burst) <= burst;
            fits.then(|| paid_at.saturating_add(cost))
        });
        taken.map(|_| ()).map_err(|paid_at| {
            let wait = (paid_at.max(now) - now).saturating_add(cost.min(burst)) - burst;
            Duration::from_nanos(wait)
        })
    }

    /// Takes `amount` whatever was used up. An answer says for how long nothing more is to be taken.
    pub fn charge(&self, amount: u64, now: Instant) -> Option<Duration> {
        if self.rate == 0 {
            return None;
        }
        let (now, cost) = (self.since_begun(now), self.cost(amount));
        let mut paid_at = 0;
        let _ = self.paid_at.fetch_update(Relaxed, Relaxed, |before| {
            paid_at = before.max(now).saturating_add(cost);
            Some(paid_at)
        });
        let ahead = Duration::from_nanos(paid_at - now);
        ahead.checked_sub(BURST).filter(|wait| !wait.is_zero())
    }

    /// Gives back what was taken, and not used after all.
    fn give_back(&self, amount: u64) {
        if self.rate > 0 {
            let cost = self.cost(amount);
            let _ = self.paid_at.fetch_update(Relaxed, Relaxed, |paid_at| {
                Some(paid_at.saturating_sub(cost))
            });
        }
    }

    /// Whether nothing is left of what was done.
    pub fn is_unused(&self, now: Instant) -> bool {
        self.paid_at.load(Relaxed) <= self.since_begun(now)
    }
}

/// So many at a time.
#[derive(Debug)]
struct Places {
    /// 0 is no limit, and then nobody counts.
    most: u32,
    taken: AtomicU32,
}

impl Places {
    fn new(most: u32) -> Self {
        Places {
            most,
            taken: AtomicU32::new(0),
        }
    }

    fn take(&self) -> bool {
        let more = |taken| (taken < self.most).then_some(taken + 1);
        self.most == 0 || self.taken.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    fn force(&self, count: u32) {
        if self.most > 0 {
            self.taken.fetch_add(count, Relaxed);
        }
    }

    fn leave(&self, count: u32) {
        if self.most > 0 {
            self.taken.fetch_sub(count, Relaxed);
        }
    }

    fn is_empty(&self) -> bool {
        self.taken.load(Relaxed) == 0
    }
}

/// What one identity does, and may.
#[derive(Debug)]
pub struct Quota {
    messages: Bucket,
    bytes: Bucket,
    streams: Places,
    connections: Places,
    /// Unlimited for whoever is nobody: his sessions are not told from those of others.
    subscriptions: Places,
}

/// What somebody may have a number of at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thing {
    /// A web stream, or what is as much as one.
    Stream,
    /// An MQTT connection or a JSON WebSocket.
    Connection,
}

/// One of those, until it is dropped.
#[derive(Debug)]
pub struct Held {
    quota: Arc<Quota>,
    thing: Thing,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.quota.places(self.thing).leave(1);
    }
}

impl Quota {
    fn new(limits: &Limits, is_users: bool, now: Instant) -> Self {
        Quota {
            messages: Bucket::new(limits.messages.into(), now),
            bytes: Bucket::new(limits.bytes as u64, now),
            streams: Places::new(limits.streams),
            connections: Places::new(limits.connections),
            subscriptions: Places::new(if is_users { limits.subscriptions } else { 0 }),
        }
    }

    /// Whether publishing is limited at all: if not, nobody need tell what he publishes.
    pub fn limits_publishing(&self) -> bool {
        self.messages.rate > 0 || self.bytes.rate > 0
    }

    /// Takes these messages with so many bytes together, all or none; an error says when to try again.
    pub fn take(&self, messages: u64, bytes: u64, now: Instant) -> Result<(), Duration> {
        self.messages.take(messages, now)?;
        self.bytes
            .take(bytes, now)
            .inspect_err(|_| self.messages.give_back(messages))
    }

    /// As [`Quota::take`], for what was published already; an answer says for how long nothing more is to be read.
    pub fn charge(&self, messages: u64, bytes: u64, now: Instant) -> Option<Duration> {
        let (messages, bytes) = (
            self.messages.charge(messages, now),
            self.bytes.charge(bytes, now),
        );
        messages.max(bytes)
    }

    fn places(&self, thing: Thing) -> &Places {
        match thing {
            Thing::Stream => &self.streams,
            Thing::Connection => &self.connections,
        }
    }

    /// One more, if it may be.
    pub fn hold(self: &Arc<Self>, thing: Thing) -> Option<Held> {
        let quota = self.clone();
        // made only if there is room: dropped it would leave a place that nobody took
        let taken = self.places(thing).take();
        taken.then(|| Held { quota, thing })
    }

    /// One more in place of another that is about to go.
    pub fn hold_instead(self: &Arc<Self>, thing: Thing) -> Held {
        let quota = self.clone();
        self.places(thing).force(1);
        Held { quota, thing }
    }

    /// One more subscription; false if it may not be.
    pub fn subscribe(&self) -> bool {
        self.subscriptions.take()
    }

    /// So many more that were there before.
    pub fn resume_subscriptions(&self, count: usize) {
        self.subscriptions.force(count as u32);
    }

    /// So many fewer.
    pub fn unsubscribe(&self, count: usize) {
        self.subscriptions.leave(count as u32);
    }

    /// Whether a new one would be as good.
    fn is_unused(&self, now: Instant) -> bool {
        self.messages.is_unused(now)
            && self.bytes.is_unused(now)
            && self.streams.is_empty()
            && self.connections.is_empty()
            && self.subscriptions.is_empty()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Whose {
    User(Arc<str>),
    Address(Address),
}

/// Everybody's.
#[derive(Debug, Default)]
pub struct Quotas {
    limits: Limits,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    quotas: HashMap<Whose, Arc<Quota>>,
    /// With so many it is looked for those that can go.
    sweep_at: usize,
}

impl Quotas {
    /// By what the operator wrote.
    pub fn new(limits: Limits) -> Self {
        Quotas {
            limits,
            table: Mutex::default(),
        }
    }

    /// Whether anybody has one.
    fn is_limiting(&self) -> bool {
        let Limits {
            messages,
            bytes,
            streams,
            connections,
            subscriptions,
            ..
        } = self.limits;
        bytes > 0
            || [messages, streams, connections, subscriptions]
                .iter()
                .any(|limit| *limit > 0)
    }

    /// A user's, or else that of an address. Nobody who is on this machine has one.
    pub fn of(
        &self,
        user: Option<&Arc<str>>,
        ip: Option<IpAddr>,
        now: Instant,
    ) -> Option<Arc<Quota>> {
        let whose = match (user, ip) {
            _ if !self.is_limiting() => return None,
            (Some(user), _) => Whose::User(user.clone()),
            (None, None) => return None,
            (None, Some(ip)) if ip.to_canonical().is_loopback() => return None,
            (None, Some(_)) => Whose::Address(Address::of(ip)),
        };
        let mut table = self.table.lock();
        if let Some(quota) = table.quotas.get(&whose) {
            return Some(quota.clone());
        }
        if table.quotas.len() >= table.sweep_at.max(FEW) {
            table
                .quotas
                .retain(|_, quota| Arc::strong_count(quota) > 1 || !quota.is_unused(now));
            table.sweep_at = table.quotas.len() * 2;
        }
        let is_users = matches!(whose, Whose::User(_));
        let quota = Arc::new(Quota::new(&self.limits, is_users, now));
        table.quotas.insert(whose, quota.clone());
        Some(quota)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn a_second_is_had_at_once_and_then_it_comes_at_its_rate() {
        let begun = Instant::now();
        let bucket = Bucket::new(10, begun);
        for _ in 0..10 {
            assert_eq!(bucket.take(1, begun), Ok(()));
        }
        assert_eq!(bucket.take(1, begun), Err(100 * MILLI));
        assert_eq!(bucket.take(1, begun + 99 * MILLI), Err(MILLI));
        assert_eq!(bucket.take(1, begun + 100 * MILLI), Ok(()));
        assert_eq!(bucket.take(3, begun + 100 * MILLI), Err(300 * MILLI));
        assert!(!bucket.is_unused(begun + 1099 * MILLI));
        assert!(bucket.is_unused(begun + 1100 * MILLI));
    }

    #[test]
    fn what_is_more_than_a_burst_needs_all_of_it_and_is_paid_off() {
        let begun = Instant::now();
        let bucket = Bucket::new(10, begun);
        assert_eq!(bucket.take(1, begun), Ok(()));
        assert_eq!(bucket.take(25, begun), Err(100 * MILLI));
        let later = begun + 100 * MILLI;
        assert_eq!(bucket.take(25, later), Ok(()));
        assert_eq!(bucket.take(1, later), Err(1600 * MILLI));
    }

    #[test]
    fn whoever_cannot_be_refused_has_to_wait_afterwards() {
        let begun = Instant::now();
        let bucket = Bucket::new(10, begun);
        assert_eq!(bucket.charge(10, begun), None);
        assert_eq!(bucket.charge(5, begun), Some(500 * MILLI));
        assert_eq!(bucket.charge(0, begun + 500 * MILLI), None);
        assert_eq!(Bucket::new(0, begun).charge(1 << 60, begun), None);
    }

    #[test]
    fn messages_are_not_charged_when_their_bytes_are_too_many() {
        let (limits, now) = (
            Limits {
                messages: 10,
                bytes: 1000,
                ..Limits::default()
            },
            Instant::now(),
        );
        let quota = Quota::new(&limits, true, now);
        assert_eq!(quota.take(1, 1000, now), Ok(()));
        for _ in 0..100 {
            assert!(quota.take(1, 1000, now).is_err());
        }
        assert_eq!(quota.take(9, 0, now), Ok(()));
    }

    #[test]
    fn a_user_has_one_quota_everywhere_and_nobody_here_has_any() {
        let (quotas, now) = (Quotas::new(Limits::default()), Instant::now());
        let ip = |text: &str| Some(text.parse().unwrap());
        let (user, other): (Arc<str>, Arc<str>) = ("u".into(), "v".into());
        let one = quotas.of(Some(&user), ip("192.0.2.1"), now).unwrap();
        let same = quotas.of(Some(&user), None, now).unwrap();
        assert!(Arc::ptr_eq(&one, &same));
        let another = quotas.of(Some(&other), None, now).unwrap();
        assert!(!Arc::ptr_eq(&one, &another));
        let nobody = quotas.of(None, ip("192.0.2.1"), now).unwrap();
        let neighbour = quotas.of(None, ip("::ffff:192.0.2.1"), now).unwrap();
        assert!(Arc::ptr_eq(&nobody, &neighbour));
        assert!(quotas.of(None, ip("127.0.0.1"), now).is_none());
        assert!(quotas.of(None, ip("::1"), now).is_none());
        assert!(quotas.of(None, None, now).is_none());
    }

    #[test]
    fn what_is_held_is_given_back_and_only_so_much_is_held() {
        let limits = Limits {
            streams: 2,
            ..Limits::default()
        };
        let quota = Arc::new(Quota::new(&limits, true, Instant::now()));
        let held = [quota.hold(Thing::Stream), quota.hold(Thing::Stream)];
        assert!(held.iter().all(Option::is_some));
        assert!(quota.hold(Thing::Stream).is_none());
        assert!(quota.hold(Thing::Connection).is_some(), "unlimited");
        drop(held);
        assert!(quota.hold(Thing::Stream).is_some());
    }

    #[test]
    fn the_registry_keeps_what_is_not_as_good_as_new_and_nothing_else() {
        let limits = Limits {
            messages: 1,
            ..Limits::default()
        };
        let (quotas, now) = (Quotas::new(limits), Instant::now());
        let of = |number: u32, now| {
            let ip = IpAddr::V4(number.into());
            quotas.of(None, Some(ip), now).unwrap()
        };
        of(1, now).charge(5, 0, now);
        for number in 2..5000 {
            of(number, now);
        }
        assert!(quotas.table.lock().quotas.len() <= FEW);
        assert!(of(1, now).take(1, 0, now).is_err());
        let later = now + Duration::from_secs(5);
        for number in 5000..9000 {
            of(number, later);
        }
        assert!(
            !quotas
                .table
                .lock()
                .quotas
                .contains_key(&Whose::Address(Address::V4(1.into())))
        );
    }
}
