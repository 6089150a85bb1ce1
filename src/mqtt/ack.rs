//! PUBACK, PUBREC, PUBREL and PUBCOMP: one shape, four packet types.

use super::{
    PacketId, Version,
    error::DecodeError,
    packet_type::PacketType,
    primitive::{Reader, put_packet, put_u16},
    property::{Carrier, Explanation, put_explanation, read_explanation},
    reason::ReasonCode,
};

/// The acknowledgement of one step of a QoS 1 or QoS 2 exchange.
#[derive(Debug, Clone, PartialEq)]
pub struct Ack {
    /// The identifier of the PUBLISH whose exchange this belongs to [MQTT-2.2.1-5].
    pub packet_id: PacketId,
    /// Always `Success` on 3.x, which has no field for it.
    pub reason: ReasonCode,
    /// Reason string and user properties, 5.0 only.
    pub explanation: Option<Box<Explanation>>,
}

impl Ack {
    /// A plain acknowledgement: two bytes of body on the wire when `reason` is success.
    pub fn new(packet_id: PacketId, reason: ReasonCode) -> Self {
        Ack {
            packet_id,
            reason,
            explanation: None,
        }
    }
}

impl Ack {
    /// Reads the body of a PUBACK, PUBREC, PUBREL or PUBCOMP.
    pub fn decode(packet: PacketType, body: &[u8], version: Version) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let mut ack = Ack::new(reader.packet_id()?, ReasonCode::Success);
        // the reason may be left out, and the properties behind it too (sections 3.4.2.1 and 3.4.2.2.1)
        if version.is_v5() && !reader.is_empty() {
            ack.reason = ReasonCode::read(&mut reader, packet)?;
            if !reader.is_empty() {
                ack.explanation = read_explanation(&mut reader, Carrier::Ack)?;
            }
        }
        reader.finish()?;
        Ok(ack)
    }

    /// Appends the packet in its shortest form. 3.x has no reason: a failure is acknowledged like a success.
    pub fn encode(&self, packet: PacketType, version: Version, out: &mut Vec<u8>) {
        let first = packet.first_byte();
        let explanation = Explanation::worth_sending(&self.explanation);
        if !version.is_v5() || (self.reason == ReasonCode::Success && explanation.is_none()) {
            let [high, low] = self.packet_id.get().to_be_bytes();
            out.extend_from_slice(&[first, 2, high, low]);
            return;
        }
        put_packet(out, first, |out| {
            put_u16(out, self.packet_id.get());
            out.push(self.reason as u8);
            if explanation.is_some() {
                put_explanation(out, explanation);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::error::{Malformed, ProtocolFault};

    fn decode(version: Version, body: &[u8]) -> Result<Ack, DecodeError> {
        Ack::decode(PacketType::PubAck, body, version)
    }

    #[test]
    fn mqtt_3_4_2_reason_and_properties_may_be_left_out() {
        let id = PacketId::new(0x1234).unwrap();
        for (body, reason) in [
            (&[0x12, 0x34][..], ReasonCode::Success),
            (&[0x12, 0x34, 0x10], ReasonCode::NoMatchingSubscribers),
            (&[0x12, 0x34, 0x87, 0], ReasonCode::NotAuthorized),
        ] {
            assert_eq!(decode(Version::V5, body), Ok(Ack::new(id, reason)));
        }
    }

    #[test]
    fn the_shortest_form_is_written() {
        let id = PacketId::new(7).unwrap();
        let explained = Ack {
            explanation: Some(Box::new(Explanation {
                reason_string: Some("no".into()),
                user: vec![],
            })),
            ..Ack::new(id, ReasonCode::NotAuthorized)
        };
        let empty = Ack {
            explanation: Some(Box::default()),
            ..Ack::new(id, ReasonCode::Success)
        };
        for (ack, version, bytes) in [
            (
                Ack::new(id, ReasonCode::Success),
                Version::V5,
                &[0x40, 2, 0, 7][..],
            ),
            (empty, Version::V5, &[0x40, 2, 0, 7]),
            (
                Ack::new(id, ReasonCode::QuotaExceeded),
                Version::V5,
                &[0x40, 3, 0, 7, 0x97],
            ),
            (
                explained.clone(),
                Version::V5,
                &[0x40, 9, 0, 7, 0x87, 5, 0x1F, 0, 2, b'n', b'o'],
            ),
            (explained, Version::V311, &[0x40, 2, 0, 7]),
        ] {
            let mut out = Vec::new();
            ack.encode(PacketType::PubAck, version, &mut out);
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn bodies_that_break_the_rules_are_refused() {
        let table: [(Version, &[u8], DecodeError); 7] = [
            (Version::V311, &[0], Malformed::Truncated.into()),
            (Version::V311, &[0, 1, 0], Malformed::TrailingBytes.into()),
            (Version::V5, &[0, 0], ProtocolFault::PacketIdZero.into()),
            (Version::V5, &[0, 1, 0x7F], Malformed::ReasonCode.into()),
            // [MQTT-3.4.2-1]: 0x92 belongs to PUBREL
            (Version::V5, &[0, 1, 0x92], Malformed::ReasonCode.into()),
            (
                Version::V5,
                &[0, 1, 0, 2, 0x11, 0],
                Malformed::PropertyNotAllowed.into(),
            ),
            (Version::V5, &[0, 1, 0, 1], Malformed::Truncated.into()),
        ];
        for (version, body, error) in table {
            assert_eq!(decode(version, body), Err(error), "{body:?}");
        }
        // [MQTT-3.6.2-1]
        assert!(Ack::decode(PacketType::PubRel, &[0, 1, 0x92], Version::V5).is_ok());
        assert!(Ack::decode(PacketType::PubRel, &[0, 1, 0x80], Version::V5).is_err());
    }
}
