//! The properties of MQTT 5.

/// The value of an MQTT 5 property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Byte(u8),
    Two(u16),
    Four(u32),
    Var(u32),
    Text(String),
    Binary(Vec<u8>),
    Pair(String, String),
}

/// Identifiers of MQTT 5 properties.
pub mod property {
    pub const PAYLOAD_FORMAT: u8 = 0x01;
    pub const MESSAGE_EXPIRY: u8 = 0x02;
    pub const CONTENT_TYPE: u8 = 0x03;
    pub const RESPONSE_TOPIC: u8 = 0x08;
    pub const CORRELATION: u8 = 0x09;
    pub const SUBSCRIPTION_ID: u8 = 0x0B;
    pub const SESSION_EXPIRY: u8 = 0x11;
    pub const ASSIGNED_CLIENT_ID: u8 = 0x12;
    pub const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub const AUTHENTICATION_METHOD: u8 = 0x15;
    pub const AUTHENTICATION_DATA: u8 = 0x16;
    pub const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub const WILL_DELAY: u8 = 0x18;
    pub const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub const RESPONSE_INFORMATION: u8 = 0x1A;
    pub const SERVER_REFERENCE: u8 = 0x1C;
    pub const REASON_STRING: u8 = 0x1F;
    pub const RECEIVE_MAXIMUM: u8 = 0x21;
    pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub const TOPIC_ALIAS: u8 = 0x23;
    pub const MAXIMUM_QOS: u8 = 0x24;
    pub const RETAIN_AVAILABLE: u8 = 0x25;
    pub const USER: u8 = 0x26;
    pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub const WILDCARD_AVAILABLE: u8 = 0x28;
    pub const SUBSCRIPTION_IDS_AVAILABLE: u8 = 0x29;
    pub const SHARED_AVAILABLE: u8 = 0x2A;
}

/// Properties in the order they stand on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties(pub Vec<(u8, Value)>);

impl Properties {
    pub fn with(mut self, id: u8, value: Value) -> Self {
        self.0.push((id, value));
        self
    }
    pub fn text(self, id: u8, value: &str) -> Self {
        self.with(id, Value::Text(value.to_owned()))
    }
    pub fn user(self, name: &str, value: &str) -> Self {
        self.with(
            property::USER,
            Value::Pair(name.to_owned(), value.to_owned()),
        )
    }
    pub fn all(&self, id: u8) -> Vec<&Value> {
        self.0
            .iter()
            .filter(|(i, _)| *i == id)
            .map(|(_, v)| v)
            .collect()
    }
    pub fn get(&self, id: u8) -> Option<&Value> {
        self.0.iter().find(|(i, _)| *i == id).map(|(_, v)| v)
    }
    /// The number in a property of any numeric type.
    pub fn number(&self, id: u8) -> Option<u32> {
        self.get(id).map(|value| match value {
            Value::Byte(n) => u32::from(*n),
            Value::Two(n) => u32::from(*n),
            Value::Four(n) | Value::Var(n) => *n,
            other => panic!("property {id:#04x} is no number: {other:?}"),
        })
    }
    pub fn string(&self, id: u8) -> Option<&str> {
        self.get(id).map(|value| match value {
            Value::Text(text) => text.as_str(),
            other => panic!("property {id:#04x} is no string: {other:?}"),
        })
    }
}
