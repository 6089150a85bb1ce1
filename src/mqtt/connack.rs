//! CONNACK: the answer to CONNECT.

use super::{
    Qos, Version,
    error::{DecodeError, Malformed, ProtocolFault},
    packet_type::PacketType,
    primitive::{Reader, put_packet, put_sized},
    property::{
        Carrier, Explanation, Property, put_bool, put_data, put_long, put_short, put_string,
        read_bool, read_properties,
    },
    reason::ReasonCode,
};
use bytes::Bytes;

/// What the server grants, or why it refuses.
///
/// The optional fields are 5.0 properties: `None` leaves them out, which by the standard means the default.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnAck {
    /// Session Present; never set with a refusal [MQTT-3.2.2-6] nor on 3.1, whose byte is reserved.
    pub session_present: bool,
    /// Encoded as the 3.x return code where the connection is not 5.0.
    pub reason: ReasonCode,
    /// Session Expiry Interval in seconds, if it differs from what the client asked for.
    pub session_expiry: Option<u32>,
    /// How many unacknowledged QoS 1/2 messages the server accepts.
    pub receive_maximum: Option<u16>,
    /// Below 2 only.
    pub maximum_qos: Option<Qos>,
    /// Whether retained messages are supported.
    pub retain_available: Option<bool>,
    /// The largest packet, in bytes, the server accepts.
    pub maximum_packet_size: Option<u32>,
    /// The identifier given to a client that brought none [MQTT-3.2.2-16].
    pub assigned_client_id: Option<Box<str>>,
    /// How many aliases the client may use towards the server.
    pub topic_alias_maximum: Option<u16>,
    /// Reason string and user properties.
    pub explanation: Option<Box<Explanation>>,
    /// Whether filters with wildcards are supported.
    pub wildcard_available: Option<bool>,
    /// Whether subscription identifiers are supported.
    pub subscription_ids_available: Option<bool>,
    /// Whether `$share` is supported.
    pub shared_available: Option<bool>,
    /// Keep alive in seconds that replaces the client's own.
    pub server_keep_alive: Option<u16>,
    /// Basis of response topics, if the client asked for it.
    pub response_information: Option<Box<str>>,
    /// Another server to use.
    pub server_reference: Option<Box<str>>,
    /// The client's method again [MQTT-4.12.0-5].
    pub authentication_method: Option<Box<str>>,
    /// Final data of the method.
    pub authentication_data: Option<Bytes>,
}

impl ConnAck {
    /// A CONNACK with this reason and nothing else.
    pub fn new(reason: ReasonCode) -> Self {
        ConnAck {
            session_present: false,
            reason,
            session_expiry: None,
            receive_maximum: None,
            maximum_qos: None,
            retain_available: None,
            maximum_packet_size: None,
            assigned_client_id: None,
            topic_alias_maximum: None,
            explanation: None,
            wildcard_available: None,
            subscription_ids_available: None,
            shared_available: None,
            server_keep_alive: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
        }
    }
}

/// What answers an unknown protocol level: the 3.1.1 layout, which every client can read [MQTT-3.1.2-2].
pub const UNSUPPORTED_VERSION: [u8; 4] = [0x20, 2, 0, 1];

impl ConnAck {
    /// Bytes of the whole packet.
    pub fn size(&self, version: Version) -> usize {
        let mut bytes = Vec::new();
        self.encode(version, &mut bytes);
        bytes.len()
    }

    /// Reads the body of a CONNACK.
    pub fn decode(body: &[u8], version: Version) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let (flags, code) = (reader.u8()?, reader.u8()?);
        let reason = if version.is_v5() {
            ReasonCode::from_wire(code).filter(|reason| reason.allowed_in(PacketType::ConnAck))
        } else {
            ReasonCode::from_v3_return_code(code)
        };
        let mut connack = ConnAck::new(reason.ok_or(Malformed::ReasonCode)?);
        if version != Version::V31 {
            connack.session_present = match flags {
                0 => false,
                1 => true,
                _ => return Err(Malformed::ConnAckFlags.into()), // [MQTT-3.2.2-1]
            };
        }
        if connack.session_present && code != 0 {
            return Err(ProtocolFault::SessionPresentInRefusal.into()); // [MQTT-3.2.2-6]
        }
        if version.is_v5() {
            read_properties(&mut reader, Carrier::ConnAck, |property, value| {
                connack.read(property, value)
            })?;
        }
        reader.finish()?;
        Ok(connack)
    }

    fn read(&mut self, property: Property, value: &mut Reader<'_>) -> Result<(), DecodeError> {
        match property {
            Property::SessionExpiryInterval => self.session_expiry = Some(value.u32()?),
            Property::ReceiveMaximum => match value.u16()? {
                0 => return Err(ProtocolFault::ReceiveMaximumZero.into()),
                maximum => self.receive_maximum = Some(maximum),
            },
            Property::MaximumQos => match value.u8()? {
                0 => self.maximum_qos = Some(Qos::AtMostOnce),
                1 => self.maximum_qos = Some(Qos::AtLeastOnce),
                _ => return Err(ProtocolFault::MaximumQos.into()),
            },
            Property::RetainAvailable => self.retain_available = Some(read_bool(value)?),
            Property::MaximumPacketSize => match value.u32()? {
                0 => return Err(ProtocolFault::PacketSizeZero.into()),
                size => self.maximum_packet_size = Some(size),
            },
            Property::AssignedClientIdentifier => {
                self.assigned_client_id = Some(value.text()?.into())
            }
            Property::TopicAliasMaximum => self.topic_alias_maximum = Some(value.u16()?),
            Property::WildcardSubscriptionAvailable => {
                self.wildcard_available = Some(read_bool(value)?)
            }
            Property::SubscriptionIdentifierAvailable => {
                self.subscription_ids_available = Some(read_bool(value)?)
            }
            Property::SharedSubscriptionAvailable => {
                self.shared_available = Some(read_bool(value)?)
            }
            Property::ServerKeepAlive => self.server_keep_alive = Some(value.u16()?),
            Property::ResponseInformation => self.response_information = Some(value.text()?.into()),
            Property::ServerReference => self.server_reference = Some(value.text()?.into()),
            Property::AuthenticationMethod => {
                self.authentication_method = Some(value.text()?.into())
            }
            Property::AuthenticationData => {
                self.authentication_data = Some(Bytes::copy_from_slice(value.binary()?))
            }
            _ => Explanation::read(&mut self.explanation, property, value)?,
        }
        Ok(())
    }

    /// Appends the packet. On 3.x, **nothing** if no return code fits the reason: the connection is then closed
    /// without an answer (3.1.1: [MQTT-3.2.2-6]).
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let code = if version.is_v5() {
            Some(self.reason as u8)
        } else {
            self.reason.v3_return_code()
        };
        let Some(code) = code else { return };
        // [MQTT-3.2.2-6]; a reserved byte on 3.1
        let present = self.session_present && code == 0 && version != Version::V31;
        put_packet(out, PacketType::ConnAck.first_byte(), |out| {
            out.extend_from_slice(&[present.into(), code]);
            if version.is_v5() {
                put_sized(out, |out| self.put_properties(out));
            }
        });
    }

    fn put_properties(&self, out: &mut Vec<u8>) {
        if let Some(seconds) = self.session_expiry {
            put_long(out, Property::SessionExpiryInterval, seconds);
        }
        if let Some(maximum) = self.receive_maximum {
            put_short(out, Property::ReceiveMaximum, maximum);
        }
        match self.maximum_qos {
            Some(Qos::AtMostOnce) => put_bool(out, Property::MaximumQos, false),
            Some(Qos::AtLeastOnce) => put_bool(out, Property::MaximumQos, true),
            Some(Qos::ExactlyOnce) | None => {} // 2 is said by leaving it out
        }
        if let Some(available) = self.retain_available {
            put_bool(out, Property::RetainAvailable, available);
        }
        if let Some(size) = self.maximum_packet_size {
            put_long(out, Property::MaximumPacketSize, size);
        }
        if let Some(id) = &self.assigned_client_id {
            put_string(out, Property::AssignedClientIdentifier, id);
        }
        if let Some(maximum) = self.topic_alias_maximum {
            put_short(out, Property::TopicAliasMaximum, maximum);
        }
        if let Some(explanation) = Explanation::worth_sending(&self.explanation) {
            explanation.put(out);
        }
        if let Some(available) = self.wildcard_available {
            put_bool(out, Property::WildcardSubscriptionAvailable, available);
        }
        if let Some(available) = self.subscription_ids_available {
            put_bool(out, Property::SubscriptionIdentifierAvailable, available);
        }
        if let Some(available) = self.shared_available {
            put_bool(out, Property::SharedSubscriptionAvailable, available);
        }
        if let Some(seconds) = self.server_keep_alive {
            put_short(out, Property::ServerKeepAlive, seconds);
        }
        if let Some(information) = &self.response_information {
            put_string(out, Property::ResponseInformation, information);
        }
        if let Some(server) = &self.server_reference {
            put_string(out, Property::ServerReference, server);
        }
        if let Some(method) = &self.authentication_method {
            put_string(out, Property::AuthenticationMethod, method);
        }
        if let Some(data) = &self.authentication_data {
            put_data(out, Property::AuthenticationData, data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(version: Version, connack: &ConnAck) -> Vec<u8> {
        let mut out = Vec::new();
        connack.encode(version, &mut out);
        out
    }

    #[test]
    fn each_version_has_its_own_layout() {
        let mut connack = ConnAck::new(ReasonCode::Success);
        connack.session_present = true;
        connack.topic_alias_maximum = Some(10);
        assert_eq!(encoded(Version::V31, &connack), [0x20, 2, 0, 0]);
        assert_eq!(encoded(Version::V311, &connack), [0x20, 2, 1, 0]);
        assert_eq!(
            encoded(Version::V5, &connack),
            [0x20, 6, 1, 0, 3, 0x22, 0, 10]
        );
        let refusal = ConnAck::new(ReasonCode::Banned);
        assert_eq!(encoded(Version::V311, &refusal), [0x20, 2, 0, 5]);
        assert_eq!(encoded(Version::V5, &refusal), [0x20, 3, 0, 0x8A, 0]);
        let unsupported = ConnAck::new(ReasonCode::UnsupportedProtocolVersion);
        assert_eq!(encoded(Version::V311, &unsupported), UNSUPPORTED_VERSION);
    }

    #[test]
    fn mqtt_3_2_2_6_a_refusal_never_has_a_session_present() {
        let mut refusal = ConnAck::new(ReasonCode::NotAuthorized);
        refusal.session_present = true;
        assert_eq!(encoded(Version::V311, &refusal), [0x20, 2, 0, 5]);
        let result = ConnAck::decode(&[1, 0x87, 0], Version::V5);
        assert_eq!(result, Err(ProtocolFault::SessionPresentInRefusal.into()));
    }

    #[test]
    fn a_reason_without_a_3_x_return_code_sends_nothing() {
        assert!(encoded(Version::V311, &ConnAck::new(ReasonCode::MalformedPacket)).is_empty());
    }

    #[test]
    fn connacks_that_break_the_rules_are_refused() {
        let table: [(Version, &[u8], DecodeError); 7] = [
            (Version::V311, &[0, 6], Malformed::ReasonCode.into()),
            (Version::V311, &[2, 0], Malformed::ConnAckFlags.into()),
            (Version::V311, &[0, 0, 0], Malformed::TrailingBytes.into()),
            (Version::V5, &[0, 0x8E, 0], Malformed::ReasonCode.into()),
            (
                Version::V5,
                &[0, 0, 2, 0x24, 2],
                ProtocolFault::MaximumQos.into(),
            ),
            (
                Version::V5,
                &[0, 0, 3, 0x21, 0, 0],
                ProtocolFault::ReceiveMaximumZero.into(),
            ),
            (Version::V5, &[0, 0], Malformed::Truncated.into()),
        ];
        for (version, body, error) in table {
            assert_eq!(ConnAck::decode(body, version), Err(error), "{body:?}");
        }
    }
}
