//! Chapter 2: fixed headers, packet identifiers, properties.

use std::collections::BTreeSet;

use crate::{
    stage::{Stage, joined, text, with_id},
    support::{
        unique,
        wire::{self, PUBACK, PUBCOMP, PUBREC, PUBREL, Properties, Publish, Value, property},
    },
};

claims! {
    v5_v311_mqtt_2_1_3_1_wrong_flags_in_a_fixed_header_end_the_connection:
        v5["2.1.3-1", "3.6.1-1", "3.8.1-1", "3.10.1-1", "3.14.1-1"]
        v311["2.2.2-2", "2.2.2-1", "3.6.1-1", "3.8.1-1", "3.10.1-1", "3.14.1-1"];
    v5_v311_mqtt_2_1_3_1_every_packet_of_the_gateway_is_what_the_standard_lays_out:
        v5["2.1.3-1", "2.2.1-5", "2.2.1-6", "2.2.2-1", "3.6.1-1"]
        v311["2.2.2-1", "2.3.1-6", "2.3.1-7", "3.6.1-1", "7.0.0-2"];
    v5_v311_mqtt_2_2_1_2_qos_0_has_no_packet_identifier: v5["2.2.1-2"] v311["2.3.1-5"];
    v5_v311_mqtt_2_2_1_3_a_packet_identifier_is_not_zero: v5["2.2.1-3"] v311["2.3.1-1"];
    v5_v311_mqtt_2_2_1_4_identifiers_of_deliveries_are_distinct_and_stay_when_they_are_repeated:
        v5["2.2.1-4"] v311["2.3.1-4"];
    v5_v311_mqtt_2_2_1_3_an_identifier_in_use_marks_a_repetition:
        v5["2.2.1-3"] v311["2.3.1-2", "2.3.1-3"];
    v5_mqtt_2_2_1_5_an_unknown_identifier_is_answered_with_0x92: v5["2.2.1-5"];
    v311_mqtt_2_3_1_6_an_unknown_identifier_is_answered_all_the_same: v311["2.3.1-6"];
    v5_mqtt_2_2_2_1_properties_begin_with_their_length: v5["2.2.2-1"];
    v5_v311_a_packet_type_of_the_other_side_ends_the_connection:
        v5["packet type 0, or one that only servers send"] v311["packet type 0 or 15, or one that only servers send"];
    v5_v311_lengths_that_do_not_fit_end_the_connection:
        v5["a length that overruns its packet, or bytes after the last field"]
        v311["a length that overruns its packet, or bytes after the last field"];
}

async fn v5_v311_mqtt_2_1_3_1_wrong_flags_in_a_fixed_header_end_the_connection(at: Stage) {
    let filter = joined(&[&text(b"a"), &[0]]);
    let connect = at.connect_bytes(0x02, &text(b"flags"));
    for flags in [1, 2, 4, 8] {
        let mut wrong = connect.clone();
        wrong[0] |= flags;
        at.turns_away_with("CONNECT", &wrong, None).await;
        let mut wrong = vec![
            ("PUBACK", vec![0x40 | flags, 2, 0, 1]),
            ("PUBREC", vec![0x50 | flags, 2, 0, 1]),
            ("PUBREL", vec![0x62 ^ flags, 2, 0, 1]),
            ("PUBCOMP", vec![0x70 | flags, 2, 0, 1]),
            ("SUBSCRIBE", at.request_bytes(0x82 ^ flags, 1, &filter)),
            (
                "UNSUBSCRIBE",
                at.request_bytes(0xA2 ^ flags, 1, &text(b"a")),
            ),
            ("PINGREQ", vec![0xC0 | flags, 0]),
            ("DISCONNECT", vec![0xE0 | flags, 0]),
        ];
        if at.is_v5() {
            wrong.push(("AUTH", vec![0xF0 | flags, 0]));
        }
        for (what, bytes) in wrong {
            at.forbids(what, &bytes, 0x81).await;
        }
    }
}

async fn v5_v311_mqtt_2_1_3_1_every_packet_of_the_gateway_is_what_the_standard_lays_out(at: Stage) {
    let topic = unique("headers/exact");
    let v5 = at.is_v5();
    let mut client = at.line().await;
    client.send(&at.opening().encode()).await;
    let connack = client.next_bytes().await.expect("CONNACK");
    match v5 {
        true => assert_eq!(connack[..1], [0x20]),
        false => assert_eq!(connack, [0x20, 2, 0, 0]),
    }
    // properties of 5.0 with nothing in them: one byte, 0
    let and_properties = |bytes: &[u8], after: &[u8]| {
        let empty: &[u8] = if v5 { &[0] } else { &[] };
        wire::packet(bytes[0], &joined(&[&bytes[1..], empty, after]))
    };
    let filter = joined(&[&text(topic.as_bytes()), &[2]]);
    client.send(&at.request_bytes(0x82, 0x1234, &filter)).await;
    client
        .expect(&and_properties(&[0x90, 0x12, 0x34], &[2]))
        .await;

    let publish = |first: u8, id: &[u8]| at.publish_bytes(first, topic.as_bytes(), id, b"x");
    client.send(&publish(0x30, &[])).await;
    client.expect(&publish(0x30, &[])).await;
    for (first, id, answer) in [(0x32, [0xAB, 0xCD], 0x40), (0x34, [0xFF, 0xFF], 0x50)] {
        client.send(&publish(first, &id)).await;
        client.expect(&[answer, 2, id[0], id[1]]).await;
        let delivered = client.next_bytes().await.expect("the message comes back");
        let at_id = 4 + topic.len();
        let [high, low] = [delivered[at_id], delivered[at_id + 1]];
        assert_eq!(delivered, publish(first, &[high, low]));
        if first == 0x32 {
            client.send(&[0x40, 2, high, low]).await;
            continue;
        }
        client.send(&[0x50, 2, high, low]).await;
        client.expect(&[0x62, 2, high, low]).await;
        client.send(&[0x70, 2, high, low]).await;
        client.send(&[0x62, 2, 0xFF, 0xFF]).await;
        client.expect(&[0x70, 2, 0xFF, 0xFF]).await;
    }
    client
        .send(&at.request_bytes(0xA2, 0xFFFF, &text(topic.as_bytes())))
        .await;
    let reasons: &[u8] = if v5 { &[0] } else { &[] };
    client
        .expect(&and_properties(&[0xB0, 0xFF, 0xFF], reasons))
        .await;
    client.send(&[0xC0, 0]).await;
    client.expect(&[0xD0, 0]).await;
    client.send(&[0xE0, 0]).await;
    client.ends().await;
}

async fn v5_v311_mqtt_2_2_1_2_qos_0_has_no_packet_identifier(at: Stage) {
    let topic = unique("headers/qos0");
    let mut subscriber = at.subscriber(&[(&topic, 0)]).await;
    for qos in 0..=2 {
        at.publish(&Publish::new(&topic, "\0\x01payload", qos))
            .await;
        subscriber
            .expect(&at.publish_bytes(0x30, topic.as_bytes(), &[], b"\0\x01payload"))
            .await;
    }
}

async fn v5_v311_mqtt_2_2_1_3_a_packet_identifier_is_not_zero(at: Stage) {
    let filter = joined(&[&text(b"a"), &[0]]);
    for (what, bytes) in [
        (
            "PUBLISH at QoS 1",
            at.publish_bytes(0x32, b"a", &[0, 0], b"x"),
        ),
        (
            "PUBLISH at QoS 2",
            at.publish_bytes(0x34, b"a", &[0, 0], b"x"),
        ),
        ("SUBSCRIBE", at.request_bytes(0x82, 0, &filter)),
        ("UNSUBSCRIBE", at.request_bytes(0xA2, 0, &text(b"a"))),
        ("PUBACK", wire::ack(PUBACK, 0)),
        ("PUBREC", wire::ack(PUBREC, 0)),
        ("PUBREL", wire::ack(PUBREL, 0)),
        ("PUBCOMP", wire::ack(PUBCOMP, 0)),
    ] {
        at.forbids(what, &bytes, 0x82).await;
    }
}

async fn v5_v311_mqtt_2_2_1_4_identifiers_of_deliveries_are_distinct_and_stay_when_they_are_repeated(
    at: Stage,
) {
    let (topic, id) = (unique("headers/distinct"), unique("holder"));
    let (mut holder, _) = at.resume(&id).await;
    holder.subscribe(&[(&topic, 2)]).await;
    let mut publisher = at.client().await;
    let count = 200;
    for n in 0..count {
        publisher
            .publish(&Publish::new(&topic, n.to_string(), 1 + n % 2))
            .await;
    }
    let mut first = vec![];
    // in order within each QoS [MQTT-4.6.0-6]
    let mut expected = [1, 2].map(|qos| (0..count).filter(move |n| 1 + n % 2 == qos));
    for _ in 0..count {
        let got = holder.receive_only().await;
        let n = expected[usize::from(got.qos) - 1]
            .next()
            .expect("no more than sent");
        assert_eq!(got.text(), n.to_string());
        first.push((n, got.id));
    }
    let distinct: BTreeSet<_> = first.iter().map(|(_, id)| *id).collect();
    assert_eq!(distinct.len(), first.len());
    assert!(!distinct.contains(&0));
    drop(holder);
    let (mut holder, present) = at.resume(&id).await;
    assert!(present);
    for (n, id) in &first {
        let again = holder.receive_only().await;
        assert_eq!(
            (again.id, again.text(), again.dup),
            (*id, n.to_string(), true)
        );
    }
}

async fn v5_v311_mqtt_2_2_1_3_an_identifier_in_use_marks_a_repetition(at: Stage) {
    let (topic, id) = (unique("headers/reused"), unique("sender"));
    let mut subscriber = at.subscriber(&[(&topic, 2)]).await;
    let (mut sender, _) = at.resume(&id).await;
    let mut message = Publish::new(&topic, "first", 2);
    sender.send(&with_id(at.version, &message, 5)).await;
    sender.expect(&[0x50, 2, 0, 5]).await;
    // until PUBREL the identifier stands for that message, on the next connection too
    message.dup = true;
    sender.send(&with_id(at.version, &message, 5)).await;
    sender.expect(&[0x50, 2, 0, 5]).await;
    drop(sender);
    let (mut sender, present) = at.resume(&id).await;
    assert!(present);
    sender.send(&with_id(at.version, &message, 5)).await;
    sender.expect(&[0x50, 2, 0, 5]).await;
    sender.send(&wire::ack(PUBREL, 5)).await;
    sender.expect(&[0x70, 2, 0, 5]).await;
    let next = Publish::new(&topic, "second", 2);
    sender.send(&with_id(at.version, &next, 5)).await;
    sender.expect(&[0x50, 2, 0, 5]).await;
    for text in ["first", "second"] {
        assert_eq!(subscriber.receive().await.text(), text);
    }
}

async fn v5_mqtt_2_2_1_5_an_unknown_identifier_is_answered_with_0x92(at: Stage) {
    let mut client = at.client().await;
    client.send(&wire::ack(PUBREC, 77)).await;
    client.expect(&[0x62, 3, 0, 77, 0x92]).await;
    client.send(&wire::ack(PUBREL, 78)).await;
    client.expect(&[0x70, 3, 0, 78, 0x92]).await;
    for kind in [PUBACK, PUBCOMP] {
        client.send(&wire::ack(kind, 79)).await;
    }
    client.send(&wire::pingreq()).await;
    client.expect(&[0xD0, 0]).await;
}

async fn v311_mqtt_2_3_1_6_an_unknown_identifier_is_answered_all_the_same(at: Stage) {
    let mut client = at.client().await;
    client.send(&wire::ack(PUBREC, 77)).await;
    client.expect(&[0x62, 2, 0, 77]).await;
    client.send(&wire::ack(PUBREL, 78)).await;
    client.expect(&[0x70, 2, 0, 78]).await;
    for kind in [PUBACK, PUBCOMP] {
        client.send(&wire::ack(kind, 79)).await;
    }
    client.send(&wire::pingreq()).await;
    client.expect(&[0xD0, 0]).await;
}

async fn v5_mqtt_2_2_2_1_properties_begin_with_their_length(at: Stage) {
    // without a length the filter's own is read as one, and nothing fits any more
    let body = joined(&[&[0, 1], &text(b"a"), &[0]]);
    at.forbids("SUBSCRIBE", &wire::packet(0x82, &body), 0x81)
        .await;
    let body = joined(&[&text(b"MQTT"), &[5, 2, 0, 0], &text(b"id")]);
    at.turns_away("CONNECT", &wire::packet(0x10, &body), 0x81)
        .await;
    let mut client = at.line().await;
    client.send(&at.opening().encode()).await;
    let connack = client.next_bytes().await.expect("CONNACK");
    assert_eq!(
        usize::from(connack[4]),
        connack.len() - 5,
        "all that follows: {connack:02x?}"
    );
    let plain = Properties::default().with(property::SUBSCRIPTION_ID, Value::Var(1));
    client.subscribe_with(&[("a", 0)], &plain).await;
}

async fn v5_v311_a_packet_type_of_the_other_side_ends_the_connection(at: Stage) {
    at.forbids("type 0", &[0, 0], 0x81).await;
    for (what, bytes) in [
        ("CONNACK", &[0x20, 2, 0, 0][..]),
        ("SUBACK", &[0x90, 3, 0, 1, 0]),
        ("UNSUBACK", &[0xB0, 2, 0, 1]),
        ("PINGRESP", &[0xD0, 0]),
    ] {
        at.forbids(what, bytes, 0x82).await;
    }
    if !at.is_v5() {
        at.forbids("type 15", &[0xF0, 0], 0x81).await;
    }
}

async fn v5_v311_lengths_that_do_not_fit_end_the_connection(at: Stage) {
    for (what, bytes) in [
        ("PUBACK of one byte", vec![0x40, 1, 0]),
        ("PINGREQ with a body", vec![0xC0, 1, 0]),
        ("PUBLISH without a topic", vec![0x30, 0]),
        (
            "PUBLISH without its identifier",
            wire::packet(0x32, &text(b"a")),
        ),
        (
            "SUBSCRIBE without options",
            at.request_bytes(0x82, 1, &text(b"a")),
        ),
        (
            "UNSUBSCRIBE with half a filter",
            at.request_bytes(0xA2, 1, &[0, 9, b'a']),
        ),
        (
            "a remaining length of five bytes",
            vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1],
        ),
    ] {
        at.forbids(what, &bytes, 0x81).await;
    }
    if at.is_v5() {
        let overrun = wire::packet(0x30, &joined(&[&text(b"a"), &[0x7F, 1]]));
        at.forbids("properties longer than the packet", &overrun, 0x81)
            .await;
    } else {
        at.forbids("DISCONNECT with a body", &[0xE0, 1, 0], 0x81)
            .await;
        at.forbids("PUBACK of three bytes", &[0x40, 3, 0, 1, 0], 0x81)
            .await;
    }
}
