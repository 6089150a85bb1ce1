//! What can be wrong with bytes: one variant per rule, its sentence for the log, its reason code for the peer.
//!
//! 3.x knows one class of errors and answers them all by closing; the codes are what a 5.0 peer is told.

use super::{reason::ReasonCode, topic::TopicError};

/// Why bytes are not a packet that this side accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes break the format.
    #[error("malformed packet: {0}")]
    Malformed(#[from] Malformed),
    /// The format is kept, but what it says is forbidden.
    #[error("protocol error: {0}")]
    Protocol(#[from] ProtocolFault),
    /// Will topic, response topic or the topic of a PUBLISH.
    #[error("invalid topic name: {0}")]
    Topic(#[from] TopicError),
    /// Known from the fixed header, before anything is kept [MQTT-3.2.2-15].
    #[error("a packet of {size} bytes, {limit} are accepted")]
    TooLarge {
        /// The whole packet, fixed header included.
        size: usize,
        /// The most that is accepted now.
        limit: usize,
    },
    /// `MQTT` or `MQIsdp` with a level that does not belong to it: deserves `20 02 00 01`, which every client reads
    /// [MQTT-3.1.2-2].
    #[error("protocol level {level:#04x} is not supported")]
    UnsupportedVersion {
        /// The level byte.
        level: u8,
    },
    /// Any other protocol name [MQTT-3.1.2-1].
    #[error("the protocol name is neither MQTT nor MQIsdp")]
    UnknownProtocol,
    /// A limit of this implementation: see
    /// [`Decoder::limit_user_properties`](super::frame::Decoder::limit_user_properties).
    #[error("too many user properties")]
    TooManyUserProperties,
    /// A limit of this implementation: see [`MAX_PROPERTY_BYTES`](super::property::MAX_PROPERTY_BYTES).
    #[error("the properties are too long")]
    PropertiesTooLong,
}

impl DecodeError {
    /// What a 5.0 peer is told in CONNACK or DISCONNECT.
    pub fn reason(&self) -> ReasonCode {
        match self {
            DecodeError::Malformed(_) => ReasonCode::MalformedPacket,
            DecodeError::Protocol(fault) => fault.reason(),
            DecodeError::Topic(_) => ReasonCode::TopicNameInvalid,
            DecodeError::TooLarge { .. } => ReasonCode::PacketTooLarge,
            DecodeError::UnsupportedVersion { .. } | DecodeError::UnknownProtocol => {
                ReasonCode::UnsupportedProtocolVersion
            }
            // well formed and allowed by the standard, only more than this server takes; 0x97 is about quotas over time
            DecodeError::TooManyUserProperties | DecodeError::PropertiesTooLong => {
                ReasonCode::ImplementationSpecificError
            }
        }
    }
}

/// Violations of the format: 0x81.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A length that overruns its packet, or a field that is missing.
    #[error("a field reaches beyond the end of the packet")]
    Truncated,
    /// More bytes than the fields need [MQTT-3.1.2-16], [MQTT-3.1.2-18].
    #[error("bytes are left behind the last field")]
    TrailingBytes,
    /// Section 1.5.5
    #[error("a variable byte integer is longer than four bytes")]
    VarintTooLong,
    /// [MQTT-1.5.5-1]
    #[error("a variable byte integer is not in its shortest form")]
    VarintNotMinimal,
    /// [MQTT-1.5.4-1]
    #[error("a text is not UTF-8")]
    IllFormedUtf8,
    /// [MQTT-1.5.4-2]
    #[error("a text contains U+0000")]
    NulInText,
    /// Section 2.1.2: type 0, and type 15 on 3.x.
    #[error("the packet type is reserved")]
    ReservedPacketType,
    /// [MQTT-2.1.3-1]
    #[error("the flags of the fixed header are not those of the packet type")]
    HeaderFlags,
    /// [MQTT-3.1.2-3]
    #[error("bit 0 of the connect flags is set")]
    ReservedConnectFlag,
    /// [MQTT-3.1.2-11], [MQTT-3.1.2-13]
    #[error("will QoS or will retain is set without a will")]
    WillFlagsWithoutWill,
    /// [MQTT-3.1.2-12]
    #[error("the will QoS is 3")]
    WillQos,
    /// [MQTT-3.3.1-4]
    #[error("the QoS is 3")]
    PublishQos,
    /// [MQTT-3.3.1-2]
    #[error("DUP is set at QoS 0")]
    DupAtQos0,
    /// [MQTT-3.2.2-1]
    #[error("a reserved CONNACK flag is set")]
    ConnAckFlags,
    /// [MQTT-3.8.3-5]; on 3.x also QoS 3, its [MQTT-3.8.3-4].
    #[error("reserved subscription options are set")]
    SubscriptionOptions,
    /// Section 2.4: not in the list of the packet type, e.g. [MQTT-3.4.2-1], [MQTT-3.14.2-1].
    #[error("the reason code does not belong to the packet type")]
    ReasonCode,
    /// [MQTT-3.8.4-6]: an answer to at least one filter has at least one code.
    #[error("the acknowledgement has no reason codes")]
    NoReasonCodes,
    /// Section 2.2.2.2
    #[error("the property is unknown")]
    UnknownProperty,
    /// Section 2.2.2.2
    #[error("the property does not belong to the packet type")]
    PropertyNotAllowed,
}

/// Well-formed packets that say what they must not: 0x82 but for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolFault {
    /// [MQTT-3.1.0-1]
    #[error("the first packet is not CONNECT")]
    NotConnect,
    /// Section 2.1.2: the direction of flow.
    #[error("only the other side sends this packet type")]
    WrongDirection,
    /// Section 2.2.2.2
    #[error("a property is given twice")]
    PropertyRepeated,
    /// Sections 3.1.2.11.6, 3.1.2.11.7, 3.3.2.3.2 and 3.2.2.3
    #[error("a property that is 0 or 1 has another value")]
    NotABoolean,
    /// Section 3.1.2.11.3
    #[error("the receive maximum is 0")]
    ReceiveMaximumZero,
    /// Section 3.1.2.11.4
    #[error("the maximum packet size is 0")]
    PacketSizeZero,
    /// Section 3.2.2.3.4
    #[error("the maximum QoS is neither 0 nor 1")]
    MaximumQos,
    /// [MQTT-3.2.2-6]
    #[error("a refusal says that a session is present")]
    SessionPresentInRefusal,
    /// 3.1.1: [MQTT-3.1.2-22]
    #[error("a password without a user name")]
    PasswordWithoutUserName,
    /// Section 3.1.2.11.10
    #[error("authentication data without a method")]
    AuthenticationDataWithoutMethod,
    /// Section 3.15.2.2.2
    #[error("AUTH without a method")]
    AuthWithoutMethod,
    /// Section 3.15.2.1: success is the server's to say, re-authentication the client's to ask.
    #[error("this side does not send AUTH with this reason")]
    AuthReason,
    /// [MQTT-2.2.1-3]
    #[error("the packet identifier is 0")]
    PacketIdZero,
    /// Section 3.3.2.1
    #[error("neither a topic nor a topic alias")]
    NoTopic,
    /// [MQTT-3.3.2-8], the one with a code of its own: 0x94.
    #[error("the topic alias is 0")]
    TopicAliasZero,
    /// [MQTT-3.3.4-6]
    #[error("a client's PUBLISH has a subscription identifier")]
    SubscriptionIdFromClient,
    /// Section 3.8.2.1.2
    #[error("the subscription identifier is 0")]
    SubscriptionIdZero,
    /// [MQTT-3.8.3-2], [MQTT-3.10.3-2]
    #[error("no topic filter")]
    NoFilters,
    /// Section 3.8.3.1
    #[error("a subscription asks for QoS 3")]
    SubscriptionQos,
    /// Section 3.8.3.1
    #[error("retain handling is 3")]
    RetainHandling,
    /// [MQTT-3.8.3-4]
    #[error("no local on a shared subscription")]
    NoLocalOnShared,
    /// [MQTT-3.14.2-2]
    #[error("a server's DISCONNECT has a session expiry")]
    SessionExpiryFromServer,
}

impl ProtocolFault {
    fn reason(self) -> ReasonCode {
        match self {
            ProtocolFault::TopicAliasZero => ReasonCode::TopicAliasInvalid,
            _ => ReasonCode::ProtocolError,
        }
    }
}
