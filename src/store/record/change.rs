//! Changes of what is kept beside the messages.

use super::{
    ANSWERED, BATCH, CAME_IN, COMPLETED, CURSOR, ENDED, GRANTED, GROUP, GROUP_GONE, GROUP_OPEN,
    HISTORY, ONCE, PAIRED, PRESENCE, RECEIVED, RELEASED, RESERVED, RUN, SESSION, STOPPED,
    SUBSCRIBED, TRIMMED, UNSUBSCRIBED, Unreadable, WILL, WILL_DONE,
    logged::{put_once, read_once},
    parts::{
        put_optional, put_texts, put_u64, read_if, read_many, read_optional, read_texts, read_u64,
    },
    session::{
        put_outgoing, put_snapshot, put_subscription, read_outgoing, read_parked, read_snapshot,
        read_subscription,
    },
};
use crate::{
    auth::rules::{Via, Way, rights::Grants},
    message::Millis,
    mqtt::{
        PacketId, Qos,
        connect::Will,
        payload::Payload,
        primitive::{Reader, put_binary, put_text, put_u16, put_u32},
        property::MessageProperties,
        topic::TopicName,
    },
    session::{
        snapshot::{Outgoing, Snapshot},
        subscriptions::Subscription,
    },
    store::once::Once,
};
use std::sync::Arc;

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
    /// The history rules, and above which position everything that matches each of them was recorded.
    History {
        /// Filters and positions.
        filters: Vec<(Box<str>, u64)>,
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
    /// How the client last came in whose session is kept or whose will is owed.
    CameIn {
        /// Whose.
        client: Arc<str>,
        /// It.
        way: Way,
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
    /// A share group has given everything up to here to members. Adds to what is known of it, unless it says less.
    Group {
        /// The whole filter.
        filter: Box<str>,
        /// The last offset.
        through: u64,
        /// QoS 2 messages above it that are done with.
        done: Vec<u64>,
        /// Messages up to there that are not done with.
        open: Vec<u64>,
    },
    /// The last member that could not miss anything left the group.
    GroupGone {
        /// The whole filter.
        filter: Box<str>,
    },
    /// A request that happens once, whose messages' record is gone.
    Once(Arc<Once>),
}

/// The will is to be retained.
const HAS_RETAIN: u8 = 0x04;

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
        Change::History { filters } => {
            out.push(HISTORY);
            put_u32(out, filters.len() as u32);
            for (filter, since) in filters {
                put_text(out, filter);
                put_u64(out, *since);
            }
        }
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
        Change::CameIn { client, way } => {
            let kind = way.grants.as_ref().map_or(CAME_IN, |_| GRANTED);
            of_client(out, kind, client);
            put_text(out, way.listener);
            put_text(out, way.via.as_str());
            put_texts(out, &way.groups);
            if let Some(grants) = &way.grants {
                let each = [&grants.publish, &grants.subscribe, &grants.retain];
                each.into_iter().for_each(|filters| put_texts(out, filters));
            }
        }
        Change::Group {
            filter,
            through,
            done,
            open,
        } => {
            let kind = if open.is_empty() { GROUP } else { GROUP_OPEN };
            of_client(out, kind, filter);
            put_u64(out, *through);
            put_offsets(out, done);
            if kind == GROUP_OPEN {
                put_offsets(out, open);
            }
        }
        Change::GroupGone { filter } => of_client(out, GROUP_GONE, filter),
        Change::Once(once) => {
            out.push(ONCE);
            put_once(out, once);
        }
    }
}

/// Offsets that members of a group hold, or did since it was last written down.
fn put_offsets(out: &mut Vec<u8>, offsets: &[u64]) {
    put_u32(out, offsets.len() as u32);
    offsets.iter().for_each(|offset| put_u64(out, *offset));
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

/// Reads what stands behind the kind.
pub(super) fn read(kind: u8, reader: &mut Reader<'_>) -> Result<Change, Unreadable> {
    Ok(match kind {
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
        HISTORY => Change::History {
            filters: read_many(reader, |reader| {
                Ok((reader.text()?.into(), read_u64(reader)?))
            })?,
        },
        SESSION => Change::Session(Box::new(read_snapshot(reader)?)),
        ENDED..=WILL_DONE | CAME_IN | GRANTED => read_of_client(kind, reader)?,
        GROUP | GROUP_OPEN => Change::Group {
            filter: reader.text()?.into(),
            through: read_u64(reader)?,
            done: read_many(reader, read_u64)?,
            // without a list, as it was written once, nothing below is open
            open: match kind {
                GROUP_OPEN => read_many(reader, read_u64)?,
                _ => Vec::new(),
            },
        },
        GROUP_GONE => Change::GroupGone {
            filter: reader.text()?.into(),
        },
        ONCE => Change::Once(Arc::new(read_once(reader)?)),
        _ => return Err(Unreadable),
    })
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
        CAME_IN | GRANTED => Change::CameIn {
            client,
            way: Way {
                listener: Way::listener_named(reader.text()?),
                via: Via::named(reader.text()?).ok_or(Unreadable)?,
                groups: read_texts(reader)?,
                grants: read_if(kind == GRANTED, || {
                    Ok(Arc::new(Grants {
                        publish: read_texts(reader)?,
                        subscribe: read_texts(reader)?,
                        retain: read_texts(reader)?,
                    }))
                })?,
            },
        },
        _ => return Err(Unreadable),
    })
}
