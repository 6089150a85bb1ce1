//! The property table of 5.0: identifiers, types, where each is allowed and whether it may repeat.

use bytes::Bytes;

/// The properties of a PUBLISH or a will that are part of the message and reach every receiver unchanged.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MessageProperties {
    /// Payload Format Indicator: `Some(true)` says the payload is UTF-8 [MQTT-3.3.2-4].
    pub payload_is_utf8: Option<bool>,
    /// Message Expiry Interval, in seconds, as the publisher sent it.
    pub message_expiry: Option<u32>,
    /// Content Type [MQTT-3.3.2-20].
    pub content_type: Option<Box<str>>,
    /// Response Topic: a topic name without wildcards [MQTT-3.3.2-14].
    pub response_topic: Option<Box<str>>,
    /// Correlation Data [MQTT-3.3.2-16].
    pub correlation_data: Option<Bytes>,
    /// User Properties: order and duplicates are kept [MQTT-3.3.2-18].
    pub user: Vec<(Box<str>, Box<str>)>,
}

/// Reason String and User Properties, which nearly every answer may carry. For people, never for programs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Explanation {
    /// Reason String.
    pub reason_string: Option<Box<str>>,
    /// User Properties in order.
    pub user: Vec<(Box<str>, Box<str>)>,
}
