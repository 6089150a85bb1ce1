//! Messages of the log, and requests that happen once.

use super::{
    FIRST, MESSAGE, RETAINED, Unreadable,
    parts::{put_optional, put_u64, read_if, read_optional, read_u64},
};
use crate::{
    message::{Message, Millis, Origin},
    mqtt::{
        PacketId, Qos,
        payload::Payload,
        primitive::{Reader, put_text, put_u16, put_u32},
        property::MessageProperties,
        topic::TopicName,
    },
    store::once::{Fingerprint, Once},
};
use std::sync::Arc;

/// A message with what is atomic with it.
#[derive(Debug)]
pub struct Logged {
    /// Its position.
    pub offset: u64,
    /// What was published.
    pub message: Message,
    /// The publisher's packet identifier, if the publisher has a session that is kept and sent it at QoS 2.
    pub inbound: Option<PacketId>,
    /// What it begins, if it is the first of several that are kept together, or of a request that happens once.
    pub begins: Option<Together>,
}

/// Messages that are kept all or none: their records stand next to each other in one segment, and whoever meets the first
/// without the last passes them all over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Together {
    /// How many they are, the first one included.
    pub messages: u32,
    /// The request that published them, if it happens once.
    pub once: Option<Arc<Once>>,
}

/// Appends the body of a message's record.
pub fn put_message(out: &mut Vec<u8>, offset: u64, message: &Message, inbound: Option<PacketId>) {
    out.push(MESSAGE);
    put_logged(out, offset, message, inbound);
}

/// Appends the body of the record of the first of several messages that are kept together.
pub fn put_first(out: &mut Vec<u8>, offset: u64, message: &Message, begins: &Together) {
    out.push(FIRST);
    put_u32(out, begins.messages);
    out.push(begins.once.is_some().into());
    if let Some(once) = &begins.once {
        put_once(out, once);
    }
    put_logged(out, offset, message, None);
}

pub(super) fn read_first(reader: &mut Reader<'_>) -> Result<Logged, Unreadable> {
    let messages = reader.u32()?;
    let has_once = reader.u8()? != 0;
    let once = read_if(has_once, || Ok(Arc::new(read_once(reader)?)))?;
    let begins = Some(Together { messages, once });
    Ok(Logged {
        begins,
        ..read(reader)?
    })
}

pub(super) fn put_once(out: &mut Vec<u8>, once: &Once) {
    put_optional(out, once.user.as_deref());
    put_text(out, &once.key);
    out.extend_from_slice(&once.fingerprint);
    put_u64(out, once.at.0);
    put_u32(out, once.answer.len() as u32); // bounded by what one request may hold
    out.extend_from_slice(&once.answer);
}

pub(super) fn read_once(reader: &mut Reader<'_>) -> Result<Once, Unreadable> {
    let user = read_optional(reader)?;
    let key = reader.text()?.into();
    let mut fingerprint = Fingerprint::default();
    fingerprint.copy_from_slice(reader.take(size_of::<Fingerprint>())?);
    let at = Millis(read_u64(reader)?);
    let length = reader.u32()?;
    let answer = reader.take(length as usize)?.into();
    Ok(Once {
        user,
        key,
        fingerprint,
        at,
        answer,
    })
}

/// Appends the body of a retained message's record.
pub fn put_retained(out: &mut Vec<u8>, offset: u64, message: &Message) {
    out.push(RETAINED);
    put_logged(out, offset, message, None);
}

const HAS_RETAIN: u8 = 0x04;
const HAS_PROPERTIES: u8 = 0x08;
const HAS_EXPIRY: u8 = 0x10;
const HAS_CLIENT: u8 = 0x20;
const HAS_USER: u8 = 0x40;
const HAS_INBOUND: u8 = 0x80;

fn put_logged(out: &mut Vec<u8>, offset: u64, message: &Message, inbound: Option<PacketId>) {
    let origin = message.origin.as_deref();
    let (client, user) = origin.map_or((None, None), |origin| {
        (origin.client_id.as_deref(), origin.user.as_deref())
    });
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    put_u64(out, offset);
    out.push(
        message.qos as u8
            | flag(message.retain, HAS_RETAIN)
            | flag(message.properties.is_some(), HAS_PROPERTIES)
            | flag(message.expires.is_some(), HAS_EXPIRY)
            | flag(client.is_some(), HAS_CLIENT)
            | flag(user.is_some(), HAS_USER)
            | flag(inbound.is_some(), HAS_INBOUND),
    );
    put_u64(out, message.time.0);
    if let Some(expires) = message.expires {
        put_u64(out, expires.0);
    }
    if let Some(client) = client {
        put_text(out, client);
    }
    if let Some(user) = user {
        put_text(out, user);
    }
    if let Some(packet_id) = inbound {
        put_u16(out, packet_id.get());
    }
    put_text(out, &message.topic);
    if let Some(properties) = &message.properties {
        properties.put_block(out);
    }
    out.extend_from_slice(&message.payload);
}

pub(super) fn read(reader: &mut Reader<'_>) -> Result<Logged, Unreadable> {
    let offset = read_u64(reader)?;
    let flags = reader.u8()?;
    let has = |flag: u8| flags & flag != 0;
    let time = Millis(read_u64(reader)?);
    let expires = read_if(has(HAS_EXPIRY), || read_u64(reader))?.map(Millis);
    let client_id = read_if(has(HAS_CLIENT), || Ok(Arc::from(reader.text()?)))?;
    let user = read_if(has(HAS_USER), || Ok(Arc::from(reader.text()?)))?;
    let inbound = read_if(has(HAS_INBOUND), || Ok(reader.packet_id()?))?;
    let topic = TopicName::parse(reader.text()?).map_err(|_| Unreadable)?;
    let properties = match has(HAS_PROPERTIES) {
        true => MessageProperties::read_block(reader)?,
        false => None,
    };
    let origin =
        (client_id.is_some() || user.is_some()).then(|| Arc::new(Origin { client_id, user }));
    let message = Message::restored(
        topic,
        Payload::copy_from_slice(reader.take_rest()),
        Qos::from_wire(flags & 3).ok_or(Unreadable)?,
        has(HAS_RETAIN),
        properties,
        origin,
        time,
        expires,
    );
    Ok(Logged {
        offset,
        message,
        inbound,
        begins: None,
    })
}
