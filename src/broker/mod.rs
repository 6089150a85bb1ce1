//! The switch: the only room that joins routing, store, auth and who is online.
//!
//! Every way in makes a [`Draft`] and calls [`Broker::publish`]; every way out reads an [`outbox::Outbox`]. The broker
//! knows no sockets and no HTTP.
//!
//! One lock orders everything that has a position: whoever publishes a recorded message holds it from the match to the
//! last offer, whoever subscribes holds it while entering the routes. So positions are offered in order, a subscription
//! begins between two positions, and nothing needs to be looked at twice. What is not recorded never takes it.

mod backlog;
pub mod clock;
pub mod config;
mod cursor;
mod expiry;
pub mod history;
pub mod idempotency;
pub mod keeping;
pub mod listing;
pub mod outbox;
pub mod publish;
mod recording;
pub mod registry;
pub mod resume;
pub mod rights;
pub mod stream;
pub mod subscribe;

use crate::{
    auth::{
        identity::{Denied, Identity},
        quota::Quotas,
        rules::{RuleId, access::Access},
    },
    message::{Epoch, Message, Millis, Origin, Position},
    metrics::{METRICS, Refusal},
    mqtt::{
        Qos,
        payload::Payload,
        property::MessageProperties,
        reason::ReasonCode,
        topic::{TopicError, TopicName},
    },
    routing::{
        Routes,
        retained::{Retained, RetainedMessages},
    },
    session::limits::Limits,
    store::{Record, Store, StoreError, frame::Lsn, watermark::Watermark},
};
use clock::Clock;
use config::Config;
use hashbrown::HashMap;
use history::History;
use outbox::{CloseReason, Outbox};
use parking_lot::Mutex;
use publish::Publisher;
use std::{
    collections::VecDeque,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// The broker; cheap to clone, all clones are one.
#[derive(Clone)]
pub struct Broker(Arc<Inner>);

struct Inner {
    clock: Clock,
    config: Config,
    limits: Limits,
    /// The rules, if there are any.
    access: Option<Arc<Access>>,
    /// How much users may do, for sessions that wait for theirs.
    quotas: Arc<Quotas>,
    routes: Routes<Arc<Outbox>>,
    retained: RetainedMessages,
    store: Box<dyn Store>,
    order: Mutex<Order>,
    /// Sessions whose cursors moved since they were last written down.
    moved: Mutex<Vec<(Arc<str>, Arc<Outbox>)>>,
    kept_groups: keeping::KeptGroups,
    history: History,
    recording: recording::Recording,
    /// Positions behind which the start found damage.
    damaged: OnceLock<Vec<u64>>,
    requests: idempotency::Requests,
    registry: registry::Registry,
    expiries: rights::Expiries,
    streams: stream::Streams,
    /// To read files for streams.
    turns: Arc<tokio::sync::Semaphore>,
    timers: expiry::Timers,
    draining: AtomicBool,
}

/// What only one may do at a time: give a position and offer what stands there, enter the routes, clean the log.
#[derive(Default)]
struct Order {
    /// The oldest of the log, read to be cleaned.
    oldest: VecDeque<Record>,
    /// Up to where no durable receiver needs anything of a topic: that stays so, as cursors only advance and new
    /// subscriptions begin at the head.
    answered: HashMap<TopicName, u64>,
}

/// A message that somebody wants to publish.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Where to.
    pub topic: TopicName,
    /// Any bytes.
    pub payload: Payload,
    /// How carefully.
    pub qos: Qos,
    /// Whether it becomes the topic's retained message.
    pub retain: bool,
    /// What travels with it.
    pub properties: Option<Box<MessageProperties>>,
}

impl Draft {
    fn into_message(self, origin: Option<Arc<Origin>>, now: Millis) -> Message {
        let Draft {
            topic,
            payload,
            qos,
            retain,
            properties,
        } = self;
        Message::new(topic, payload, qos, retain, properties, origin, now)
    }
}

/// What came of publishing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Receivers it was offered to.
    pub offered: usize,
    /// Where it was recorded, if it was.
    pub position: Option<Position>,
    /// If something of it must survive: it is acknowledged when the store has come so far.
    pub durable_at: Option<Lsn>,
}

/// Why something was not done. Nothing was routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The topic belongs to the gateway.
    #[error("topics that begin with '$' are the gateway's own")]
    TopicReserved,
    /// The identity lacks the right, by this rule.
    #[error("not authorized ({0})")]
    NotAuthorized(RuleId),
    /// Not a topic that is accepted here.
    #[error("the topic has more levels than limits.topic_levels")]
    TopicTooDeep,
    /// As above.
    #[error("the topic is longer than limits.topic_bytes")]
    TopicTooLong,
    /// Not a filter.
    #[error("not a topic filter: {0}")]
    FilterInvalid(TopicError),
    /// Above `limits.payload`.
    #[error("the payload is larger than limits.payload")]
    PayloadTooLarge,
    /// Above `store.max_bytes`: there will never be room for it.
    #[error("the message is larger than store.max_bytes")]
    MessageTooLarge,
    /// Declared as UTF-8, and is not.
    #[error("the payload is declared to be UTF-8 and is not")]
    PayloadFormatInvalid,
    /// Above `features.maximum_qos`.
    #[error("the QoS is above features.maximum_qos")]
    QosNotSupported,
    /// `features.retain`
    #[error("messages are not retained here: features.retain is off")]
    RetainNotSupported,
    /// `features.wildcard_subscriptions`
    #[error("filters have no wildcards here: features.wildcard_subscriptions is off")]
    WildcardsNotSupported,
    /// `features.shared_subscriptions`
    #[error("subscriptions are not shared here: features.shared_subscriptions is off")]
    SharedNotSupported,
    /// More than one client may have.
    #[error("quota.{quota} is reached")]
    TooMany {
        /// Of what.
        quota: &'static str,
    },
    /// Faster than one identity may publish.
    #[error("more is published than quota.messages or quota.bytes allows")]
    TooFast {
        /// When to try again.
        wait: Duration,
    },
    /// `limits.retained_messages`, `limits.retained_bytes`
    #[error("no more messages are retained: limits.{limit} is reached")]
    RetainedFull {
        /// Which of the two.
        limit: &'static str,
    },
    /// The store has no room.
    #[error("the store has no room: {0}")]
    Storage(StoreError),
    /// The disk failed when the message had been routed already: whether it survives is unknown.
    #[error("the storage has failed: whether the message is kept is unknown")]
    StorageFailed,
    /// What is retained is not what it must be.
    #[error("the topic's state is not the one that the condition names")]
    PreconditionFailed,
    /// The gateway goes down.
    #[error("the gateway is shutting down")]
    ShuttingDown,
}

impl Refused {
    /// MQTT's name for it.
    pub fn reason(self) -> ReasonCode {
        match self {
            Refused::TopicReserved | Refused::NotAuthorized(_) => ReasonCode::NotAuthorized,
            Refused::TopicTooDeep | Refused::TopicTooLong => ReasonCode::TopicNameInvalid,
            Refused::FilterInvalid(_) => ReasonCode::TopicFilterInvalid,
            Refused::PayloadTooLarge => ReasonCode::PacketTooLarge,
            Refused::PayloadFormatInvalid => ReasonCode::PayloadFormatInvalid,
            Refused::QosNotSupported => ReasonCode::QosNotSupported,
            Refused::RetainNotSupported => ReasonCode::RetainNotSupported,
            Refused::WildcardsNotSupported => ReasonCode::WildcardSubscriptionsNotSupported,
            Refused::SharedNotSupported => ReasonCode::SharedSubscriptionsNotSupported,
            // no acknowledgement of a message has PacketTooLarge
            Refused::TooMany { .. }
            | Refused::TooFast { .. }
            | Refused::MessageTooLarge
            | Refused::RetainedFull { .. }
            | Refused::Storage(_) => ReasonCode::QuotaExceeded,
            Refused::StorageFailed | Refused::PreconditionFailed => {
                ReasonCode::ImplementationSpecificError
            }
            Refused::ShuttingDown => ReasonCode::ServerShuttingDown,
        }
    }

    /// What it is counted as.
    pub fn kind(self) -> Refusal {
        match self {
            Refused::TopicReserved | Refused::NotAuthorized(_) => Refusal::NotAuthorized,
            Refused::TopicTooDeep | Refused::TopicTooLong | Refused::FilterInvalid(_) => {
                Refusal::Topic
            }
            Refused::PayloadTooLarge | Refused::MessageTooLarge => Refusal::TooLarge,
            Refused::PayloadFormatInvalid => Refusal::Malformed,
            Refused::QosNotSupported
            | Refused::RetainNotSupported
            | Refused::WildcardsNotSupported
            | Refused::SharedNotSupported => Refusal::NotSupported,
            Refused::PreconditionFailed => Refusal::Request,
            Refused::RetainedFull { .. } => Refusal::Retained,
            Refused::TooMany { .. } | Refused::TooFast { .. } | Refused::Storage(_) => {
                Refusal::Quota
            }
            Refused::ShuttingDown | Refused::StorageFailed => Refusal::Busy,
        }
    }

    /// Whether it is the gateway that has no room: a 3.x publisher, who cannot be told, must not take the message
    /// for stored.
    pub fn is_want_of_room(self) -> bool {
        matches!(
            self,
            Refused::Storage(_)
                | Refused::MessageTooLarge
                | Refused::RetainedFull { .. }
                | Refused::StorageFailed
                | Refused::ShuttingDown
        )
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::TooLarge => Refused::MessageTooLarge,
            StoreError::Busy | StoreError::Full | StoreError::Failed => Refused::Storage(error),
        }
    }
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Reserved => Refused::TopicReserved,
            Denied::By(rule) => Refused::NotAuthorized(rule),
        }
    }
}

impl Broker {
    /// A broker over this store where everybody may do everything.
    pub fn new(config: Config, limits: Limits, store: Box<dyn Store>) -> Self {
        Broker::guarded(config, limits, store, None, Arc::default())
    }

    /// A broker over this store. What it found there of sessions and wills obeys `access`, if there are rules.
    pub fn guarded(
        config: Config,
        limits: Limits,
        store: Box<dyn Store>,
        access: Option<Arc<Access>>,
        quotas: Arc<Quotas>,
    ) -> Self {
        let history = History::new(config.history.clone());
        Broker(Arc::new(Inner {
            clock: Clock::start(),
            config,
            limits,
            access,
            quotas,
            routes: Routes::recording(history.filters()),
            history,
            recording: recording::Recording::default(),
            damaged: OnceLock::new(),
            requests: idempotency::Requests::default(),
            retained: RetainedMessages::default(),
            store,
            order: Mutex::default(),
            moved: Mutex::default(),
            kept_groups: keeping::KeptGroups::default(),
            registry: registry::Registry::default(),
            expiries: rights::Expiries::default(),
            streams: stream::Streams::default(),
            turns: stream::turns(),
            timers: expiry::Timers::default(),
            draining: AtomicBool::new(false),
        }))
    }

    /// Now, for rooms that read no clock.
    pub fn now(&self) -> Millis {
        self.0.clock.now()
    }

    /// How long it has been running.
    pub fn uptime(&self) -> std::time::Duration {
        self.0.clock.uptime()
    }

    /// What one client may ask for.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// What the operator chose.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The position that everything published before now is at or below.
    pub fn head(&self) -> Position {
        Position {
            epoch: self.epoch(),
            offset: self.0.store.head(),
        }
    }

    /// Which log positions belong to.
    pub fn epoch(&self) -> Epoch {
        self.0.store.epoch()
    }

    /// Somebody who publishes, with a memory of his own.
    pub fn publisher(&self, identity: Arc<Identity>, client_id: Option<Arc<str>>) -> Publisher {
        let origin = Origin {
            client_id,
            user: identity.user().cloned(),
        };
        Publisher::new(identity, Arc::new(origin), None)
    }

    /// Returns when the store has come so far.
    pub async fn durable(&self, lsn: Lsn) -> Result<(), Refused> {
        if self.watermark().durable() < lsn {
            // it may have been written as something that nobody waits for
            self.0.store.newest();
        }
        let reached = self.watermark().reached(lsn).await;
        reached.map_err(|_| Refused::StorageFailed)
    }

    /// How far the store has come.
    pub fn watermark(&self) -> &Watermark {
        self.0.store.watermark()
    }

    /// Whether the store works, or what is in the way of keeping messages.
    pub fn store_health(&self) -> Result<(), StoreError> {
        self.0.store.health()
    }

    /// Whether publishers had better be read no further for now.
    pub fn is_busy(&self) -> bool {
        self.0.store.is_busy()
    }

    /// The retained message of a topic.
    pub fn retained(
        &self,
        identity: &Identity,
        topic: &TopicName,
    ) -> Result<Option<Retained>, Refused> {
        identity.may_read(topic)?;
        Ok(self.0.retained.get(topic, self.now()))
    }

    /// Whether the gateway is going down.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// Begins to go down: nobody new comes in.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Tells every MQTT connection and every web stream to end. Streams see [`CloseReason::ShuttingDown`] and choose
    /// their moment.
    pub fn shut_down(&self) {
        self.drain();
        self.close_streams(CloseReason::ShuttingDown);
        self.close_all(CloseReason::ShuttingDown);
    }

    /// Tells every web stream to end.
    pub fn close_streams(&self, reason: CloseReason) {
        self.0.streams.close_all(reason);
    }

    /// Longest time a session is kept after its connection ended.
    pub fn max_expiry(&self) -> Duration {
        self.0.config.max_expiry
    }

    /// Brings the gauges up to date that nobody counts step by step.
    pub fn measure(&self) {
        let (retained, retained_bytes) = self.0.retained.size();
        METRICS.retained_messages.set(retained as u64);
        METRICS.retained_bytes.set(retained_bytes as u64);
        let (stored, stored_bytes) = self.0.store.size();
        METRICS.stored_messages.set(stored as u64);
        METRICS.stored_bytes.set(stored_bytes as u64);
    }
}

#[cfg(test)]
mod tests;
