//! What a client may not do once its packets are well formed: one variant per rule, with sentence and reason code.

use crate::mqtt::reason::ReasonCode;

/// A rule of the conversation was broken; the connection ends [MQTT-4.13.1-1].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// [MQTT-3.1.0-2]
    #[error("a second CONNECT on one connection")]
    SecondConnect,
    /// A packet that only servers send.
    #[error("a packet that only a server may send")]
    ServerPacket,
    /// [MQTT-4.12.0-7]
    #[error("AUTH, although CONNECT named no authentication method")]
    AuthWithoutMethod,
    /// [MQTT-3.3.2-9]
    #[error("a Topic Alias above the announced maximum")]
    AliasAboveMaximum,
    /// An empty topic whose alias was never set.
    #[error("a Topic Alias that stands for no topic")]
    AliasUnknown,
    /// [MQTT-3.3.4-7]
    #[error("more unacknowledged messages than the announced Receive Maximum")]
    ReceiveMaximumExceeded,
    /// `limits.payload`
    #[error("a payload above limits.payload")]
    PayloadTooLarge,
    /// A session expiry cannot be given on leaving if there was none on connecting.
    #[error("a Session Expiry Interval in DISCONNECT after none in CONNECT")]
    ExpiryAfterNone,
    /// [MQTT-3.8.3-4]
    #[error("No Local on a shared subscription")]
    NoLocalOnShared,
    /// 3.x has no answer for one bad filter but to close [MQTT-4.8.0-1 of 3.1.1].
    #[error("an invalid topic filter")]
    FilterInvalid,
    /// [MQTT-3.1.2-24]: there is no smaller answer to a request for so many filters.
    #[error("a request whose answer is larger than the client's Maximum Packet Size")]
    AnswerTooLarge,
    /// [MQTT-3.1.2-22]
    #[error("nothing was heard for one and a half times the keep-alive")]
    KeepAlive,
}

impl Violation {
    /// What a 5.0 client is told.
    pub fn reason(self) -> ReasonCode {
        match self {
            Violation::AliasAboveMaximum => ReasonCode::TopicAliasInvalid,
            Violation::ReceiveMaximumExceeded => ReasonCode::ReceiveMaximumExceeded,
            Violation::PayloadTooLarge | Violation::AnswerTooLarge => ReasonCode::PacketTooLarge,
            Violation::KeepAlive => ReasonCode::KeepAliveTimeout,
            Violation::FilterInvalid => ReasonCode::TopicFilterInvalid,
            Violation::SecondConnect
            | Violation::ServerPacket
            | Violation::AuthWithoutMethod
            | Violation::AliasUnknown
            | Violation::ExpiryAfterNone
            | Violation::NoLocalOnShared => ReasonCode::ProtocolError,
        }
    }
}
