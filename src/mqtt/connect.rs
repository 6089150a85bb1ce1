//! CONNECT: who the client is, what it wants kept, and what it can take.

use super::{Qos, Version, property::MessageProperties, topic::TopicName};
use bytes::Bytes;

/// The first packet of every connection [MQTT-3.1.0-1].
#[derive(Debug, Clone, PartialEq)]
pub struct Connect {
    /// From protocol name and level.
    pub version: Version,
    /// Bit 7 of the level byte (0x83, 0x84): the peer says that it is a bridge. A convention of Mosquitto's.
    pub bridge: bool,
    /// Clean Session (3.x) or Clean Start (5.0).
    pub clean_start: bool,
    /// Seconds; 0 switches it off.
    pub keep_alive: u16,
    /// May be empty: the server then chooses one.
    pub client_id: Box<str>,
    /// The message to publish if the connection ends badly.
    pub will: Option<Box<Will>>,
    /// User Name.
    pub username: Option<Box<str>>,
    /// Password: any bytes.
    pub password: Option<Bytes>,
    /// The 5.0 properties; their defaults on 3.x.
    pub properties: ConnectProperties,
}

/// What a 5.0 client adds to its CONNECT. Defaults are those of the standard.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectProperties {
    /// Session Expiry Interval in seconds; 0xFFFF_FFFF is never. `None` is 0.
    pub session_expiry: Option<u32>,
    /// Unacknowledged QoS 1/2 messages the client accepts. `None` is 65,535.
    pub receive_maximum: Option<u16>,
    /// The largest packet, in bytes, the client accepts. `None` is no limit.
    pub maximum_packet_size: Option<u32>,
    /// Aliases the client accepts. 0 is none.
    pub topic_alias_maximum: u16,
    /// Whether CONNACK may carry response information.
    pub request_response_information: bool,
    /// Whether packets beside PUBLISH, CONNACK and DISCONNECT may carry reason strings [MQTT-3.1.2-29].
    pub request_problem_information: bool,
    /// User Properties in order.
    pub user: Vec<(Box<str>, Box<str>)>,
    /// Method of an extended authentication.
    pub authentication_method: Option<Box<str>>,
    /// First data of that method.
    pub authentication_data: Option<Bytes>,
}

impl Default for ConnectProperties {
    fn default() -> Self {
        ConnectProperties {
            session_expiry: None,
            receive_maximum: None,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            user: Vec::new(),
            authentication_method: None,
            authentication_data: None,
        }
    }
}

/// The will: a message that the server keeps for the client.
#[derive(Debug, Clone, PartialEq)]
pub struct Will {
    /// Where it goes.
    pub topic: TopicName,
    /// What it says.
    pub payload: Bytes,
    /// Will QoS.
    pub qos: Qos,
    /// Will Retain.
    pub retain: bool,
    /// Will Delay Interval in seconds.
    pub delay: u32,
    /// Properties that travel with the message.
    pub properties: Option<Box<MessageProperties>>,
}
