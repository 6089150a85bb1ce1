//! AUTH (5.0 only): one step of an extended authentication exchange.

use super::{property::Explanation, reason::ReasonCode};
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
