//! What holds for every packet of every version: it reads back as it was written, wherever the stream is cut, and no
//! bytes at all make a decoder panic.

use super::{
    Packet, PacketId, Qos, Version,
    ack::Ack,
    auth::Auth,
    connack::ConnAck,
    connect::{Connect, ConnectProperties, Will},
    disconnect::Disconnect,
    frame::{Decoder, Peer},
    packet_type::PacketType,
    property::{Explanation, MessageProperties},
    publish::Publish,
    reason::ReasonCode,
    subscribe::{RetainHandling, SubAck, Subscribe, SubscriptionOptions, Unsubscribe},
    topic::TopicName,
};
use bytes::Bytes;
use proptest::{
    collection::vec, option, prelude::*, sample::select, strategy::ValueTree,
    test_runner::TestRunner,
};
use std::collections::BTreeSet;

type User = Vec<(Box<str>, Box<str>)>;

fn text() -> impl Strategy<Value = Box<str>> {
    vec(
        any::<char>().prop_filter("U+0000 is no text", |c| *c != '\0'),
        0..10,
    )
    .prop_map(|chars| chars.into_iter().collect::<String>().into())
}

fn topic_text() -> impl Strategy<Value = Box<str>> {
    text().prop_map(|text| format!("t/{}", text.replace(['+', '#'], "")).into())
}

fn topic() -> impl Strategy<Value = TopicName> {
    topic_text().prop_map(|text| TopicName::parse(&text).unwrap())
}

fn data(most: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..most).prop_map(Bytes::from)
}

fn user() -> impl Strategy<Value = User> {
    vec((text(), text()), 0..4)
}

fn qos() -> impl Strategy<Value = Qos> {
    select(vec![Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce])
}

fn reason(packet: PacketType) -> impl Strategy<Value = ReasonCode> {
    let codes = (0..=255)
        .filter_map(ReasonCode::from_wire)
        .filter(|code| code.allowed_in(packet));
    select(codes.collect::<Vec<_>>())
}

/// Only what 5.0 has room for; `None` on 3.x.
fn on_v5<T: Clone + std::fmt::Debug + 'static>(
    version: Version,
    strategy: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Option<T>> {
    if version.is_v5() {
        option::of(strategy).boxed()
    } else {
        Just(None).boxed()
    }
}

fn user_on_v5(version: Version) -> impl Strategy<Value = User> {
    on_v5(version, user()).prop_map(Option::unwrap_or_default)
}

fn explanation(version: Version) -> impl Strategy<Value = Option<Box<Explanation>>> {
    let explanation = (option::of(text()), user()).prop_map(|(reason_string, user)| Explanation {
        reason_string,
        user,
    });
    on_v5(version, explanation)
        .prop_map(|e| e.filter(|e| *e != Explanation::default()).map(Box::new))
}

fn message_properties(version: Version) -> impl Strategy<Value = Option<Box<MessageProperties>>> {
    let all = (
        any::<Option<bool>>(),
        any::<Option<u32>>(),
        option::of(text()),
        option::of(topic_text()),
        option::of(data(20)),
        user(),
    );
    let properties = all.prop_map(
        |(utf8, expiry, content_type, response_topic, correlation_data, user)| MessageProperties {
            payload_is_utf8: utf8,
            message_expiry: expiry,
            content_type,
            response_topic,
            correlation_data,
            user,
        },
    );
    on_v5(version, properties).prop_map(|p| {
        p.filter(|p| *p != MessageProperties::default())
            .map(Box::new)
    })
}

fn will(version: Version) -> impl Strategy<Value = Box<Will>> {
    let delay = on_v5(version, any::<u32>()).prop_map(Option::unwrap_or_default);
    (
        topic(),
        data(50),
        qos(),
        any::<bool>(),
        delay,
        message_properties(version),
    )
        .prop_map(|(topic, payload, qos, retain, delay, properties)| {
            Box::new(Will {
                topic,
                payload: payload.into(),
                qos,
                retain,
                delay,
                properties,
            })
        })
}

fn connect_properties() -> impl Strategy<Value = ConnectProperties> {
    let numbers = (
        any::<Option<u32>>(),
        option::of(1u16..),
        option::of(1u32..),
        any::<u16>(),
    );
    let authentication = option::of((text(), option::of(data(20))));
    (numbers, any::<(bool, bool)>(), user(), authentication).prop_map(
        |(numbers, (response, problem), user, auth)| {
            let (method, data) = auth.unzip();
            ConnectProperties {
                session_expiry: numbers.0,
                receive_maximum: numbers.1,
                maximum_packet_size: numbers.2,
                topic_alias_maximum: numbers.3,
                request_response_information: response,
                request_problem_information: problem,
                user,
                authentication_method: method,
                authentication_data: data.flatten(),
            }
        },
    )
}

fn connect(version: Version) -> impl Strategy<Value = Packet> {
    let properties = on_v5(version, connect_properties()).prop_map(Option::unwrap_or_default);
    let flags = any::<(bool, bool, u16)>();
    (
        flags,
        text(),
        option::of(will(version)),
        option::of(text()),
        option::of(data(20)),
        properties,
    )
        .prop_map(
            move |(
                (bridge, clean_start, keep_alive),
                client_id,
                will,
                username,
                password,
                properties,
            )| {
                let password = password.filter(|_| version.is_v5() || username.is_some());
                let bridge = bridge && !version.is_v5();
                Packet::Connect(Box::new(Connect {
                    version,
                    bridge,
                    clean_start,
                    keep_alive,
                    client_id,
                    will,
                    username,
                    password,
                    properties,
                }))
            },
        )
}

fn connack(version: Version) -> impl Strategy<Value = Packet> {
    let numbers = (
        any::<Option<u32>>(),
        option::of(1u16..),
        option::of(select(vec![Qos::AtMostOnce, Qos::AtLeastOnce])),
        option::of(1u32..),
        any::<Option<u16>>(),
        any::<Option<u16>>(),
    );
    let texts = (
        option::of(text()),
        option::of(text()),
        option::of(text()),
        option::of(text()),
        option::of(data(9)),
    );
    let full = (
        any::<bool>(),
        reason(PacketType::ConnAck),
        numbers,
        any::<[Option<bool>; 4]>(),
        texts,
        explanation(version),
    );
    full.prop_map(
        move |(present, reason, numbers, available, texts, explanation)| {
            let v3_reason = reason
                .v3_return_code()
                .and_then(ReasonCode::from_v3_return_code);
            let reason = if version.is_v5() {
                reason
            } else {
                v3_reason.unwrap_or(ReasonCode::Success)
            };
            let mut connack = ConnAck::new(reason);
            connack.session_present =
                present && reason == ReasonCode::Success && version != Version::V31;
            if version.is_v5() {
                connack.explanation = explanation;
                (
                    connack.session_expiry,
                    connack.receive_maximum,
                    connack.maximum_qos,
                    ..,
                ) = numbers;
                (
                    ..,
                    connack.maximum_packet_size,
                    connack.topic_alias_maximum,
                    connack.server_keep_alive,
                ) = numbers;
                [connack.retain_available, connack.wildcard_available, ..] = available;
                [
                    ..,
                    connack.subscription_ids_available,
                    connack.shared_available,
                ] = available;
                let (id, information, server, method, data) = texts;
                (connack.assigned_client_id, connack.response_information) = (id, information);
                (connack.server_reference, connack.authentication_method) = (server, method);
                connack.authentication_data = data;
            }
            Packet::ConnAck(Box::new(connack))
        },
    )
}

fn publish(version: Version, from: Peer) -> impl Strategy<Value = Packet> {
    let hop = (
        any::<(bool, bool, PacketId)>(),
        qos(),
        topic(),
        any::<bool>(),
    );
    let ids = vec(
        1u32..=268_435_455,
        if from == Peer::Server { 0..4 } else { 0..1 },
    );
    let payload = prop_oneof![9 => data(300), 1 => data(20_000)];
    (
        hop,
        on_v5(version, any::<PacketId>()),
        on_v5(version, ids),
        message_properties(version),
        payload,
    )
        .prop_map(
            |(((dup, retain, id), qos, topic, full), alias, ids, properties, payload)| {
                let packet_id = (qos > Qos::AtMostOnce).then_some(id);
                Packet::Publish(Publish {
                    dup: dup && packet_id.is_some(),
                    qos,
                    retain,
                    packet_id,
                    topic: (full || alias.is_none()).then_some(topic),
                    alias,
                    subscription_ids: ids.unwrap_or_default().into(),
                    properties,
                    payload: payload.into(),
                })
            },
        )
}

fn ack(packet: PacketType, version: Version) -> impl Strategy<Value = Ack> {
    (
        any::<PacketId>(),
        on_v5(version, reason(packet)),
        explanation(version),
    )
        .prop_map(|(packet_id, reason, explanation)| Ack {
            packet_id,
            reason: reason.unwrap_or(ReasonCode::Success),
            explanation,
        })
}

fn options(version: Version) -> impl Strategy<Value = SubscriptionOptions> {
    let handling = select(vec![
        RetainHandling::Send,
        RetainHandling::SendIfNew,
        RetainHandling::DoNotSend,
    ]);
    let details =
        on_v5(version, (any::<(bool, bool)>(), handling)).prop_map(Option::unwrap_or_default);
    (qos(), details).prop_map(
        |(qos, ((no_local, retain_as_published), retain_handling))| SubscriptionOptions {
            qos,
            no_local,
            retain_as_published,
            retain_handling,
        },
    )
}

fn subscribe(version: Version) -> impl Strategy<Value = Packet> {
    let id = on_v5(version, 1u32..=268_435_455);
    (
        any::<PacketId>(),
        id,
        user_on_v5(version),
        vec((text(), options(version)), 1..5),
    )
        .prop_map(|(packet_id, subscription_id, user, filters)| {
            Packet::Subscribe(Box::new(Subscribe {
                packet_id,
                subscription_id,
                user,
                filters,
            }))
        })
}

fn unsubscribe(version: Version) -> impl Strategy<Value = Packet> {
    (any::<PacketId>(), user_on_v5(version), vec(text(), 1..5)).prop_map(
        |(packet_id, user, filters)| {
            Packet::Unsubscribe(Box::new(Unsubscribe {
                packet_id,
                user,
                filters,
            }))
        },
    )
}

fn suback(packet: PacketType, version: Version) -> impl Strategy<Value = Box<SubAck>> {
    (
        any::<PacketId>(),
        vec(reason(packet), 1..5),
        explanation(version),
    )
        .prop_map(move |(packet_id, mut reasons, explanation)| {
            match version {
                Version::V5 => {}
                _ if packet == PacketType::UnsubAck => reasons.clear(),
                Version::V31 => reasons
                    .iter_mut()
                    .filter(|r| r.is_failure())
                    .for_each(|r| *r = ReasonCode::Success),
                Version::V311 => {
                    reasons
                        .iter_mut()
                        .filter(|r| r.is_failure())
                        .for_each(|r| *r = ReasonCode::UnspecifiedError);
                }
            }
            Box::new(SubAck {
                packet_id,
                reasons,
                explanation,
            })
        })
}

fn disconnect(version: Version, from: Peer) -> impl Strategy<Value = Packet> {
    let content = (
        on_v5(version, reason(PacketType::Disconnect)),
        on_v5(version, any::<u32>()),
        on_v5(version, text()),
        explanation(version),
    );
    content.prop_map(
        move |(reason, session_expiry, server_reference, explanation)| {
            Packet::Disconnect(Box::new(Disconnect {
                reason: reason.unwrap_or(ReasonCode::Success),
                session_expiry: session_expiry.filter(|_| from == Peer::Client),
                server_reference,
                explanation,
            }))
        },
    )
}

fn auth(from: Peer) -> impl Strategy<Value = Packet> {
    let reasons = match from {
        Peer::Client => [
            ReasonCode::ContinueAuthentication,
            ReasonCode::ReAuthenticate,
        ],
        Peer::Server => [ReasonCode::ContinueAuthentication, ReasonCode::Success],
    };
    (
        select(reasons.to_vec()),
        text(),
        option::of(data(20)),
        explanation(Version::V5),
    )
        .prop_map(|(reason, method, data, explanation)| {
            Packet::Auth(Box::new(Auth {
                reason,
                method: Some(method),
                data,
                explanation,
            }))
        })
}

/// Any packet that this side sends in this version.
fn packet(version: Version, from: Peer) -> BoxedStrategy<Packet> {
    let both = prop_oneof![
        3 => publish(version, from),
        1 => ack(PacketType::PubAck, version).prop_map(Packet::PubAck),
        1 => ack(PacketType::PubRec, version).prop_map(Packet::PubRec),
        1 => ack(PacketType::PubRel, version).prop_map(Packet::PubRel),
        1 => ack(PacketType::PubComp, version).prop_map(Packet::PubComp),
    ];
    let own = match from {
        Peer::Client => prop_oneof![
            connect(version),
            subscribe(version),
            unsubscribe(version),
            disconnect(version, from),
            Just(Packet::PingReq),
        ]
        .boxed(),
        Peer::Server => prop_oneof![
            connack(version),
            suback(PacketType::SubAck, version).prop_map(Packet::SubAck),
            suback(PacketType::UnsubAck, version).prop_map(Packet::UnsubAck),
            Just(Packet::PingResp),
        ]
        .boxed(),
    };
    if !version.is_v5() {
        return prop_oneof![both, own].boxed();
    }
    prop_oneof![6 => both, 6 => own, 1 => auth(from), 1 => disconnect(version, from)].boxed()
}

fn side() -> impl Strategy<Value = (Version, Peer)> {
    (
        select(vec![Version::V31, Version::V311, Version::V5]),
        select(vec![Peer::Client, Peer::Server]),
    )
}

fn stream() -> impl Strategy<Value = (Version, Peer, Vec<Packet>)> {
    side().prop_flat_map(|(version, from)| {
        (Just(version), Just(from), vec(packet(version, from), 1..8))
    })
}

fn encoded(version: Version, packets: &[Packet]) -> Vec<u8> {
    let mut bytes = Vec::new();
    packets
        .iter()
        .for_each(|packet| packet.encode(version, &mut bytes));
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn packets_read_back_as_they_were_written((version, from, packets) in stream()) {
        let mut decoder = Decoder::with_version(from, version, usize::MAX);
        let mut read = Vec::new();
        prop_assert_eq!(decoder.feed(&encoded(version, &packets), &mut read), Ok(()));
        prop_assert_eq!(read, packets);
        prop_assert_eq!(decoder.buffered(), 0);
    }

    #[test]
    fn a_stream_reads_the_same_wherever_it_is_cut(
        (version, from, packets) in stream(),
        sizes in vec(prop_oneof![1..4usize, 1..2000usize], 1..20),
    ) {
        let bytes = encoded(version, &packets);
        let (mut rest, mut read) = (bytes.as_slice(), Vec::new());
        let mut decoder = Decoder::with_version(from, version, usize::MAX);
        for size in sizes.iter().cycle() {
            let (now, later) = rest.split_at(*size.min(&rest.len()));
            prop_assert_eq!(decoder.feed(now, &mut read), Ok(()));
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(read, packets);
    }

    #[test]
    fn damaged_packets_are_refused_or_mean_something_that_can_be_written(
        (version, from, packets) in stream(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encoded(version, &packets);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let mut read = Vec::new();
        let _ = Decoder::with_version(from, version, usize::MAX).feed(&bytes, &mut read);
        let mut again = Vec::new();
        let result = Decoder::with_version(from, version, usize::MAX).feed(&encoded(version, &read), &mut again);
        prop_assert_eq!(result, Ok(()));
        prop_assert_eq!(again, read);
    }

    #[test]
    fn random_bytes_never_panic((version, from) in side(), chunks in vec(vec(any::<u8>(), 0..40), 0..6)) {
        let mut decoders =
            [Decoder::new(from, 1000), Decoder::with_version(from, version, 1000)];
        for decoder in &mut decoders {
            for chunk in &chunks {
                // goes on after an error, which callers do not
                let _ = decoder.feed(chunk, &mut Vec::new());
            }
        }
    }

    #[test]
    fn random_bodies_never_panic((version, from) in side(), kind in 1u8..16, body in vec(any::<u8>(), 0..100)) {
        let first = PacketType::from_wire(kind).map_or(0, PacketType::first_byte);
        let bytes = [&[first, body.len() as u8][..], &body].concat();
        let _ = Decoder::with_version(from, version, 1000).feed(&bytes, &mut Vec::new());
    }
}

#[test]
fn every_packet_type_is_tried_in_every_version_both_ways() {
    let mut runner = TestRunner::deterministic();
    for version in [Version::V31, Version::V311, Version::V5] {
        for (from, mut expected) in [
            (Peer::Client, vec![1, 3, 4, 5, 6, 7, 8, 10, 12, 14]),
            (Peer::Server, vec![2, 3, 4, 5, 6, 7, 9, 11, 13]),
        ] {
            if version.is_v5() {
                expected.extend([14, 15]);
            }
            let strategy = packet(version, from);
            let mut kind = || {
                let tree = strategy.new_tree(&mut runner);
                let packet = tree.unwrap().current();
                encoded(version, &[packet])[0] >> 4
            };
            let tried: BTreeSet<u8> = (0..1000).map(|_| kind()).collect();
            assert_eq!(tried, expected.into_iter().collect());
        }
    }
}
