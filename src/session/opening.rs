//! From a CONNECT to the terms of a connection, or to a refusal.

use super::{features::Features, limits::Limits};
use crate::mqtt::{
    Version,
    connack::ConnAck,
    connect::{Connect, Will},
    reason::ReasonCode,
    topic,
};
use std::sync::Arc;

/// What holds on one connection: the client's wishes within our limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// The edition both sides speak.
    pub version: Version,
    /// Seconds; silence for one and a half times as long ends the connection. 0: never.
    pub keep_alive: u16,
    /// How long the session outlives the connection, in seconds.
    pub session_expiry: u32,
    /// The longest the session may outlive the connection, in seconds.
    pub max_session_expiry: u32,
    /// Unacknowledged messages we take; `None` on 3.x, where nobody counts.
    pub receive_maximum_in: Option<u16>,
    /// Unacknowledged messages we send [MQTT-4.9.0-1].
    pub receive_maximum_out: u16,
    /// The largest packet we may send, in bytes [MQTT-3.1.2-24].
    pub max_packet_out: usize,
    /// The largest payload we take, in bytes.
    pub payload_limit: usize,
    /// Aliases the client may use.
    pub alias_maximum_in: u16,
    /// Aliases we may use.
    pub alias_maximum_out: u16,
    /// QoS 2 messages we take whose PUBREL has not come, those of former connections included.
    pub unreleased_limit: u16,
    /// Whether answers other than CONNACK and DISCONNECT may explain themselves [MQTT-3.1.2-29].
    pub problem_information: bool,
    /// What is switched on.
    pub features: Features,
}

impl Terms {
    /// What stands in their place while a session that a store kept has had no connection yet.
    pub fn of_nobody(session_expiry: u32) -> Self {
        Terms {
            version: Version::V5,
            keep_alive: 0,
            session_expiry,
            max_session_expiry: session_expiry,
            receive_maximum_in: None,
            receive_maximum_out: 1,
            max_packet_out: usize::MAX,
            payload_limit: 0,
            alias_maximum_in: 0,
            alias_maximum_out: 0,
            unreleased_limit: 0,
            problem_information: false,
            features: Features::default(),
        }
    }
}

/// An acceptable CONNECT.
#[derive(Debug)]
pub struct Opening {
    /// The client's own identifier, or the one it was given.
    pub client_id: Arc<str>,
    /// What was agreed.
    pub terms: Terms,
    /// The CONNACK to send; Session Present is filled in when that is known.
    pub connack: ConnAck,
}

/// Why a CONNECT is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// [MQTT-3.1.3-8 of 3.1.1]: an empty identifier needs Clean Session; 3.1 does not allow it at all.
    #[error("an empty client identifier needs a clean session")]
    EmptyClientId,
    /// `limits.client_id_bytes`
    #[error("a client identifier longer than limits.client_id_bytes")]
    ClientIdTooLong,
    /// The session of this name was opened by another user.
    #[error("the client identifier belongs to another user")]
    ClientIdOfAnother,
    /// Neither a user name and password nor anything else that proves who it is.
    #[error("a user name and password are needed")]
    CredentialsNeeded,
    /// Too many logins wait to be looked at.
    #[error("too many logins at once")]
    Busy,
    /// Nothing was looked at.
    #[error("too many failed logins from this address: try again later")]
    TooManyFailed,
    /// `quota.connections`
    #[error("there are quota.connections connections already")]
    TooManyConnections,
    /// What was given proves nothing.
    #[error("the user name or password is wrong")]
    BadCredentials,
    /// [MQTT-4.12.0-1]
    #[error("no such authentication method")]
    AuthenticationMethod,
    /// [MQTT-4.12.0-4]
    #[error("the authentication failed")]
    NotAuthenticated,
    /// [MQTT-4.12.0-5]
    #[error("an AUTH with another method than CONNECT")]
    OtherMethod,
    /// [MQTT-4.12.0-3]
    #[error("an AUTH that does not go on with the authentication")]
    OutOfTurn,
    /// [MQTT-3.1.2-30]
    #[error("a packet other than AUTH or DISCONNECT before CONNACK")]
    BeforeAnswer,
    /// [MQTT-3.1.2-24]
    #[error("the answer is larger than the Maximum Packet Size")]
    AnswerTooLarge,
    /// `limits.topic_levels`
    #[error("a will topic with more levels than limits.topic_levels")]
    WillTopic,
    /// `limits.payload`
    #[error("a will payload above limits.payload")]
    WillTooLarge,
    /// `limits.topic_bytes`
    #[error("a will topic longer than limits.topic_bytes")]
    WillTopicTooLong,
    /// [MQTT-3.2.2-12]
    #[error("a will above features.maximum_qos")]
    WillQos,
    /// [MQTT-3.2.2-13]
    #[error("a retained will, although features.retain is off")]
    WillRetain,
    /// The disk failed: a session that is to be kept cannot be.
    #[error("the storage has failed")]
    StorageFailed,
    /// The disk is full: a session that is to be kept cannot be.
    #[error("the disk is full: no new session can be kept")]
    NoRoom,
    /// Declared as UTF-8, and is not.
    #[error("the will's payload is declared to be UTF-8 and is not")]
    WillPayloadFormat,
    /// Will to a topic the client may not write to.
    #[error("a will on a topic that the client may not write to")]
    WillNotAuthorized,
    /// Somebody else opened the same session meanwhile.
    #[error("another connection took the session over")]
    TakenOver,
    /// `limits.sessions`
    #[error("there are limits.sessions sessions already")]
    TooManySessions,
    /// The gateway is going down.
    #[error("the gateway is shutting down")]
    ShuttingDown,
}

impl Refusal {
    /// What a 5.0 client is told; 3.x gets the equivalent return code.
    pub fn reason(self) -> ReasonCode {
        match self {
            Refusal::EmptyClientId | Refusal::ClientIdTooLong | Refusal::ClientIdOfAnother => {
                ReasonCode::ClientIdentifierNotValid
            }
            Refusal::AuthenticationMethod => ReasonCode::BadAuthenticationMethod,
            Refusal::NotAuthenticated | Refusal::CredentialsNeeded => ReasonCode::NotAuthorized,
            Refusal::BadCredentials => ReasonCode::BadUserNameOrPassword,
            Refusal::OtherMethod | Refusal::OutOfTurn | Refusal::BeforeAnswer => {
                ReasonCode::ProtocolError
            }
            Refusal::AnswerTooLarge => ReasonCode::PacketTooLarge,
            Refusal::WillTopic | Refusal::WillTopicTooLong => ReasonCode::TopicNameInvalid,
            Refusal::WillQos => ReasonCode::QosNotSupported,
            Refusal::WillRetain => ReasonCode::RetainNotSupported,
            Refusal::StorageFailed => ReasonCode::ServerUnavailable,
            Refusal::WillPayloadFormat => ReasonCode::PayloadFormatInvalid,
            Refusal::TooManySessions | Refusal::TooManyConnections | Refusal::NoRoom => {
                ReasonCode::QuotaExceeded
            }
            Refusal::WillTooLarge => ReasonCode::PacketTooLarge,
            Refusal::WillNotAuthorized => ReasonCode::NotAuthorized,
            Refusal::TooManyFailed => ReasonCode::ConnectionRateExceeded,
            Refusal::TakenOver | Refusal::Busy => ReasonCode::ServerBusy,
            Refusal::ShuttingDown => ReasonCode::ServerUnavailable,
        }
    }
}

/// Agrees on terms. `max_expiry` is the longest session expiry in seconds; `new_id` makes an identifier for a client
/// without one [MQTT-3.1.3-6].
pub fn negotiate(
    connect: &Connect,
    limits: &Limits,
    max_expiry: u32,
    new_id: impl FnOnce() -> String,
) -> Result<Opening, Refusal> {
    let v5 = connect.version.is_v5();
    let wishes = &connect.properties;
    if let Some(will) = &connect.will {
        check_will(will, limits)?;
    }
    let mut connack = ConnAck::new(ReasonCode::Success);
    let client_id: Arc<str> = match &*connect.client_id {
        "" if v5 => {
            let id = new_id();
            // [MQTT-3.2.2-16]
            connack.assigned_client_id = Some(id.as_str().into());
            id.into()
        }
        "" if connect.version == Version::V311 && connect.clean_start => new_id().into(),
        "" => return Err(Refusal::EmptyClientId),
        id if id.len() > limits.client_id_bytes => return Err(Refusal::ClientIdTooLong),
        id => id.into(),
    };
    let asked_expiry = match v5 {
        true => wishes.session_expiry.unwrap_or(0),
        false if connect.clean_start => 0,
        false => super::NEVER,
    };
    let session_expiry = asked_expiry.min(max_expiry);
    let keep_alive = match limits.keep_alive {
        cap if v5 && cap > 0 && (connect.keep_alive == 0 || connect.keep_alive > cap) => cap,
        _ => connect.keep_alive,
    };
    if v5 {
        connack.session_expiry = (session_expiry != asked_expiry).then_some(session_expiry);
        // [MQTT-3.1.2-21]
        connack.server_keep_alive = (keep_alive != connect.keep_alive).then_some(keep_alive);
        connack.receive_maximum = Some(limits.receive_maximum);
        connack.maximum_packet_size = Some(u32::try_from(limits.packet()).unwrap_or(u32::MAX));
        connack.topic_alias_maximum = Some(limits.topic_alias_maximum);
        limits.features.announce(&mut connack);
    }
    let terms = Terms {
        version: connect.version,
        keep_alive,
        session_expiry,
        max_session_expiry: max_expiry,
        receive_maximum_in: v5.then_some(limits.receive_maximum),
        receive_maximum_out: wishes
            .receive_maximum
            .unwrap_or(u16::MAX)
            .min(limits.receive_maximum),
        max_packet_out: wishes
            .maximum_packet_size
            .map_or(usize::MAX, |size| size as usize),
        payload_limit: limits.payload,
        alias_maximum_in: if v5 { limits.topic_alias_maximum } else { 0 },
        alias_maximum_out: wishes.topic_alias_maximum.min(limits.topic_alias_maximum),
        unreleased_limit: limits.unreleased,
        problem_information: wishes.request_problem_information,
        features: limits.features,
    };
    Ok(Opening {
        client_id,
        terms,
        connack,
    })
}

/// Whether a will could be published as it stands; better refused now than silently dropped when it is due.
fn check_will(will: &Will, limits: &Limits) -> Result<(), Refusal> {
    if will.qos > limits.features.maximum_qos {
        return Err(Refusal::WillQos); // [MQTT-3.2.2-12]
    }
    if will.retain && !limits.features.retain {
        return Err(Refusal::WillRetain); // [MQTT-3.2.2-13]
    }
    if topic::is_deeper(&will.topic, limits.topic_levels) {
        return Err(Refusal::WillTopic);
    }
    if will.topic.len() > limits.topic_bytes {
        return Err(Refusal::WillTopicTooLong);
    }
    if will.payload.len() > limits.payload {
        return Err(Refusal::WillTooLarge);
    }
    let properties = will.properties.as_ref();
    let says_utf8 = properties.is_some_and(|p| p.payload_is_utf8 == Some(true));
    if says_utf8 && std::str::from_utf8(&will.payload).is_err() {
        return Err(Refusal::WillPayloadFormat);
    }
    Ok(())
}
