//! MQTT 3.1, 3.1.1 and 5.0 packets as bytes, written from the standards for these tests alone.
//!
//! The encoders take what they are told, valid or not; the decoder is strict and panics with a sentence.

mod properties;
mod read;
mod write;

pub use properties::{Properties, Value, property};
pub use read::take_packet;
pub use write::{
    ack, ack_with, auth, disconnect, disconnect_with, packet, pingreq, publish, put_binary,
    put_properties, put_text, put_var, subscribe, unsubscribe,
};

/// The three versions of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V31,
    V311,
    V5,
}

impl Version {
    pub fn level(self) -> u8 {
        match self {
            Self::V31 => 3,
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }
    pub fn name(self) -> &'static str {
        if self == Self::V31 { "MQIsdp" } else { "MQTT" }
    }
}

/// A PUBLISH, either way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publish {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub dup: bool,
    pub id: u16,
    pub properties: Properties,
}

impl Publish {
    pub fn new(topic: &str, payload: impl Into<Vec<u8>>, qos: u8) -> Self {
        Self {
            topic: topic.to_owned(),
            payload: payload.into(),
            qos,
            ..Self::default()
        }
    }
    pub fn retained(mut self) -> Self {
        self.retain = true;
        self
    }
    pub fn property(mut self, id: u8, value: Value) -> Self {
        self.properties.0.push((id, value));
        self
    }
    /// The payload as text, for messages of a failed assertion and for comparing with literals.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

/// A will, as it stands in CONNECT.
#[derive(Clone, Debug, Default)]
pub struct Will {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub properties: Properties,
}

/// A CONNECT in the making.
#[derive(Clone, Debug)]
pub struct Opening {
    pub version: Version,
    /// The level byte, when it shall not be that of `version` (the bridge marker 0x80).
    pub level: Option<u8>,
    pub client: String,
    pub clean: bool,
    pub keep_alive: u16,
    pub will: Option<Will>,
    /// User name and password.
    pub login: Option<(String, String)>,
    pub properties: Properties,
}

impl Opening {
    pub fn new(version: Version, client: &str) -> Self {
        Self {
            version,
            level: None,
            client: client.to_owned(),
            clean: true,
            keep_alive: 0,
            will: None,
            login: None,
            properties: Properties::default(),
        }
    }
    pub fn v5(client: &str) -> Self {
        Self::new(Version::V5, client)
    }
    pub fn v311(client: &str) -> Self {
        Self::new(Version::V311, client)
    }
    /// Clean session off, or clean start off.
    pub fn resuming(mut self) -> Self {
        self.clean = false;
        self
    }
    pub fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }
    pub fn login(mut self, user: &str, password: &str) -> Self {
        self.login = Some((user.to_owned(), password.to_owned()));
        self
    }
    pub fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }
    pub fn property(mut self, id: u8, value: Value) -> Self {
        self.properties.0.push((id, value));
        self
    }
    /// MQTT 5's Session Expiry Interval.
    pub fn session_expiry(self, seconds: u32) -> Self {
        self.property(property::SESSION_EXPIRY, Value::Four(seconds))
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put_text(&mut body, self.version.name());
        body.push(self.level.unwrap_or(self.version.level()));
        let mut flags = u8::from(self.clean) << 1;
        if let Some(will) = &self.will {
            flags |= 0x04 | will.qos << 3 | u8::from(will.retain) << 5;
        }
        if self.login.is_some() {
            flags |= 0xC0;
        }
        body.push(flags);
        body.extend(self.keep_alive.to_be_bytes());
        if self.version == Version::V5 {
            put_properties(&mut body, &self.properties);
        }
        put_text(&mut body, &self.client);
        if let Some(will) = &self.will {
            if self.version == Version::V5 {
                put_properties(&mut body, &will.properties);
            }
            put_text(&mut body, &will.topic);
            put_binary(&mut body, &will.payload);
        }
        if let Some((user, password)) = &self.login {
            put_text(&mut body, user);
            put_binary(&mut body, password.as_bytes());
        }
        packet(0x10, &body)
    }
}

/// What a server may send.
#[derive(Clone, Debug, PartialEq)]
pub enum Packet {
    Connack {
        session_present: bool,
        code: u8,
        properties: Properties,
    },
    Publish(Publish),
    /// PUBACK 4, PUBREC 5, PUBREL 6 or PUBCOMP 7.
    Ack {
        kind: u8,
        id: u16,
        code: u8,
        properties: Properties,
    },
    Suback {
        id: u16,
        codes: Vec<u8>,
        properties: Properties,
    },
    Unsuback {
        id: u16,
        codes: Vec<u8>,
        properties: Properties,
    },
    Pingresp,
    Auth {
        code: u8,
        properties: Properties,
    },
    Disconnect {
        code: u8,
        properties: Properties,
    },
}

/// Kinds of acknowledgement.
pub const PUBACK: u8 = 4;
pub const PUBREC: u8 = 5;
pub const PUBREL: u8 = 6;
pub const PUBCOMP: u8 = 7;
