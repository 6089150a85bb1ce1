//! Sessions: their subscriptions, what is under way, and the whole of one.

use super::{
    Unreadable,
    parts::{put_optional, put_u64, read_many, read_optional, read_u64},
};
use crate::{
    message::Millis,
    mqtt::{
        Qos,
        primitive::{Reader, put_text, put_u16, put_u32},
        subscribe::{RetainHandling, SubscriptionOptions},
        topic::TopicFilter,
    },
    session::{
        snapshot::{Outgoing, Snapshot, Stage},
        subscriptions::Subscription,
    },
};

const NO_LOCAL: u8 = 0x04;
const AS_PUBLISHED: u8 = 0x08;

pub(super) fn put_subscription(out: &mut Vec<u8>, subscription: &Subscription) {
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

pub(super) fn read_subscription(reader: &mut Reader<'_>) -> Result<Subscription, Unreadable> {
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

pub(super) fn put_outgoing(out: &mut Vec<u8>, outgoing: &Outgoing) {
    put_u16(out, outgoing.packet_id.get());
    put_u64(out, outgoing.offset);
    out.push(stage_byte(outgoing.stage));
    out.push(outgoing.retain.into());
    put_optional(out, outgoing.group.as_deref());
}

pub(super) fn read_outgoing(reader: &mut Reader<'_>) -> Result<Outgoing, Unreadable> {
    Ok(Outgoing {
        packet_id: reader.packet_id()?,
        offset: read_u64(reader)?,
        stage: read_stage(reader)?,
        retain: reader.u8()? != 0,
        group: read_optional(reader)?,
    })
}

pub(super) fn put_snapshot(out: &mut Vec<u8>, snapshot: &Snapshot) {
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

pub(super) fn read_snapshot(reader: &mut Reader<'_>) -> Result<Snapshot, Unreadable> {
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

pub(super) fn read_parked(reader: &mut Reader<'_>) -> Result<Option<Millis>, Unreadable> {
    let at = read_u64(reader)?;
    Ok((at != u64::MAX).then_some(Millis(at)))
}
