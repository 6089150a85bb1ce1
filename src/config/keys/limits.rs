//! The settings of what is refused: how large, how many, how fast, and which features.

use super::{KIB, Key, MIB, VAST, key};
use crate::{config::form, mqtt::property::MAX_USER_PROPERTIES};

/// Section `limits`.
pub(super) fn limits() -> Vec<Key> {
    vec![
        key(
            "limits.payload",
            "Largest payload of a message. An MQTT packet may be 256 KiB larger.",
            form::size(KIB..=255 * MIB),
            |s| &mut s.limits.payload,
        ),
        key(
            "limits.topic_levels",
            "Levels of a topic name or filter.",
            form::count(1..=65_536),
            |s| &mut s.limits.topic_levels,
        ),
        key(
            "limits.topic_bytes",
            "Longest topic name or filter, in bytes.",
            form::count(1..=65_535),
            |s| &mut s.limits.topic_bytes,
        ),
        key(
            "limits.user_properties",
            "User properties of one packet or will, or of one message from the web.",
            form::count(0..=MAX_USER_PROPERTIES),
            |s| &mut s.limits.user_properties,
        ),
        key(
            "limits.filters_per_request",
            "Filters in one SUBSCRIBE, or on one web stream.",
            form::count(1..=100_000),
            |s| &mut s.limits.filters_per_request,
        ),
        key(
            "limits.filters_per_session",
            "Subscriptions one session may hold.",
            form::count(1..=10_000_000),
            |s| &mut s.limits.filters_per_session,
        ),
        key(
            "limits.receive_maximum",
            "QoS 1 and 2 messages that may be unacknowledged at a time, in each direction.",
            form::count(1..=65_535),
            |s| &mut s.limits.receive_maximum,
        ),
        key(
            "limits.unreleased",
            "QoS 2 messages from one client that it has not released with PUBREL, those from before it reconnected\n\
             included.",
            form::count(1..=65_535),
            |s| &mut s.limits.unreleased,
        ),
        key(
            "limits.retained_messages",
            "Topics that may retain a message. A retained message above it is refused whole.",
            form::count(0..=100_000_000),
            |s| &mut s.limits.retained_messages,
        ),
        key(
            "limits.retained_bytes",
            "What all retained messages may hold together.",
            form::size(KIB..=VAST),
            |s| &mut s.limits.retained_bytes,
        ),
        key(
            "limits.sessions",
            "Sessions kept, those included that wait for their clients.",
            form::count(1..=100_000_000),
            |s| &mut s.limits.sessions,
        ),
        key(
            "limits.topic_alias_maximum",
            "Topic aliases an MQTT 5 client may set, and the most that are set for one.",
            form::count(0..=65_535),
            |s| &mut s.limits.topic_alias_maximum,
        ),
        key(
            "limits.connect",
            "Largest CONNECT packet.",
            form::size(KIB..=16 * MIB),
            |s| &mut s.limits.connect,
        ),
        key(
            "limits.unauthenticated",
            "What all connections that have no CONNACK yet may hold together, their CONNECT included.",
            form::size(MIB..=VAST),
            |s| &mut s.limits.unauthenticated,
        ),
        key(
            "limits.connections",
            "Connections open at a time, over all ways in; more wait to be accepted.",
            form::count(1..=10_000_000),
            |s| &mut s.limits.connections,
        ),
        key(
            "limits.client_id_bytes",
            "Longest client identifier, in bytes.",
            form::count(23..=65_535),
            |s| &mut s.limits.client_id_bytes,
        ),
        key(
            "limits.keep_alive",
            "Longest keep-alive an MQTT 5 client may have, in seconds; 0 leaves clients their choice.",
            form::count(0..=65_535),
            |s| &mut s.limits.keep_alive,
        ),
        key(
            "limits.replay_scan",
            "Messages of the log that one read of the web looks at, whether or not they match. A page of history ends\n\
             there, and tells where to go on; last= looks no further back.",
            form::count(1..=1_000_000_000),
            |s| &mut s.limits.replay_scan,
        ),
    ]
}

/// Section `quota`.
pub(super) fn quota() -> Vec<Key> {
    vec![
        key(
            "quota.messages",
            "Messages that one user may publish per second, over all ways in together; anonymous clients, those of one address\n\
             (one /64 of IPv6) together. A second's worth may come at once. MQTT clients and JSON WebSockets above it are read more\n\
             slowly, requests are answered with 429. 0: without limit, as for all of [quota].",
            form::count(0..=1_000_000_000),
            |s| &mut s.quota.messages,
        ),
        key(
            "quota.bytes",
            "As quota.messages, for the bytes of payloads.",
            form::size(0..=VAST),
            |s| &mut s.quota.bytes,
        ),
        key(
            "quota.streams",
            "Streams, reads of the history and subscriptions of JSON WebSockets that one user, or anonymous address, may have\n\
             open at a time. Anonymous clients on this machine have no limit, as for all of [quota].",
            form::count(0..=100_000_000),
            |s| &mut s.quota.streams,
        ),
        key(
            "quota.connections",
            "MQTT connections and JSON WebSockets of one user, or anonymous address, at a time.",
            form::count(0..=100_000_000),
            |s| &mut s.quota.connections,
        ),
        key(
            "quota.subscriptions",
            "Subscriptions that all MQTT sessions of one user may hold together.",
            form::count(0..=100_000_000),
            |s| &mut s.quota.subscriptions,
        ),
        key(
            "quota.connections_per_address",
            "Connections of any kind from one address at a time. Proxies that are trusted have no limit; whom they name in a\n\
             PROXY header has.",
            form::count(0..=100_000_000),
            |s| &mut s.quota.connections_per_address,
        ),
        key(
            "quota.connection_rate",
            "New connections of any kind from one address per second.",
            form::count(0..=1_000_000_000),
            |s| &mut s.quota.connection_rate,
        ),
    ]
}

/// Section `features`.
pub(super) fn features() -> Vec<Key> {
    vec![
        key(
            "features.maximum_qos",
            "Highest QoS of messages. Publishers above it are refused, subscribers are granted no more.",
            form::qos(),
            |s| &mut s.limits.features.maximum_qos,
        ),
        key(
            "features.retain",
            "Whether messages may be retained.",
            form::flag(),
            |s| &mut s.limits.features.retain,
        ),
        key(
            "features.wildcard_subscriptions",
            "Whether topic filters may have wildcards. The dashboard needs them.",
            form::flag(),
            |s| &mut s.limits.features.wildcard_subscriptions,
        ),
        key(
            "features.shared_subscriptions",
            "Whether $share filters are served.",
            form::flag(),
            |s| &mut s.limits.features.shared_subscriptions,
        ),
        key(
            "features.subscription_identifiers",
            "Whether MQTT 5 subscriptions may have identifiers.",
            form::flag(),
            |s| &mut s.limits.features.subscription_identifiers,
        ),
    ]
}
