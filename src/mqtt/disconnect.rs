//! DISCONNECT: the last word of either side.

use super::{property::Explanation, reason::ReasonCode};

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
