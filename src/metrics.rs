//! Numbers any room may bump: plain atomics, read by `$SYS` and by `/metrics`. A leaf: imports nothing, decides nothing.
//!
//! Rooms on the hot path count a batch and add once.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The numbers of this process.
pub static METRICS: Metrics = Metrics::new();

/// Something that only grows. On a cache line of its own, so that counting one thing never slows another.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Counter(AtomicU64);

impl Counter {
    /// Zero.
    pub const fn new() -> Self {
        Counter(AtomicU64::new(0))
    }

    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Something that goes up and down, but never below zero once every step is counted.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Zero.
    pub const fn new() -> Self {
        Gauge(AtomicU64::new(0))
    }

    /// One more; answers how many there are now.
    pub fn inc(&self) -> u64 {
        self.add(1)
    }

    /// One less.
    pub fn dec(&self) {
        self.sub(1);
    }

    /// `n` more; answers how many there are now.
    pub fn add(&self, n: u64) -> u64 {
        self.0.fetch_add(n, Relaxed).wrapping_add(n)
    }

    /// `n` less. Rooms may count an end before another thread's beginning is seen, so the sum wraps and is read
    /// as signed.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Relaxed);
    }

    /// Exactly `n`.
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// At least `n`.
    pub fn raise_to(&self, n: u64) {
        self.0.fetch_max(n, Relaxed);
    }

    /// How many now.
    pub fn get(&self) -> u64 {
        (self.0.load(Relaxed) as i64).max(0) as u64
    }
}

/// What MQTT traffic in one direction amounts to.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Bytes on the wire, all packets.
    pub bytes: Counter,
    /// Control packets of any type.
    pub packets: Counter,
    /// PUBLISH packets.
    pub publishes: Counter,
    /// Payload bytes of those.
    pub publish_bytes: Counter,
}

impl Traffic {
    const fn new() -> Self {
        Traffic {
            bytes: Counter::new(),
            packets: Counter::new(),
            publishes: Counter::new(),
            publish_bytes: Counter::new(),
        }
    }
}

/// PUBLISH packets counted by one connection, to be added all at once: counters that every message touches would wander
/// from core to core.
#[derive(Debug, Default)]
pub struct Tally {
    publishes: u64,
    bytes: u64,
}

impl Tally {
    /// One more, with this many bytes of payload.
    pub fn add(&mut self, bytes: usize) {
        self.publishes += 1;
        self.bytes += bytes as u64;
    }

    /// How many, and how many bytes, since it last began anew.
    pub fn so_far(&self) -> (u64, u64) {
        (self.publishes, self.bytes)
    }

    /// Adds what was counted to `traffic`, and begins anew.
    pub fn count(&mut self, traffic: &Traffic) {
        if self.publishes > 0 {
            traffic.publishes.add(self.publishes);
            traffic.publish_bytes.add(self.bytes);
            *self = Tally::default();
        }
    }
}

/// Why something was refused, or a connection closed against its client's will.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Refusal {
    /// Bytes that are no packet, or no packet of that kind.
    Malformed,
    /// Well formed, but against the protocol's rules.
    Protocol,
    /// Larger than a limit.
    TooLarge,
    /// A topic or filter that is none.
    Topic,
    /// A client identifier that may not be used.
    ClientIdentifier,
    /// Wrong or missing credentials.
    Credentials,
    /// Credentials of an address where too many were wrong.
    FailedLogins,
    /// Known, but without the right.
    NotAuthorized,
    /// More than one client may have.
    Quota,
    /// More filters than one packet or one session may have.
    Filters,
    /// More unacknowledged messages than were agreed.
    InFlight,
    /// More user properties than one packet may have.
    UserProperties,
    /// More than is retained.
    Retained,
    /// More sessions than are kept.
    Sessions,
    /// A part of MQTT that the operator switched off.
    NotSupported,
    /// The gateway has no room left.
    Busy,
    /// No CONNECT, or no complete request, in time.
    Timeout,
    /// Nothing heard for longer than the keep-alive allows.
    KeepAlive,
    /// A Host header that names somebody else.
    Host,
    /// A foreign web page.
    Origin,
    /// An HTTP request that is not understood.
    Request,
    /// A TLS handshake that came to nothing.
    Tls,
    /// A trusted proxy without a valid PROXY header.
    ProxyHeader,
    /// More connections from one address than it may have, or faster.
    Address,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Refusal; 24] = [
        Refusal::Malformed,
        Refusal::Protocol,
        Refusal::TooLarge,
        Refusal::Topic,
        Refusal::ClientIdentifier,
        Refusal::Credentials,
        Refusal::FailedLogins,
        Refusal::NotAuthorized,
        Refusal::Quota,
        Refusal::Filters,
        Refusal::InFlight,
        Refusal::UserProperties,
        Refusal::Retained,
        Refusal::Sessions,
        Refusal::NotSupported,
        Refusal::Busy,
        Refusal::Timeout,
        Refusal::KeepAlive,
        Refusal::Host,
        Refusal::Origin,
        Refusal::Request,
        Refusal::Tls,
        Refusal::ProxyHeader,
        Refusal::Address,
    ];

    /// Its name in log lines and labels.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::Malformed => "malformed",
            Refusal::Protocol => "protocol",
            Refusal::TooLarge => "too-large",
            Refusal::Topic => "topic",
            Refusal::ClientIdentifier => "client-identifier",
            Refusal::Credentials => "credentials",
            Refusal::FailedLogins => "failed-logins",
            Refusal::NotAuthorized => "not-authorized",
            Refusal::Quota => "quota",
            Refusal::Filters => "filters",
            Refusal::InFlight => "in-flight",
            Refusal::UserProperties => "user-properties",
            Refusal::Retained => "retained",
            Refusal::Sessions => "sessions",
            Refusal::NotSupported => "not-supported",
            Refusal::Busy => "busy",
            Refusal::Timeout => "timeout",
            Refusal::KeepAlive => "keep-alive",
            Refusal::Host => "host",
            Refusal::Origin => "origin",
            Refusal::Request => "request",
            Refusal::Tls => "tls",
            Refusal::ProxyHeader => "proxy-header",
            Refusal::Address => "address",
        }
    }
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub struct Metrics {
    /// From MQTT clients.
    pub received: Traffic,
    /// To MQTT clients.
    pub sent: Traffic,
    /// Messages from every way in that were handed to the router.
    pub messages_published: Counter,
    /// Copies that did not reach a receiver whose queue was full.
    pub publishes_dropped: Counter,
    /// Sockets accepted, every way in.
    pub sockets_opened: Counter,
    /// Sockets open now, every way in.
    pub sockets_open: Gauge,
    /// TLS handshakes that were completed.
    pub tls_handshakes: Counter,
    /// Times renewed certificates were taken into use.
    pub tls_reloads: Counter,
    /// Times they were not, because something is wrong with them.
    pub tls_reload_failures: Counter,
    /// Listeners that go on with older certificates than their files have.
    pub tls_outdated: Gauge,
    /// MQTT clients whose CONNECT was accepted so far.
    pub clients_total: Counter,
    /// MQTT clients connected now; counted by [`Metrics::client_connected`].
    pub clients_connected: Gauge,
    /// The most there were at a time.
    pub clients_maximum: Gauge,
    /// Sessions, connected or parked.
    pub sessions: Gauge,
    /// Sessions without a connection.
    pub sessions_parked: Gauge,
    /// Sessions that ended because nobody came back for them.
    pub sessions_expired: Counter,
    /// Subscriptions, shared ones included.
    pub subscriptions: Gauge,
    /// Shared subscriptions.
    pub subscriptions_shared: Gauge,
    /// Topics with a retained message.
    pub retained_messages: Gauge,
    /// Their payload bytes.
    pub retained_bytes: Gauge,
    /// Messages waiting in queues and logs.
    pub stored_messages: Gauge,
    /// Their payload bytes.
    pub stored_bytes: Gauge,
    /// Bytes of the log's files.
    pub store_file_bytes: Gauge,
    /// Stretches of the log that were found damaged.
    pub store_damaged: Counter,
    /// Times the disk failed.
    pub store_failures: Counter,
    /// Times the disk was found full.
    pub store_full: Counter,
    /// Syncs of the log.
    pub store_syncs: Counter,
    /// Microseconds spent in them.
    pub store_sync_micros: Counter,
    /// Bytes written to the log.
    pub store_written_bytes: Counter,
    /// Web streams open now.
    pub streams_open: Gauge,
    /// Copies a web stream did not get because it fell behind.
    pub stream_drops: Counter,
    /// Files with passwords, keys of tokens or rules that had changed and could not be used; certificates are counted by
    /// `tls_reload_failures`.
    pub reloads_failed: Counter,
    refused: [Counter; Refusal::ALL.len()],
    responses: [Counter; 5],
}

impl Metrics {
    /// All zero.
    pub const fn new() -> Self {
        Metrics {
            received: Traffic::new(),
            sent: Traffic::new(),
            messages_published: Counter::new(),
            publishes_dropped: Counter::new(),
            sockets_opened: Counter::new(),
            sockets_open: Gauge::new(),
            tls_handshakes: Counter::new(),
            tls_reloads: Counter::new(),
            tls_reload_failures: Counter::new(),
            tls_outdated: Gauge::new(),
            clients_total: Counter::new(),
            clients_connected: Gauge::new(),
            clients_maximum: Gauge::new(),
            sessions: Gauge::new(),
            sessions_parked: Gauge::new(),
            sessions_expired: Counter::new(),
            subscriptions: Gauge::new(),
            subscriptions_shared: Gauge::new(),
            retained_messages: Gauge::new(),
            retained_bytes: Gauge::new(),
            stored_messages: Gauge::new(),
            stored_bytes: Gauge::new(),
            store_file_bytes: Gauge::new(),
            store_damaged: Counter::new(),
            store_failures: Counter::new(),
            store_full: Counter::new(),
            store_syncs: Counter::new(),
            store_sync_micros: Counter::new(),
            store_written_bytes: Counter::new(),
            streams_open: Gauge::new(),
            stream_drops: Counter::new(),
            reloads_failed: Counter::new(),
            refused: [const { Counter::new() }; Refusal::ALL.len()],
            responses: [const { Counter::new() }; 5],
        }
    }

    /// A client's CONNECT was accepted.
    pub fn client_connected(&self) {
        self.clients_total.inc();
        self.clients_maximum.raise_to(self.clients_connected.inc());
    }

    /// A connected client's connection ended.
    pub fn client_disconnected(&self) {
        self.clients_connected.dec();
    }

    /// How often something was refused for this reason.
    pub fn refused(&self, why: Refusal) -> &Counter {
        &self.refused[why as usize]
    }

    /// Answers to HTTP requests whose status begins with the same digit as `status`, 1 to 5.
    pub fn responses(&self, status: u16) -> &Counter {
        let class = usize::from(status / 100).clamp(1, self.responses.len());
        &self.responses[class - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_maximum_of_clients_stays_when_they_go() {
        let metrics = Metrics::new();
        metrics.client_connected();
        metrics.client_connected();
        metrics.client_disconnected();
        metrics.client_connected();
        metrics.client_disconnected();
        metrics.client_disconnected();
        assert_eq!(metrics.clients_connected.get(), 0);
        assert_eq!(metrics.clients_maximum.get(), 2);
    }

    #[test]
    fn a_gauge_that_counts_an_end_first_reads_zero_and_recovers() {
        let gauge = Gauge::new();
        gauge.dec();
        assert_eq!(gauge.get(), 0);
        gauge.inc();
        assert_eq!(gauge.inc(), 1);
    }

    #[test]
    fn each_refusal_has_its_own_counter_and_name() {
        let metrics = Metrics::new();
        for (i, why) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, i);
            metrics.refused(why).add(i as u64);
        }
        for (i, why) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(metrics.refused(why).get(), i as u64);
        }
        let names: std::collections::BTreeSet<_> =
            Refusal::ALL.into_iter().map(Refusal::name).collect();
        assert_eq!(names.len(), Refusal::ALL.len());
    }

    #[test]
    fn responses_are_counted_by_class_and_odd_statuses_do_not_panic() {
        let metrics = Metrics::new();
        for status in [0, 101, 200, 204, 404, 503, 999] {
            metrics.responses(status).inc();
        }
        let counts = [100, 200, 300, 400, 500].map(|status| metrics.responses(status).get());
        assert_eq!(counts, [2, 2, 0, 1, 2]);
    }
}
