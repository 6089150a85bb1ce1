//! The settings of what is kept, for how long, and where: store, history, sessions; and of topics.

use super::{DAY, KIB, Key, MIB, SECOND, VAST, key};
use crate::config::form;
use std::time::Duration;

/// Section `store`.
pub(super) fn store() -> Vec<Key> {
    vec![
        key(
            "store.path",
            "The data folder. Nothing is written there while store.durability is \"memory\".",
            form::folder(),
            |s| &mut s.store.path,
        ),
        key(
            "store.durability",
            "What has happened to a message before its publisher gets the acknowledgement.\n\
             \"fsync\": it is on the disk, synced together with others that came meanwhile.\n\
             { interval = \"50ms\" }: the system has it; a power cut loses at most so much.\n\
             \"memory\": it is in memory; nothing survives the end of the process.",
            form::durability(),
            |s| &mut s.store.durability,
        ),
        key(
            "store.max_bytes",
            "How much is kept for sessions that are away and for [[history]], together; above it the oldest goes.",
            form::size(MIB..=VAST),
            |s| &mut s.store.max_bytes,
        ),
    ]
}

/// Section `history_defaults`.
pub(super) fn history_defaults() -> Vec<Key> {
    vec![
        key(
            "history_defaults.tail_bytes",
            "How much of the newest part of what is kept is also kept in memory.",
            form::size(64 * KIB..=VAST),
            |s| &mut s.store.tail_bytes,
        ),
        key(
            "history_defaults.linger",
            "How long the messages of a filter are recorded after its last web stream has left.",
            form::duration(Duration::ZERO..=DAY),
            |s| &mut s.broker.linger,
        ),
    ]
}

/// Section `session`.
pub(super) fn session() -> Vec<Key> {
    vec![
        key(
            "session.max_expiry",
            "Longest time a session is kept after its connection ended.",
            form::duration(Duration::ZERO..=36_500 * DAY),
            |s| &mut s.broker.max_expiry,
        ),
        key(
            "session.restart_grace",
            "How long clients have after a start to come back before their wills are published.",
            form::duration(Duration::ZERO..=DAY),
            |s| &mut s.broker.restart_grace,
        ),
        key(
            "session.max_queued_messages",
            "Messages that wait for one receiver. When there are more, QoS 0 messages are dropped and counted.",
            form::count(1..=100_000_000),
            |s| &mut s.broker.max_queued_messages,
        ),
        key(
            "session.max_queued_bytes",
            "Bytes that wait for one receiver; a single message always may.",
            form::size(KIB..=VAST),
            |s| &mut s.broker.max_queued_bytes,
        ),
    ]
}

/// Section `topics`.
pub(super) fn topics() -> Vec<Key> {
    vec![key(
        "topics.allow_controls",
        "Whether publishers on the web may use topics with control and format characters, as MQTT clients may.",
        form::flag(),
        |s| &mut s.broker.allow_controls,
    )]
}

/// Section `sys`.
pub(super) fn sys() -> Vec<Key> {
    vec![key(
        "sys.interval",
        "How often the numbers under $SYS/broker/ are published.",
        form::duration(SECOND..=DAY),
        |s| &mut s.broker.sys_interval,
    )]
}
