//! Section 3.1: the format of CONNECT, and who may speak first.

use crate::{
    stage::{Stage, joined, text, will},
    support::{
        unique,
        wire::{self, Opening, Packet, Properties, Publish, Value, Version, Will, property},
    },
};

claims! {
    v5_v311_mqtt_3_1_0_1_whoever_does_not_begin_with_connect_hears_nothing: v5["3.1.0-1"] v311["3.1.0-1"];
    v5_v311_mqtt_3_1_0_2_a_second_connect_ends_the_connection_and_the_will_is_published:
        v5["3.1.0-2"] v311["3.1.0-2"];
    v5_v311_mqtt_3_1_2_1_another_protocol_name_is_not_answered: v5["3.1.2-1"] v311["3.1.2-1"];
    v5_v311_mqtt_3_1_2_2_an_unknown_level_is_answered_in_the_layout_every_client_reads:
        v5["3.1.2-2"] v311["3.1.2-2"];
    v5_v311_mqtt_3_1_2_3_bit_0_of_the_connect_flags_is_checked: v5["3.1.2-3"] v311["3.1.2-3"];
    v5_v311_mqtt_3_1_2_9_a_will_flag_needs_its_fields: v5["3.1.2-9"] v311["3.1.2-9"];
    v5_v311_mqtt_3_1_2_11_without_a_will_flag_there_is_nothing_of_a_will:
        v5["3.1.2-11", "3.1.2-13"] v311["3.1.2-11", "3.1.2-13", "3.1.2-15"];
    v5_v311_mqtt_3_1_2_12_will_qos_3_is_refused: v5["3.1.2-12"] v311["3.1.2-14"];
    v5_v311_mqtt_3_1_2_16_user_name_and_password_stand_where_their_flags_say:
        v5["3.1.2-16", "3.1.2-17", "3.1.2-18", "3.1.2-19"]
        v311["3.1.2-18", "3.1.2-19", "3.1.2-20", "3.1.2-21"];
    v5_mqtt_3_1_2_19_a_password_may_come_without_a_user_name: v5["3.1.2-19"];
    v311_mqtt_3_1_2_22_a_password_needs_a_user_name: v311["3.1.2-22"];
    v5_v311_mqtt_3_1_3_1_all_fields_in_their_order_are_understood: v5["3.1.3-1"] v311["3.1.3-1"];
    v5_v311_mqtt_3_1_3_3_the_client_identifier_is_there: v5["3.1.3-3"] v311["3.1.3-3"];
    v5_v311_mqtt_3_1_4_1_a_connect_cut_short_or_too_long_is_refused: v5["3.1.4-1"] v311["3.1.4-1"];
    v5_mqtt_3_1_4_1_properties_of_connect_are_checked: v5["3.1.4-1", "4.13.1-1"];
}

async fn v5_v311_mqtt_3_1_0_1_whoever_does_not_begin_with_connect_hears_nothing(at: Stage) {
    let filter = joined(&[&text(b"a"), &[0]]);
    let topic = unique("connect/first");
    for (what, bytes) in [
        ("PINGREQ", wire::pingreq()),
        (
            "PUBLISH",
            at.publish_bytes(0x31, topic.as_bytes(), &[], b"x"),
        ),
        ("SUBSCRIBE", at.request_bytes(0x82, 1, &filter)),
        ("DISCONNECT", vec![0xE0, 0]),
        ("PUBACK", vec![0x40, 2, 0, 1]),
        ("CONNACK", vec![0x20, 2, 0, 0]),
        ("AUTH", vec![0xF0, 0]),
        ("type 0", vec![0, 0]),
    ] {
        at.turns_away_with(what, &bytes, None).await;
    }
    assert_eq!(at.retained(&topic).await, []);
}

async fn v5_v311_mqtt_3_1_0_2_a_second_connect_ends_the_connection_and_the_will_is_published(
    at: Stage,
) {
    let topic = unique("connect/second");
    let mut watcher = at.subscriber(&[(&topic, 1)]).await;
    let opening = at.opening().will(will(&topic));
    let mut client = at.client_of(&opening).await;
    client.send(&opening.encode()).await;
    at.is_over("a second CONNECT", &mut client, 0x82).await;
    assert_eq!(watcher.receive().await.text(), "gone");
}

async fn v5_v311_mqtt_3_1_2_1_another_protocol_name_is_not_answered(at: Stage) {
    for name in ["MQTX", "mqtt", "", "MQTT ", "MQISDP"] {
        let tail = [
            &[at.version.level(), 2, 0, 0][..],
            &[0][..usize::from(at.is_v5())],
        ];
        let body = joined(&[&text(name.as_bytes()), tail[0], tail[1], &text(b"name")]);
        at.turns_away_with(name, &wire::packet(0x10, &body), None)
            .await;
    }
}

async fn v5_v311_mqtt_3_1_2_2_an_unknown_level_is_answered_in_the_layout_every_client_reads(
    at: Stage,
) {
    for (name, level) in [
        ("MQTT", 6),
        ("MQTT", 0),
        ("MQTT", 3),
        ("MQTT", 0x7F),
        ("MQTT", 0xFF),
        ("MQTT", 0x85),
        ("MQIsdp", 4),
        ("MQIsdp", 5),
    ] {
        let body = joined(&[&text(name.as_bytes()), &[level, 2, 0, 0], &text(b"level")]);
        let mut client = at.line().await;
        client.send(&wire::packet(0x10, &body)).await;
        client.expect(&[0x20, 2, 0, 1]).await;
        client.ends().await;
    }
}

async fn v5_v311_mqtt_3_1_2_3_bit_0_of_the_connect_flags_is_checked(at: Stage) {
    for flags in [0x01, 0x03] {
        let connect = at.connect_bytes(flags, &text(b"reserved"));
        at.turns_away("bit 0", &connect, 0x81).await;
    }
}

async fn v5_v311_mqtt_3_1_2_9_a_will_flag_needs_its_fields(at: Stage) {
    let no_properties: &[u8] = if at.is_v5() { &[0] } else { &[] };
    let id = text(b"will-fields");
    for payload in [
        id.clone(),
        joined(&[&id, no_properties]),
        joined(&[&id, no_properties, &text(b"topic")]),
        joined(&[&id, no_properties, &text(b"topic"), &[0, 5, b'x']]),
    ] {
        at.turns_away("a will cut short", &at.connect_bytes(0x06, &payload), 0x81)
            .await;
    }
}

async fn v5_v311_mqtt_3_1_2_11_without_a_will_flag_there_is_nothing_of_a_will(at: Stage) {
    let id = text(b"stray-will");
    for flags in [0x08, 0x10, 0x18, 0x20, 0x38] {
        let connect = at.connect_bytes(0x02 | flags, &id);
        at.turns_away("stray will flags", &connect, 0x81).await;
    }
    let no_properties: &[u8] = if at.is_v5() { &[0] } else { &[] };
    let payload = joined(&[&id, no_properties, &text(b"topic"), &text(b"x")]);
    at.turns_away("stray will fields", &at.connect_bytes(0x02, &payload), 0x81)
        .await;
}

async fn v5_v311_mqtt_3_1_2_12_will_qos_3_is_refused(at: Stage) {
    let no_properties: &[u8] = if at.is_v5() { &[0] } else { &[] };
    let payload = joined(&[&text(b"qos3"), no_properties, &text(b"topic"), &text(b"x")]);
    at.turns_away("will QoS 3", &at.connect_bytes(0x1E, &payload), 0x81)
        .await;
}

async fn v5_v311_mqtt_3_1_2_16_user_name_and_password_stand_where_their_flags_say(at: Stage) {
    let (id, user, password) = (text(b"flags"), text(b"user"), text(b"secret"));
    for (what, flags, payload) in [
        ("a user name without its flag", 0x02, joined(&[&id, &user])),
        ("a user name flag alone", 0x82, id.clone()),
        (
            "a password without its flag",
            0x82,
            joined(&[&id, &user, &password]),
        ),
        ("a password flag alone", 0xC2, joined(&[&id, &user])),
    ] {
        at.turns_away(what, &at.connect_bytes(flags, &payload), 0x81)
            .await;
    }
    let mut client = at.line().await;
    let id = text(unique("both").as_bytes());
    let payload = joined(&[&id, &user, &text(b"\0\xFF")]);
    client.send(&at.connect_bytes(0xC2, &payload)).await;
    match client.next().await {
        Some(Packet::Connack { code: 0, .. }) => {}
        other => panic!("user name and a password of any bytes: {other:?}"),
    }
}

async fn v5_mqtt_3_1_2_19_a_password_may_come_without_a_user_name(at: Stage) {
    let mut client = at.line().await;
    let payload = joined(&[&text(unique("password").as_bytes()), &text(b"secret")]);
    client.send(&at.connect_bytes(0x42, &payload)).await;
    match client.next().await {
        Some(Packet::Connack { code: 0, .. }) => {}
        other => panic!("a password alone: {other:?}"),
    }
}

async fn v311_mqtt_3_1_2_22_a_password_needs_a_user_name(at: Stage) {
    let payload = joined(&[&text(b"password"), &text(b"secret")]);
    at.turns_away_with("a password alone", &at.connect_bytes(0x42, &payload), None)
        .await;
}

async fn v5_v311_mqtt_3_1_3_1_all_fields_in_their_order_are_understood(at: Stage) {
    let (topic, id) = (unique("connect/order"), unique("order"));
    let mut watcher = at.subscriber(&[(&topic, 2)]).await;
    let mut payload = text(id.as_bytes());
    if at.is_v5() {
        payload.extend([0x02, 0x01, 0x01]); // payload format: text
    }
    for field in [topic.as_bytes(), b"last words", b"user", b"secret"] {
        payload.extend(text(field));
    }
    let mut client = at.line().await;
    client.send(&at.connect_bytes(0xD6, &payload)).await;
    assert!(matches!(
        client.next().await,
        Some(Packet::Connack { code: 0, .. })
    ));
    drop(client);
    let got = watcher.receive().await;
    assert_eq!(
        (got.text().as_str(), got.qos, got.retain),
        ("last words", 2, false)
    );
    if at.is_v5() {
        assert_eq!(got.properties.number(property::PAYLOAD_FORMAT), Some(1));
        assert_eq!(got.properties.0.len(), 1);
    }
}

async fn v5_v311_mqtt_3_1_3_3_the_client_identifier_is_there(at: Stage) {
    at.turns_away("no payload", &at.connect_bytes(0x02, &[]), 0x81)
        .await;
    at.turns_away(
        "half an identifier",
        &at.connect_bytes(0x02, &[0, 9, b'a']),
        0x81,
    )
    .await;
}

fn full(version: Version) -> Vec<u8> {
    let mut opening = Opening::new(version, &unique("cut-short")).keep_alive(7);
    opening.will = Some(Will {
        topic: "topic".into(),
        payload: b"payload".to_vec(),
        ..Will::default()
    });
    let mut bytes = opening.encode();
    bytes[9] |= 0xC0; // behind two bytes of header, six of name, one of level
    bytes.extend(text(b"user"));
    bytes.extend(text(b"secret"));
    bytes[1] = bytes.len() as u8 - 2;
    bytes
}

async fn v5_v311_mqtt_3_1_4_1_a_connect_cut_short_or_too_long_is_refused(at: Stage) {
    let connect = full(at.version);
    let mut client = at.line().await;
    client.send(&connect).await;
    assert!(matches!(
        client.next().await,
        Some(Packet::Connack { code: 0, .. })
    ));
    for end in 2..connect.len() {
        let mut cut = connect[..end].to_vec();
        cut[1] = end as u8 - 2;
        // before the level byte nobody knows which layout the client could read
        let answer = (at.is_v5() && end > 8).then_some(0x81);
        at.turns_away_with(&format!("cut at {end}"), &cut, answer)
            .await;
    }
    let mut long = connect.clone();
    long.push(0);
    long[1] += 1;
    at.turns_away("a byte too many", &long, 0x81).await;
}

async fn v5_mqtt_3_1_4_1_properties_of_connect_are_checked(at: Stage) {
    let id = text(b"properties");
    let expiry = [0x11, 0, 0, 0, 1];
    for (what, properties, code) in [
        ("a property of PUBLISH", vec![0x01, 1], 0x81),
        ("an unknown property", vec![0x7F, 1], 0x81),
        ("a property cut short", vec![0x11, 0, 0], 0x81),
        ("session expiry twice", [expiry, expiry].concat(), 0x82),
        ("receive maximum 0", vec![0x21, 0, 0], 0x82),
        ("maximum packet size 0", vec![0x27, 0, 0, 0, 0], 0x82),
        ("request problem information 2", vec![0x17, 2], 0x82),
        ("request response information 2", vec![0x19, 2], 0x82),
        (
            "authentication data without a method",
            vec![0x16, 0, 1, b'x'],
            0x82,
        ),
    ] {
        let connect = at.connect_bytes_with(0x02, &properties, &id);
        at.turns_away(what, &connect, code).await;
    }
    let will = |properties: &[u8]| {
        let length = [properties.len() as u8];
        let payload = joined(&[&id, &length, properties, &text(b"topic"), &text(b"x")]);
        at.connect_bytes(0x06, &payload)
    };
    for (what, properties, code) in [
        ("session expiry in the will", &expiry[..], 0x81),
        (
            "will delay twice",
            &[0x18, 0, 0, 0, 1, 0x18, 0, 0, 0, 1],
            0x82,
        ),
        ("payload format 2", &[0x01, 2], 0x82),
        (
            "a wildcard in the response topic",
            &[0x08, 0, 1, b'#'],
            0x90,
        ),
    ] {
        at.turns_away(what, &will(properties), code).await;
    }
    let topic = unique("connect/properties");
    let mut client = at
        .client_of(
            &at.opening()
                .property(property::RECEIVE_MAXIMUM, Value::Two(65535))
                .property(property::MAXIMUM_PACKET_SIZE, Value::Four(u32::MAX))
                .property(property::TOPIC_ALIAS_MAXIMUM, Value::Two(65535))
                .property(property::USER, Value::Pair("a".into(), "1".into()))
                .property(property::USER, Value::Pair("a".into(), "1".into())),
        )
        .await;
    client
        .subscribe_with(&[(&topic, 1)], &Properties::default())
        .await;
    client.publish(&Publish::new(&topic, "served", 1)).await;
    assert_eq!(client.receive().await.text(), "served");
}
