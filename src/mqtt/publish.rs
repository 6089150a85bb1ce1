//! PUBLISH: the message, and the shared front part of it that many receivers get.

use super::{PacketId, Qos, Version, property::MessageProperties, topic::TopicName};
use bytes::Bytes;
use smallvec::SmallVec;

/// One application message on the wire.
#[derive(Debug, Clone, PartialEq)]
pub struct Publish {
    /// Whether this packet was sent before [MQTT-3.3.1-1].
    pub dup: bool,
    /// Delivery guarantee of this hop.
    pub qos: Qos,
    /// RETAIN.
    pub retain: bool,
    /// Present exactly if `qos` is above 0 [MQTT-2.2.1-2].
    pub packet_id: Option<PacketId>,
    /// `None` if only the alias was sent (5.0).
    pub topic: Option<TopicName>,
    /// Topic Alias, never 0 [MQTT-3.3.2-8].
    pub alias: Option<std::num::NonZeroU16>,
    /// Subscription Identifiers; from a server only [MQTT-3.3.4-6].
    pub subscription_ids: SmallVec<[u32; 2]>,
    /// What travels with the message; `None` if there is nothing.
    pub properties: Option<Box<MessageProperties>>,
    /// Any bytes.
    pub payload: Bytes,
}

/// What a PUBLISH says before its payload, apart from the first byte's flags and the packet identifier.
#[derive(Debug, Clone, Copy)]
pub struct HeadParts<'a> {
    /// The receiver's version.
    pub version: Version,
    /// Empty if the receiver knows the alias.
    pub topic: &'a str,
    /// Topic Alias to set or use.
    pub alias: Option<std::num::NonZeroU16>,
    /// Whether two bytes are left for a packet identifier (QoS 1 and 2).
    pub with_id: bool,
    /// Properties of the message.
    pub properties: Option<&'a MessageProperties>,
    /// Seconds left, instead of the expiry inside `properties` [MQTT-3.3.2-6].
    pub expiry: Option<u32>,
    /// Subscription Identifiers of the receiver's matching subscriptions [MQTT-3.3.4-4].
    pub subscription_ids: &'a [u32],
    /// Bytes that follow.
    pub payload_len: usize,
}

/// Everything of a PUBLISH in front of its payload, encoded. Flags are 0; the identifier's place is 0.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishHead {
    /// From the fixed header to the end of the properties.
    pub bytes: Box<[u8]>,
    /// Where the two identifier bytes stand, if the layout has them.
    pub id_at: Option<usize>,
}

/// The first byte of a PUBLISH [MQTT-2.1.3-1].
pub fn first_byte(dup: bool, qos: Qos, retain: bool) -> u8 {
    0x30 | (u8::from(dup) << 3) | ((qos as u8) << 1) | u8::from(retain)
}
