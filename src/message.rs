//! One application message, whichever way it came in: immutable, shared by everyone who still needs it.
//!
//! Its rendering for the web is made once and kept in it. A PUBLISH is not: to encode one anew costs no more than to copy
//! it. A message never knows who receives it.

use crate::mqtt::{Qos, payload::Payload, property::MessageProperties, topic::TopicName};
use bytes::Bytes;
use std::{
    fmt,
    ops::Range,
    str::FromStr,
    sync::{Arc, OnceLock},
};

/// Milliseconds since the Unix epoch, by a clock that never jumps while the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// This moment and `seconds` more; saturates.
    pub fn plus_seconds(self, seconds: u64) -> Self {
        Millis(self.0.saturating_add(seconds.saturating_mul(1000)))
    }

    /// Whole seconds from `self` to `later`, rounded up; 0 if it is not later.
    pub fn seconds_until(self, later: Millis) -> u64 {
        later.0.saturating_sub(self.0).div_ceil(1000)
    }
}

/// Who published: what No Local, rights on replay and the log need to know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// The client identifier of an MQTT publisher; `None` for HTTP and for the gateway itself.
    pub client_id: Option<Arc<str>>,
    /// The user on whose rights it was published; `None` for anonymous.
    pub user: Option<Arc<str>>,
}

/// Where a message stands in the one log: `(epoch, offset)`. On the web it is the cursor `<epoch>-<offset>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Which log.
    pub epoch: Epoch,
    /// Never used twice within an epoch.
    pub offset: u64,
}

/// Names a log; chosen when it is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub [u8; 8]);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // an epoch is made of letters and digits
        f.write_str(std::str::from_utf8(&self.epoch.0).unwrap_or_default())?;
        write!(f, "-{}", self.offset)
    }
}

/// Not a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoPosition;

impl FromStr for Position {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let (epoch, offset) = text.split_once('-').ok_or(NoPosition)?;
        let is_letter = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let epoch: [u8; 8] = epoch.as_bytes().try_into().map_err(|_| NoPosition)?;
        // FromStr would also take a sign
        let is_number = offset.len() <= 20 && offset.bytes().all(|byte| byte.is_ascii_digit());
        if !(is_number && epoch.iter().all(is_letter)) {
            return Err(NoPosition);
        }
        let offset = offset.parse().map_err(|_| NoPosition)?;
        let epoch = Epoch(epoch);
        Ok(Position { epoch, offset })
    }
}

/// One application message.
#[derive(Debug)]
pub struct Message {
    /// Where it was published to.
    pub topic: TopicName,
    /// Any bytes.
    pub payload: Payload,
    /// As published.
    pub qos: Qos,
    /// RETAIN, as published.
    pub retain: bool,
    /// 5.0 properties that travel with it.
    pub properties: Option<Box<MessageProperties>>,
    /// When the gateway took it.
    pub time: Millis,
    /// When it must no longer be delivered.
    pub expires: Option<Millis>,
    /// Who published it; `None` if it is kept nowhere, so that nobody asks. A count of references that every message
    /// of a publisher touches, from every thread, is worth saving.
    pub origin: Option<Arc<Origin>>,
    web: OnceLock<Box<Rendering>>,
}

/// A message as the web writes it, with everything that is the same for all its readers.
#[derive(Debug)]
pub struct Rendering {
    /// In which of several ways it is written.
    pub way: u8,
    /// Where the message stands in the log; it is part of what is written.
    pub position: Option<Position>,
    /// A whole event of a stream.
    pub event: Bytes,
    /// The part of it that does not speak of the position either.
    pub members: Range<usize>,
    /// Written in another way as well: rare.
    next: OnceLock<Box<Rendering>>,
}

impl Rendering {
    /// `members` is a part of `event`.
    pub fn new(way: u8, position: Option<Position>, event: Bytes, members: Range<usize>) -> Self {
        Rendering {
            way,
            position,
            event,
            members,
            next: OnceLock::new(),
        }
    }
}

impl Message {
    /// A message taken at `time`; its expiry becomes a deadline.
    #[inline]
    pub fn new(
        topic: TopicName,
        payload: Payload,
        qos: Qos,
        retain: bool,
        properties: Option<Box<MessageProperties>>,
        origin: Option<Arc<Origin>>,
        time: Millis,
    ) -> Self {
        let expires = properties
            .as_ref()
            .and_then(|p| p.message_expiry)
            .map(|seconds| time.plus_seconds(seconds.into()));
        Message {
            topic,
            payload,
            qos,
            retain,
            properties,
            time,
            expires,
            origin,
            web: OnceLock::new(),
        }
    }

    /// A message as a store kept it, with the deadline it had.
    #[expect(clippy::too_many_arguments)]
    pub fn restored(
        topic: TopicName,
        payload: Payload,
        qos: Qos,
        retain: bool,
        properties: Option<Box<MessageProperties>>,
        origin: Option<Arc<Origin>>,
        time: Millis,
        expires: Option<Millis>,
    ) -> Self {
        Message {
            expires,
            ..Message::new(topic, payload, qos, retain, properties, origin, time)
        }
    }

    /// Whether its expiry has passed at `now` [MQTT-3.3.2-5].
    #[inline]
    pub fn is_expired(&self, now: Millis) -> bool {
        self.expires.is_some_and(|deadline| deadline <= now)
    }

    /// Seconds left of its expiry at `now` [MQTT-3.3.2-6]; `None` if it never expires.
    #[inline]
    pub fn expiry_left(&self, now: Millis) -> Option<u32> {
        self.expires
            .map(|deadline| now.seconds_until(deadline).min(u32::MAX.into()) as u32)
    }

    /// Its rendering in one `way`, made by whoever asks first.
    pub fn web(&self, way: u8, render: impl Fn(&Message) -> Rendering) -> &Rendering {
        let mut cell = &self.web;
        loop {
            let found = cell.get_or_init(|| Box::new(render(self)));
            if found.way == way {
                return found;
            }
            cell = &found.next;
        }
    }

    /// The same message without its rendering, if it has one.
    pub fn bare(&self) -> Option<Message> {
        self.web.get()?;
        Some(Message::restored(
            self.topic.clone(),
            self.payload.clone(),
            self.qos,
            self.retain,
            self.properties.clone(),
            self.origin.clone(),
            self.time,
            self.expires,
        ))
    }

    /// Rough memory it holds, in bytes, for budgets.
    #[inline]
    pub fn weight(&self) -> usize {
        self.payload.len() + self.topic.len() + 256
    }
}

/// A message on its way to one receiver.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The message itself, shared.
    pub message: Arc<Message>,
    /// The lower of the published and the granted QoS [MQTT-3.8.4-8].
    pub qos: Qos,
    /// RETAIN of this copy: replayed from the retained store, or kept as published.
    pub retain: bool,
    /// Where the message stands in the log, if it was recorded.
    pub position: Option<Position>,
    /// Subscription Identifiers of all matching subscriptions [MQTT-3.3.4-4]. A web stream numbers its filters from 1.
    pub subscription_ids: SubscriptionIds,
    /// The share group that chose this receiver.
    pub share: Option<GroupId>,
}

/// Usually none; shared by all deliveries of a subscription.
pub type SubscriptionIds = Option<Arc<[u32]>>;

/// Names a share group while it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub std::num::NonZeroU64);
