//! How a connection ends: the sentence for the log, the reason code for the client, the kind for the counters.

use super::refused;
use crate::{
    broker::outbox::CloseReason,
    metrics::Refusal as Kind,
    mqtt::{error::DecodeError, reason::ReasonCode},
    session::violation::Violation,
};

/// Why a connection ended, for the log and for the will.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("the client disconnected")]
    Goodbye,
    #[error("the client disconnected and asked for its will")]
    GoodbyeWithWill,
    #[error("the client closed the connection")]
    Closed,
    #[error("the connection broke: {0}")]
    Io(std::io::Error),
    #[error("{0}")]
    Decode(#[from] DecodeError),
    #[error("{0}")]
    Violation(#[from] Violation),
    #[error("another connection took the session over")]
    TakenOver,
    #[error("it did not read fast enough")]
    TooSlow,
    #[error("the gateway is shutting down")]
    ShuttingDown,
    #[error("it was disconnected by an administrator")]
    Kicked,
    #[error("it may no longer have what it subscribed to")]
    RightsLost,
    #[error("what it authenticated with has expired")]
    Expired,
    #[error("it could not authenticate again")]
    NotAuthenticated,
    #[error("a message could not be stored")]
    NotStored,
    #[error("the storage has failed")]
    StorageFailed,
    #[error("connections without a CONNECT hold more than limits.unauthenticated")]
    NoRoom,
}

impl End {
    /// What a 5.0 client is told, if the gateway ended the connection.
    pub(super) fn farewell(&self) -> Option<ReasonCode> {
        match self {
            End::Goodbye | End::GoodbyeWithWill | End::Closed | End::Io(_) => None,
            End::Decode(error) => Some(error.reason()),
            End::Violation(violation) => Some(violation.reason()),
            End::TakenOver => Some(ReasonCode::SessionTakenOver),
            // [MQTT-4.12.1-2]
            End::NotAuthenticated | End::RightsLost | End::Expired => {
                Some(ReasonCode::NotAuthorized)
            }
            End::TooSlow | End::NotStored | End::NoRoom => Some(ReasonCode::QuotaExceeded),
            End::StorageFailed => Some(ReasonCode::ImplementationSpecificError),
            End::ShuttingDown => Some(ReasonCode::ServerShuttingDown),
            End::Kicked => Some(ReasonCode::AdministrativeAction),
        }
    }

    /// The kind of refusal it is, if the client is at fault.
    pub(super) fn kind(&self) -> Option<Kind> {
        match self {
            End::Decode(error) => Some(refused::kind_of_bytes(error)),
            End::Violation(violation) => Some(refused::kind_of_violation(*violation)),
            End::TooSlow => Some(Kind::Quota),
            End::NotAuthenticated | End::Expired => Some(Kind::Credentials),
            End::RightsLost => Some(Kind::NotAuthorized),
            End::NoRoom => Some(Kind::Busy),
            _ => None,
        }
    }
}

impl From<CloseReason> for End {
    fn from(reason: CloseReason) -> Self {
        match reason {
            CloseReason::TakenOver => End::TakenOver,
            CloseReason::TooSlow => End::TooSlow,
            CloseReason::ShuttingDown => End::ShuttingDown,
            CloseReason::Kicked => End::Kicked,
            CloseReason::RightsLost => End::RightsLost,
            CloseReason::Expired => End::Expired,
        }
    }
}
