//! What the records of the log say, and their bytes. Format 1; a later one reads it, too.
//!
//! Everything that must be atomic with a message is in the message's own record: the publisher's packet identifier, that
//! it is its topic's retained message, and the key and the answer of a request that happens once.

use super::once::{Fingerprint, Once};
use crate::{
    message::{Message, Millis, Origin},
    mqtt::{
        PacketId, Qos,
        connect::Will,
        error::{DecodeError, Malformed},
        payload::Payload,
        primitive::{Reader, put_binary, put_text, put_u16, put_u32},
        property::MessageProperties,
        subscribe::{RetainHandling, SubscriptionOptions},
        topic::{TopicFilter, TopicName},
    },
    session::{
        snapshot::{Outgoing, Snapshot, Stage},
        subscriptions::Subscription,
    },
};
use std::sync::Arc;

/// The body of a record does not say anything this version knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record is whole, but says nothing that this version knows")]
pub struct Unreadable;

impl From<DecodeError> for Unreadable {
    fn from(_: DecodeError) -> Self {
        Unreadable
    }
}

impl From<Malformed> for Unreadable {
    fn from(_: Malformed) -> Self {
        Unreadable
    }
}

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

/// One record.
#[derive(Debug)]
pub enum Entry {
    /// A message of the log.
    Message(Logged),
    /// A retained message whose record in the log is gone.
    Retained(Logged),
    /// Anything else.
    Change(Change),
}

/// A change of what is kept beside the messages.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Begins a batch. Everything up to the record of this number was synced before.
    Batch {
        /// That number.
        synced: u64,
    },
    /// The gateway was started.
    Run {
        /// When.
        at: Millis,
        /// The first offset it may give.
        first: u64,
        /// Whether the run before ended by itself; else what it gave above its last record is a hole.
        clean: bool,
    },
    /// Offsets up to here may be in use.
    Reserved {
        /// The last of them.
        through: u64,
    },
    /// The gateway stopped by itself.
    Stopped {
        /// The last offset it gave.
        head: u64,
    },
    /// Nobody needs the messages up to here.
    Trimmed {
        /// The last of them.
        through: u64,
    },
    /// A session, whole; replaces what was known of it.
    Session(Box<Snapshot>),
    /// A connection of the session came or went, or its expiry changed.
    Presence {
        /// Whose.
        client: Arc<str>,
        /// Session Expiry Interval in seconds.
        expiry: u32,
        /// When the connection ended; `None` while there is one.
        parked: Option<Millis>,
    },
    /// The session is over.
    Ended {
        /// Whose.
        client: Arc<str>,
    },
    /// A filter was added or replaced.
    Subscribed {
        /// Whose.
        client: Arc<str>,
        /// It.
        subscription: Subscription,
    },
    /// A filter was removed.
    Unsubscribed {
        /// Whose.
        client: Arc<str>,
        /// It.
        filter: Box<str>,
    },
    /// A QoS 2 message of the client was taken that has no record of its own.
    Received {
        /// Whose.
        client: Arc<str>,
        /// Its identifier.
        packet_id: PacketId,
    },
    /// The client's PUBREL came.
    Released {
        /// Whose.
        client: Arc<str>,
        /// The identifier that is free again.
        packet_id: PacketId,
    },
    /// A message is about to leave under a packet identifier.
    Paired {
        /// For whom.
        client: Arc<str>,
        /// What.
        outgoing: Outgoing,
    },
    /// The client's PUBREC came.
    Answered {
        /// Who.
        client: Arc<str>,
        /// For which.
        packet_id: PacketId,
    },
    /// The client is done with it.
    Completed {
        /// Who.
        client: Arc<str>,
        /// Which.
        packet_id: PacketId,
    },
    /// Everything up to here is done with.
    Cursor {
        /// For whom.
        client: Arc<str>,
        /// The last offset.
        through: u64,
    },
    /// What is to be published should the client vanish.
    Will {
        /// Whose.
        client: Arc<str>,
        /// On whose rights.
        user: Option<Arc<str>>,
        /// It.
        will: Will,
    },
    /// Nothing is owed any more.
    WillDone {
        /// Whose.
        client: Arc<str>,
    },
    /// A share group has done with everything up to here. Adds to what is known of it.
    Group {
        /// The whole filter.
        filter: Box<str>,
        /// The last offset.
        through: u64,
        /// QoS 2 messages above it that are done with.
        done: Vec<u64>,
    },
    /// The last member that could not miss anything left the group.
    GroupGone {
        /// The whole filter.
        filter: Box<str>,
    },
    /// A request that happens once, whose messages' record is gone.
    Once(Arc<Once>),
}

const MESSAGE: u8 = 1;
const RETAINED: u8 = 2;
const FIRST: u8 = 3;
const BATCH: u8 = 16;
const RUN: u8 = 17;
const RESERVED: u8 = 18;
const STOPPED: u8 = 19;
const TRIMMED: u8 = 20;
const SESSION: u8 = 32;
const ENDED: u8 = 33;
const SUBSCRIBED: u8 = 34;
const UNSUBSCRIBED: u8 = 35;
const RECEIVED: u8 = 36;
const RELEASED: u8 = 37;
const PAIRED: u8 = 38;
const ANSWERED: u8 = 39;
const CURSOR: u8 = 40;
const PRESENCE: u8 = 41;
const COMPLETED: u8 = 42;
const WILL: u8 = 48;
const WILL_DONE: u8 = 49;
const GROUP: u8 = 50;
const GROUP_GONE: u8 = 51;
const ONCE: u8 = 52;

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

fn read_first(reader: &mut Reader<'_>) -> Result<Logged, Unreadable> {
    let messages = reader.u32()?;
    let has_once = reader.u8()? != 0;
    let once = read_if(has_once, || Ok(Arc::new(read_once(reader)?)))?;
    let begins = Some(Together { messages, once });
    Ok(Logged {
        begins,
        ..read_logged(reader)?
    })
}

fn put_once(out: &mut Vec<u8>, once: &Once) {
    put_optional(out, once.user.as_deref());
    put_text(out, &once.key);
    out.extend_from_slice(&once.fingerprint);
    put_u64(out, once.at.0);
    put_u32(out, once.answer.len() as u32); // bounded by what one request may hold
    out.extend_from_slice(&once.answer);
}

fn read_once(reader: &mut Reader<'_>) -> Result<Once, Unreadable> {
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

fn read_logged(reader: &mut Reader<'_>) -> Result<Logged, Unreadable> {
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

fn read_if<T>(
    there: bool,
    read: impl FnOnce() -> Result<T, Unreadable>,
) -> Result<Option<T>, Unreadable> {
    if there { read().map(Some) } else { Ok(None) }
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn read_u64(reader: &mut Reader<'_>) -> Result<u64, Unreadable> {
    Ok(u64::from(reader.u32()?) << 32 | u64::from(reader.u32()?))
}

fn put_optional(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(text.is_some().into());
    if let Some(text) = text {
        put_text(out, text);
    }
}

fn read_optional<T: for<'a> From<&'a str>>(
    reader: &mut Reader<'_>,
) -> Result<Option<T>, Unreadable> {
    let there = reader.u8()? != 0;
    read_if(there, || Ok(T::from(reader.text()?)))
}

const NO_LOCAL: u8 = 0x04;
const AS_PUBLISHED: u8 = 0x08;

fn put_subscription(out: &mut Vec<u8>, subscription: &Subscription) {
    let Subscription {
        filter,
        options,
        id,
        since,
    } = subscription;
    put_text(out, filter.as_str());
    let handling = match options.retain_handling {
        RetainHandling::Send => 0,
        RetainHandling::SendIfNew => 1,
        RetainHandling::DoNotSend => 2,
    };
    let no_local = if options.no_local { NO_LOCAL } else { 0 };
    let as_published = if options.retain_as_published {
        AS_PUBLISHED
    } else {
        0
    };
    out.push(options.qos as u8 | no_local | as_published | handling << 4);
    put_u32(out, id.unwrap_or(0));
    put_u64(out, *since);
}

fn read_subscription(reader: &mut Reader<'_>) -> Result<Subscription, Unreadable> {
    let filter = TopicFilter::parse(reader.text()?).map_err(|_| Unreadable)?;
    let byte = reader.u8()?;
    let options = SubscriptionOptions {
        qos: Qos::from_wire(byte & 3).ok_or(Unreadable)?,
        no_local: byte & NO_LOCAL != 0,
        retain_as_published: byte & AS_PUBLISHED != 0,
        retain_handling: match byte >> 4 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(Unreadable),
        },
    };
    Ok(Subscription {
        filter,
        options,
        id: Some(reader.u32()?).filter(|id| *id != 0),
        since: read_u64(reader)?,
    })
}

fn stage_byte(stage: Stage) -> u8 {
    match stage {
        Stage::Sent(qos) => qos as u8,
        Stage::Release => 3,
    }
}

fn read_stage(reader: &mut Reader<'_>) -> Result<Stage, Unreadable> {
    Ok(match reader.u8()? {
        3 => Stage::Release,
        qos => Stage::Sent(Qos::from_wire(qos).ok_or(Unreadable)?),
    })
}

fn put_outgoing(out: &mut Vec<u8>, outgoing: &Outgoing) {
    put_u16(out, outgoing.packet_id.get());
    put_u64(out, outgoing.offset);
    out.push(stage_byte(outgoing.stage));
    out.push(outgoing.retain.into());
    put_optional(out, outgoing.group.as_deref());
}

fn read_outgoing(reader: &mut Reader<'_>) -> Result<Outgoing, Unreadable> {
    Ok(Outgoing {
        packet_id: reader.packet_id()?,
        offset: read_u64(reader)?,
        stage: read_stage(reader)?,
        retain: reader.u8()? != 0,
        group: read_optional(reader)?,
    })
}

fn put_snapshot(out: &mut Vec<u8>, snapshot: &Snapshot) {
    let Snapshot {
        client_id,
        user,
        expiry,
        parked,
        through,
        subscriptions,
        unreleased,
        outgoing,
        done,
    } = snapshot;
    put_text(out, client_id);
    put_optional(out, user.as_deref());
    put_u32(out, *expiry);
    put_u64(out, parked.map_or(u64::MAX, |at| at.0));
    put_u64(out, *through);
    put_u32(out, subscriptions.len() as u32); // bounded by limits.filters_per_session
    subscriptions
        .iter()
        .for_each(|one| put_subscription(out, one));
    put_u32(out, unreleased.len() as u32); // at most 65,535
    unreleased.iter().for_each(|id| put_u16(out, id.get()));
    put_u32(out, outgoing.len() as u32); // a window and its notes
    outgoing.iter().for_each(|one| put_outgoing(out, one));
    put_u32(out, done.len() as u32); // what was done since the cursor was last written
    done.iter().for_each(|offset| put_u64(out, *offset));
}

fn read_snapshot(reader: &mut Reader<'_>) -> Result<Snapshot, Unreadable> {
    Ok(Snapshot {
        client_id: reader.text()?.into(),
        user: read_optional(reader)?,
        expiry: reader.u32()?,
        parked: read_parked(reader)?,
        through: read_u64(reader)?,
        subscriptions: read_many(reader, read_subscription)?,
        unreleased: read_many(reader, |reader| Ok(reader.packet_id()?))?
            .into_iter()
            .collect(),
        outgoing: read_many(reader, read_outgoing)?.into(),
        done: read_many(reader, read_u64)?.into_iter().collect(),
    })
}

fn read_parked(reader: &mut Reader<'_>) -> Result<Option<Millis>, Unreadable> {
    let at = read_u64(reader)?;
    Ok((at != u64::MAX).then_some(Millis(at)))
}

fn read_many<T>(
    reader: &mut Reader<'_>,
    read: impl Fn(&mut Reader<'_>) -> Result<T, Unreadable>,
) -> Result<Vec<T>, Unreadable> {
    let count = reader.u32()?;
    (0..count).map(|_| read(reader)).collect()
}

/// Appends the body of a change's record.
pub fn put_change(out: &mut Vec<u8>, change: &Change) {
    let of_client = |out: &mut Vec<u8>, kind: u8, client: &str| {
        out.push(kind);
        put_text(out, client);
    };
    let of_offset = |out: &mut Vec<u8>, kind: u8, offset: u64| {
        out.push(kind);
        put_u64(out, offset);
    };
    match change {
        Change::Batch { synced } => of_offset(out, BATCH, *synced),
        Change::Run { at, first, clean } => {
            of_offset(out, RUN, *first);
            put_u64(out, at.0);
            out.push((*clean).into());
        }
        Change::Reserved { through } => of_offset(out, RESERVED, *through),
        Change::Stopped { head } => of_offset(out, STOPPED, *head),
        Change::Trimmed { through } => of_offset(out, TRIMMED, *through),
        Change::Session(snapshot) => {
            out.push(SESSION);
            put_snapshot(out, snapshot);
        }
        Change::Presence {
            client,
            expiry,
            parked,
        } => {
            of_client(out, PRESENCE, client);
            put_u32(out, *expiry);
            put_u64(out, parked.map_or(u64::MAX, |at| at.0));
        }
        Change::Ended { client } => of_client(out, ENDED, client),
        Change::Subscribed {
            client,
            subscription,
        } => {
            of_client(out, SUBSCRIBED, client);
            put_subscription(out, subscription);
        }
        Change::Unsubscribed { client, filter } => {
            of_client(out, UNSUBSCRIBED, client);
            put_text(out, filter);
        }
        Change::Received { client, packet_id } => {
            of_client(out, RECEIVED, client);
            put_u16(out, packet_id.get());
        }
        Change::Released { client, packet_id } => {
            of_client(out, RELEASED, client);
            put_u16(out, packet_id.get());
        }
        Change::Paired { client, outgoing } => {
            of_client(out, PAIRED, client);
            put_outgoing(out, outgoing);
        }
        Change::Answered { client, packet_id } => {
            of_client(out, ANSWERED, client);
            put_u16(out, packet_id.get());
        }
        Change::Completed { client, packet_id } => {
            of_client(out, COMPLETED, client);
            put_u16(out, packet_id.get());
        }
        Change::Cursor { client, through } => {
            of_client(out, CURSOR, client);
            put_u64(out, *through);
        }
        Change::Will { client, user, will } => {
            of_client(out, WILL, client);
            put_optional(out, user.as_deref());
            put_will(out, will);
        }
        Change::WillDone { client } => of_client(out, WILL_DONE, client),
        Change::Group {
            filter,
            through,
            done,
        } => {
            of_client(out, GROUP, filter);
            put_u64(out, *through);
            put_u32(out, done.len() as u32); // as many as members have windows
            done.iter().for_each(|offset| put_u64(out, *offset));
        }
        Change::GroupGone { filter } => of_client(out, GROUP_GONE, filter),
        Change::Once(once) => {
            out.push(ONCE);
            put_once(out, once);
        }
    }
}

fn put_will(out: &mut Vec<u8>, will: &Will) {
    put_text(out, &will.topic);
    out.push(will.qos as u8 | if will.retain { HAS_RETAIN } else { 0 });
    put_u32(out, will.delay);
    out.push(will.properties.is_some().into());
    if let Some(properties) = &will.properties {
        properties.put_block(out);
    }
    put_binary(out, &will.payload);
}

fn read_will(reader: &mut Reader<'_>) -> Result<Will, Unreadable> {
    let topic = TopicName::parse(reader.text()?).map_err(|_| Unreadable)?;
    let flags = reader.u8()?;
    Ok(Will {
        topic,
        qos: Qos::from_wire(flags & 3).ok_or(Unreadable)?,
        retain: flags & HAS_RETAIN != 0,
        delay: reader.u32()?,
        properties: match reader.u8()? {
            0 => None,
            _ => MessageProperties::read_block(reader)?,
        },
        payload: Payload::copy_from_slice(reader.binary()?),
    })
}

/// Reads the body of a record.
pub fn read(body: &[u8]) -> Result<Entry, Unreadable> {
    let mut reader = Reader::new(body);
    let reader = &mut reader;
    let kind = reader.u8()?;
    let change = match kind {
        MESSAGE => return Ok(Entry::Message(read_logged(reader)?)),
        RETAINED => return Ok(Entry::Retained(read_logged(reader)?)),
        FIRST => return Ok(Entry::Message(read_first(reader)?)),
        BATCH => Change::Batch {
            synced: read_u64(reader)?,
        },
        RUN => Change::Run {
            first: read_u64(reader)?,
            at: Millis(read_u64(reader)?),
            clean: reader.u8()? != 0,
        },
        RESERVED => Change::Reserved {
            through: read_u64(reader)?,
        },
        STOPPED => Change::Stopped {
            head: read_u64(reader)?,
        },
        TRIMMED => Change::Trimmed {
            through: read_u64(reader)?,
        },
        SESSION => Change::Session(Box::new(read_snapshot(reader)?)),
        ENDED..=WILL_DONE => read_of_client(kind, reader)?,
        GROUP => Change::Group {
            filter: reader.text()?.into(),
            through: read_u64(reader)?,
            done: read_many(reader, read_u64)?,
        },
        GROUP_GONE => Change::GroupGone {
            filter: reader.text()?.into(),
        },
        ONCE => Change::Once(Arc::new(read_once(reader)?)),
        _ => return Err(Unreadable),
    };
    match reader.is_empty() {
        true => Ok(Entry::Change(change)),
        false => Err(Unreadable),
    }
}

fn read_of_client(kind: u8, reader: &mut Reader<'_>) -> Result<Change, Unreadable> {
    let client: Arc<str> = reader.text()?.into();
    Ok(match kind {
        PRESENCE => Change::Presence {
            client,
            expiry: reader.u32()?,
            parked: read_parked(reader)?,
        },
        ENDED => Change::Ended { client },
        SUBSCRIBED => Change::Subscribed {
            client,
            subscription: read_subscription(reader)?,
        },
        UNSUBSCRIBED => Change::Unsubscribed {
            client,
            filter: reader.text()?.into(),
        },
        RECEIVED => Change::Received {
            client,
            packet_id: reader.packet_id()?,
        },
        RELEASED => Change::Released {
            client,
            packet_id: reader.packet_id()?,
        },
        PAIRED => Change::Paired {
            client,
            outgoing: read_outgoing(reader)?,
        },
        ANSWERED => Change::Answered {
            client,
            packet_id: reader.packet_id()?,
        },
        COMPLETED => Change::Completed {
            client,
            packet_id: reader.packet_id()?,
        },
        CURSOR => Change::Cursor {
            client,
            through: read_u64(reader)?,
        },
        WILL => Change::Will {
            client,
            user: read_optional(reader)?,
            will: read_will(reader)?,
        },
        WILL_DONE => Change::WillDone { client },
        _ => return Err(Unreadable),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        Message::new(
            TopicName::parse("a/b").unwrap(),
            b"payload".into(),
            Qos::ExactlyOnce,
            true,
            None,
            None,
            Millis(5),
        )
    }

    fn once(answer: usize) -> Arc<Once> {
        Arc::new(Once {
            user: Some("ann".into()),
            key: "8e03978e".into(),
            fingerprint: [9; 32],
            at: Millis(7),
            answer: vec![b'x'; answer].into(),
        })
    }

    #[test]
    fn the_first_of_several_messages_says_how_many_they_are_and_under_which_key() {
        for once in [None, Some(once(0)), Some(once(200_000))] {
            let begins = Together { messages: 3, once };
            let mut body = Vec::new();
            put_first(&mut body, 41, &message(), &begins);
            let Ok(Entry::Message(logged)) = read(&body) else {
                panic!("a message");
            };
            assert_eq!((logged.offset, logged.begins), (41, Some(begins)));
            assert_eq!(&*logged.message.payload, b"payload");
            assert!(logged.message.retain && logged.inbound.is_none());
        }
    }

    #[test]
    fn a_message_alone_is_written_as_ever() {
        let mut body = Vec::new();
        put_message(&mut body, 1, &message(), None);
        let text = b"\x01\0\0\0\0\0\0\0\x01\x06\0\0\0\0\0\0\0\x05\0\x03a/bpayload";
        assert_eq!(body, text);
        let Ok(Entry::Message(logged)) = read(&body) else {
            panic!("a message");
        };
        assert_eq!(logged.begins, None);
    }

    #[test]
    fn a_request_that_happens_once_is_read_as_it_was_written_or_not_at_all() {
        let mut body = Vec::new();
        put_change(&mut body, &Change::Once(once(300)));
        match read(&body) {
            Ok(Entry::Change(change)) => assert_eq!(change, Change::Once(once(300))),
            other => panic!("{other:?}"),
        }
        for cut in 0..body.len() {
            assert!(read(&body[..cut]).is_err(), "cut at {cut}");
        }
    }
}
