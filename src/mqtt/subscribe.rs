//! SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK.

use super::{PacketId, Qos, property::Explanation, reason::ReasonCode};

/// A request for topics.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscribe {
    /// Echoed in SUBACK [MQTT-3.8.4-2].
    pub packet_id: PacketId,
    /// Subscription Identifier, 1 to 268,435,455; 5.0 only.
    pub subscription_id: Option<u32>,
    /// User Properties in order.
    pub user: Vec<(Box<str>, Box<str>)>,
    /// At least one [MQTT-3.8.3-2]. The filter's text is UTF-8 without U+0000 but not yet checked as a filter:
    /// an invalid one is answered alone (0x8F) and does not cost the others.
    pub filters: Vec<(Box<str>, SubscriptionOptions)>,
}

/// The options byte of one filter; 3.x knows only the QoS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubscriptionOptions {
    /// Maximum QoS of deliveries.
    pub qos: Qos,
    /// Do not echo the client's own messages [MQTT-3.8.3-3].
    pub no_local: bool,
    /// Keep the RETAIN flag as published [MQTT-3.3.1-13].
    pub retain_as_published: bool,
    /// What a SUBSCRIBE does about messages retained already.
    pub retain_handling: RetainHandling,
}

/// Whether retained messages are sent when a subscription is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetainHandling {
    /// Always [MQTT-3.3.1-9]; what 3.x does.
    #[default]
    Send,
    /// Only if the subscription is new [MQTT-3.3.1-10].
    SendIfNew,
    /// Never [MQTT-3.3.1-11].
    DoNotSend,
}

/// The answer to SUBSCRIBE or UNSUBSCRIBE: one code per filter, in order [MQTT-3.9.3-1].
#[derive(Debug, Clone, PartialEq)]
pub struct SubAck {
    /// That of the request.
    pub packet_id: PacketId,
    /// Encoded as 0x80 where a 3.1.1 client would not know the code; left out of a 3.x UNSUBACK.
    pub reasons: Vec<ReasonCode>,
    /// Reason string and user properties.
    pub explanation: Option<Box<Explanation>>,
}

/// A request to end subscriptions.
#[derive(Debug, Clone, PartialEq)]
pub struct Unsubscribe {
    /// Echoed in UNSUBACK [MQTT-3.10.4-5].
    pub packet_id: PacketId,
    /// User Properties in order.
    pub user: Vec<(Box<str>, Box<str>)>,
    /// At least one [MQTT-3.10.3-2]; unchecked as filters, compared by character.
    pub filters: Vec<Box<str>>,
}
