//! Why a JSON WebSocket ends, as its close code (RFC 6455, 7.4) and in words.

use crate::{broker::outbox::CloseReason, metrics::Refusal};

/// Why the gateway ends a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goodbye {
    /// The gateway stops.
    ShuttingDown,
    /// Somebody who may has ended it.
    Kicked,
    /// The client takes less than comes for it.
    TooSlow,
    /// A binary frame.
    Binary,
    /// A text frame that is no UTF-8.
    NotText,
    /// A message that is too large.
    TooLarge,
    /// No WebSocket frame.
    Protocol,
    /// Nothing was heard any more.
    Silent,
    /// The client has not shown who it is.
    Unauthenticated,
    /// Whoever it is has as many connections as he may have.
    TooMany,
    /// The rules have changed.
    RightsLost,
    /// What the client authenticated with has expired.
    TokenExpired,
}

impl Goodbye {
    /// The close code.
    pub fn code(self) -> u16 {
        match self {
            Goodbye::ShuttingDown => 1012,
            Goodbye::Kicked | Goodbye::RightsLost => 1008,
            Goodbye::TooSlow => 1013,
            Goodbye::Binary => 1003,
            Goodbye::NotText => 1007,
            Goodbye::TooLarge => 1009,
            Goodbye::Protocol => 1002,
            Goodbye::Silent => 4408,
            Goodbye::Unauthenticated | Goodbye::TokenExpired => 4401,
            Goodbye::TooMany => 4429,
        }
    }

    /// The close frame's reason.
    pub fn reason(self) -> &'static str {
        match self {
            Goodbye::ShuttingDown => "the gateway is shutting down",
            Goodbye::Kicked => "ended by an administrator",
            Goodbye::TooSlow => "too slow",
            Goodbye::Binary => "text frames only",
            Goodbye::NotText => "not UTF-8",
            Goodbye::TooLarge => "the message is too large",
            Goodbye::Protocol => "not a WebSocket frame",
            Goodbye::Silent => "no pong",
            Goodbye::Unauthenticated => "not authenticated",
            Goodbye::TooMany => "too many connections",
            Goodbye::RightsLost => "the rules have changed",
            Goodbye::TokenExpired => "what it authenticated with has expired",
        }
    }

    /// The `reason` of a `bye` in front of the close frame, and whether to come back. Whoever broke the protocol
    /// is told by the code alone.
    pub fn bye(self) -> Option<(&'static str, bool)> {
        match self {
            Goodbye::ShuttingDown => Some(("shutting_down", true)),
            Goodbye::Kicked => Some(("kicked", false)),
            Goodbye::TooSlow => Some(("too_slow", true)),
            Goodbye::RightsLost => Some(("rights_lost", true)),
            Goodbye::TokenExpired => Some(("token_expired", true)),
            _ => None,
        }
    }

    /// What it is counted as, unless the problem in front of it was.
    pub fn refusal(self) -> Option<Refusal> {
        match self {
            Goodbye::Binary => Some(Refusal::Protocol),
            Goodbye::NotText | Goodbye::Protocol => Some(Refusal::Malformed),
            Goodbye::TooLarge => Some(Refusal::TooLarge),
            Goodbye::Silent => Some(Refusal::KeepAlive),
            _ => None,
        }
    }
}

impl From<CloseReason> for Goodbye {
    fn from(reason: CloseReason) -> Self {
        match reason {
            CloseReason::ShuttingDown => Goodbye::ShuttingDown,
            CloseReason::TooSlow => Goodbye::TooSlow,
            CloseReason::Kicked | CloseReason::TakenOver => Goodbye::Kicked,
            CloseReason::RightsLost => Goodbye::RightsLost,
            CloseReason::Expired => Goodbye::TokenExpired,
        }
    }
}
