//! Sections 3.3.1 and 3.3.2: DUP, QoS, topics, and what travels with a message.

use std::time::Duration;

use crate::{
    stage::{Stage, joined, text, with_id},
    support::{
        unique,
        wire::{self, Opening, Properties, Publish, Value, Version, property},
    },
};

claims! {
    v5_v311_mqtt_3_3_1_1_a_redelivered_publish_has_dup_and_its_identifier: v5["3.3.1-1"] v311["3.3.1-1"];
    v5_v311_mqtt_3_3_1_2_dup_at_qos_0_is_malformed: v5["3.3.1-2"] v311["3.3.1-2"];
    v5_v311_mqtt_3_3_1_3_dup_is_not_handed_on: v5["3.3.1-3", "3.3.1-2", "4.3.1-1"]
        v311["3.3.1-3", "3.3.1-2", "4.3.1-1"];
    v5_v311_mqtt_3_3_1_4_qos_3_is_malformed: v5["3.3.1-4"] v311["3.3.1-4"];
    v5_v311_mqtt_3_3_2_2_a_topic_name_has_no_wildcards: v5["3.3.2-2", "4.7.0-1"] v311["3.3.2-2", "4.7.1-1"];
    v5_v311_mqtt_3_3_2_3_a_delivery_matches_its_filter: v5["3.3.2-3"] v311["3.3.2-3"];
    v5_mqtt_3_3_2_4_the_payload_format_is_handed_on: v5["3.3.2-4"];
    v5_mqtt_3_3_2_5_what_expired_in_the_gateway_is_not_delivered: v5["3.3.2-5", "3.3.2-6"];
    v5_mqtt_3_3_2_14_a_response_topic_has_no_wildcards: v5["3.3.2-14"];
    v5_mqtt_3_3_2_15_properties_of_the_message_are_handed_on_byte_for_byte_and_in_order:
        v5["3.3.2-15", "3.3.2-16", "3.3.2-17", "3.3.2-18", "3.3.2-20"];
    v5_v311_mqtt_3_3_4_1_each_qos_has_its_answer: v5["3.3.4-1", "4.3.2-4", "4.3.3-8"] v311["3.3.4-1"];
    v5_v311_mqtt_3_3_4_2_overlapping_subscriptions_deliver_at_the_highest_qos:
        v5["3.3.4-2"] v311["3.3.5-1"];
    v5_mqtt_3_3_4_3_one_copy_carries_all_subscription_identifiers: v5["3.3.4-3", "3.3.4-4"];
    v5_mqtt_3_3_4_6_a_client_sends_no_subscription_identifier: v5["3.3.4-6"];
    v311_mqtt_3_3_5_2_a_message_nobody_may_publish_is_acknowledged_and_goes_nowhere: v311["3.3.5-2"];
    v5_a_message_nobody_may_publish_is_refused_with_its_reason: v5["PUBLISH to a topic one may not write to"];
    v5_v311_properties_do_not_cross_into_3_1_1:
        v5["from a 5.0 publisher to a 3.1.1 subscriber"] v311["from a 3.1.1 publisher to a 5.0 subscriber"];
    v5_properties_of_publish_are_checked:
        v5["a property unknown, of another packet, repeated, cut short or out of range in PUBLISH"];
    v5_a_payload_that_is_not_the_text_it_claims_to_be_is_refused: v5["payload format indicator 1, payload not UTF-8"];
}

async fn v5_v311_mqtt_3_3_1_1_a_redelivered_publish_has_dup_and_its_identifier(at: Stage) {
    for qos in [1, 2] {
        let (topic, id) = (unique("publish/again"), unique("receiver"));
        let (mut client, _) = at.resume(&id).await;
        client.subscribe(&[(&topic, qos)]).await;
        at.publish(&Publish::new(&topic, "x", qos)).await;
        let first = client.next_bytes().await.expect("the message");
        assert_eq!(first[0], 0x30 | qos << 1);
        for _ in 0..2 {
            drop(client);
            (client, _) = at.resume(&id).await;
            let mut again = first.clone();
            again[0] |= 0x08;
            client.expect(&again).await;
        }
    }
}

async fn v5_v311_mqtt_3_3_1_2_dup_at_qos_0_is_malformed(at: Stage) {
    for first in [0x38, 0x39] {
        let publish = at.publish_bytes(first, b"publish/dup", &[], b"x");
        at.forbids("DUP at QoS 0", &publish, 0x81).await;
    }
}

async fn v5_v311_mqtt_3_3_1_3_dup_is_not_handed_on(at: Stage) {
    let topic = unique("publish/dup");
    let mut subscriber = at.subscriber(&[(&topic, 2)]).await;
    let mut fleeting = at.subscriber(&[(&topic, 0)]).await;
    let mut publisher = at.client().await;
    for (qos, first) in [(1, 0x3A), (2, 0x3C)] {
        let bytes = at.publish_bytes(first, topic.as_bytes(), &[0, qos], b"x");
        publisher.send(&bytes).await;
        let got = subscriber.receive().await;
        assert_eq!((got.qos, got.dup), (qos, false));
        fleeting
            .expect(&at.publish_bytes(0x30, topic.as_bytes(), &[], b"x"))
            .await;
    }
}

async fn v5_v311_mqtt_3_3_1_4_qos_3_is_malformed(at: Stage) {
    for first in [0x36, 0x37, 0x3E, 0x3F] {
        let publish = at.publish_bytes(first, b"publish/qos3", &[0, 1], b"x");
        at.forbids("QoS 3", &publish, 0x81).await;
    }
}

async fn v5_v311_mqtt_3_3_2_2_a_topic_name_has_no_wildcards(at: Stage) {
    for topic in ["a/#", "a/+", "+", "#", "a/+/b", "a+", "a#b"] {
        for (first, id) in [(0x30, &[][..]), (0x32, &[0, 1]), (0x34, &[0, 1])] {
            let publish = at.publish_bytes(first, topic.as_bytes(), id, b"x");
            at.forbids(topic, &publish, 0x90).await;
        }
    }
}

async fn v5_v311_mqtt_3_3_2_3_a_delivery_matches_its_filter(at: Stage) {
    let root = unique("publish/match");
    let topics = ["", "/", "/a", "/a/b", "/a/b/c", "//c", "/b", "/ab", "/A"];
    let cases: [(&str, &[&str]); 10] = [
        ("/#", &topics),
        ("/+", &["/", "/a", "/b", "/ab", "/A"]),
        ("/+/b", &["/a/b"]),
        ("/a/#", &["/a", "/a/b", "/a/b/c"]),
        ("/+/+", &["/a/b", "//c"]),
        ("//c", &["//c"]),
        ("/+/b/#", &["/a/b", "/a/b/c"]),
        ("/a", &["/a"]),
        (
            "/+/#",
            &["/", "/a", "/a/b", "/a/b/c", "//c", "/b", "/ab", "/A"],
        ),
        ("", &[""]),
    ];
    let mut subscribers = vec![];
    for (filter, _) in cases {
        subscribers.push(at.subscriber(&[(&format!("{root}{filter}"), 0)]).await);
    }
    let mut publisher = at.client().await;
    for topic in topics {
        publisher
            .publish(&Publish::new(&format!("{root}{topic}"), "x", 0))
            .await;
    }
    publisher.ping().await;
    for ((filter, wanted), mut subscriber) in cases.into_iter().zip(subscribers) {
        let got = at.rest_of(&mut subscriber).await;
        let got: Vec<&str> = got.iter().map(|m| &m.topic[root.len()..]).collect();
        assert_eq!(got, wanted, "{filter:?}");
    }
}

async fn v5_mqtt_3_3_2_4_the_payload_format_is_handed_on(at: Stage) {
    let topic = unique("publish/format");
    let mut subscriber = at.subscriber(&[(&topic, 0)]).await;
    for properties in [&[1, 0][..], &[1, 1], &[]] {
        let length = [properties.len() as u8];
        let body = joined(&[
            &text(topic.as_bytes()),
            &length,
            properties,
            "h\u{fc}".as_bytes(),
        ]);
        let bytes = wire::packet(0x30, &body);
        let mut publisher = at.client().await;
        publisher.send(&bytes).await;
        subscriber.expect(&bytes).await;
    }
}

async fn v5_mqtt_3_3_2_5_what_expired_in_the_gateway_is_not_delivered(at: Stage) {
    let (root, id) = (unique("publish/expiry"), unique("sleeper"));
    let (mut sleeper, _) = at.resume(&id).await;
    sleeper.subscribe(&[(&format!("{root}/+"), 2)]).await;
    sleeper.disconnect().await;
    let mut publisher = at.client().await;
    for (topic, qos) in [("one", 1), ("two", 2)] {
        for seconds in [1u32, 60] {
            let topic = format!("{root}/{topic}");
            let message = Publish::new(&topic, seconds.to_string(), qos)
                .property(property::MESSAGE_EXPIRY, Value::Four(seconds));
            publisher.publish(&message).await;
        }
    }
    for seconds in [1u32, 60] {
        let message = Publish::new(&format!("{root}-kept/{seconds}"), seconds.to_string(), 1)
            .retained()
            .property(property::MESSAGE_EXPIRY, Value::Four(seconds));
        publisher.publish(&message).await;
    }
    tokio::time::sleep(Duration::from_millis(2200)).await;
    let (mut sleeper, _) = at.resume(&id).await;
    let queued = at.rest_of(&mut sleeper).await;
    let kept = at.retained(&format!("{root}-kept/+")).await;
    assert_eq!((queued.len(), kept.len()), (2, 1), "{queued:?} {kept:?}");
    for message in queued.iter().chain(&kept) {
        assert_eq!(message.text(), "60");
        let left = message.properties.number(property::MESSAGE_EXPIRY);
        assert!(
            left.is_some_and(|left| (50..=58).contains(&left)),
            "{left:?} of 60 left"
        );
    }
}

async fn v5_mqtt_3_3_2_14_a_response_topic_has_no_wildcards(at: Stage) {
    for topic in ["reply/#", "+", "a/+/b"] {
        let message = Publish::new("publish/ask", "x", 0)
            .property(property::RESPONSE_TOPIC, Value::Text(topic.into()));
        at.forbids(topic, &wire::publish(at.version, &message), 0x90)
            .await;
    }
}

async fn v5_mqtt_3_3_2_15_properties_of_the_message_are_handed_on_byte_for_byte_and_in_order(
    at: Stage,
) {
    let topic = unique("publish/properties");
    let mut subscriber = at.subscriber(&[(&topic, 0)]).await;
    let properties = Properties::default()
        .text(property::CONTENT_TYPE, "text/pl\u{e4}in; \u{1F980}")
        .text(property::RESPONSE_TOPIC, "r\u{e9}ponse/\u{FEFF}")
        .with(
            property::CORRELATION,
            Value::Binary(vec![0, 0xFF, 0xED, 0xA0, 0x80]),
        )
        .user("k", "1")
        .user("j", "2")
        .user("k", "3")
        .user("k", "3")
        .user("", "")
        .user("\u{FEFF}", "\u{10FFFF}");
    let mut message = Publish::new(&topic, vec![0, 1, 0xFF], 0);
    message.properties = properties.clone();
    let mut publisher = at.client().await;
    publisher.publish(&message).await;
    let got = subscriber.receive().await;
    assert_eq!(
        (&got.payload, &got.properties),
        (&message.payload, &properties)
    );
    // at QoS 1 and 2, retained, and kept for a session, it is the same message
    let id = unique("sleeper");
    let (mut sleeper, _) = at.resume(&id).await;
    sleeper.subscribe(&[(&topic, 2)]).await;
    sleeper.disconnect().await;
    message.qos = 2;
    message.retain = true;
    publisher.publish(&message).await;
    let (mut sleeper, _) = at.resume(&id).await;
    assert_eq!(sleeper.receive().await.properties, properties);
    assert_eq!(at.retained(&topic).await[0].properties, properties);
}

async fn v5_v311_mqtt_3_3_4_1_each_qos_has_its_answer(at: Stage) {
    let mut client = at.client().await;
    let topic = unique("publish/answer");
    let publish = |qos, id| with_id(at.version, &Publish::new(&topic, "x", qos), id);
    client.send(&publish(0, 0)).await;
    client.send(&wire::pingreq()).await;
    client.expect(&[0xD0, 0]).await;
    client.send(&publish(1, 0xA1B2)).await;
    client.expect(&[0x40, 2, 0xA1, 0xB2]).await;
    client.send(&publish(2, 0xC3D4)).await;
    client.expect(&[0x50, 2, 0xC3, 0xD4]).await;
}

async fn v5_v311_mqtt_3_3_4_2_overlapping_subscriptions_deliver_at_the_highest_qos(at: Stage) {
    let root = unique("publish/overlap");
    for filters in [
        [("#", 0), ("+", 2), ("a", 1)],
        [("a", 2), ("+", 0), ("#", 1)],
    ] {
        let filters = filters.map(|(filter, qos)| (format!("{root}/{filter}"), qos));
        let filters: Vec<(&str, u8)> = filters.iter().map(|(f, q)| (f.as_str(), *q)).collect();
        let mut subscriber = at.subscriber(&filters).await;
        at.publish(&Publish::new(&format!("{root}/a"), "x", 2))
            .await;
        let got = at.rest_of(&mut subscriber).await;
        assert_eq!(
            got.iter().map(|m| m.qos).collect::<Vec<_>>(),
            [2],
            "one copy"
        );
    }
}

async fn v5_mqtt_3_3_4_3_one_copy_carries_all_subscription_identifiers(at: Stage) {
    let root = unique("publish/identifiers");
    let mut subscriber = at.client().await;
    for (filter, id) in [("#", 1), ("+", 268_435_455), ("a", 300)] {
        let id = Properties::default().with(property::SUBSCRIPTION_ID, Value::Var(id));
        let filter = format!("{root}/{filter}");
        assert_eq!(subscriber.subscribe_with(&[(&filter, 1)], &id).await, [1]);
    }
    subscriber.subscribe(&[(&format!("{root}/a/#"), 1)]).await;
    at.publish(&Publish::new(&format!("{root}/a"), "x", 1))
        .await;
    at.publish(&Publish::new(&format!("{root}/a/b"), "x", 1))
        .await;
    let got = at.rest_of(&mut subscriber).await;
    let ids: Vec<Vec<u32>> = got
        .iter()
        .map(|message| {
            let ids = message
                .properties
                .all(property::SUBSCRIPTION_ID)
                .into_iter();
            let mut ids: Vec<u32> = ids
                .map(|id| match id {
                    Value::Var(id) => *id,
                    other => panic!("{other:?}"),
                })
                .collect();
            ids.sort_unstable();
            ids
        })
        .collect();
    assert_eq!(ids, [vec![1, 300, 268_435_455], vec![1]]);
}

async fn v5_mqtt_3_3_4_6_a_client_sends_no_subscription_identifier(at: Stage) {
    let message =
        Publish::new("publish/id", "x", 0).property(property::SUBSCRIPTION_ID, Value::Var(1));
    let publish = wire::publish(at.version, &message);
    at.forbids("a subscription identifier", &publish, 0x82)
        .await;
}

async fn v311_mqtt_3_3_5_2_a_message_nobody_may_publish_is_acknowledged_and_goes_nowhere(
    at: Stage,
) {
    let topic = unique("$SYS/broker/forged");
    let mut watcher = at.subscriber(&[(&topic, 2)]).await;
    let mut publisher = at.client().await;
    for (qos, ack) in [(1, 0x40), (2, 0x50)] {
        let message = Publish::new(&topic, "forged", qos).retained();
        publisher.send(&with_id(at.version, &message, 7)).await;
        publisher.expect(&[ack, 2, 0, 7]).await;
    }
    at.nothing_more_for(&mut watcher).await;
    assert_eq!(at.retained(&topic).await, []);
}

async fn v5_a_message_nobody_may_publish_is_refused_with_its_reason(at: Stage) {
    let topic = unique("$SYS/broker/forged");
    let mut watcher = at.subscriber(&[(&topic, 2)]).await;
    let mut publisher = at.client().await;
    for qos in 0..=2 {
        let message = Publish::new(&topic, "forged", qos).retained();
        let code = publisher.publish(&message).await;
        assert_eq!(code, if qos == 0 { 0 } else { 0x87 });
    }
    publisher.ping().await;
    at.nothing_more_for(&mut watcher).await;
    assert_eq!(at.retained(&topic).await, []);
}

async fn v5_v311_properties_do_not_cross_into_3_1_1(at: Stage) {
    let topic = unique("publish/crossing");
    let other = match at.version {
        Version::V5 => at.in_version(Version::V311),
        _ => at.in_version(Version::V5),
    };
    let mut there = other.subscriber(&[(&topic, 0)]).await;
    let mut publisher = at.client().await;
    let mut message = Publish::new(&topic, "x", 0);
    if at.is_v5() {
        let alias = Value::Two(1);
        message = message.property(property::TOPIC_ALIAS, alias);
        message.properties = message
            .properties
            .with(property::MESSAGE_EXPIRY, Value::Four(60))
            .text(property::CONTENT_TYPE, "text/plain")
            .user("a", "1");
    }
    publisher.publish(&message).await;
    there
        .expect(&other.publish_bytes(0x30, topic.as_bytes(), &[], b"x"))
        .await;
}

async fn v5_properties_of_publish_are_checked(at: Stage) {
    for (what, properties, code) in [
        ("unknown", &[0x7F, 0][..], 0x81),
        ("of CONNECT", &[0x11, 0, 0, 0, 1], 0x81),
        ("of CONNACK", &[0x24, 1], 0x81),
        ("cut short", &[0x02, 0, 0], 0x81),
        ("payload format twice", &[1, 0, 1, 0], 0x82),
        ("topic alias twice", &[0x23, 0, 1, 0x23, 0, 1], 0x82),
        ("content type twice", &[3, 0, 0, 3, 0, 0], 0x82),
        ("payload format 2", &[1, 2], 0x82),
    ] {
        let length = [properties.len() as u8];
        let body = joined(&[&text(b"publish/checked"), &length, properties, b"x"]);
        at.forbids(what, &wire::packet(0x30, &body), code).await;
    }
}

async fn v5_a_payload_that_is_not_the_text_it_claims_to_be_is_refused(at: Stage) {
    let topic = unique("publish/text");
    let mut watcher = at.subscriber(&[(&topic, 2)]).await;
    let mut publisher = at.client_of(&Opening::v5(&unique("liar"))).await;
    for qos in [1, 2] {
        let message = Publish::new(&topic, b"\xFF\xFE".to_vec(), qos)
            .property(property::PAYLOAD_FORMAT, Value::Byte(1));
        assert_eq!(publisher.publish(&message).await, 0x99);
    }
    at.nothing_more_for(&mut watcher).await;
}
