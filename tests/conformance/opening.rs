//! Sections 3.1.3 to 3.2: who is let in, what the answer says, what becomes of sessions and earlier connections.

use std::collections::BTreeSet;

use crate::{
    stage::{Stage, will, with_id},
    support::{
        mqtt::Client,
        unique,
        wire::{self, Opening, Packet, Publish, Value, Version, property},
    },
};

claims! {
    v5_v311_mqtt_3_1_3_5_plain_identifiers_of_1_to_23_bytes_are_accepted: v5["3.1.3-5"] v311["3.1.3-5"];
    v5_mqtt_3_1_3_6_a_client_without_an_identifier_is_told_its_own:
        v5["3.1.3-6", "3.1.3-7", "3.2.2-16"];
    v311_mqtt_3_1_3_6_clients_without_an_identifier_do_not_disturb_each_other: v311["3.1.3-6"];
    v311_mqtt_3_1_3_8_an_empty_identifier_needs_a_clean_session: v311["3.1.3-8", "3.1.3-7", "3.2.2-5"];
    v5_mqtt_3_1_3_6_an_empty_identifier_goes_with_either_clean_start: v5["3.1.3-6"];
    v5_v311_mqtt_3_1_3_8_a_refused_identifier_is_answered_and_closed:
        v5["3.1.3-8", "3.2.2-7", "3.2.2-8", "4.13.2-1"] v311["3.1.3-9", "3.2.2-5"];
    v5_v311_mqtt_3_1_4_2_who_may_not_come_in_is_told_and_closed:
        v5["3.1.4-2", "3.2.2-7", "3.2.2-8"] v311["3.2.2-5"];
    v311_mqtt_3_2_2_6_without_a_fitting_code_there_is_only_the_close: v311["3.2.2-6", "3.1.4-1"];
    v5_v311_mqtt_3_1_4_3_a_second_connection_of_a_client_ends_the_first: v5["3.1.4-3"] v311["3.1.4-2"];
    v5_v311_mqtt_3_1_4_4_clean_start_is_obeyed_on_every_connect:
        v5["3.1.4-4", "3.1.2-4", "3.1.2-5", "3.1.2-6", "3.2.2-2", "3.2.2-3", "3.2.2-1"]
        v311["3.1.4-3", "3.1.2-4", "3.1.2-6", "3.2.2-1", "3.2.2-2", "3.2.2-3"];
    v5_v311_mqtt_3_1_4_5_a_valid_connect_is_accepted: v5["3.1.4-5", "4.2.0-1"] v311["3.1.4-4", "7.1.1-1"];
    v5_v311_mqtt_3_1_4_6_what_follows_a_refused_connect_is_not_acted_on: v5["3.1.4-6"] v311["3.1.4-5"];
    v5_v311_mqtt_3_2_0_1_connack_is_the_first_packet_and_comes_once:
        v5["3.2.0-1", "3.2.0-2"] v311["3.2.0-1"];
    v5_v311_mqtt_3_2_2_6_a_refusal_never_speaks_of_a_session: v5["3.2.2-6"] v311["3.2.2-4"];
    v5_mqtt_3_2_2_9_what_is_fully_supported_is_not_announced: v5["3.2.2-9"];
    v5_mqtt_3_2_2_19_a_refusal_fits_the_clients_maximum_packet_size: v5["3.2.2-19", "3.2.2-20", "3.1.2-24"];
    v5_v311_mqtt_3_1_3_2_sessions_belong_to_their_client_identifier: v5["3.1.3-2"] v311["3.1.3-2"];
    v5_a_session_is_resumed_under_another_version: v5["a session resumed under another version"];
    v5_v311_what_comes_together_with_connect_is_handled_after_it:
        v5["packets sent before CONNACK"] v311["packets sent before CONNACK"];
}

async fn v5_v311_mqtt_3_1_3_5_plain_identifiers_of_1_to_23_bytes_are_accepted(at: Stage) {
    // one test per transport and version runs at a time on each of these names, so none is taken over meanwhile
    let own = at.with(&[]);
    let alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut clients: Vec<Client> = vec![];
    for id in [
        "0",
        "z",
        "A",
        &alphabet[..23],
        &alphabet[23..46],
        &alphabet[39..],
    ] {
        clients.push(own.client_of(&own.opening_of(id)).await);
    }
    for mut client in clients {
        client.ping().await;
    }
}

fn assigned(properties: &wire::Properties) -> String {
    let id = properties.string(property::ASSIGNED_CLIENT_ID);
    id.expect("an assigned identifier").to_owned()
}

async fn v5_mqtt_3_1_3_6_a_client_without_an_identifier_is_told_its_own(at: Stage) {
    let mut clients = vec![];
    let mut ids = BTreeSet::new();
    for _ in 0..20 {
        let (client, welcome) = at.connect(&at.opening_of("").session_expiry(60)).await;
        ids.insert(assigned(&welcome.properties));
        clients.push(client);
    }
    assert_eq!(ids.len(), 20, "all different: {ids:?}");
    assert!(!ids.contains(""));
    for client in &mut clients {
        client.ping().await;
    }
    let (_, welcome) = at.connect(&at.opening()).await;
    assert!(
        welcome
            .properties
            .get(property::ASSIGNED_CLIENT_ID)
            .is_none()
    );
    drop(clients);
    for id in ids {
        let (_, present) = at.resume(&id).await;
        assert!(present, "{id} is used as if the client had sent it");
    }
}

async fn v311_mqtt_3_1_3_6_clients_without_an_identifier_do_not_disturb_each_other(at: Stage) {
    let topic = unique("opening/nameless");
    let (mut one, welcome) = at.connect(&at.opening_of("")).await;
    let (mut two, _) = at.connect(&at.opening_of("")).await;
    assert!(!welcome.session_present);
    one.subscribe(&[(&topic, 0)]).await;
    two.publish(&Publish::new(&topic, "hello", 0)).await;
    assert_eq!(one.receive().await.text(), "hello");
    at.nothing_more_for(&mut two).await;
}

async fn v311_mqtt_3_1_3_8_an_empty_identifier_needs_a_clean_session(at: Stage) {
    let mut client = at.line().await;
    client.send(&at.opening_of("").resuming().encode()).await;
    client.expect(&[0x20, 2, 0, 2]).await;
    client.ends().await;
}

async fn v5_mqtt_3_1_3_6_an_empty_identifier_goes_with_either_clean_start(at: Stage) {
    let (_, welcome) = at.connect(&at.opening_of("").resuming()).await;
    assert!(!welcome.session_present);
    assert!(!assigned(&welcome.properties).is_empty());
}

async fn v5_v311_mqtt_3_1_3_8_a_refused_identifier_is_answered_and_closed(at: Stage) {
    let at = at.with(&["limits.client_id_bytes=23"]);
    let long = at.opening_of("an-identifier-of-24-byte").encode();
    let code = if at.is_v5() { 0x85 } else { 2 };
    at.turns_away_with("24 bytes", &long, Some(code)).await;
    at.client_of(&at.opening_of("an-identifier-of-23-byt"))
        .await;
}

/// A CONNECT that is well formed and refused: nobody may write where its will would go.
fn unwelcome(at: &Stage, id: &str) -> Opening {
    at.opening_of(id).will(will("$SYS/broker/version"))
}

async fn v5_v311_mqtt_3_1_4_2_who_may_not_come_in_is_told_and_closed(at: Stage) {
    let refused = unwelcome(&at, &unique("unwelcome")).encode();
    let code = if at.is_v5() { 0x87 } else { 5 };
    at.turns_away_with("a will below $SYS", &refused, Some(code))
        .await;
}

async fn v311_mqtt_3_2_2_6_without_a_fitting_code_there_is_only_the_close(at: Stage) {
    let deep = vec!["a"; 129].join("/");
    let refused = at.opening().will(will(&deep)).encode();
    at.turns_away_with("a will topic of 129 levels", &refused, None)
        .await;
}

async fn v5_v311_mqtt_3_1_4_3_a_second_connection_of_a_client_ends_the_first(at: Stage) {
    let opening = at.opening();
    let mut first = at.client_of(&opening).await;
    let mut second = at.client_of(&opening).await;
    at.is_over("taken over", &mut first, 0x8E).await;
    second.ping().await;
    // whichever version the newcomer speaks, the old one is told in its own
    let other = match at.version {
        Version::V5 => Version::V311,
        _ => Version::V5,
    };
    let mut newcomer = opening.clone();
    newcomer.version = other;
    let mut third = at.in_version(other).client_of(&newcomer).await;
    at.is_over("taken over", &mut second, 0x8E).await;
    third.ping().await;
}

async fn v5_v311_mqtt_3_1_4_4_clean_start_is_obeyed_on_every_connect(at: Stage) {
    let (topic, id) = (unique("opening/clean"), unique("clean"));
    let clean = match at.is_v5() {
        true => at.opening_of(&id).session_expiry(300),
        false => at.opening_of(&id),
    };
    let flags = |bytes: Vec<u8>| bytes[2..4].to_vec();
    let mut raw = at.line().await;
    raw.send(&at.lasting(&id).encode()).await;
    assert_eq!(
        flags(raw.next_bytes().await.expect("CONNACK")),
        [0, 0],
        "no state yet"
    );
    raw.subscribe(&[(&topic, 1)]).await;
    raw.disconnect().await;
    at.publish(&Publish::new(&topic, "queued", 1)).await;
    let mut raw = at.line().await;
    raw.send(&at.lasting(&id).encode()).await;
    assert_eq!(
        flags(raw.next_bytes().await.expect("CONNACK")),
        [1, 0],
        "state"
    );
    assert_eq!(raw.receive().await.text(), "queued");
    raw.disconnect().await;
    at.publish(&Publish::new(&topic, "to be forgotten", 1))
        .await;
    let mut raw = at.line().await;
    raw.send(&clean.encode()).await;
    assert_eq!(
        flags(raw.next_bytes().await.expect("CONNACK")),
        [0, 0],
        "thrown away"
    );
    at.publish(&Publish::new(&topic, "not subscribed", 1)).await;
    at.nothing_more_for(&mut raw).await;
    raw.disconnect().await;
    let (_, present) = at.resume(&id).await;
    // a clean session of 3.1.1 ends with its connection; in 5.0 the expiry decides
    assert_eq!(present, at.is_v5());
}

async fn v5_v311_mqtt_3_1_4_5_a_valid_connect_is_accepted(at: Stage) {
    let topic = unique("opening/valid");
    let (mut client, welcome) = at.connect(&at.opening()).await;
    assert_eq!((welcome.code, welcome.session_present), (0, false));
    client.subscribe(&[(&topic, 2)]).await;
    let payload: Vec<u8> = (0..100_000u32).map(|n| (n * 7) as u8).collect();
    client
        .publish(&Publish::new(&topic, payload.clone(), 2))
        .await;
    assert_eq!(
        client.receive().await.payload,
        payload,
        "every byte in its place"
    );
}

async fn v5_v311_mqtt_3_1_4_6_what_follows_a_refused_connect_is_not_acted_on(at: Stage) {
    let topic = unique("opening/refused");
    let mut watcher = at.subscriber(&[(&topic, 1)]).await;
    let mut bytes = unwelcome(&at, &unique("unwelcome")).encode();
    bytes.extend(at.publish_bytes(0x31, topic.as_bytes(), &[], b"smuggled"));
    bytes.extend(with_id(at.version, &Publish::new(&topic, "smuggled", 1), 1));
    let code = if at.is_v5() { 0x87 } else { 5 };
    at.turns_away_with("unwelcome", &bytes, Some(code)).await;
    at.nothing_more_for(&mut watcher).await;
    assert_eq!(at.retained(&topic).await, []);
}

async fn v5_v311_mqtt_3_2_0_1_connack_is_the_first_packet_and_comes_once(at: Stage) {
    let (topic, id) = (unique("opening/first"), unique("queued"));
    let (mut client, _) = at.resume(&id).await;
    client.subscribe(&[(&topic, 1)]).await;
    client.disconnect().await;
    for n in 0..20 {
        at.publish(&Publish::new(&topic, n.to_string(), 1)).await;
    }
    // what is pipelined behind CONNECT is answered after CONNACK too
    let mut client = at.line().await;
    let mut bytes = at.lasting(&id).encode();
    bytes.extend(wire::pingreq());
    client.send(&bytes).await;
    match client.next().await {
        Some(Packet::Connack {
            session_present: true,
            code: 0,
            ..
        }) => {}
        other => panic!("CONNACK first, not {other:?}"),
    }
    for n in 0..20 {
        assert_eq!(client.receive().await.text(), n.to_string());
    }
    client
        .take("PINGRESP", |packet| *packet == Packet::Pingresp)
        .await;
    client.subscribe(&[(&topic, 2)]).await;
    client.publish(&Publish::new(&topic, "own", 2)).await;
    assert_eq!(client.receive().await.text(), "own");
    client.unsubscribe(&[&topic]).await;
    client.ping().await;
    client.disconnect().await; // fails on a packet it did not ask for, a second CONNACK among them
}

async fn v5_v311_mqtt_3_2_2_6_a_refusal_never_speaks_of_a_session(at: Stage) {
    let id = unique("stored");
    drop(at.resume(&id).await);
    let mut refused = at.line().await;
    let opening = match at.is_v5() {
        true => unwelcome(&at, &id).session_expiry(300),
        false => unwelcome(&at, &id),
    };
    refused.send(&opening.resuming().encode()).await;
    let connack = refused.next_bytes().await.expect("CONNACK");
    let code = if at.is_v5() { 0x87 } else { 5 };
    assert_eq!(connack[2..4], [0, code]);
    refused.ends().await;
    assert!(
        at.resume(&id).await.1,
        "the session is untouched by who was refused"
    );
}

async fn v5_mqtt_3_2_2_9_what_is_fully_supported_is_not_announced(at: Stage) {
    let (mut client, welcome) = at.connect(&at.opening()).await;
    for absent in [
        property::MAXIMUM_QOS,
        property::RETAIN_AVAILABLE,
        0x28,
        0x29,
        0x2A,
    ] {
        assert_eq!(welcome.properties.get(absent), None, "{absent:#04x}");
    }
    let topic = unique("opening/any-qos");
    assert_eq!(
        client
            .subscribe(&[(&topic, 0), (&topic, 1), (&topic, 2)])
            .await,
        [0, 1, 2]
    );
}

async fn v5_mqtt_3_2_2_19_a_refusal_fits_the_clients_maximum_packet_size(at: Stage) {
    // with all it could say, CONNACK would be several dozen bytes long
    let opening = unwelcome(&at, &unique("small"));
    let small = opening.property(property::MAXIMUM_PACKET_SIZE, Value::Four(32));
    let mut client = at.line().await;
    client.send(&small.encode()).await;
    client.expect(&[0x20, 3, 0, 0x87, 0]).await;
    client.ends().await;
    let opening = unwelcome(&at, &unique("tiny"));
    let tiny = opening.property(property::MAXIMUM_PACKET_SIZE, Value::Four(4));
    at.turns_away_with("no room for any CONNACK", &tiny.encode(), None)
        .await;
    // what the gateway must say of itself does not fit: better refused than served a packet it cannot take
    let opening = at.opening();
    let small = opening.property(property::MAXIMUM_PACKET_SIZE, Value::Four(12));
    let mut client = at.line().await;
    client.send(&small.encode()).await;
    client.expect(&[0x20, 3, 0, 0x95, 0]).await;
    client.ends().await;
}

async fn v5_v311_mqtt_3_1_3_2_sessions_belong_to_their_client_identifier(at: Stage) {
    let topics = [unique("opening/mine"), unique("opening/yours")];
    let ids = [unique("case"), unique("CASE")];
    for (topic, id) in topics.iter().zip(&ids) {
        let (mut client, present) = at.resume(id).await;
        assert!(!present);
        client.subscribe(&[(topic, 1)]).await;
        client.disconnect().await;
    }
    for topic in &topics {
        at.publish(&Publish::new(topic, "for its own", 1)).await;
    }
    for (topic, id) in topics.iter().zip(&ids) {
        let (mut client, present) = at.resume(id).await;
        assert!(present);
        let got = at.rest_of(&mut client).await;
        assert_eq!(got.iter().map(|m| &m.topic).collect::<Vec<_>>(), [topic]);
    }
    let stranger = ids[0].to_uppercase() + "x";
    assert!(!at.resume(&stranger).await.1);
}

async fn v5_a_session_is_resumed_under_another_version(at: Stage) {
    let (topic, id) = (unique("opening/crossing"), unique("crossing"));
    let old = at.in_version(Version::V311);
    let (mut client, _) = at.resume(&id).await;
    client.subscribe(&[(&topic, 1 | 0x08)]).await; // retain as published, which 3.1.1 cannot say
    client.disconnect().await;
    at.publish(&Publish::new(&topic, "across", 1).retained())
        .await;
    let (mut client, present) = old.resume(&id).await;
    assert!(present);
    let got = client.receive().await;
    assert_eq!((got.text().as_str(), got.retain), ("across", true));
    client.disconnect().await;
    let (_, present) = at.resume(&id).await;
    assert!(present);
}

async fn v5_v311_what_comes_together_with_connect_is_handled_after_it(at: Stage) {
    let topic = unique("opening/together");
    let mut watcher = at.subscriber(&[(&topic, 0)]).await;
    // larger than a CONNECT may be
    let large = wire::publish(at.version, &Publish::new(&topic, vec![b'x'; 1 << 20], 0));
    let mut client = at.line().await;
    client
        .send(&[at.opening().encode(), large.clone()].concat())
        .await;
    assert!(matches!(
        client.next().await,
        Some(Packet::Connack { code: 0, .. })
    ));
    assert_eq!(
        watcher.next_bytes().await.map(|bytes| bytes.len()),
        Some(large.len())
    );
    client.ping().await;
    // what is wrong with the second packet is told after the answer to the first
    for (what, bytes, code) in [
        ("malformed", vec![0, 0], 0x81),
        ("a second CONNECT", at.opening().encode(), 0x82),
        ("too large", vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F], 0x95),
    ] {
        let mut client = at.line().await;
        client.send(&[at.opening().encode(), bytes].concat()).await;
        assert!(matches!(
            client.next().await,
            Some(Packet::Connack { code: 0, .. })
        ));
        at.is_over(what, &mut client, code).await;
    }
}
