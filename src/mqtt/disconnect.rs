//! DISCONNECT: the last word of either side.

use super::{
    Version,
    error::{DecodeError, ProtocolFault},
    frame::Peer,
    packet_type::PacketType,
    primitive::{Reader, put_packet, put_sized},
    property::{Carrier, Explanation, Property, put_long, put_string, read_properties},
    reason::ReasonCode,
};

/// The end of a connection. On 3.x it has no content and only clients send it.
#[derive(Debug, Clone, PartialEq)]
pub struct Disconnect {
    /// `NormalDisconnection` is implied by an empty body.
    pub reason: ReasonCode,
    /// A client may change its Session Expiry Interval (seconds) on leaving; a server never sends it [MQTT-3.14.2-2].
    pub session_expiry: Option<u32>,
    /// Another server to use, with 0x9C and 0x9D.
    pub server_reference: Option<Box<str>>,
    /// Reason string and user properties.
    pub explanation: Option<Box<Explanation>>,
}

impl Disconnect {
    /// A DISCONNECT with this reason and nothing else.
    pub fn new(reason: ReasonCode) -> Self {
        Disconnect {
            reason,
            session_expiry: None,
            server_reference: None,
            explanation: None,
        }
    }

    /// Reads the body of a DISCONNECT.
    pub fn decode(body: &[u8], version: Version, from: Peer) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let mut disconnect = Disconnect::new(ReasonCode::Success);
        if version.is_v5() && !reader.is_empty() {
            disconnect.reason = ReasonCode::read(&mut reader, PacketType::Disconnect)?;
        }
        // section 3.14.2.2.1: without a length there are no properties
        if version.is_v5() && !reader.is_empty() {
            read_properties(&mut reader, Carrier::Disconnect, |property, value| {
                match property {
                    Property::SessionExpiryInterval if from == Peer::Server => {
                        return Err(ProtocolFault::SessionExpiryFromServer.into()); // [MQTT-3.14.2-2]
                    }
                    Property::SessionExpiryInterval => {
                        disconnect.session_expiry = Some(value.u32()?)
                    }
                    Property::ServerReference => {
                        disconnect.server_reference = Some(value.text()?.into())
                    }
                    _ => Explanation::read(&mut disconnect.explanation, property, value)?,
                }
                Ok(())
            })?;
        }
        reader.finish()?;
        Ok(disconnect)
    }

    /// Appends the packet in its shortest form; on 3.x it is always empty.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let explanation = Explanation::worth_sending(&self.explanation);
        let bare = self.session_expiry.is_none()
            && self.server_reference.is_none()
            && explanation.is_none();
        put_packet(out, PacketType::Disconnect.first_byte(), |out| {
            if !version.is_v5() || (bare && self.reason == ReasonCode::Success) {
                return;
            }
            out.push(self.reason as u8);
            if bare {
                return;
            }
            put_sized(out, |out| {
                if let Some(seconds) = self.session_expiry {
                    put_long(out, Property::SessionExpiryInterval, seconds);
                }
                if let Some(server) = &self.server_reference {
                    put_string(out, Property::ServerReference, server);
                }
                if let Some(explanation) = explanation {
                    explanation.put(out);
                }
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::error::Malformed;

    #[test]
    fn disconnect_is_as_short_as_its_version_allows() {
        for (version, reason, bytes) in [
            (Version::V31, ReasonCode::ServerBusy, &[0xE0, 0][..]),
            (Version::V311, ReasonCode::ServerBusy, &[0xE0, 0]),
            (Version::V5, ReasonCode::Success, &[0xE0, 0]),
            (Version::V5, ReasonCode::ServerBusy, &[0xE0, 1, 0x89]),
        ] {
            let mut out = Vec::new();
            Disconnect::new(reason).encode(version, &mut out);
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn mqtt_3_14_2_1_reasons_of_other_packets_are_malformed() {
        for reason in [0x01, 0x7F, 0x85] {
            let result = Disconnect::decode(&[reason], Version::V5, Peer::Client);
            assert_eq!(result, Err(Malformed::ReasonCode.into()));
        }
        assert_eq!(
            Disconnect::decode(&[0], Version::V311, Peer::Client),
            Err(Malformed::TrailingBytes.into())
        );
    }

    #[test]
    fn mqtt_3_14_2_2_only_clients_send_a_session_expiry() {
        let body = [0x00, 5, 0x11, 0, 0, 0, 9];
        let read = |from| Disconnect::decode(&body, Version::V5, from);
        assert_eq!(read(Peer::Client).map(|d| d.session_expiry), Ok(Some(9)));
        assert_eq!(
            read(Peer::Server),
            Err(ProtocolFault::SessionExpiryFromServer.into())
        );
    }
}
