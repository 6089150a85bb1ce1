//! Sections 3.1.2.11.3 to 3.1.2.11.9: what a client says it can take, and what it asks to be spared.

use crate::{
    stage::{Stage, text, with_id},
    support::{
        unique,
        wire::{self, PUBACK, PUBREL, Packet, Publish, Value, property},
    },
};

claims! {
    v5_v311_mqtt_3_1_2_23_a_session_outlives_its_connection_if_it_was_asked_to:
        v5["3.1.2-23"] v311["3.1.2-4", "3.1.2-5", "3.1.2-6"];
    v5_mqtt_3_1_2_24_a_packet_at_the_limit_arrives_and_one_above_never_does: v5["3.1.2-24", "3.1.2-25"];
    v5_mqtt_3_1_2_24_an_answer_that_cannot_fit_is_not_sent: v5["3.1.2-24"];
    v5_mqtt_3_1_2_26_aliases_stay_within_what_the_client_allows: v5["3.1.2-26", "3.3.2-11"];
    v5_mqtt_3_1_2_27_a_client_that_allows_no_aliases_gets_none: v5["3.1.2-27"];
    v5_mqtt_3_1_2_28_nobody_gets_response_information_unasked: v5["3.1.2-28"];
    v5_mqtt_3_1_2_29_who_wants_no_problem_information_gets_it_where_it_is_always_allowed_only:
        v5["3.1.2-29"];
    v5_mqtt_3_4_2_2_acknowledgements_fit_the_clients_maximum_packet_size:
        v5["3.4.2-2", "3.4.2-3", "3.5.2-2", "3.5.2-3", "3.6.2-2", "3.6.2-3", "3.7.2-2", "3.7.2-3",
           "3.9.2-1", "3.9.2-2", "3.11.2-1", "3.11.2-2"];
    v5_mqtt_3_14_2_3_disconnect_fits_the_clients_maximum_packet_size: v5["3.14.2-3", "3.14.2-4"];
    v5_mqtt_3_1_2_25_what_is_too_large_after_resuming_counts_as_delivered: v5["3.1.2-25", "3.1.2-24"];
    v5_mqtt_3_1_2_25_a_retained_message_too_large_is_passed_over: v5["3.1.2-25"];
    v5_mqtt_3_1_2_25_a_share_group_may_give_it_to_a_member_that_takes_it: v5["3.1.2-25"];
    v5_a_session_expiry_above_the_cap_is_told: v5["Session Expiry Interval in CONNACK"];
}

async fn v5_v311_mqtt_3_1_2_23_a_session_outlives_its_connection_if_it_was_asked_to(at: Stage) {
    let (topic, id) = (unique("limits/lasting"), unique("lasting"));
    let (mut client, present) = at.resume(&id).await;
    assert!(!present);
    client.subscribe(&[(&topic, 2)]).await;
    drop(client);
    for qos in 0..=2 {
        at.publish(&Publish::new(&topic, qos.to_string(), qos))
            .await;
    }
    let (mut client, present) = at.resume(&id).await;
    assert!(present);
    let got = at.rest_of(&mut client).await;
    let got: Vec<String> = got
        .iter()
        .filter(|m| m.qos > 0)
        .map(Publish::text)
        .collect();
    assert_eq!(got, ["1", "2"]);
    client.disconnect().await;

    // without an expiry, or with a clean session of 3.1.1, the state ends with the connection
    let fleeting = match at.is_v5() {
        true => at.opening_of(&id).resuming(),
        false => at.opening_of(&id),
    };
    let mut client = at.client_of(&fleeting).await;
    client.subscribe(&[(&topic, 1)]).await;
    drop(client);
    assert!(!at.resume(&id).await.1);
}

fn most(at: &Stage, bytes: u32) -> wire::Opening {
    at.opening()
        .property(property::MAXIMUM_PACKET_SIZE, Value::Four(bytes))
}

async fn v5_mqtt_3_1_2_24_a_packet_at_the_limit_arrives_and_one_above_never_does(at: Stage) {
    let topic = unique("limits/size");
    let opening = most(&at, 64).property(property::RECEIVE_MAXIMUM, Value::Two(1));
    let mut client = at.client_of(&opening).await;
    client.subscribe(&[(&topic, 2)]).await;
    for qos in 0..=2u8 {
        let id = if qos > 0 { 2 } else { 0 };
        let fitting = 64 - 2 - 2 - topic.len() - id - 1;
        for _ in 0..3 {
            at.publish(&Publish::new(&topic, vec![b'x'; fitting + 1], qos))
                .await;
        }
        at.publish(&Publish::new(&topic, vec![b'y'; fitting], qos))
            .await;
        // with one slot only, each dropped message that kept it would be the last
        let bytes = client.next_bytes().await.expect("the message that fits");
        assert_eq!(bytes.len(), 64);
        assert_eq!(bytes[bytes.len() - 1], b'y');
        let at_id = 4 + topic.len();
        let packet_id = u16::from_be_bytes([bytes[at_id], bytes[at_id + 1]]);
        if qos > 0 {
            let got = Publish {
                qos,
                id: packet_id,
                ..Publish::default()
            };
            client.acknowledge(&got).await;
        }
    }
    client.ping().await;
}

async fn v5_mqtt_3_1_2_24_an_answer_that_cannot_fit_is_not_sent(at: Stage) {
    let filters: Vec<String> = (0..60).map(|n| format!("limits/answer/{n}")).collect();
    let filters: Vec<(&str, u8)> = filters.iter().map(|f| (f.as_str(), 0)).collect();
    let bytes =
        |count: usize| wire::subscribe(at.version, 7, &filters[..count], &Default::default());
    let mut client = at.client_of(&most(&at, 40)).await;
    client.send(&bytes(35)).await;
    let suback = client.next_bytes().await.expect("SUBACK");
    assert_eq!(suback.len(), 40, "as large as can be");
    client.send(&bytes(36)).await;
    client.expect(&[0xE0, 1, 0x95]).await;
    client.ends().await;
}

async fn v5_mqtt_3_1_2_26_aliases_stay_within_what_the_client_allows(at: Stage) {
    let root = unique("limits/aliases");
    let opening = at
        .opening()
        .property(property::TOPIC_ALIAS_MAXIMUM, Value::Two(3));
    let mut client = at.client_of(&opening).await;
    client.subscribe(&[(&format!("{root}/+"), 1)]).await;
    let mut topics = vec![String::new(); 4];
    let mut used = 0;
    for n in 0..30 {
        let topic = format!("{root}/{}", n % 10);
        at.publish(&Publish::new(&topic, n.to_string(), 1)).await;
        let got = client.receive().await;
        let alias = got.properties.number(property::TOPIC_ALIAS);
        if let Some(alias) = alias {
            assert!((1..=3).contains(&alias), "alias {alias}");
            used += 1;
            if !got.topic.is_empty() {
                topics[alias as usize] = got.topic.clone();
            }
        }
        let meant = match got.topic.as_str() {
            "" => &topics[alias.expect("a topic or an alias") as usize],
            _ => &got.topic,
        };
        assert_eq!(*meant, topic);
    }
    assert!(used > 3, "the gateway uses what it may");
}

async fn v5_mqtt_3_1_2_27_a_client_that_allows_no_aliases_gets_none(at: Stage) {
    let topic = unique("limits/no-aliases");
    let zero = at
        .opening()
        .property(property::TOPIC_ALIAS_MAXIMUM, Value::Two(0));
    for opening in [at.opening(), zero] {
        let mut client = at.client_of(&opening).await;
        client.subscribe(&[(&topic, 0)]).await;
        for _ in 0..3 {
            at.publish(&Publish::new(&topic, "x", 0)).await;
            client
                .expect(&at.publish_bytes(0x30, topic.as_bytes(), &[], b"x"))
                .await;
        }
    }
}

async fn v5_mqtt_3_1_2_28_nobody_gets_response_information_unasked(at: Stage) {
    let zero = at
        .opening()
        .property(property::REQUEST_RESPONSE_INFORMATION, Value::Byte(0));
    for opening in [at.opening(), zero] {
        let (_, welcome) = at.connect(&opening).await;
        assert_eq!(welcome.properties.get(property::RESPONSE_INFORMATION), None);
    }
}

async fn v5_mqtt_3_1_2_29_who_wants_no_problem_information_gets_it_where_it_is_always_allowed_only(
    at: Stage,
) {
    let opening = at
        .opening()
        .property(property::REQUEST_PROBLEM_INFORMATION, Value::Byte(0));
    let mut client = at.client_of(&opening).await;
    problems(&at, &mut client).await;
}

/// Every answer that tells of a problem: it has its code, and neither Reason String nor User Property.
async fn problems(at: &Stage, client: &mut crate::support::mqtt::Client) {
    let reserved = |qos| Publish::new("$SYS/broker/version", "mine", qos);
    client.send(&with_id(at.version, &reserved(1), 1)).await;
    client.expect(&[0x40, 3, 0, 1, 0x87]).await;
    client.send(&with_id(at.version, &reserved(2), 2)).await;
    client.expect(&[0x50, 3, 0, 2, 0x87]).await;
    client.send(&wire::ack(5, 3)).await;
    client.expect(&[0x62, 3, 0, 3, 0x92]).await;
    client.send(&wire::ack(PUBREL, 4)).await;
    client.expect(&[0x70, 3, 0, 4, 0x92]).await;
    let filter = [&text(b"a/#/b")[..], &[0]].concat();
    client.send(&at.request_bytes(0x82, 5, &filter)).await;
    client.expect(&[0x90, 4, 0, 5, 0, 0x8F]).await;
    client
        .send(&at.request_bytes(0xA2, 6, &text(b"never/subscribed")))
        .await;
    client.expect(&[0xB0, 4, 0, 6, 0, 0x11]).await;
}

async fn v5_mqtt_3_4_2_2_acknowledgements_fit_the_clients_maximum_packet_size(at: Stage) {
    // not a byte more than CONNACK needs
    let mut client = at.client_of(&most(&at, 24)).await;
    problems(&at, &mut client).await;
    client.send(&wire::ack(PUBACK, 9)).await;
    client.ping().await;
}

async fn v5_mqtt_3_14_2_3_disconnect_fits_the_clients_maximum_packet_size(at: Stage) {
    let mut client = at.client_of(&most(&at, 24)).await;
    client.send(&[0x00, 0x00]).await;
    client.expect(&[0xE0, 1, 0x81]).await;
    client.ends().await;
    let opening = at
        .opening()
        .property(property::REQUEST_PROBLEM_INFORMATION, Value::Byte(0));
    let mut client = at.client_of(&opening).await;
    client.send(&[0x00, 0x00]).await;
    match client.next().await {
        Some(Packet::Disconnect { code: 0x81, .. }) => {}
        other => panic!("DISCONNECT 0x81 expected, not {other:?}"),
    }
}

async fn v5_mqtt_3_1_2_25_what_is_too_large_after_resuming_counts_as_delivered(at: Stage) {
    let (topic, id) = (unique("limits/shrunk"), unique("shrunk"));
    let (mut client, _) = at.resume(&id).await;
    client.subscribe(&[(&topic, 2)]).await;
    for (text, qos) in [
        ("x".repeat(200), 1),
        ("x".repeat(200), 2),
        ("small".into(), 1),
    ] {
        at.publish(&Publish::new(&topic, text, qos)).await;
        client.receive_only().await;
    }
    drop(client);
    at.publish(&Publish::new(&topic, "y".repeat(200), 1)).await;
    at.publish(&Publish::new(&topic, "small too", 2)).await;
    let opening = at
        .lasting(&id)
        .property(property::MAXIMUM_PACKET_SIZE, Value::Four(100))
        .property(property::RECEIVE_MAXIMUM, Value::Two(1));
    let (mut client, welcome) = at.connect(&opening).await;
    assert!(welcome.session_present);
    for (text, dup) in [("small", true), ("small too", false)] {
        let got = client.receive().await;
        assert_eq!((got.text().as_str(), got.dup), (text, dup));
    }
    at.nothing_more_for(&mut client).await;
    drop(client);
    let (mut client, _) = at.resume(&id).await;
    at.nothing_more_for(&mut client).await;
}

async fn v5_mqtt_3_1_2_25_a_retained_message_too_large_is_passed_over(at: Stage) {
    let root = unique("limits/kept");
    for (topic, length) in [("a", 200), ("b", 5), ("c", 200), ("d", 5)] {
        let topic = format!("{root}/{topic}");
        at.publish(&Publish::new(&topic, "x".repeat(length), 1).retained())
            .await;
    }
    let opening = most(&at, 64).property(property::RECEIVE_MAXIMUM, Value::Two(1));
    let mut client = at.client_of(&opening).await;
    client.subscribe(&[(&format!("{root}/+"), 1)]).await;
    for topic in ["b", "d"] {
        assert_eq!(client.receive().await.topic, format!("{root}/{topic}"));
    }
    at.nothing_more_for(&mut client).await;
}

async fn v5_mqtt_3_1_2_25_a_share_group_may_give_it_to_a_member_that_takes_it(at: Stage) {
    // whichever member's turn it is: whoever cannot take it does not lose its place for what follows
    let topic = unique("limits/group");
    let filter = format!("$share/g/{topic}");
    let opening = most(&at, 64).property(property::RECEIVE_MAXIMUM, Value::Two(1));
    let mut small = at.client_of(&opening).await;
    small.subscribe(&[(&filter, 1)]).await;
    for n in 0..4 {
        at.publish(&Publish::new(&topic, "x".repeat(200), 1)).await;
        at.publish(&Publish::new(&topic, n.to_string(), 1)).await;
        assert_eq!(small.receive().await.text(), n.to_string());
    }
}

async fn v5_a_session_expiry_above_the_cap_is_told(at: Stage) {
    let at = at.with(&["session.max_expiry=1m"]);
    for (asked, told) in [(30, None), (60, None), (61, Some(60)), (u32::MAX, Some(60))] {
        let (_, welcome) = at.connect(&at.opening().session_expiry(asked)).await;
        let given = welcome.properties.number(property::SESSION_EXPIRY);
        assert_eq!(given, told, "asked for {asked}");
    }
    let (_, welcome) = at.connect(&at.opening()).await;
    assert_eq!(welcome.properties.get(property::SESSION_EXPIRY), None);
}
