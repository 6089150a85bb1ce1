//! MQTT 3.1: what it does differently from 3.1.1. The rest is served by the rules of 3.1.1.

use crate::{
    stage::{Stage, joined, text, will, with_id},
    support::{
        unique,
        wire::{self, PUBACK, PUBCOMP, PUBREC, PUBREL, Publish, Version},
    },
};

claims! {
    v31_a_client_of_3_1_is_served: v31["MQIsdp, level 3"];
    v31_connack_never_speaks_of_a_session: v31["the first byte of CONNACK is reserved"];
    v31_an_empty_identifier_is_refused: v31["an empty client identifier"];
    v31_an_identifier_of_more_than_23_bytes_is_accepted: v31["a client identifier of more than 23 bytes"];
    v31_a_flag_whose_field_is_missing_at_the_end_is_ignored: v31["user name and password flags without fields"];
    v31_a_password_needs_a_user_name: v31["password flag without user name flag"];
    v31_bit_0_of_the_connect_flags_is_not_checked: v31["bit 0 of the connect flags"];
    v31_a_refused_filter_is_granted_and_brings_nothing: v31["SUBACK has no failure code"];
    v31_a_message_nobody_may_publish_is_acknowledged: v31["PUBLISH to a topic one may not write to"];
    v31_dup_is_accepted_where_3_1_has_it: v31["DUP on SUBSCRIBE, UNSUBSCRIBE and PUBREL"];
    v31_a_goodbye_with_flags_is_malformed_and_releases_the_will: v31["flags that 3.1 has no use for"];
    v31_what_a_client_repeats_on_a_live_connection_does_no_harm: v31["retransmission by timer"];
    v31_flows_wills_and_retained_messages_are_those_of_3_1_1: v31["QoS flows, wills, retained messages"];
    v31_text_and_filters_are_checked_as_in_3_1_1: v31["text, topics and filters"];
    v31_v311_a_bridge_is_recognised_by_its_level:
        v31["level 0x83, the bridge marker"] v311["level 0x84, the bridge marker"];
}

async fn v31_a_client_of_3_1_is_served(at: Stage) {
    let mut client = at.line().await;
    let connect = at.connect_bytes(0x02, &text(unique("old").as_bytes()));
    assert_eq!(connect[2..11], *b"\0\x06MQIsdp\x03");
    client.send(&connect).await;
    client.expect(&[0x20, 2, 0, 0]).await;
    let topic = unique("v31/served");
    let filter = joined(&[&text(topic.as_bytes()), &[1]]);
    client.send(&at.request_bytes(0x82, 1, &filter)).await;
    client.expect(&[0x90, 3, 0, 1, 1]).await;
    client
        .send(&wire::publish(at.version, &Publish::new(&topic, "x", 0)))
        .await;
    client
        .expect(&at.publish_bytes(0x30, topic.as_bytes(), &[], b"x"))
        .await;
    client.send(&[0xC0, 0]).await;
    client.expect(&[0xD0, 0]).await;
    client.send(&[0xE0, 0]).await;
    client.ends().await;
}

async fn v31_connack_never_speaks_of_a_session(at: Stage) {
    let (topic, id) = (unique("v31/kept"), unique("kept"));
    for round in 0..2 {
        let mut client = at.line().await;
        client.send(&at.lasting(&id).encode()).await;
        client.expect(&[0x20, 2, 0, 0]).await;
        match round {
            0 => {
                client.subscribe(&[(&topic, 1)]).await;
                client.disconnect().await;
                at.publish(&Publish::new(&topic, "kept", 1)).await;
            }
            _ => assert_eq!(
                client.receive().await.text(),
                "kept",
                "the session is there"
            ),
        }
    }
}

async fn v31_an_empty_identifier_is_refused(at: Stage) {
    for flags in [0x00, 0x02] {
        let mut client = at.line().await;
        client.send(&at.connect_bytes(flags, &text(b""))).await;
        client.expect(&[0x20, 2, 0, 2]).await;
        client.ends().await;
    }
}

async fn v31_an_identifier_of_more_than_23_bytes_is_accepted(at: Stage) {
    let long = unique(&"x".repeat(100));
    at.client_of(&at.opening_of(&long)).await.ping().await;
}

async fn v31_a_flag_whose_field_is_missing_at_the_end_is_ignored(at: Stage) {
    for (flags, fields) in [
        (0x82, vec![]),
        (0xC2, vec![]),
        (0xC2, vec![&b"user"[..]]),
        (0xC2, vec![&b"user"[..], b"secret"]),
    ] {
        let mut payload = text(unique("flags").as_bytes());
        for field in fields {
            payload.extend(text(field));
        }
        let mut client = at.line().await;
        client.send(&at.connect_bytes(flags, &payload)).await;
        client.expect(&[0x20, 2, 0, 0]).await;
    }
    let half = joined(&[&text(b"half"), &[0, 9, b'u']]);
    at.turns_away("half a user name", &at.connect_bytes(0x82, &half), 0)
        .await;
}

async fn v31_a_password_needs_a_user_name(at: Stage) {
    let payload = joined(&[&text(b"password"), &text(b"secret")]);
    at.turns_away("a password alone", &at.connect_bytes(0x42, &payload), 0)
        .await;
}

async fn v31_bit_0_of_the_connect_flags_is_not_checked(at: Stage) {
    let mut client = at.line().await;
    let id = text(unique("unused").as_bytes());
    client.send(&at.connect_bytes(0x03, &id)).await;
    client.expect(&[0x20, 2, 0, 0]).await;
}

async fn v31_a_refused_filter_is_granted_and_brings_nothing(at: Stage) {
    let topic = unique("v31/fine");
    let mut client = at.client().await;
    let granted = client
        .subscribe(&[("$reply/not-mine", 2), (&topic, 1)])
        .await;
    assert_eq!(granted, [0, 1], "3.1 has no code for a refusal");
    at.publish(&Publish::new(&topic, "x", 1)).await;
    let got = at.rest_of(&mut client).await;
    assert_eq!(got.len(), 1);
}

async fn v31_a_message_nobody_may_publish_is_acknowledged(at: Stage) {
    let topic = unique("$SYS/broker/forged");
    let mut watcher = at.subscriber(&[(&topic, 2)]).await;
    let mut client = at.client().await;
    for (qos, ack) in [(1, 0x40), (2, 0x50)] {
        client
            .send(&with_id(at.version, &Publish::new(&topic, "x", qos), 3))
            .await;
        client.expect(&[ack, 2, 0, 3]).await;
    }
    at.nothing_more_for(&mut watcher).await;
}

async fn v31_dup_is_accepted_where_3_1_has_it(at: Stage) {
    let topic = unique("v31/dup");
    let mut client = at.client().await;
    let filter = joined(&[&text(topic.as_bytes()), &[1]]);
    for first in [0x82, 0x8A] {
        client.send(&at.request_bytes(first, 1, &filter)).await;
        client.expect(&[0x90, 3, 0, 1, 1]).await;
    }
    client
        .send(&with_id(
            at.version,
            &Publish::new("v31/elsewhere", "x", 2),
            7,
        ))
        .await;
    client.expect(&[0x50, 2, 0, 7]).await;
    for first in [0x62, 0x6A] {
        client.send(&[first, 2, 0, 7]).await;
        client.expect(&[0x70, 2, 0, 7]).await;
    }
    for first in [0xA2, 0xAA] {
        client
            .send(&at.request_bytes(first, 2, &text(topic.as_bytes())))
            .await;
        client.expect(&[0xB0, 2, 0, 2]).await;
    }
    for (what, bytes) in [
        ("SUBSCRIBE with flags 0", at.request_bytes(0x80, 1, &filter)),
        ("PUBREL with flags 0", vec![0x60, 2, 0, 7]),
        ("PUBACK with DUP", vec![0x48, 2, 0, 7]),
        ("PINGREQ with DUP", vec![0xC8, 0]),
    ] {
        at.forbids(what, &bytes, 0).await;
    }
}

async fn v31_a_goodbye_with_flags_is_malformed_and_releases_the_will(at: Stage) {
    let topic = unique("v31/goodbye");
    let mut watcher = at.subscriber(&[(&topic, 0)]).await;
    for flags in [0x01, 0x02, 0x08] {
        let mut client = at.client_of(&at.opening().will(will(&topic))).await;
        client.send(&[0xE0 | flags, 0]).await;
        client.ends().await;
        assert_eq!(watcher.receive().await.text(), "gone", "flags {flags:#x}");
    }
}

async fn v31_what_a_client_repeats_on_a_live_connection_does_no_harm(at: Stage) {
    let topic = unique("v31/repeated");
    let mut subscriber = at.subscriber(&[(&topic, 2)]).await;
    let mut client = at.client().await;
    for dup in [false, true] {
        let mut message = Publish::new(&topic, "once", 2);
        message.dup = dup;
        client.send(&with_id(at.version, &message, 7)).await;
        client.expect(&[0x50, 2, 0, 7]).await;
    }
    for first in [0x62, 0x6A] {
        client.send(&[first, 2, 0, 7]).await;
        client.expect(&[0x70, 2, 0, 7]).await;
    }
    let got = at.rest_of(&mut subscriber).await;
    assert_eq!(got.len(), 1);
    // and towards a client that is slow to answer the gateway repeats nothing
    at.publish(&Publish::new(&topic, "slow", 2)).await;
    let slow = subscriber.receive_only().await;
    for _ in 0..2 {
        subscriber.send(&wire::ack(PUBREC, slow.id)).await;
        subscriber.acknowledgement(PUBREL, slow.id).await;
    }
    for _ in 0..2 {
        subscriber.send(&wire::ack(PUBCOMP, slow.id)).await;
    }
    at.nothing_more_for(&mut subscriber).await;
}

async fn v31_flows_wills_and_retained_messages_are_those_of_3_1_1(at: Stage) {
    let (topic, id) = (unique("v31/same"), unique("receiver"));
    let (mut client, _) = at.resume(&id).await;
    client.subscribe(&[(&topic, 2)]).await;
    for qos in 0..=2 {
        at.publish(&Publish::new(&topic, qos.to_string(), qos))
            .await;
        assert_eq!(client.receive().await.qos, qos);
    }
    at.publish(&Publish::new(&topic, "open", 1)).await;
    let open = client.receive_only().await;
    drop(client);
    let (mut client, _) = at.resume(&id).await;
    let again = client.receive_only().await;
    assert_eq!((again.id, again.dup), (open.id, true));
    client.send(&wire::ack(PUBACK, again.id)).await;
    let mut last = will(&topic);
    last.retain = true;
    drop(at.client_of(&at.opening().will(last)).await);
    assert_eq!(client.receive().await.text(), "gone");
    let kept = at.retained(&topic).await;
    assert_eq!(kept.iter().map(Publish::text).collect::<Vec<_>>(), ["gone"]);
    at.publish(&Publish::new(&topic, "", 0).retained()).await;
    assert_eq!(at.retained(&topic).await, []);
}

async fn v31_text_and_filters_are_checked_as_in_3_1_1(at: Stage) {
    let filter = |filter: &[u8]| joined(&[&text(filter), &[0]]);
    for (what, bytes) in [
        (
            "ill-formed UTF-8",
            at.publish_bytes(0x30, b"a\xFF", &[], b""),
        ),
        ("NUL", at.publish_bytes(0x30, b"a\0", &[], b"")),
        (
            "a wildcard in a topic",
            at.publish_bytes(0x30, b"a/#", &[], b""),
        ),
        (
            "a misplaced wildcard",
            at.request_bytes(0x82, 1, &filter(b"a#")),
        ),
        ("no filter", at.request_bytes(0x82, 1, &[])),
        ("QoS 3", at.publish_bytes(0x36, b"a", &[0, 1], b"")),
        ("type 15", vec![0xF0, 0]),
    ] {
        at.forbids(what, &bytes, 0).await;
    }
}

async fn v31_v311_a_bridge_is_recognised_by_its_level(at: Stage) {
    let topic = unique("v31/bridge");
    let mut opening = at.opening();
    opening.level = Some(at.version.level() | 0x80);
    let mut bridge = at.client_of(&opening).await;
    bridge.subscribe(&[(&topic, 1)]).await;
    bridge.publish(&Publish::new(&topic, "own", 1)).await;
    let other = at.in_version(Version::V5);
    other
        .publish(&Publish::new(&topic, "foreign", 1).retained())
        .await;
    let got = bridge.receive().await;
    assert_eq!((got.text().as_str(), got.retain), ("foreign", true));
}
