//! Reason codes of 5.0 and what 3.x says instead.

use super::{error::Malformed, packet_type::PacketType, primitive::Reader};

/// Why, on the wire. `Success` is also Normal Disconnection and Granted QoS 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // the names are the standard's own
pub enum ReasonCode {
    Success = 0x00,
    GrantedQos1 = 0x01,
    GrantedQos2 = 0x02,
    DisconnectWithWill = 0x04,
    NoMatchingSubscribers = 0x10,
    NoSubscriptionExisted = 0x11,
    ContinueAuthentication = 0x18,
    ReAuthenticate = 0x19,
    UnspecifiedError = 0x80,
    MalformedPacket = 0x81,
    ProtocolError = 0x82,
    ImplementationSpecificError = 0x83,
    UnsupportedProtocolVersion = 0x84,
    ClientIdentifierNotValid = 0x85,
    BadUserNameOrPassword = 0x86,
    NotAuthorized = 0x87,
    ServerUnavailable = 0x88,
    ServerBusy = 0x89,
    Banned = 0x8A,
    ServerShuttingDown = 0x8B,
    BadAuthenticationMethod = 0x8C,
    KeepAliveTimeout = 0x8D,
    SessionTakenOver = 0x8E,
    TopicFilterInvalid = 0x8F,
    TopicNameInvalid = 0x90,
    PacketIdentifierInUse = 0x91,
    PacketIdentifierNotFound = 0x92,
    ReceiveMaximumExceeded = 0x93,
    TopicAliasInvalid = 0x94,
    PacketTooLarge = 0x95,
    MessageRateTooHigh = 0x96,
    QuotaExceeded = 0x97,
    AdministrativeAction = 0x98,
    PayloadFormatInvalid = 0x99,
    RetainNotSupported = 0x9A,
    QosNotSupported = 0x9B,
    UseAnotherServer = 0x9C,
    ServerMoved = 0x9D,
    SharedSubscriptionsNotSupported = 0x9E,
    ConnectionRateExceeded = 0x9F,
    MaximumConnectTime = 0xA0,
    SubscriptionIdentifiersNotSupported = 0xA1,
    WildcardSubscriptionsNotSupported = 0xA2,
}

impl ReasonCode {
    /// Codes of 0x80 and above report a failure.
    pub fn is_failure(self) -> bool {
        self as u8 >= 0x80
    }

    /// The code with this value.
    pub fn from_wire(value: u8) -> Option<Self> {
        use ReasonCode::*;
        Some(match value {
            0x00 => Success,
            0x01 => GrantedQos1,
            0x02 => GrantedQos2,
            0x04 => DisconnectWithWill,
            0x10 => NoMatchingSubscribers,
            0x11 => NoSubscriptionExisted,
            0x18 => ContinueAuthentication,
            0x19 => ReAuthenticate,
            0x80 => UnspecifiedError,
            0x81 => MalformedPacket,
            0x82 => ProtocolError,
            0x83 => ImplementationSpecificError,
            0x84 => UnsupportedProtocolVersion,
            0x85 => ClientIdentifierNotValid,
            0x86 => BadUserNameOrPassword,
            0x87 => NotAuthorized,
            0x88 => ServerUnavailable,
            0x89 => ServerBusy,
            0x8A => Banned,
            0x8B => ServerShuttingDown,
            0x8C => BadAuthenticationMethod,
            0x8D => KeepAliveTimeout,
            0x8E => SessionTakenOver,
            0x8F => TopicFilterInvalid,
            0x90 => TopicNameInvalid,
            0x91 => PacketIdentifierInUse,
            0x92 => PacketIdentifierNotFound,
            0x93 => ReceiveMaximumExceeded,
            0x94 => TopicAliasInvalid,
            0x95 => PacketTooLarge,
            0x96 => MessageRateTooHigh,
            0x97 => QuotaExceeded,
            0x98 => AdministrativeAction,
            0x99 => PayloadFormatInvalid,
            0x9A => RetainNotSupported,
            0x9B => QosNotSupported,
            0x9C => UseAnotherServer,
            0x9D => ServerMoved,
            0x9E => SharedSubscriptionsNotSupported,
            0x9F => ConnectionRateExceeded,
            0xA0 => MaximumConnectTime,
            0xA1 => SubscriptionIdentifiersNotSupported,
            0xA2 => WildcardSubscriptionsNotSupported,
            _ => return None,
        })
    }

    /// Whether a packet of this type may carry it (section 2.4).
    pub fn allowed_in(self, packet: PacketType) -> bool {
        use PacketType::*;
        match self {
            ReasonCode::Success => true,
            ReasonCode::GrantedQos1 | ReasonCode::GrantedQos2 => packet == SubAck,
            ReasonCode::DisconnectWithWill => packet == Disconnect,
            ReasonCode::NoMatchingSubscribers => matches!(packet, PubAck | PubRec),
            ReasonCode::NoSubscriptionExisted => packet == UnsubAck,
            ReasonCode::ContinueAuthentication | ReasonCode::ReAuthenticate => packet == Auth,
            ReasonCode::UnspecifiedError
            | ReasonCode::ImplementationSpecificError
            | ReasonCode::NotAuthorized => {
                matches!(
                    packet,
                    ConnAck | PubAck | PubRec | SubAck | UnsubAck | Disconnect
                )
            }
            ReasonCode::UnsupportedProtocolVersion
            | ReasonCode::ClientIdentifierNotValid
            | ReasonCode::BadUserNameOrPassword
            | ReasonCode::ServerUnavailable
            | ReasonCode::Banned => packet == ConnAck,
            ReasonCode::MalformedPacket
            | ReasonCode::ProtocolError
            | ReasonCode::ServerBusy
            | ReasonCode::BadAuthenticationMethod
            | ReasonCode::PacketTooLarge
            | ReasonCode::RetainNotSupported
            | ReasonCode::QosNotSupported
            | ReasonCode::UseAnotherServer
            | ReasonCode::ServerMoved
            | ReasonCode::ConnectionRateExceeded => matches!(packet, ConnAck | Disconnect),
            ReasonCode::ServerShuttingDown
            | ReasonCode::KeepAliveTimeout
            | ReasonCode::SessionTakenOver
            | ReasonCode::ReceiveMaximumExceeded
            | ReasonCode::TopicAliasInvalid
            | ReasonCode::MessageRateTooHigh
            | ReasonCode::AdministrativeAction
            | ReasonCode::MaximumConnectTime => packet == Disconnect,
            ReasonCode::TopicFilterInvalid => matches!(packet, SubAck | UnsubAck | Disconnect),
            ReasonCode::TopicNameInvalid | ReasonCode::PayloadFormatInvalid => {
                matches!(packet, ConnAck | PubAck | PubRec | Disconnect)
            }
            ReasonCode::PacketIdentifierInUse => {
                matches!(packet, PubAck | PubRec | SubAck | UnsubAck)
            }
            ReasonCode::PacketIdentifierNotFound => matches!(packet, PubRel | PubComp),
            ReasonCode::QuotaExceeded => {
                matches!(packet, ConnAck | PubAck | PubRec | SubAck | Disconnect)
            }
            ReasonCode::SharedSubscriptionsNotSupported
            | ReasonCode::SubscriptionIdentifiersNotSupported
            | ReasonCode::WildcardSubscriptionsNotSupported => {
                matches!(packet, SubAck | Disconnect)
            }
        }
    }

    /// The return code of a 3.x CONNACK; `None` if none fits, and the connection is closed without one.
    pub fn v3_return_code(self) -> Option<u8> {
        match self {
            ReasonCode::Success => Some(0),
            ReasonCode::UnsupportedProtocolVersion => Some(1),
            ReasonCode::ClientIdentifierNotValid => Some(2),
            ReasonCode::ServerUnavailable
            | ReasonCode::ServerBusy
            | ReasonCode::QuotaExceeded
            | ReasonCode::UseAnotherServer
            | ReasonCode::ServerMoved
            | ReasonCode::ConnectionRateExceeded => Some(3),
            ReasonCode::BadUserNameOrPassword => Some(4),
            ReasonCode::NotAuthorized
            | ReasonCode::Banned
            | ReasonCode::BadAuthenticationMethod => Some(5),
            _ => None,
        }
    }

    /// What a 3.x return code means.
    pub fn from_v3_return_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => ReasonCode::Success,
            1 => ReasonCode::UnsupportedProtocolVersion,
            2 => ReasonCode::ClientIdentifierNotValid,
            3 => ReasonCode::ServerUnavailable,
            4 => ReasonCode::BadUserNameOrPassword,
            5 => ReasonCode::NotAuthorized,
            _ => return None,
        })
    }

    /// Reads a code that `packet` may carry.
    pub(super) fn read(reader: &mut Reader<'_>, packet: PacketType) -> Result<Self, Malformed> {
        ReasonCode::from_wire(reader.u8()?)
            .filter(|code| code.allowed_in(packet))
            .ok_or(Malformed::ReasonCode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_reads_back_as_itself() {
        let known = (0..=255)
            .filter_map(ReasonCode::from_wire)
            .map(|code| (code as u8, code));
        assert_eq!(known.clone().count(), 43);
        for (value, code) in known {
            assert_eq!(ReasonCode::from_wire(value), Some(code));
            assert_eq!(value >= 0x80, code.is_failure());
        }
    }

    #[test]
    fn return_codes_of_3_x_read_back_as_themselves() {
        for code in 0..=5 {
            let reason = ReasonCode::from_v3_return_code(code).unwrap();
            assert_eq!(reason.v3_return_code(), Some(code));
            assert!(reason.allowed_in(PacketType::ConnAck));
        }
        assert_eq!(ReasonCode::from_v3_return_code(6), None);
        // [MQTT-3.1.4-1] of 3.1.1: no answer to a CONNECT that breaks the format
        assert_eq!(ReasonCode::MalformedPacket.v3_return_code(), None);
    }
}
