//! Refusals: each is counted under its kind, and gets a log line as long as there are not too many of its kind.

use super::arrival::Peer;
use crate::{
    metrics::{METRICS, Refusal as Kind},
    mqtt::error::DecodeError,
    observe::log::{Line, Refusals},
    session::{opening, violation::Violation},
};
use parking_lot::Mutex;
use std::{fmt::Display, time::Duration};

/// Where refusals are noted.
#[derive(Default)]
pub struct Notes {
    refusals: Mutex<Refusals>,
}

impl Notes {
    /// Something of this peer was refused; `now` is the time since any fixed moment.
    pub fn refused(&self, kind: Kind, peer: Peer, why: impl Display, now: Duration) {
        METRICS.refused(kind).inc();
        let line = self.refusals.lock().refused(kind, now);
        if let Line::WriteAfter(hidden) = line {
            tracing::info!("{hidden}");
        }
        if line != Line::Hide {
            tracing::info!(%peer, kind = kind.name(), reason = %why, "refused");
        }
    }

    /// Tells what was hidden of floods that are over.
    pub fn tell_hidden(&self, now: Duration) {
        for hidden in self.refusals.lock().over(now) {
            tracing::info!("{hidden}");
        }
    }
}

/// The kind of a CONNECT that is turned down.
pub fn kind_of_opening(refusal: opening::Refusal) -> Kind {
    match refusal {
        opening::Refusal::EmptyClientId
        | opening::Refusal::ClientIdTooLong
        | opening::Refusal::ClientIdOfAnother => Kind::ClientIdentifier,
        opening::Refusal::AuthenticationMethod
        | opening::Refusal::NotAuthenticated
        | opening::Refusal::CredentialsNeeded
        | opening::Refusal::BadCredentials => Kind::Credentials,
        opening::Refusal::TooManyFailed => Kind::FailedLogins,
        opening::Refusal::OtherMethod
        | opening::Refusal::OutOfTurn
        | opening::Refusal::BeforeAnswer => Kind::Protocol,
        opening::Refusal::AnswerTooLarge => Kind::TooLarge,
        opening::Refusal::WillTopic | opening::Refusal::WillTopicTooLong => Kind::Topic,
        opening::Refusal::WillQos | opening::Refusal::WillRetain => Kind::NotSupported,
        opening::Refusal::StorageFailed | opening::Refusal::NoRoom | opening::Refusal::Busy => {
            Kind::Busy
        }
        opening::Refusal::WillPayloadFormat => Kind::Malformed,
        opening::Refusal::TooManyConnections => Kind::Quota,
        opening::Refusal::TooManySessions => Kind::Sessions,
        opening::Refusal::WillTooLarge => Kind::TooLarge,
        opening::Refusal::WillNotAuthorized => Kind::NotAuthorized,
        opening::Refusal::TakenOver | opening::Refusal::ShuttingDown => Kind::Busy,
    }
}

/// The kind of bytes that are no packet.
pub fn kind_of_bytes(error: &DecodeError) -> Kind {
    match error {
        DecodeError::Malformed(_) | DecodeError::UnknownProtocol => Kind::Malformed,
        DecodeError::Protocol(_) | DecodeError::UnsupportedVersion { .. } => Kind::Protocol,
        DecodeError::Topic(_) => Kind::Topic,
        DecodeError::TooLarge { .. } => Kind::TooLarge,
        DecodeError::TooManyUserProperties => Kind::UserProperties,
        DecodeError::PropertiesTooLong => Kind::TooLarge,
    }
}

/// The kind of a broken rule.
pub fn kind_of_violation(violation: Violation) -> Kind {
    match violation {
        Violation::KeepAlive => Kind::KeepAlive,
        Violation::PayloadTooLarge | Violation::AnswerTooLarge => Kind::TooLarge,
        Violation::FilterInvalid => Kind::Topic,
        Violation::ReceiveMaximumExceeded | Violation::TooManyUnreleased => Kind::InFlight,
        Violation::QosNotSupported
        | Violation::RetainNotSupported
        | Violation::WildcardsNotSupported
        | Violation::SubscriptionIdsNotSupported
        | Violation::SharedNotSupported => Kind::NotSupported,
        _ => Kind::Protocol,
    }
}
