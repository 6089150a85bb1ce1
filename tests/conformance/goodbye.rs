//! Sections 3.12, 3.14 and 4.13: PINGREQ, DISCONNECT, and what an error leads to.

use crate::{
    stage::{Stage, text, will, with_id},
    support::{
        unique,
        wire::{self, Packet, Properties, Publish, Value, property},
    },
};

claims! {
    v5_v311_mqtt_3_12_4_1_a_ping_is_answered: v5["3.12.4-1"] v311["3.12.4-1"];
    v5_mqtt_3_14_0_1_before_connack_there_is_no_disconnect: v5["3.14.0-1"];
    v5_v311_mqtt_3_14_1_1_a_disconnect_with_flags_is_an_error_and_leaves_the_will:
        v5["3.14.1-1"] v311["3.14.1-1"];
    v5_mqtt_3_14_2_1_a_code_that_is_not_disconnects_own_is_an_error_and_leaves_the_will:
        v5["3.14.2-1"];
    v5_mqtt_3_14_2_2_a_disconnect_of_the_gateway_has_a_listed_code_and_no_session_expiry:
        v5["3.14.2-2", "3.14.2-1", "4.13.2-1", "4.13.1-1"];
    v5_v311_mqtt_3_14_4_1_nothing_counts_after_disconnect: v5["3.14.4-1"] v311["3.14.4-2"];
    v5_mqtt_3_14_4_1_the_gateway_says_nothing_after_its_disconnect: v5["3.14.4-1", "3.14.4-2"];
    v5_v311_mqtt_3_14_4_2_the_gateway_closes_if_the_client_does_not: v5["3.14.4-2"] v311["3.14.4-1"];
    v311_mqtt_4_8_0_1_a_violation_closes_its_own_connection_and_no_other: v311["4.8.0-1"];
    v5_disconnect_may_change_the_session_expiry_but_not_from_zero:
        v5["Session Expiry Interval in DISCONNECT"];
    v5_properties_of_disconnect_are_checked: v5["a property repeated or of another packet in DISCONNECT"];
    v5_a_gateway_that_stops_says_so: v5["DISCONNECT 0x8B when the gateway stops"];
}

async fn v5_v311_mqtt_3_12_4_1_a_ping_is_answered(at: Stage) {
    let mut client = at.client().await;
    for _ in 0..3 {
        client.send(&[0xC0, 0]).await;
        client.expect(&[0xD0, 0]).await;
    }
    client.send(&[0xC0, 0, 0xC0, 0, 0xC0, 0]).await;
    for _ in 0..3 {
        client.expect(&[0xD0, 0]).await;
    }
}

async fn v5_mqtt_3_14_0_1_before_connack_there_is_no_disconnect(at: Stage) {
    let wrong_will = at.opening().will(will("a/#")).encode();
    let method = at
        .opening()
        .property(property::AUTHENTICATION_METHOD, Value::Text("bogus".into()));
    for (what, bytes, code) in [
        ("no CONNECT", wire::pingreq(), None),
        ("type 0", vec![0, 0], None),
        (
            "an endless length",
            vec![0x10, 0xFF, 0xFF, 0xFF, 0xFF, 1],
            None,
        ),
        (
            "reserved flag",
            at.connect_bytes(0x03, &text(b"x")),
            Some(0x81),
        ),
        ("wrong will topic", wrong_will, Some(0x90)),
        ("unknown method", method.encode(), Some(0x8C)),
        (
            "receive maximum 0",
            at.connect_bytes_with(2, &[0x21, 0, 0], &text(b"x")),
            Some(0x82),
        ),
    ] {
        at.turns_away_with(what, &bytes, code).await;
    }
}

/// The will is published although the client sent something like a goodbye.
async fn leaves_the_will(at: &Stage, what: &str, bytes: &[u8], code: u8) {
    let topic = unique("goodbye/will");
    let mut watcher = at.subscriber(&[(&topic, 1)]).await;
    let mut client = at.client_of(&at.opening().will(will(&topic))).await;
    client.send(bytes).await;
    at.is_over(what, &mut client, code).await;
    assert_eq!(watcher.receive().await.text(), "gone", "{what}");
}

async fn v5_v311_mqtt_3_14_1_1_a_disconnect_with_flags_is_an_error_and_leaves_the_will(at: Stage) {
    for flags in [1, 2, 4, 8] {
        leaves_the_will(&at, "flags", &[0xE0 | flags, 0], 0x81).await;
    }
}

async fn v5_mqtt_3_14_2_1_a_code_that_is_not_disconnects_own_is_an_error_and_leaves_the_will(
    at: Stage,
) {
    for code in [0x7F, 0x01, 0x10, 0x92, 0x84, 0xFF] {
        leaves_the_will(&at, "a stray code", &[0xE0, 1, code], 0x81).await;
    }
    for code in [
        0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
    ] {
        let mut client = at.client().await;
        client.send(&[0xE0, 1, code]).await;
        client.ends().await;
    }
}

async fn v5_mqtt_3_14_2_2_a_disconnect_of_the_gateway_has_a_listed_code_and_no_session_expiry(
    at: Stage,
) {
    // the decoder of these tests checks every DISCONNECT for both; here are some more of each kind
    for (bytes, code) in [
        (vec![0, 0], 0x81),
        (vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F], 0x95),
        (vec![0xD0, 0], 0x82),
        (wire::publish(at.version, &Publish::new("a/#", "", 0)), 0x90),
    ] {
        let opening = at.opening().session_expiry(60);
        let mut client = at.client_of(&opening).await;
        client.send(&bytes).await;
        match client.next().await {
            Some(Packet::Disconnect {
                code: got,
                properties,
            }) => {
                assert_eq!(got, code);
                for (id, _) in &properties.0 {
                    assert!([0x1F, 0x26, 0x1C].contains(id), "property {id:#04x}");
                }
            }
            other => panic!("DISCONNECT expected, not {other:?}"),
        }
        client.ends().await;
    }
    let mut client = at.client().await;
    client.send(&[0xE0, 1, 0x81]).await;
    client.ends().await;
}

async fn v5_v311_mqtt_3_14_4_1_nothing_counts_after_disconnect(at: Stage) {
    let topic = unique("goodbye/after");
    let mut watcher = at.subscriber(&[(&topic, 1)]).await;
    let mut client = at.client().await;
    let mut bytes = with_id(at.version, &Publish::new(&topic, "before", 1), 1);
    bytes.extend(wire::disconnect(at.version, 0));
    bytes.extend(with_id(
        at.version,
        &Publish::new(&topic, "after", 1).retained(),
        2,
    ));
    bytes.extend(wire::pingreq());
    client.send(&bytes).await;
    client.expect(&[0x40, 2, 0, 1]).await;
    client.ends().await;
    let got = at.rest_of(&mut watcher).await;
    assert_eq!(
        got.iter().map(Publish::text).collect::<Vec<_>>(),
        ["before"]
    );
    assert_eq!(at.retained(&topic).await, []);
}

async fn v5_mqtt_3_14_4_1_the_gateway_says_nothing_after_its_disconnect(at: Stage) {
    let topic = unique("goodbye/flow");
    let mut client = at.subscriber(&[(&topic, 0)]).await;
    let stage = at.clone();
    let flow = topic.clone();
    let flowing = tokio::spawn(async move {
        let mut publisher = stage.client().await;
        for n in 0..500 {
            publisher
                .publish(&Publish::new(&flow, n.to_string(), 0))
                .await;
        }
        publisher.ping().await;
    });
    client.receive().await;
    client.send(&[0xD0, 0]).await; // a packet only servers send
    loop {
        match client.next().await {
            Some(Packet::Publish(_)) => {}
            Some(Packet::Disconnect { code, .. }) => break assert_eq!(code, 0x82),
            other => panic!("DISCONNECT expected, not {other:?}"),
        }
    }
    client.ends().await;
    flowing.await.expect("the publisher is not disturbed");
}

async fn v5_v311_mqtt_3_14_4_2_the_gateway_closes_if_the_client_does_not(at: Stage) {
    let mut client = at.client().await;
    client.send(&[0xE0, 0]).await;
    client.ends().await; // the test keeps its side open
}

async fn v311_mqtt_4_8_0_1_a_violation_closes_its_own_connection_and_no_other(at: Stage) {
    let mut bystander = at.client().await;
    for (what, bytes) in [
        ("type 0", vec![0, 0]),
        ("QoS 3", at.publish_bytes(0x36, b"a", &[0, 1], b"")),
        ("a second CONNECT", at.opening().encode()),
        (
            "an invalid filter",
            at.request_bytes(0x82, 1, &[text(b"a#"), vec![0]].concat()),
        ),
        ("an empty topic", at.publish_bytes(0x30, b"", &[], b"")),
    ] {
        at.forbids(what, &bytes, 0).await;
        bystander.ping().await;
    }
}

async fn v5_disconnect_may_change_the_session_expiry_but_not_from_zero(at: Stage) {
    let expiry = |seconds| {
        let properties = Properties::default();
        properties.with(property::SESSION_EXPIRY, Value::Four(seconds))
    };
    let id = unique("leaver");
    for (seconds, stays) in [(0, false), (60, true)] {
        let (mut client, _) = at.resume(&id).await;
        client
            .send(&wire::disconnect_with(0, &expiry(seconds)))
            .await;
        client.ends().await;
        let (client, present) = at.resume(&id).await;
        assert_eq!(present, stays, "left with {seconds}");
        drop(client);
    }
    let topic = unique("goodbye/will");
    let mut watcher = at.subscriber(&[(&topic, 1)]).await;
    let mut liar = at.client_of(&at.opening().will(will(&topic))).await;
    liar.send(&wire::disconnect_with(0, &expiry(60))).await;
    at.is_over("an expiry after none", &mut liar, 0x82).await;
    assert_eq!(watcher.receive().await.text(), "gone");
    let mut client = at.client().await;
    client.send(&wire::disconnect_with(0, &expiry(0))).await;
    client.ends().await;
}

async fn v5_properties_of_disconnect_are_checked(at: Stage) {
    for (what, properties, code) in [
        ("unknown", &[0x7F, 0][..], 0x81),
        ("of PUBLISH", &[0x01, 0], 0x81),
        ("reason string twice", &[0x1F, 0, 0, 0x1F, 0, 0], 0x82),
    ] {
        let body = [&[0, properties.len() as u8], properties].concat();
        at.forbids(what, &wire::packet(0xE0, &body), code).await;
    }
}

async fn v5_a_gateway_that_stops_says_so(at: Stage) {
    let at = at.with(&[]);
    let mut client = at.client().await;
    at.gateway.terminate();
    at.is_over("the gateway stops", &mut client, 0x8B).await;
}
