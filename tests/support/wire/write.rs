//! From packets to bytes: the encoders take what they are told, valid or not.

use super::{PUBREL, Properties, Publish, Value, Version, property};

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
