use super::{opening::Terms, violation::Violation, *};
use crate::{
    message::{Delivery, Message, Millis, Origin},
    mqtt::{
        Packet, PacketId, Qos,
        ack::Ack,
        disconnect::Disconnect,
        property::MessageProperties,
        reason::ReasonCode,
        subscribe::SubscriptionOptions,
        topic::{TopicFilter, TopicName},
        write_queue::WriteQueue,
    },
    mqtt::{
        Version,
        frame::{Decoder, Peer},
        publish,
    },
};
use std::num::NonZeroU16;
use std::sync::Arc;

const NOW: Millis = Millis(1_000_000);

fn terms(version: Version, window: u16) -> Terms {
    Terms {
        version,
        keep_alive: 60,
        session_expiry: 100,
        max_session_expiry: 1000,
        receive_maximum_in: version.is_v5().then_some(2),
        receive_maximum_out: window,
        max_packet_out: 1000,
        payload_limit: 100,
        alias_maximum_in: 2,
        alias_maximum_out: 0,
        unreleased_limit: 100,
        problem_information: true,
        features: features::Features::default(),
    }
}

fn session(version: Version, window: u16) -> Session {
    Session::new("c".into(), terms(version, window), 0)
}

fn id(value: u16) -> PacketId {
    NonZeroU16::new(value).unwrap()
}

fn incoming(qos: Qos, packet_id: u16, dup: bool) -> Packet {
    Packet::Publish(publish::Publish {
        dup,
        qos,
        retain: false,
        packet_id: PacketId::new(packet_id),
        topic: TopicName::parse("a/b").ok(),
        alias: None,
        subscription_ids: Default::default(),
        properties: None,
        payload: b"x".into(),
    })
}

fn delivery(qos: Qos, expiry: Option<u32>, payload: usize) -> Delivery {
    let properties = expiry.map(|seconds| {
        Box::new(MessageProperties {
            message_expiry: Some(seconds),
            ..Default::default()
        })
    });
    let origin = Arc::new(Origin::default());
    let topic = TopicName::parse("t").unwrap();
    let payload = vec![b'p'; payload].into();
    let message = Message::new(topic, payload, qos, false, properties, Some(origin), NOW);
    Delivery {
        message: Arc::new(message),
        qos,
        retain: false,
        position: None,
        subscription_ids: None,
        share: None,
    }
}

/// What a client reads.
fn read(version: Version, out: &mut WriteQueue) -> Vec<Packet> {
    let mut slices = [std::io::IoSlice::new(&[]); 16];
    let used = out.slices(&mut slices);
    let bytes: Vec<u8> = slices[..used]
        .iter()
        .flat_map(|slice| slice.to_vec())
        .collect();
    out.advance(bytes.len());
    let mut packets = Vec::new();
    Decoder::with_version(Peer::Server, version, 1_000_000)
        .feed(&bytes, &mut packets)
        .unwrap();
    packets
}

fn ack(packet_id: u16) -> Ack {
    Ack::new(id(packet_id), ReasonCode::Success)
}

#[test]
fn mqtt_4_3_3_10_duplicate_qos2_publish_is_acknowledged_not_redelivered() {
    let (mut session, mut out) = (session(Version::V5, 9), WriteQueue::default());
    let first = session
        .handle_unkept(incoming(Qos::ExactlyOnce, 7, false), &mut out)
        .unwrap();
    assert!(matches!(first, Request::Publish(_)));
    session.answer_publish(Qos::ExactlyOnce, Some(id(7)), ReasonCode::Success, &mut out);
    let again = session
        .handle_unkept(incoming(Qos::ExactlyOnce, 7, true), &mut out)
        .unwrap();
    assert_eq!(again, Request::Nothing);
    session
        .handle_unkept(Packet::PubRel(ack(7)), &mut out)
        .unwrap();
    let fresh = session
        .handle_unkept(incoming(Qos::ExactlyOnce, 7, false), &mut out)
        .unwrap();
    // [MQTT-4.3.3-12]
    assert!(matches!(fresh, Request::Publish(_)));
    assert_eq!(
        read(Version::V5, &mut out),
        [
            Packet::PubRec(ack(7)),
            Packet::PubRec(ack(7)),
            Packet::PubComp(ack(7))
        ]
    );
}

#[test]
fn mqtt_4_3_3_9_a_refused_qos2_publish_frees_its_identifier() {
    let (mut session, mut out) = (session(Version::V5, 9), WriteQueue::default());
    session
        .handle_unkept(incoming(Qos::ExactlyOnce, 7, false), &mut out)
        .unwrap();
    session.answer_publish(
        Qos::ExactlyOnce,
        Some(id(7)),
        ReasonCode::NotAuthorized,
        &mut out,
    );
    let again = session
        .handle_unkept(incoming(Qos::ExactlyOnce, 7, false), &mut out)
        .unwrap();
    assert!(matches!(again, Request::Publish(_)));
}

#[test]
fn mqtt_3_3_4_7_more_than_the_receive_maximum_is_a_violation_and_only_on_5_0() {
    for version in [Version::V5, Version::V311] {
        let (mut session, mut out) = (session(version, 9), WriteQueue::default());
        for packet_id in [1, 2] {
            session
                .handle_unkept(incoming(Qos::ExactlyOnce, packet_id, false), &mut out)
                .unwrap();
        }
        let third = session.handle_unkept(incoming(Qos::ExactlyOnce, 3, false), &mut out);
        assert_eq!(third.is_err(), version.is_v5());
        if version.is_v5() {
            assert_eq!(third, Err(Violation::ReceiveMaximumExceeded));
        }
    }
}

#[test]
fn what_is_one_too_many_unreleased_on_3_x_ends_the_connection_and_is_not_kept() {
    let mut terms = terms(Version::V311, 9);
    terms.unreleased_limit = 1;
    let (mut session, mut out) = (
        Session::new("c".into(), terms.clone(), 0),
        WriteQueue::default(),
    );
    let mut send = |session: &mut Session, qos, packet_id| {
        session.handle_unkept(incoming(qos, packet_id, false), &mut out)
    };
    assert!(send(&mut session, Qos::ExactlyOnce, 1).is_ok());
    for _ in 0..2 {
        let second = send(&mut session, Qos::ExactlyOnce, 2);
        assert_eq!(second, Err(Violation::TooManyUnreleased));
        session.resume(terms.clone());
        let other = send(&mut session, Qos::AtLeastOnce, 3);
        assert!(matches!(other, Ok(Request::Publish(_))));
    }
}

#[test]
fn mqtt_3_3_4_9_the_clients_receive_maximum_is_the_window() {
    let (mut session, mut out) = (session(Version::V5, 2), WriteQueue::default());
    assert_eq!(session.quota(), 2);
    session.deliver(delivery(Qos::AtLeastOnce, None, 1), NOW, &mut out);
    session.deliver(delivery(Qos::ExactlyOnce, None, 1), NOW, &mut out);
    assert_eq!(session.quota(), 0);
    // QoS 2 holds its place until PUBCOMP
    session
        .handle_unkept(Packet::PubRec(ack(2)), &mut out)
        .unwrap();
    assert_eq!(session.quota(), 0);
    assert_eq!(
        session.handle_unkept(Packet::PubComp(ack(2)), &mut out),
        Ok(Request::Room)
    );
    assert_eq!(
        session.handle_unkept(Packet::PubAck(ack(1)), &mut out),
        Ok(Request::Room)
    );
    assert_eq!(session.quota(), 2);
}

#[test]
fn a_message_that_was_refused_is_new_when_it_comes_again() {
    for version in [Version::V311, Version::V5] {
        let (mut session, mut out) = (session(version, 9), WriteQueue::default());
        let first = session.handle_unkept(incoming(Qos::ExactlyOnce, 1, false), &mut out);
        assert!(matches!(first, Ok(Request::Publish(_))));
        session.not_taken(Qos::ExactlyOnce, PacketId::new(1));
        session.resume(terms(version, 9));
        let again = session.handle_unkept(incoming(Qos::ExactlyOnce, 1, true), &mut out);
        assert!(matches!(again, Ok(Request::Publish(_))), "{again:?}");
    }
}

#[test]
fn mqtt_4_4_0_1_a_resumed_session_repeats_what_is_unacknowledged_in_order() {
    let (mut session, mut out) = (session(Version::V311, 9), WriteQueue::default());
    for qos in [
        Qos::AtLeastOnce,
        Qos::ExactlyOnce,
        Qos::ExactlyOnce,
        Qos::AtLeastOnce,
    ] {
        session.deliver(delivery(qos, None, 1), NOW, &mut out);
    }
    session
        .handle_unkept(Packet::PubRec(ack(2)), &mut out)
        .unwrap();
    session
        .handle_unkept(Packet::PubAck(ack(4)), &mut out)
        .unwrap();
    read(Version::V311, &mut out);
    session.resume(terms(Version::V311, 1));
    // the PUBREL needs no room in the window, the second PUBLISH does
    assert!(!session.resend(NOW, |_| true, &mut out).is_all);
    let repeated = read(Version::V311, &mut out);
    assert!(
        matches!(&repeated[..], [Packet::PubRel(rel), Packet::Publish(p)]
        if rel.packet_id == id(2) && p.dup && p.packet_id == Some(id(1)) && p.qos == Qos::AtLeastOnce)
    );
    assert_eq!(session.quota(), 0);
    session
        .handle_unkept(Packet::PubAck(ack(1)), &mut out)
        .unwrap();
    assert!(session.resend(NOW, |_| true, &mut out).is_all);
    let rest = read(Version::V311, &mut out);
    assert!(matches!(&rest[..], [Packet::Publish(p)] if p.dup && p.packet_id == Some(id(3))));
    assert!(session.resend(NOW, |_| true, &mut out).is_all && out.is_empty());
}

#[test]
fn an_acknowledgement_of_the_wrong_kind_is_a_violation_and_ends_nothing() {
    for version in [Version::V31, Version::V311, Version::V5] {
        let (mut session, mut out) = (session(version, 9), WriteQueue::default());
        session.deliver(delivery(Qos::AtLeastOnce, None, 1), NOW, &mut out);
        session.deliver(delivery(Qos::ExactlyOnce, None, 1), NOW, &mut out);
        for wrong in [
            Packet::PubRec(ack(1)),
            Packet::PubComp(ack(1)),
            Packet::PubAck(ack(2)),
            Packet::PubComp(ack(2)),
        ] {
            let handled = session.handle_unkept(wrong.clone(), &mut out);
            assert_eq!(handled, Err(Violation::WrongAcknowledgement), "{wrong:?}");
            assert_eq!(session.in_flight(), 2);
        }
        session
            .handle_unkept(Packet::PubRec(ack(2)), &mut out)
            .unwrap();
        // repeated, as on 3.1
        session
            .handle_unkept(Packet::PubRec(ack(2)), &mut out)
            .unwrap();
        let late = session.handle_unkept(Packet::PubAck(ack(2)), &mut out);
        assert_eq!(late, Err(Violation::WrongAcknowledgement));
        assert_eq!(
            session.handle_unkept(Packet::PubComp(ack(2)), &mut out),
            Ok(Request::Room)
        );
        assert_eq!(
            session.handle_unkept(Packet::PubAck(ack(1)), &mut out),
            Ok(Request::Room)
        );
    }
}

#[test]
fn mqtt_4_4_0_2_a_pubrec_of_failure_ends_the_exchange() {
    let (mut session, mut out) = (session(Version::V5, 1), WriteQueue::default());
    session.deliver(delivery(Qos::ExactlyOnce, None, 1), NOW, &mut out);
    let refusal = Ack::new(id(1), ReasonCode::QuotaExceeded);
    assert_eq!(
        session.handle_unkept(Packet::PubRec(refusal), &mut out),
        Ok(Request::Room)
    );
    assert_eq!((session.quota(), session.in_flight()), (1, 0));
}

#[test]
fn mqtt_3_6_2_1_acknowledgements_of_unknown_identifiers_are_answered_with_0x92_on_5_0() {
    for (version, reason) in [
        (Version::V5, ReasonCode::PacketIdentifierNotFound),
        (Version::V311, ReasonCode::Success),
    ] {
        let (mut session, mut out) = (session(version, 1), WriteQueue::default());
        session
            .handle_unkept(Packet::PubRec(ack(9)), &mut out)
            .unwrap();
        session
            .handle_unkept(Packet::PubRel(ack(8)), &mut out)
            .unwrap();
        assert_eq!(
            session.handle_unkept(Packet::PubAck(ack(7)), &mut out),
            Ok(Request::Nothing)
        );
        let expected = [
            Packet::PubRel(Ack::new(id(9), reason)),
            Packet::PubComp(Ack::new(id(8), reason)),
        ];
        assert_eq!(read(version, &mut out), expected);
    }
}

#[test]
fn mqtt_3_3_2_5_and_6_expiry_counts_down_and_what_has_expired_is_not_sent() {
    let (mut session, mut out) = (session(Version::V5, 9), WriteQueue::default());
    let later = NOW.plus_seconds(4);
    assert_eq!(
        session.deliver(delivery(Qos::AtMostOnce, Some(10), 1), later, &mut out),
        Delivered::Sent
    );
    assert_eq!(
        session.deliver(delivery(Qos::AtLeastOnce, Some(4), 1), later, &mut out),
        Delivered::Expired
    );
    let packets = read(Version::V5, &mut out);
    assert!(
        matches!(&packets[..], [Packet::Publish(p)] if p.properties.as_ref().unwrap().message_expiry == Some(6))
    );
    assert_eq!(session.in_flight(), 0);
}

#[test]
fn mqtt_3_1_2_25_a_packet_too_large_for_the_client_is_as_good_as_delivered() {
    let (mut session, mut out) = (session(Version::V5, 9), WriteQueue::default());
    assert_eq!(
        session.deliver(delivery(Qos::AtLeastOnce, None, 1001), NOW, &mut out),
        Delivered::TooLarge
    );
    assert!(out.is_empty() && session.in_flight() == 0);
}

#[test]
fn a_payload_above_the_limit_is_a_violation() {
    let (mut session, mut out) = (session(Version::V311, 9), WriteQueue::default());
    let Packet::Publish(mut publish) = incoming(Qos::AtMostOnce, 0, false) else {
        unreachable!()
    };
    publish.payload = vec![0; 101].into();
    assert_eq!(
        session.handle_unkept(Packet::Publish(publish), &mut out),
        Err(Violation::PayloadTooLarge)
    );
}

#[test]
fn mqtt_3_1_0_2_a_second_connect_and_packets_of_a_server_are_violations() {
    let (mut session, mut out) = (session(Version::V5, 9), WriteQueue::default());
    assert_eq!(
        session.handle_unkept(Packet::PingResp, &mut out),
        Err(Violation::ServerPacket)
    );
    assert_eq!(
        session.handle_unkept(Packet::PingReq, &mut out),
        Ok(Request::Nothing)
    );
    assert_eq!(read(Version::V5, &mut out), [Packet::PingResp]);
}

#[test]
fn a_replaced_subscription_keeps_the_position_it_began_at() {
    let mut session = session(Version::V5, 9);
    let filter = TopicFilter::parse("a/#").unwrap();
    assert!(session.subscribe(filter.clone(), SubscriptionOptions::default(), None, 5));
    assert!(!session.subscribe(filter, SubscriptionOptions::default(), Some(3), 9));
    let kept = session.subscription("a/#").unwrap();
    assert_eq!((kept.since, kept.id), (5, Some(3)));
}

#[test]
fn a_disconnect_may_shorten_the_session_but_not_give_life_to_one_that_had_none() {
    let goodbye = |expiry| {
        Packet::Disconnect(Box::new(Disconnect {
            reason: ReasonCode::Success,
            session_expiry: Some(expiry),
            server_reference: None,
            explanation: None,
        }))
    };
    let mut out = WriteQueue::default();
    let mut durable = session(Version::V5, 9);
    assert!(durable.handle_unkept(goodbye(5000), &mut out).is_ok());
    assert_eq!(durable.expiry(), 1000);
    assert!(durable.handle_unkept(goodbye(0), &mut out).is_ok());
    assert!(!durable.is_durable());
    assert_eq!(
        durable.handle_unkept(goodbye(1), &mut out),
        Err(Violation::ExpiryAfterNone)
    );
}

#[test]
fn a_resumed_session_begins_with_its_whole_receive_maximum() {
    let (mut session, mut out) = (session(Version::V5, 9), WriteQueue::default());
    let mut send = |session: &mut Session, packet_id| {
        session.handle_unkept(incoming(Qos::ExactlyOnce, packet_id, false), &mut out)
    };
    for packet_id in [1, 2] {
        send(&mut session, packet_id).unwrap();
    }
    session.resume(terms(Version::V5, 9));
    for packet_id in [3, 4] {
        assert!(matches!(
            send(&mut session, packet_id),
            Ok(Request::Publish(_))
        ));
    }
    // still known from before
    assert_eq!(send(&mut session, 1), Ok(Request::Nothing));
    assert_eq!(
        send(&mut session, 5),
        Err(Violation::ReceiveMaximumExceeded)
    );
}

#[test]
fn a_message_that_only_its_alias_makes_too_large_is_sent_without() {
    let mut terms = terms(Version::V5, 9);
    terms.alias_maximum_out = 1;
    // fixed header 2, topic 3, identifier 2, property length 1
    terms.max_packet_out = 108;
    let mut session = Session::new("c".into(), terms, 0);
    let mut out = WriteQueue::default();
    for _ in 0..2 {
        assert_eq!(
            session.deliver(delivery(Qos::AtLeastOnce, None, 100), NOW, &mut out),
            Delivered::Sent
        );
    }
    let packets = read(Version::V5, &mut out);
    let aliases = packets.iter().map(|packet| match packet {
        Packet::Publish(publish) => (publish.topic.is_some(), publish.alias),
        other => panic!("{other:?}"),
    });
    assert_eq!(aliases.collect::<Vec<_>>(), [(true, None); 2]);
}

#[test]
fn mqtt_3_14_2_3_a_goodbye_leaves_out_what_the_client_cannot_take() {
    let reason = ReasonCode::UseAnotherServer;
    for (limit, server, explained) in [(100, true, true), (30, true, false), (10, false, false)] {
        let mut terms = terms(Version::V5, 9);
        terms.max_packet_out = limit;
        let session = Session::new("c".into(), terms, 0);
        let mut out = WriteQueue::default();
        session.farewell(
            reason,
            "the gateway is shutting down",
            Some("other:1883"),
            &mut out,
        );
        let [Packet::Disconnect(said)] = &read(Version::V5, &mut out)[..] else {
            panic!("one DISCONNECT of at most {limit} bytes")
        };
        assert_eq!(said.reason, reason);
        assert_eq!(said.server_reference.is_some(), server, "{limit}");
        assert_eq!(said.explanation.is_some(), explained, "{limit}");
    }
}

#[test]
fn a_qos_2_message_that_became_too_large_is_released_since_the_client_may_have_it() {
    let (mut session, mut out) = (session(Version::V5, 9), WriteQueue::default());
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        session.deliver(delivery(qos, None, 100), NOW, &mut out);
    }
    read(Version::V5, &mut out);
    let mut smaller = terms(Version::V5, 9);
    smaller.max_packet_out = 100;
    session.resume(smaller);
    assert!(session.resend(NOW, |_| true, &mut out).is_all);
    assert_eq!(read(Version::V5, &mut out), [Packet::PubRel(ack(2))]);
    assert_eq!(session.in_flight(), 1);
    session
        .handle_unkept(Packet::PubComp(ack(2)), &mut out)
        .unwrap();
    assert_eq!((session.in_flight(), session.quota()), (0, 9));
}
