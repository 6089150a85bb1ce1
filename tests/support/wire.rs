//! MQTT 3.1, 3.1.1 and 5.0 packets as bytes, written from the standards for these tests alone.
//!
//! The encoders take what they are told, valid or not; the decoder is strict and panics with a sentence,
//! because a gateway that writes a malformed packet has failed the test, whatever the test was about.

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

/// A packet from its first byte and its body.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    put_var(&mut bytes, body.len() as u32);
    bytes.extend_from_slice(body);
    bytes
}

pub fn publish(version: Version, publish: &Publish) -> Vec<u8> {
    let mut body = Vec::with_capacity(publish.payload.len() + publish.topic.len() + 16);
    put_text(&mut body, &publish.topic);
    if publish.qos > 0 {
        body.extend(publish.id.to_be_bytes());
    }
    if version == Version::V5 {
        put_properties(&mut body, &publish.properties);
    }
    body.extend_from_slice(&publish.payload);
    packet(
        0x30 | u8::from(publish.dup) << 3 | publish.qos << 1 | u8::from(publish.retain),
        &body,
    )
}

pub fn ack(kind: u8, id: u16) -> Vec<u8> {
    let flags = if kind == PUBREL { 2 } else { 0 };
    packet(kind << 4 | flags, &id.to_be_bytes())
}

/// An acknowledgement with an MQTT 5 reason code.
pub fn ack_with(kind: u8, id: u16, code: u8) -> Vec<u8> {
    let flags = if kind == PUBREL { 2 } else { 0 };
    packet(kind << 4 | flags, &[(id >> 8) as u8, id as u8, code])
}

/// A SUBSCRIBE; the byte after each filter is its options byte.
pub fn subscribe(
    version: Version,
    id: u16,
    filters: &[(&str, u8)],
    properties: &Properties,
) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == Version::V5 {
        put_properties(&mut body, properties);
    }
    for (filter, options) in filters {
        put_text(&mut body, filter);
        body.push(*options);
    }
    packet(0x82, &body)
}

pub fn unsubscribe(version: Version, id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    for filter in filters {
        put_text(&mut body, filter);
    }
    packet(0xA2, &body)
}

pub fn pingreq() -> Vec<u8> {
    packet(0xC0, &[])
}

pub fn disconnect(version: Version, code: u8) -> Vec<u8> {
    if version == Version::V5 && code != 0 {
        packet(0xE0, &[code])
    } else {
        packet(0xE0, &[])
    }
}

/// DISCONNECT of MQTT 5 with properties.
pub fn disconnect_with(code: u8, properties: &Properties) -> Vec<u8> {
    let mut body = vec![code];
    put_properties(&mut body, properties);
    packet(0xE0, &body)
}

/// AUTH of MQTT 5 with a method, and data if there is any.
pub fn auth(code: u8, method: &str, data: &[u8]) -> Vec<u8> {
    let mut properties = Properties::default().text(property::AUTHENTICATION_METHOD, method);
    if !data.is_empty() {
        let data = Value::Binary(data.to_vec());
        properties = properties.with(property::AUTHENTICATION_DATA, data);
    }
    let mut body = vec![code];
    put_properties(&mut body, &properties);
    packet(0xF0, &body)
}

pub fn put_text(out: &mut Vec<u8>, text: &str) {
    put_binary(out, text.as_bytes());
}

pub fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).expect("a field of at most 65535 bytes");
    out.extend(length.to_be_bytes());
    out.extend_from_slice(bytes);
}

pub fn put_var(out: &mut Vec<u8>, mut number: u32) {
    loop {
        let low = (number % 128) as u8;
        number /= 128;
        out.push(if number > 0 { low | 0x80 } else { low });
        if number == 0 {
            return;
        }
    }
}

pub fn put_properties(out: &mut Vec<u8>, properties: &Properties) {
    let mut block = Vec::new();
    for (id, value) in &properties.0 {
        block.push(*id);
        match value {
            Value::Byte(n) => block.push(*n),
            Value::Two(n) => block.extend(n.to_be_bytes()),
            Value::Four(n) => block.extend(n.to_be_bytes()),
            Value::Var(n) => put_var(&mut block, *n),
            Value::Text(text) => put_text(&mut block, text),
            Value::Binary(bytes) => put_binary(&mut block, bytes),
            Value::Pair(name, value) => {
                put_text(&mut block, name);
                put_text(&mut block, value);
            }
        }
    }
    put_var(out, block.len() as u32);
    out.extend(block);
}

/// Takes one whole packet from the front of `buffer`, if it holds one.
pub fn take_packet(version: Version, buffer: &mut Vec<u8>) -> Option<Packet> {
    let (mut length, mut at) = (0usize, 1);
    loop {
        let byte = *buffer.get(at)?;
        assert!(at <= 4, "a remaining length of at most four bytes");
        length |= usize::from(byte & 0x7F) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 {
            assert!(
                byte != 0 || at == 2,
                "a remaining length longer than needed"
            );
            break;
        }
    }
    if buffer.len() < at + length {
        return None;
    }
    let rest = buffer.split_off(at + length);
    let whole = std::mem::replace(buffer, rest);
    let mut body = Body {
        bytes: &whole[at..],
    };
    let packet = decode(version, whole[0], &mut body);
    assert!(
        body.bytes.is_empty(),
        "{} bytes too many in {packet:?}",
        body.bytes.len()
    );
    Some(packet)
}

fn decode(version: Version, first: u8, body: &mut Body<'_>) -> Packet {
    let v5 = version == Version::V5;
    let (kind, flags) = (first >> 4, first & 0x0F);
    match kind {
        3 => assert!(flags & 6 != 6, "QoS 3 in {first:#04x}"),
        6 => assert_eq!(flags, 2, "flags of PUBREL"),
        _ => assert_eq!(flags, 0, "flags of packet type {kind}"),
    }
    match kind {
        2 => {
            let present = body.byte();
            assert!(
                present <= 1,
                "reserved bits of the CONNACK flags: {present:#04x}"
            );
            let code = body.byte();
            listed(&[v5_codes::CONNACK, &[1, 2, 3, 4, 5]], "CONNACK", code);
            assert!(
                present == 0 || code == 0,
                "a refusal says that a session is present"
            );
            assert!(
                !v5 || !body.bytes.is_empty() || code == 1,
                "CONNACK without a property length"
            );
            let properties = if v5 && !body.bytes.is_empty() {
                body.properties()
            } else {
                Properties::default()
            };
            Packet::Connack {
                session_present: present == 1,
                code,
                properties,
            }
        }
        3 => {
            let qos = flags >> 1 & 3;
            let topic = body.text();
            let id = if qos > 0 { body.two() } else { 0 };
            assert!(qos == 0 || id != 0, "packet identifier 0");
            let properties = if v5 {
                body.properties()
            } else {
                Properties::default()
            };
            let payload = std::mem::take(&mut body.bytes).to_vec();
            Packet::Publish(Publish {
                topic,
                payload,
                qos,
                retain: flags & 1 == 1,
                dup: flags & 8 == 8,
                id,
                properties,
            })
        }
        4..=7 => {
            let id = body.two();
            assert!(
                v5 || body.bytes.is_empty(),
                "an acknowledgement of MQTT 3 has two bytes"
            );
            let (code, properties) = body.code_and_properties();
            let codes = if kind < 6 {
                v5_codes::PUBACK
            } else {
                v5_codes::PUBREL
            };
            listed(&[codes], "an acknowledgement", code);
            Packet::Ack {
                kind,
                id,
                code,
                properties,
            }
        }
        9 | 11 => {
            let id = body.two();
            let properties = if v5 {
                body.properties()
            } else {
                Properties::default()
            };
            let codes = std::mem::take(&mut body.bytes).to_vec();
            for code in &codes {
                match (kind, v5) {
                    (9, true) => listed(&[v5_codes::SUBACK], "SUBACK", *code),
                    (9, false) => listed(&[&[0, 1, 2, 0x80]], "SUBACK", *code),
                    _ => listed(&[v5_codes::UNSUBACK], "UNSUBACK", *code),
                }
            }
            if kind == 9 {
                Packet::Suback {
                    id,
                    codes,
                    properties,
                }
            } else {
                assert!(v5 || codes.is_empty(), "UNSUBACK of MQTT 3 has no payload");
                Packet::Unsuback {
                    id,
                    codes,
                    properties,
                }
            }
        }
        13 => Packet::Pingresp,
        14 => {
            assert!(v5, "a server of MQTT 3 sends no DISCONNECT");
            let (code, properties) = body.code_and_properties();
            listed(&[v5_codes::DISCONNECT], "DISCONNECT", code);
            assert!(
                properties.get(property::SESSION_EXPIRY).is_none(),
                "a server's DISCONNECT has a session expiry"
            );
            Packet::Disconnect { code, properties }
        }
        15 => {
            assert!(v5, "MQTT 3 has no AUTH");
            let (code, properties) = body.code_and_properties();
            Packet::Auth { code, properties }
        }
        _ => panic!("packet type {kind} from a server"),
    }
}

/// The reason codes of MQTT 5 that a server may use, packet by packet.
mod v5_codes {
    pub const CONNACK: &[u8] = &[
        0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95,
        0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
    ];
    /// PUBREC too.
    pub const PUBACK: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
    /// PUBCOMP too.
    pub const PUBREL: &[u8] = &[0x00, 0x92];
    pub const SUBACK: &[u8] = &[
        0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2,
    ];
    pub const UNSUBACK: &[u8] = &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];
    pub const DISCONNECT: &[u8] = &[
        0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94,
        0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
    ];
}

fn listed(lists: &[&[u8]], packet: &str, code: u8) {
    assert!(
        lists.iter().any(|codes| codes.contains(&code)),
        "{code:#04x} is not among the codes of {packet}"
    );
}

struct Body<'a> {
    bytes: &'a [u8],
}

impl Body<'_> {
    fn take(&mut self, count: usize) -> &[u8] {
        assert!(
            self.bytes.len() >= count,
            "a field of {count} bytes in the {} left",
            self.bytes.len()
        );
        let (taken, rest) = self.bytes.split_at(count);
        self.bytes = rest;
        taken
    }
    fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }
    fn two(&mut self) -> u16 {
        u16::from(self.byte()) << 8 | u16::from(self.byte())
    }
    fn four(&mut self) -> u32 {
        u32::from(self.two()) << 16 | u32::from(self.two())
    }
    fn var(&mut self) -> u32 {
        let mut number = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte();
            number |= u32::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                assert!(byte != 0 || shift == 0, "a number longer than needed");
                return number;
            }
        }
        panic!("a variable byte integer of more than four bytes");
    }
    fn binary(&mut self) -> Vec<u8> {
        let length = self.two();
        self.take(usize::from(length)).to_vec()
    }
    fn text(&mut self) -> String {
        String::from_utf8(self.binary()).expect("strings are UTF-8")
    }
    fn code_and_properties(&mut self) -> (u8, Properties) {
        let code = if self.bytes.is_empty() {
            0
        } else {
            self.byte()
        };
        let properties = if self.bytes.is_empty() {
            Properties::default()
        } else {
            self.properties()
        };
        (code, properties)
    }
    fn properties(&mut self) -> Properties {
        let length = self.var() as usize;
        let mut block = Body {
            bytes: self.take(length),
        };
        let mut found = Properties::default();
        while !block.bytes.is_empty() {
            let id = block.byte();
            let value = match id {
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => Value::Byte(block.byte()),
                0x13 | 0x21 | 0x22 | 0x23 => Value::Two(block.two()),
                0x02 | 0x11 | 0x18 | 0x27 => Value::Four(block.four()),
                0x0B => Value::Var(block.var()),
                0x03 | 0x08 | 0x12 | 0x15 | 0x1A | 0x1C | 0x1F => Value::Text(block.text()),
                0x09 | 0x16 => Value::Binary(block.binary()),
                0x26 => Value::Pair(block.text(), block.text()),
                unknown => panic!("property {unknown:#04x} is in no standard"),
            };
            let repeatable = matches!(id, property::USER | property::SUBSCRIPTION_ID);
            assert!(
                repeatable || found.get(id).is_none(),
                "property {id:#04x} twice"
            );
            found.0.push((id, value));
        }
        found
    }
}
