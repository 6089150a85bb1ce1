//! PUBLISH: the message, and the shared front part of it that many receivers get.

use super::{
    PacketId, Qos, Version,
    error::{DecodeError, Malformed, ProtocolFault},
    frame::Peer,
    payload::Payload,
    primitive::{Reader, check_text, put_varint, text_len, varint_len},
    property::{Carrier, MessageProperties, Property, put_short, read_properties},
    topic::{TopicError, TopicName},
};
use smallvec::SmallVec;
use std::num::NonZeroU16;

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
    pub alias: Option<NonZeroU16>,
    /// Subscription Identifiers; from a server only [MQTT-3.3.4-6].
    pub subscription_ids: SmallVec<[u32; 2]>,
    /// What travels with the message; `None` if there is nothing.
    pub properties: Option<Box<MessageProperties>>,
    /// Any bytes.
    pub payload: Payload,
}

/// What a PUBLISH says before its payload, apart from the packet identifier.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The receiver's version.
    pub version: Version,
    /// DUP.
    pub dup: bool,
    /// Above 0 there is a packet identifier.
    pub qos: Qos,
    /// RETAIN.
    pub retain: bool,
    /// Empty if the receiver knows the alias.
    pub topic: &'a str,
    /// Topic Alias to set or use.
    pub alias: Option<NonZeroU16>,
    /// Properties of the message.
    pub properties: Option<&'a MessageProperties>,
    /// Seconds left, instead of the expiry inside `properties` [MQTT-3.3.2-6].
    pub expiry: Option<u32>,
    /// Subscription Identifiers of the receiver's matching subscriptions [MQTT-3.3.4-4].
    pub subscription_ids: &'a [u32],
    /// Bytes that follow.
    pub payload_len: usize,
}

/// The first byte of a PUBLISH [MQTT-2.1.3-1].
#[inline]
pub fn first_byte(dup: bool, qos: Qos, retain: bool) -> u8 {
    0x30 | (u8::from(dup) << 3) | ((qos as u8) << 1) | u8::from(retain)
}

impl Publish {
    /// Reads a PUBLISH from the low four bits of its first byte and its body.
    ///
    /// A topic equal to `last_topic` is shared instead of checked again, any other takes its place. `payload` makes
    /// the payload's own bytes out of those in the body.
    pub fn decode(
        flags: u8,
        body: &[u8],
        version: Version,
        from: Peer,
        last_topic: &mut Option<TopicName>,
        payload: impl FnOnce(&[u8]) -> Payload,
    ) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let dup = flags & 8 != 0;
        let qos = Qos::from_wire(flags >> 1 & 3).ok_or(Malformed::PublishQos)?; // [MQTT-3.3.1-4]
        if dup && qos == Qos::AtMostOnce && version != Version::V31 {
            return Err(Malformed::DupAtQos0.into()); // [MQTT-3.3.1-2]
        }
        let topic = reader.binary()?;
        let topic = if topic.is_empty() {
            None
        } else {
            Some(known_topic(topic, last_topic)?)
        };
        let packet_id = if qos > Qos::AtMostOnce {
            Some(reader.packet_id()?)
        } else {
            None
        }; // [MQTT-2.2.1-2]
        let mut publish = Publish {
            dup,
            qos,
            retain: flags & 1 != 0,
            packet_id,
            topic,
            alias: None,
            subscription_ids: SmallVec::new(),
            properties: None,
            payload: Payload::EMPTY,
        };
        if version.is_v5() {
            read_properties(&mut reader, Carrier::Publish, |property, value| {
                publish.read(property, value, from)
            })?;
        }
        if publish.topic.is_none() && publish.alias.is_none() {
            return Err(match version {
                Version::V5 => ProtocolFault::NoTopic.into(),
                Version::V31 | Version::V311 => TopicError::Empty.into(),
            });
        }
        publish.payload = payload(reader.take_rest());
        Ok(publish)
    }

    fn read(
        &mut self,
        property: Property,
        value: &mut Reader<'_>,
        from: Peer,
    ) -> Result<(), DecodeError> {
        match property {
            Property::TopicAlias => {
                // [MQTT-3.3.2-8]
                self.alias =
                    Some(NonZeroU16::new(value.u16()?).ok_or(ProtocolFault::TopicAliasZero)?);
                Ok(())
            }
            Property::SubscriptionIdentifier if from == Peer::Client => {
                Err(ProtocolFault::SubscriptionIdFromClient.into()) // [MQTT-3.3.4-6]
            }
            Property::SubscriptionIdentifier => match value.varint()? {
                0 => Err(ProtocolFault::SubscriptionIdZero.into()),
                id => {
                    self.subscription_ids.push(id);
                    Ok(())
                }
            },
            _ => MessageProperties::read(&mut self.properties, property, value),
        }
    }

    /// Appends the packet. On 3.x, what only 5.0 has is left out.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let head = Head {
            version,
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            topic: self.topic.as_deref().unwrap_or_default(),
            alias: self.alias,
            properties: self.properties.as_deref(),
            expiry: None,
            subscription_ids: &self.subscription_ids,
            payload_len: self.payload.len(),
        };
        head.put(&head.sizes(), self.packet_id, out);
        out.extend_from_slice(&self.payload);
    }
}

/// The topic in `bytes`: a client's messages mostly go where its last one went.
fn known_topic(bytes: &[u8], last: &mut Option<TopicName>) -> Result<TopicName, DecodeError> {
    match last {
        Some(known) if known.as_bytes() == bytes => Ok(known.clone()),
        _ => {
            let topic = TopicName::parse(check_text(bytes)?)?;
            *last = Some(topic.clone());
            Ok(topic)
        }
    }
}

/// Lengths that stand in front of what they measure, so they are known before anything is written.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// From the first byte to the end of the properties.
    head: usize,
    /// Remaining Length.
    remaining: usize,
    /// Property Length; not written on 3.x.
    properties: usize,
}

impl Sizes {
    /// Bytes of the whole packet.
    #[inline]
    pub fn packet(&self) -> usize {
        1 + varint_len(self.remaining) + self.remaining
    }
}

impl Head<'_> {
    /// Appends everything in front of the payload, and leaves room for that. `packet_id` is there above QoS 0.
    #[inline]
    pub fn put(&self, sizes: &Sizes, packet_id: Option<PacketId>, out: &mut Vec<u8>) {
        out.reserve(sizes.head + self.payload_len);
        let start = out.len();
        let topic = &self.topic[..text_len(self.topic)];
        let [high, low] = (topic.len() as u16).to_be_bytes(); // text_len sees to it
        let first = first_byte(self.dup, self.qos, self.retain);
        match sizes.remaining {
            // the most frequent by far
            short @ 0..=0x7F => out.extend_from_slice(&[first, short as u8, high, low]),
            long => {
                out.push(first);
                put_varint(out, long);
                out.extend_from_slice(&[high, low]);
            }
        }
        out.extend_from_slice(topic.as_bytes());
        if let Some(id) = packet_id {
            out.extend_from_slice(&id.get().to_be_bytes());
        }
        if self.version.is_v5() {
            put_varint(out, sizes.properties); // 0 if there are none [MQTT-2.2.2-1]
            self.put_properties(out);
        }
        debug_assert_eq!(out.len() - start, sizes.head);
    }

    fn put_properties(&self, out: &mut Vec<u8>) {
        if let Some(alias) = self.alias {
            put_short(out, Property::TopicAlias, alias.get());
        }
        for id in self.subscription_ids {
            out.push(Property::SubscriptionIdentifier as u8);
            put_varint(out, *id as usize);
        }
        match (self.properties, self.expiry) {
            (Some(properties), expiry) => properties.put(out, expiry),
            (None, Some(_)) => MessageProperties::default().put(out, self.expiry),
            (None, None) => {}
        }
    }

    /// What its parts will measure.
    #[inline]
    pub fn sizes(&self) -> Sizes {
        let with_id = self.qos > Qos::AtMostOnce; // [MQTT-2.2.1-2]
        let mut body = 2 + text_len(self.topic) + if with_id { 2 } else { 0 };
        let mut properties = 0;
        if self.version.is_v5() {
            properties += if self.alias.is_some() { 3 } else { 0 };
            properties += self
                .subscription_ids
                .iter()
                .map(|id| 1 + varint_len(*id as usize))
                .sum::<usize>();
            properties += match self.properties {
                Some(properties) => properties.wire_len(self.expiry),
                None if self.expiry.is_some() => 5,
                None => 0,
            };
            body += varint_len(properties) + properties;
        }
        let remaining = body + self.payload_len;
        Sizes {
            head: 1 + varint_len(remaining) + body,
            remaining,
            properties,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(version: Version, flags: u8, body: &[u8]) -> Result<Publish, DecodeError> {
        Publish::decode(
            flags,
            body,
            version,
            Peer::Client,
            &mut None,
            Payload::copy_from_slice,
        )
    }

    #[test]
    fn publishes_of_each_version_are_read() {
        let publish = decode(Version::V311, 0x0D, &[0, 1, b't', 0, 9, b'p']).unwrap();
        assert_eq!(
            (publish.dup, publish.qos, publish.retain),
            (true, Qos::ExactlyOnce, true)
        );
        assert_eq!(
            (publish.packet_id.map(NonZeroU16::get), &publish.payload[..]),
            (Some(9), &b"p"[..])
        );
        let publish = decode(Version::V5, 0, &[0, 0, 3, 0x23, 0, 7]).unwrap();
        assert_eq!(
            (publish.topic, publish.alias.map(NonZeroU16::get)),
            (None, Some(7))
        );
        // [MQTT-1.5.4-3]
        let publish = decode(Version::V5, 0, b"\0\x04\xEF\xBB\xBFt\0").unwrap();
        assert_eq!(publish.topic.as_deref(), Some("\u{FEFF}t"));
    }

    #[test]
    fn publishes_that_break_the_rules_are_refused() {
        let table: [(Version, u8, &[u8], DecodeError); 15] = [
            (
                Version::V311,
                6,
                &[0, 1, b't', 0, 1],
                Malformed::PublishQos.into(),
            ),
            (Version::V311, 8, &[0, 1, b't'], Malformed::DupAtQos0.into()),
            (
                Version::V311,
                2,
                &[0, 1, b't', 0, 0],
                ProtocolFault::PacketIdZero.into(),
            ),
            (Version::V311, 0, &[0, 2, b't'], Malformed::Truncated.into()),
            (Version::V311, 0, &[0, 0], TopicError::Empty.into()),
            (
                Version::V311,
                0,
                &[0, 1, b'#'],
                TopicError::WildcardInName.into(),
            ),
            (Version::V311, 0, &[0, 1, 0], Malformed::NulInText.into()),
            (Version::V5, 0, &[0, 0, 0], ProtocolFault::NoTopic.into()),
            (Version::V5, 0, &[0, 1, b't'], Malformed::Truncated.into()),
            (
                Version::V5,
                0,
                &[0, 1, b't', 3, 0x23, 0, 0],
                ProtocolFault::TopicAliasZero.into(),
            ),
            (
                Version::V5,
                0,
                &[0, 1, b't', 2, 0x0B, 1],
                ProtocolFault::SubscriptionIdFromClient.into(),
            ),
            (
                Version::V5,
                0,
                &[0, 1, b't', 2, 0x01, 2],
                ProtocolFault::NotABoolean.into(),
            ),
            (
                Version::V5,
                0,
                &[0, 1, b't', 4, 0x08, 0, 1, b'+'],
                TopicError::WildcardInName.into(),
            ),
            (
                Version::V5,
                0,
                &[0, 1, b't', 4, 0x03, 0, 2, b'x'],
                Malformed::Truncated.into(),
            ),
            (
                Version::V5,
                0,
                &[0, 1, b't', 5, 0x11, 0, 0, 0, 1],
                Malformed::PropertyNotAllowed.into(),
            ),
        ];
        for (version, flags, body, error) in table {
            assert_eq!(decode(version, flags, body), Err(error), "{flags} {body:?}");
        }
        // 3.1 says nothing about DUP at QoS 0
        assert!(decode(Version::V31, 8, &[0, 1, b't']).is_ok());
    }

    #[test]
    fn mqtt_3_3_2_8_alias_zero_has_its_own_code() {
        let error = DecodeError::from(ProtocolFault::TopicAliasZero);
        assert_eq!(error.reason() as u8, 0x94);
    }

    #[test]
    fn a_topic_equal_to_the_last_is_shared() {
        let mut last = None;
        let mut topic = |bytes: &[u8]| known_topic(bytes, &mut last).unwrap();
        let (one, two, other) = (topic(b"t"), topic(b"t"), topic(b"u"));
        assert!(std::ptr::eq(&*one, &*two));
        assert_eq!((&*one, &*other), ("t", "u"));
    }

    fn put(head: Head<'_>, packet_id: Option<u16>) -> Vec<u8> {
        let (sizes, mut out) = (head.sizes(), Vec::new());
        head.put(&sizes, packet_id.and_then(PacketId::new), &mut out);
        assert_eq!(out.len() + head.payload_len, sizes.packet());
        out
    }

    #[test]
    fn a_head_is_the_packet_without_its_payload() {
        let properties = MessageProperties {
            message_expiry: Some(60),
            ..Default::default()
        };
        let head = Head {
            version: Version::V5,
            dup: true,
            qos: Qos::AtLeastOnce,
            retain: true,
            topic: "t",
            alias: NonZeroU16::new(3),
            properties: Some(&properties),
            expiry: Some(7),
            subscription_ids: &[200],
            payload_len: 200,
        };
        assert_eq!(
            put(head, Some(0x102)),
            [
                0x3B, 0xD9, 1, 0, 1, b't', 1, 2, 11, 0x23, 0, 3, 0x0B, 0xC8, 1, 0x02, 0, 0, 0, 7
            ]
        );
        let bare = Head {
            properties: None,
            alias: None,
            subscription_ids: &[],
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            payload_len: 2,
            ..head
        };
        assert_eq!(put(bare, None), [0x30, 11, 0, 1, b't', 5, 0x02, 0, 0, 0, 7]);
        let old = Head {
            version: Version::V311,
            ..bare
        };
        assert_eq!(put(old, None), [0x30, 5, 0, 1, b't']);
    }
}
