//! AUTH (5.0 only): one step of an extended authentication exchange.

use super::{
    error::{DecodeError, ProtocolFault},
    frame::Peer,
    packet_type::PacketType,
    primitive::{Reader, put_packet, put_sized},
    property::{Carrier, Explanation, Property, put_data, put_string, read_properties},
    reason::ReasonCode,
};
use bytes::Bytes;

/// One step of an authentication exchange.
#[derive(Debug, Clone, PartialEq)]
pub struct Auth {
    /// `Success`, `ContinueAuthentication` or `ReAuthenticate` [MQTT-3.15.2-1].
    pub reason: ReasonCode,
    /// The method; the shortest form of the packet (nothing after the fixed header) has none.
    pub method: Option<Box<str>>,
    /// Data of the method.
    pub data: Option<Bytes>,
    /// Reason string and user properties.
    pub explanation: Option<Box<Explanation>>,
}

impl Auth {
    /// Reads the body of an AUTH.
    pub fn decode(body: &[u8], from: Peer) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let mut auth = Auth {
            reason: ReasonCode::Success,
            method: None,
            data: None,
            explanation: None,
        };
        if !reader.is_empty() {
            auth.reason = ReasonCode::read(&mut reader, PacketType::Auth)?;
            read_properties(&mut reader, Carrier::Auth, |property, value| {
                match property {
                    Property::AuthenticationMethod => auth.method = Some(value.text()?.into()),
                    Property::AuthenticationData => {
                        auth.data = Some(Bytes::copy_from_slice(value.binary()?))
                    }
                    _ => Explanation::read(&mut auth.explanation, property, value)?,
                }
                Ok(())
            })?;
            reader.finish()?;
            if auth.method.is_none() {
                return Err(ProtocolFault::AuthWithoutMethod.into());
            }
        }
        match (auth.reason, from) {
            (ReasonCode::Success, Peer::Client) | (ReasonCode::ReAuthenticate, Peer::Server) => {
                Err(ProtocolFault::AuthReason.into())
            }
            _ => Ok(auth),
        }
    }

    /// Appends the packet; bare success has no body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let explanation = Explanation::worth_sending(&self.explanation);
        let bare = self.method.is_none() && self.data.is_none() && explanation.is_none();
        put_packet(out, PacketType::Auth.first_byte(), |out| {
            if bare && self.reason == ReasonCode::Success {
                return;
            }
            out.push(self.reason as u8);
            put_sized(out, |out| {
                if let Some(method) = &self.method {
                    put_string(out, Property::AuthenticationMethod, method);
                }
                if let Some(data) = &self.data {
                    put_data(out, Property::AuthenticationData, data);
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
    fn mqtt_3_15_2_1_only_the_right_side_sends_each_reason() {
        let method = [4, 0x15, 0, 1, b'm'];
        for (reason, client, server) in [
            (0x00, false, true),
            (0x18, true, true),
            (0x19, true, false),
            (0x7F, false, false),
        ] {
            let body = [&[reason][..], &method].concat();
            assert_eq!(Auth::decode(&body, Peer::Client).is_ok(), client);
            assert_eq!(Auth::decode(&body, Peer::Server).is_ok(), server);
        }
        assert!(Auth::decode(&[], Peer::Server).is_ok());
    }

    #[test]
    fn auth_without_a_method_is_a_protocol_error() {
        assert_eq!(
            Auth::decode(&[0x18, 0], Peer::Client),
            Err(ProtocolFault::AuthWithoutMethod.into())
        );
        assert_eq!(
            Auth::decode(&[0x18], Peer::Client),
            Err(Malformed::Truncated.into())
        );
    }
}
