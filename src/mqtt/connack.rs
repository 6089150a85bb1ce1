//! CONNACK: the answer to CONNECT.

use super::{Qos, property::Explanation, reason::ReasonCode};
use bytes::Bytes;

/// What the server grants, or why it refuses.
///
/// The optional fields are 5.0 properties: `None` leaves them out, which by the standard means the default.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnAck {
    /// Session Present; never set with a refusal [MQTT-3.2.2-6] nor on 3.1, whose byte is reserved.
    pub session_present: bool,
    /// Encoded as the 3.x return code where the connection is not 5.0.
    pub reason: ReasonCode,
    /// Session Expiry Interval in seconds, if it differs from what the client asked for.
    pub session_expiry: Option<u32>,
    /// How many unacknowledged QoS 1/2 messages the server accepts.
    pub receive_maximum: Option<u16>,
    /// Below 2 only.
    pub maximum_qos: Option<Qos>,
    /// Whether retained messages are supported.
    pub retain_available: Option<bool>,
    /// The largest packet, in bytes, the server accepts.
    pub maximum_packet_size: Option<u32>,
    /// The identifier given to a client that brought none [MQTT-3.2.2-16].
    pub assigned_client_id: Option<Box<str>>,
    /// How many aliases the client may use towards the server.
    pub topic_alias_maximum: Option<u16>,
    /// Reason string and user properties.
    pub explanation: Option<Box<Explanation>>,
    /// Whether filters with wildcards are supported.
    pub wildcard_available: Option<bool>,
    /// Whether subscription identifiers are supported.
    pub subscription_ids_available: Option<bool>,
    /// Whether `$share` is supported.
    pub shared_available: Option<bool>,
    /// Keep alive in seconds that replaces the client's own.
    pub server_keep_alive: Option<u16>,
    /// Basis of response topics, if the client asked for it.
    pub response_information: Option<Box<str>>,
    /// Another server to use.
    pub server_reference: Option<Box<str>>,
    /// The client's method again [MQTT-4.12.0-5].
    pub authentication_method: Option<Box<str>>,
    /// Final data of the method.
    pub authentication_data: Option<Bytes>,
}

impl ConnAck {
    /// A CONNACK with this reason and nothing else.
    pub fn new(reason: ReasonCode) -> Self {
        ConnAck {
            session_present: false,
            reason,
            session_expiry: None,
            receive_maximum: None,
            maximum_qos: None,
            retain_available: None,
            maximum_packet_size: None,
            assigned_client_id: None,
            topic_alias_maximum: None,
            explanation: None,
            wildcard_available: None,
            subscription_ids_available: None,
            shared_available: None,
            server_keep_alive: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
        }
    }
}
