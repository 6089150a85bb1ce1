//! SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK.

use super::{
    PacketId, Qos, Version,
    error::{DecodeError, Malformed, ProtocolFault},
    packet_type::PacketType,
    primitive::{Reader, put_packet, put_sized, put_text, put_u16, put_varint},
    property::{
        Carrier, Explanation, Property, put_explanation, put_user, read_explanation,
        read_properties, read_user,
    },
    reason::ReasonCode,
};

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

impl Subscribe {
    /// Reads the body of a SUBSCRIBE.
    pub fn decode(body: &[u8], version: Version) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let mut subscribe = Subscribe {
            packet_id: reader.packet_id()?,
            subscription_id: None,
            user: Vec::new(),
            filters: Vec::new(),
        };
        if version.is_v5() {
            read_properties(&mut reader, Carrier::Subscribe, |property, value| {
                match property {
                    Property::SubscriptionIdentifier => match value.varint()? {
                        0 => return Err(ProtocolFault::SubscriptionIdZero.into()),
                        id => subscribe.subscription_id = Some(id),
                    },
                    _ => read_user(value, &mut subscribe.user)?,
                }
                Ok(())
            })?;
        }
        while !reader.is_empty() {
            let filter = reader.text()?; // [MQTT-3.8.3-1]
            let options = SubscriptionOptions::from_wire(reader.u8()?, version)?;
            if options.no_local && filter.starts_with("$share/") {
                return Err(ProtocolFault::NoLocalOnShared.into()); // [MQTT-3.8.3-4]
            }
            subscribe.filters.push((filter.into(), options));
        }
        if subscribe.filters.is_empty() {
            return Err(ProtocolFault::NoFilters.into()); // [MQTT-3.8.3-2]
        }
        Ok(subscribe)
    }

    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        put_packet(out, PacketType::Subscribe.first_byte(), |out| {
            put_u16(out, self.packet_id.get());
            if version.is_v5() {
                put_sized(out, |out| {
                    if let Some(id) = self.subscription_id {
                        out.push(Property::SubscriptionIdentifier as u8);
                        put_varint(out, id as usize);
                    }
                    put_user(out, &self.user);
                });
            }
            for (filter, options) in &self.filters {
                put_text(out, filter);
                out.push(options.to_wire(version));
            }
        });
    }
}

impl SubscriptionOptions {
    fn from_wire(byte: u8, version: Version) -> Result<Self, DecodeError> {
        let qos = Qos::from_wire(byte & 3);
        if !version.is_v5() {
            // 3.1.1: [MQTT-3.8.3-4]
            return match qos {
                Some(qos) if byte <= 2 => Ok(SubscriptionOptions {
                    qos,
                    ..Default::default()
                }),
                _ => Err(Malformed::SubscriptionOptions.into()),
            };
        }
        if byte & 0b1100_0000 != 0 {
            return Err(Malformed::SubscriptionOptions.into()); // [MQTT-3.8.3-5]
        }
        Ok(SubscriptionOptions {
            qos: qos.ok_or(ProtocolFault::SubscriptionQos)?,
            no_local: byte & 4 != 0,
            retain_as_published: byte & 8 != 0,
            retain_handling: match byte >> 4 {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                2 => RetainHandling::DoNotSend,
                _ => return Err(ProtocolFault::RetainHandling.into()),
            },
        })
    }

    fn to_wire(self, version: Version) -> u8 {
        let qos = self.qos as u8;
        if !version.is_v5() {
            return qos;
        }
        let retain_handling = match self.retain_handling {
            RetainHandling::Send => 0,
            RetainHandling::SendIfNew => 1,
            RetainHandling::DoNotSend => 2,
        };
        qos | u8::from(self.no_local) << 2
            | u8::from(self.retain_as_published) << 3
            | retain_handling << 4
    }
}

impl SubAck {
    /// Reads the body of a SUBACK or UNSUBACK.
    pub fn decode(packet: PacketType, body: &[u8], version: Version) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let mut suback = SubAck {
            packet_id: reader.packet_id()?,
            reasons: Vec::new(),
            explanation: None,
        };
        if !version.is_v5() && packet == PacketType::UnsubAck {
            reader.finish()?;
            return Ok(suback);
        }
        if version.is_v5() {
            suback.explanation = read_explanation(&mut reader, Carrier::SubAck)?;
        }
        while !reader.is_empty() {
            let reason = ReasonCode::read(&mut reader, packet)?;
            let known = match version {
                Version::V5 => true,
                Version::V311 => !reason.is_failure() || reason == ReasonCode::UnspecifiedError,
                Version::V31 => !reason.is_failure(),
            };
            if !known {
                return Err(Malformed::ReasonCode.into());
            }
            suback.reasons.push(reason);
        }
        if suback.reasons.is_empty() {
            return Err(Malformed::NoReasonCodes.into()); // [MQTT-3.8.4-6]
        }
        Ok(suback)
    }

    /// Appends the packet. 3.1.1 knows one failure, 0x80; 3.1 knows none, so a failure looks like QoS 0 to it.
    pub fn encode(&self, packet: PacketType, version: Version, out: &mut Vec<u8>) {
        put_packet(out, packet.first_byte(), |out| {
            put_u16(out, self.packet_id.get());
            if version.is_v5() {
                put_explanation(out, Explanation::worth_sending(&self.explanation));
            } else if packet == PacketType::UnsubAck {
                return;
            }
            out.extend(self.reasons.iter().map(|reason| match version {
                Version::V311 if reason.is_failure() => ReasonCode::UnspecifiedError as u8,
                Version::V31 if reason.is_failure() => ReasonCode::Success as u8,
                _ => *reason as u8,
            }));
        });
    }
}

impl Unsubscribe {
    /// Reads the body of an UNSUBSCRIBE.
    pub fn decode(body: &[u8], version: Version) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let mut unsubscribe = Unsubscribe {
            packet_id: reader.packet_id()?,
            user: Vec::new(),
            filters: Vec::new(),
        };
        if version.is_v5() {
            // the table allows nothing else
            read_properties(&mut reader, Carrier::Unsubscribe, |_, value| {
                read_user(value, &mut unsubscribe.user)
            })?;
        }
        while !reader.is_empty() {
            unsubscribe.filters.push(reader.text()?.into()); // [MQTT-3.10.3-1]
        }
        if unsubscribe.filters.is_empty() {
            return Err(ProtocolFault::NoFilters.into()); // [MQTT-3.10.3-2]
        }
        Ok(unsubscribe)
    }

    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        put_packet(out, PacketType::Unsubscribe.first_byte(), |out| {
            put_u16(out, self.packet_id.get());
            if version.is_v5() {
                put_sized(out, |out| put_user(out, &self.user));
            }
            for filter in &self.filters {
                put_text(out, filter);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILTER: [u8; 3] = [0, 1, b'a'];

    fn subscribe(version: Version, options: u8) -> Result<SubscriptionOptions, DecodeError> {
        let properties: &[u8] = if version.is_v5() { &[0] } else { &[] };
        let body = [&[0, 1], properties, &FILTER, &[options]].concat();
        Subscribe::decode(&body, version).map(|subscribe| subscribe.filters[0].1)
    }

    #[test]
    fn mqtt_3_8_3_5_options_are_read_by_version() {
        let all = SubscriptionOptions {
            qos: Qos::ExactlyOnce,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::DoNotSend,
        };
        assert_eq!(subscribe(Version::V5, 0b0010_1110), Ok(all));
        assert_eq!(
            subscribe(Version::V5, 0x40),
            Err(Malformed::SubscriptionOptions.into())
        );
        assert_eq!(
            subscribe(Version::V5, 0x80),
            Err(Malformed::SubscriptionOptions.into())
        );
        assert_eq!(
            subscribe(Version::V5, 0x03),
            Err(ProtocolFault::SubscriptionQos.into())
        );
        assert_eq!(
            subscribe(Version::V5, 0x30),
            Err(ProtocolFault::RetainHandling.into())
        );
        for options in [0x03, 0x04, 0x80] {
            assert_eq!(
                subscribe(Version::V311, options),
                Err(Malformed::SubscriptionOptions.into())
            );
        }
    }

    #[test]
    fn mqtt_3_8_3_4_no_local_on_a_shared_filter_is_a_protocol_error() {
        let body = [&[0, 1, 0, 0, 10][..], b"$share/g/t", &[4]].concat();
        assert_eq!(
            Subscribe::decode(&body, Version::V5),
            Err(ProtocolFault::NoLocalOnShared.into())
        );
    }

    #[test]
    fn mqtt_3_8_3_2_and_3_10_3_2_at_least_one_filter_is_needed() {
        assert_eq!(
            Subscribe::decode(&[0, 1, 0], Version::V5),
            Err(ProtocolFault::NoFilters.into())
        );
        assert_eq!(
            Unsubscribe::decode(&[0, 1], Version::V311),
            Err(ProtocolFault::NoFilters.into())
        );
        assert_eq!(
            Subscribe::decode(&[0, 1], Version::V5),
            Err(Malformed::Truncated.into())
        );
        assert_eq!(
            Subscribe::decode(&[0, 0], Version::V311),
            Err(ProtocolFault::PacketIdZero.into())
        );
    }

    #[test]
    fn subscription_identifiers_are_not_zero_and_given_once() {
        let table: [(&[u8], DecodeError); 2] = [
            (
                &[0, 1, 2, 0x0B, 0],
                ProtocolFault::SubscriptionIdZero.into(),
            ),
            (
                &[0, 1, 4, 0x0B, 1, 0x0B, 2],
                ProtocolFault::PropertyRepeated.into(),
            ),
        ];
        for (body, error) in table {
            assert_eq!(Subscribe::decode(body, Version::V5), Err(error));
        }
    }

    #[test]
    fn each_version_has_its_own_suback() {
        let suback = SubAck {
            packet_id: PacketId::new(1).unwrap(),
            reasons: vec![ReasonCode::GrantedQos2, ReasonCode::NotAuthorized],
            explanation: None,
        };
        for (packet, version, bytes) in [
            (PacketType::SubAck, Version::V31, &[0x90, 4, 0, 1, 2, 0][..]),
            (PacketType::SubAck, Version::V311, &[0x90, 4, 0, 1, 2, 0x80]),
            (
                PacketType::SubAck,
                Version::V5,
                &[0x90, 5, 0, 1, 0, 2, 0x87],
            ),
            (PacketType::UnsubAck, Version::V311, &[0xB0, 2, 0, 1]),
            (
                PacketType::UnsubAck,
                Version::V5,
                &[0xB0, 5, 0, 1, 0, 2, 0x87],
            ),
        ] {
            let mut out = Vec::new();
            suback.encode(packet, version, &mut out);
            assert_eq!(out, bytes);
        }
        let empty = SubAck::decode(PacketType::SubAck, &[0, 1], Version::V311);
        assert_eq!(empty, Err(Malformed::NoReasonCodes.into()));
    }
}
