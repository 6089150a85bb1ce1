//! A change as the fields of a line of JSON.

use super::dump::Payload;
use crate::{
    http::envelope::{Properties, rfc3339},
    message::Millis,
    mqtt::{connect::Will, subscribe::RetainHandling},
    session::{
        snapshot::{Outgoing, Snapshot, Stage},
        subscriptions::Subscription,
    },
    store::record::Change,
};
use serde_json::{Value, json};

/// Its name.
pub fn kind(change: &Change) -> &'static str {
    match change {
        Change::Batch { .. } => "batch",
        Change::Run { .. } => "run",
        Change::Reserved { .. } => "reserved",
        Change::Stopped { .. } => "stopped",
        Change::Trimmed { .. } => "trimmed",
        Change::Session(_) => "session",
        Change::Presence { .. } => "presence",
        Change::Ended { .. } => "ended",
        Change::Subscribed { .. } => "subscribed",
        Change::Unsubscribed { .. } => "unsubscribed",
        Change::Received { .. } => "received",
        Change::Released { .. } => "released",
        Change::Paired { .. } => "paired",
        Change::Answered { .. } => "answered",
        Change::Completed { .. } => "completed",
        Change::Cursor { .. } => "cursor",
        Change::Will { .. } => "will",
        Change::WillDone { .. } => "will-done",
        Change::CameIn { .. } => "came-in",
        Change::History { .. } => "history",
        Change::Group { .. } => "group",
        Change::GroupGone { .. } => "group-gone",
        Change::Once(_) => "once",
    }
}

/// What it says.
pub fn fields(change: &Change) -> Value {
    match change {
        Change::Batch { synced } => json!({ "synced": synced }),
        Change::Run { at, first, clean } => {
            json!({ "started": rfc3339(*at), "first": first, "clean": clean })
        }
        Change::Reserved { through } | Change::Trimmed { through } => {
            json!({ "through": through })
        }
        Change::Stopped { head } => json!({ "head": head }),
        Change::Session(session) => snapshot(session),
        Change::Presence {
            client,
            expiry,
            parked,
        } => json!({ "client": client, "expiry": expiry, "parked": parked_at(*parked) }),
        Change::Ended { client } | Change::WillDone { client } => json!({ "client": client }),
        Change::Subscribed {
            client,
            subscription: one,
        } => json!({ "client": client, "subscription": subscription(one) }),
        Change::Unsubscribed { client, filter } => json!({ "client": client, "filter": filter }),
        Change::Received { client, packet_id }
        | Change::Released { client, packet_id }
        | Change::Answered { client, packet_id }
        | Change::Completed { client, packet_id } => {
            json!({ "client": client, "packet_id": packet_id.get() })
        }
        Change::Paired {
            client,
            outgoing: one,
        } => json!({ "client": client, "outgoing": outgoing(one) }),
        Change::Cursor { client, through } => json!({ "client": client, "through": through }),
        Change::Will {
            client,
            user,
            will: owed,
        } => json!({ "client": client, "user": user, "will": will(owed) }),
        Change::CameIn { client, way } => json!({
            "client": client,
            "listener": way.listener,
            "via": way.via.as_str(),
            "groups": way.groups,
            "grants": way.grants.as_ref().map(|grants| json!({
                "publish": grants.publish,
                "subscribe": grants.subscribe,
                "retain": grants.retain,
            })),
        }),
        Change::Group {
            filter,
            through,
            done,
            open,
        } => json!({ "filter": filter, "through": through, "done": done, "open": open }),
        Change::History { filters } => json!({ "filters": filters }),
        Change::GroupGone { filter } => json!({ "filter": filter }),
        Change::Once(once) => json!({
            "user": once.user,
            "idempotency_key": once.key,
            "done": rfc3339(once.at),
        }),
    }
}

fn parked_at(parked: Option<Millis>) -> Option<String> {
    parked.map(rfc3339)
}

fn snapshot(session: &Snapshot) -> Value {
    let Snapshot {
        client_id,
        user,
        expiry,
        parked,
        through,
        subscriptions,
        unreleased,
        outgoing: under_way,
        done,
    } = session;
    json!({
        "client": client_id,
        "user": user,
        "expiry": expiry,
        "parked": parked_at(*parked),
        "through": through,
        "subscriptions": subscriptions.iter().map(subscription).collect::<Vec<_>>(),
        "unreleased": unreleased.iter().map(|id| id.get()).collect::<Vec<_>>(),
        "outgoing": under_way.iter().map(outgoing).collect::<Vec<_>>(),
        "done": done,
    })
}

fn subscription(one: &Subscription) -> Value {
    json!({
        "filter": one.filter.as_str(),
        "qos": one.options.qos as u8,
        "no_local": one.options.no_local,
        "retain_as_published": one.options.retain_as_published,
        "retain_handling": match one.options.retain_handling {
            RetainHandling::Send => "send",
            RetainHandling::SendIfNew => "send-if-new",
            RetainHandling::DoNotSend => "do-not-send",
        },
        "id": one.id,
        "since": one.since,
    })
}

fn outgoing(one: &Outgoing) -> Value {
    let (stage, qos) = match one.stage {
        Stage::Sent(qos) => ("sent", qos as u8),
        Stage::Release => ("release", 2),
    };
    json!({
        "packet_id": one.packet_id.get(),
        "offset": one.offset,
        "stage": stage,
        "qos": qos,
        "retain": one.retain,
        "group": one.group,
    })
}

fn will(will: &Will) -> Value {
    let properties = will.properties.as_deref();
    let mut fields = json!({
        "topic": &*will.topic,
        "qos": will.qos as u8,
        "retain": will.retain,
        "delay": will.delay,
        "properties": properties.map(|one| Properties::of(one, one.message_expiry)),
    });
    if let (Some(fields), Value::Object(payload)) =
        (fields.as_object_mut(), json!(Payload::of(&will.payload)))
    {
        fields.extend(payload);
    }
    fields
}
