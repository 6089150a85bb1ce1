//! Sections 3.8 to 3.11: SUBSCRIBE and UNSUBSCRIBE.

use crate::{
    stage::{Stage, joined, text, will},
    support::{
        mqtt::Client,
        unique,
        wire::{self, PUBCOMP, PUBREC, Properties, Publish, Value, property},
    },
};

claims! {
    v5_v311_mqtt_3_8_3_2_a_request_has_a_filter: v5["3.8.3-2", "3.10.3-2"] v311["3.8.3-3", "3.10.3-2"];
    v5_mqtt_3_8_3_3_no_local_spares_a_client_its_own_messages: v5["3.8.3-3"];
    v5_mqtt_3_8_3_4_no_local_on_a_shared_subscription_is_a_protocol_error: v5["3.8.3-4"];
    v5_mqtt_3_8_3_5_reserved_options_are_malformed: v5["3.8.3-5"];
    v311_mqtt_3_8_3_4_anything_but_a_qos_in_its_byte_is_malformed: v311["3.8.3-4"];
    v5_v311_mqtt_3_8_4_1_subscribe_is_answered_under_its_identifier:
        v5["3.8.4-1", "3.8.4-2", "2.2.1-6"] v311["3.8.4-1", "3.8.4-2", "2.3.1-7"];
    v5_v311_mqtt_3_8_4_3_an_equal_filter_replaces_its_subscription: v5["3.8.4-3"] v311["3.8.4-3"];
    v5_v311_mqtt_3_8_4_4_replacing_sends_what_is_retained_and_loses_nothing: v5["3.8.4-4"] v311["3.8.4-3"];
    v5_v311_mqtt_3_8_4_5_many_filters_are_as_good_as_many_requests:
        v5["3.8.4-5", "3.8.4-6", "3.9.3-1", "3.9.3-2"] v311["3.8.4-4", "3.9.3-1", "3.8.4-5"];
    v5_mqtt_3_8_4_7_each_filter_is_granted_or_refused_on_its_own: v5["3.8.4-7", "3.8.4-6", "3.9.3-2"];
    v311_mqtt_3_8_4_5_each_filter_is_granted_or_refused_on_its_own: v311["3.8.4-5", "3.9.3-2", "3.9.3-1"];
    v5_v311_mqtt_3_8_4_8_delivery_is_at_the_lower_of_published_and_granted_qos:
        v5["3.8.4-8"] v311["3.8.4-6"];
    v311_mqtt_3_8_3_2_wildcards_are_supported: v311["3.8.3-2"];
    v5_v311_mqtt_3_10_4_1_a_filter_is_given_up_character_for_character: v5["3.10.4-1"] v311["3.10.4-1"];
    v5_v311_mqtt_3_10_4_2_after_unsuback_nothing_new_comes: v5["3.10.4-2"] v311["3.10.4-2"];
    v5_v311_mqtt_3_10_4_3_what_was_begun_is_finished: v5["3.10.4-3"] v311["3.10.4-3"];
    v5_v311_mqtt_3_10_4_4_unsubscribe_is_answered_even_if_nothing_was_there:
        v5["3.10.4-4", "3.10.4-5", "3.11.3-2"] v311["3.10.4-4", "3.10.4-5"];
    v5_v311_mqtt_3_10_4_6_many_filters_are_given_up_at_once:
        v5["3.10.4-6", "3.11.3-1"] v311["3.10.4-6"];
    v5_errors_of_subscribe_without_a_number:
        v5["QoS 3, retain handling 3, identifier 0 or twice, a property of another packet in SUBSCRIBE"];
    v5_mqtt_3_8_3_3_no_local_holds_for_its_own_filter_only: v5["3.8.3-3", "3.3.4-3"];
    v5_mqtt_3_8_4_3_a_subscription_replaced_without_an_identifier_has_none: v5["3.8.4-3"];
    v5_mqtt_3_3_4_3_a_retained_message_carries_the_identifier_of_its_subscription: v5["3.3.4-3"];
    v5_mqtt_3_3_1_10_a_subscription_of_a_resumed_session_is_not_new: v5["3.3.1-10"];
    v5_mqtt_3_3_1_13_options_of_each_filter_are_its_own: v5["3.3.1-13", "3.3.1-12"];
}

async fn v5_v311_mqtt_3_8_3_2_a_request_has_a_filter(at: Stage) {
    at.forbids("SUBSCRIBE", &at.request_bytes(0x82, 1, &[]), 0x82)
        .await;
    at.forbids("UNSUBSCRIBE", &at.request_bytes(0xA2, 1, &[]), 0x82)
        .await;
}

async fn v5_mqtt_3_8_3_3_no_local_spares_a_client_its_own_messages(at: Stage) {
    let (topic, id) = (unique("subscribe/local"), unique("both"));
    let (mut client, _) = at.resume(&id).await;
    client.subscribe(&[(&topic, 2 | 0x04)]).await;
    for qos in 0..=2 {
        client.publish(&Publish::new(&topic, "own", qos)).await;
        at.publish(&Publish::new(&topic, "foreign", qos)).await;
        assert_eq!(client.receive().await.text(), "foreign");
    }
    at.nothing_more_for(&mut client).await;
    // the client identifier decides, not the connection: its will is its own as well, if it is away or back already
    let mut last = will(&topic);
    last.payload = b"own".to_vec();
    let mut dying = at.client_of(&at.lasting(&id).will(last)).await;
    assert_eq!(client.closed().await, Some(0x8E));
    let (mut client, present) = at.resume(&id).await;
    assert!(present);
    assert_eq!(dying.closed().await, Some(0x8E));
    at.nothing_more_for(&mut client).await;
}

async fn v5_mqtt_3_8_3_4_no_local_on_a_shared_subscription_is_a_protocol_error(at: Stage) {
    let filter = joined(&[&text(b"$share/g/subscribe/local"), &[0x05]]);
    at.forbids("No Local", &at.request_bytes(0x82, 1, &filter), 0x82)
        .await;
}

async fn v5_mqtt_3_8_3_5_reserved_options_are_malformed(at: Stage) {
    for options in [0x40, 0x80, 0xC0] {
        let filter = joined(&[&text(b"a"), &[options]]);
        at.forbids("reserved bits", &at.request_bytes(0x82, 1, &filter), 0x81)
            .await;
    }
}

async fn v311_mqtt_3_8_3_4_anything_but_a_qos_in_its_byte_is_malformed(at: Stage) {
    for options in [0x03, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFC] {
        let filters = joined(&[&text(b"fine"), &[0], &text(b"a"), &[options]]);
        at.forbids("its QoS byte", &at.request_bytes(0x82, 1, &filters), 0x81)
            .await;
    }
}

async fn v5_v311_mqtt_3_8_4_1_subscribe_is_answered_under_its_identifier(at: Stage) {
    let mut client = at.client().await;
    let filter = joined(&[&text(unique("subscribe/id").as_bytes()), &[1]]);
    for id in [0xABCD, 1, 0xFFFF, 1] {
        client.send(&at.request_bytes(0x82, id, &filter)).await;
        let [high, low] = id.to_be_bytes();
        match at.is_v5() {
            true => client.expect(&[0x90, 4, high, low, 0, 1]).await,
            false => client.expect(&[0x90, 3, high, low, 1]).await,
        }
    }
}

async fn v5_v311_mqtt_3_8_4_3_an_equal_filter_replaces_its_subscription(at: Stage) {
    let topic = unique("subscribe/replaced");
    for filter in [topic.clone(), format!("{topic}/#")] {
        let mut client = at.client().await;
        for granted in [0, 2, 1] {
            let id = Properties::default().with(
                property::SUBSCRIPTION_ID,
                Value::Var(u32::from(granted) + 1),
            );
            let properties = if at.is_v5() {
                id.clone()
            } else {
                Properties::default()
            };
            assert_eq!(
                client
                    .subscribe_with(&[(&filter, granted)], &properties)
                    .await,
                [granted]
            );
            at.publish(&Publish::new(&topic, "x", 2)).await;
            let got = at.rest_of(&mut client).await;
            assert_eq!(
                got.iter().map(|m| m.qos).collect::<Vec<_>>(),
                [granted],
                "one copy"
            );
            assert_eq!(got[0].properties, properties);
        }
    }
}

async fn v5_v311_mqtt_3_8_4_4_replacing_sends_what_is_retained_and_loses_nothing(at: Stage) {
    let root = unique("subscribe/stream");
    let filter = format!("{root}/+");
    at.publish(&Publish::new(&format!("{root}/kept"), "kept", 1).retained())
        .await;
    let mut client = at.subscriber(&[(&filter, 1)]).await;
    assert_eq!(client.receive().await.text(), "kept");
    let count = 300;
    let stage = at.clone();
    let topic = format!("{root}/live");
    let stream = tokio::spawn(async move {
        let mut publisher = stage.client().await;
        for n in 0..count {
            publisher
                .publish(&Publish::new(&topic, n.to_string(), 1))
                .await;
        }
    });
    let (mut kept, mut live) = (0, vec![]);
    while live.len() < count {
        if live.len() % 20 == 0 {
            client.subscribe(&[(&filter, 1)]).await;
        }
        match client.receive().await {
            message if message.retain => kept += 1,
            message => live.push(message.text()),
        }
    }
    stream.await.expect("the publisher");
    let wanted: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    assert_eq!(live, wanted, "no gap, nothing twice");
    // a repeated request makes what an earlier one still had to send one and the same
    kept += at
        .rest_of(&mut client)
        .await
        .iter()
        .filter(|m| m.retain)
        .count();
    assert!(kept >= 2, "sent again: {kept}");
}

async fn v5_v311_mqtt_3_8_4_5_many_filters_are_as_good_as_many_requests(at: Stage) {
    let root = unique("subscribe/many");
    let mut client = at.client().await;
    let tail: Vec<u8> = [("a", 2), ("b/#", 0), ("c/+", 1)]
        .iter()
        .flat_map(|(filter, qos)| joined(&[&text(format!("{root}/{filter}").as_bytes()), &[*qos]]))
        .collect();
    client.send(&at.request_bytes(0x82, 3, &tail)).await;
    match at.is_v5() {
        true => client.expect(&[0x90, 6, 0, 3, 0, 2, 0, 1]).await,
        false => client.expect(&[0x90, 5, 0, 3, 2, 0, 1]).await,
    }
    for topic in ["a", "b", "c/x"] {
        at.publish(&Publish::new(&format!("{root}/{topic}"), topic, 2))
            .await;
    }
    let got = at.rest_of(&mut client).await;
    let got: Vec<_> = got.iter().map(|m| (m.text(), m.qos)).collect();
    assert_eq!(got.len(), 3);
    for wanted in [("a", 2), ("b", 0), ("c/x", 1)] {
        assert!(got.contains(&(wanted.0.to_owned(), wanted.1)), "{got:?}");
    }
}

async fn v5_mqtt_3_8_4_7_each_filter_is_granted_or_refused_on_its_own(at: Stage) {
    let root = unique("subscribe/mixed");
    let mut client = at.client().await;
    let granted = client
        .subscribe(&[
            (&format!("{root}/0"), 0),
            ("$reply/not-mine", 1),
            (&format!("{root}/1"), 1),
            ("a/#/b", 2),
            (&format!("{root}/2"), 2),
        ])
        .await;
    assert_eq!(granted, [0, 0x87, 1, 0x8F, 2]);
    for n in 0..=2u8 {
        at.publish(&Publish::new(&format!("{root}/{n}"), "x", 2))
            .await;
    }
    let mut got: Vec<u8> = at
        .rest_of(&mut client)
        .await
        .iter()
        .map(|m| m.qos)
        .collect();
    got.sort_unstable();
    assert_eq!(got, [0, 1, 2]);
}

async fn v311_mqtt_3_8_4_5_each_filter_is_granted_or_refused_on_its_own(at: Stage) {
    let root = unique("subscribe/mixed");
    let mut client = at.client().await;
    let granted = client
        .subscribe(&[
            (&format!("{root}/0"), 0),
            ("$reply/not-mine", 1),
            (&format!("{root}/2"), 2),
        ])
        .await;
    assert_eq!(granted, [0, 0x80, 2]);
    for n in [0, 2] {
        at.publish(&Publish::new(&format!("{root}/{n}"), "x", 2))
            .await;
    }
    let mut got: Vec<u8> = at
        .rest_of(&mut client)
        .await
        .iter()
        .map(|m| m.qos)
        .collect();
    got.sort_unstable();
    assert_eq!(got, [0, 2]);
}

async fn v5_v311_mqtt_3_8_4_8_delivery_is_at_the_lower_of_published_and_granted_qos(at: Stage) {
    let topic = unique("subscribe/minimum");
    for granted in 0..=2 {
        let mut subscriber = at.subscriber(&[(&topic, granted)]).await;
        for published in 0..=2 {
            at.publish(&Publish::new(&topic, "x", published)).await;
            assert_eq!(subscriber.receive().await.qos, published.min(granted));
        }
    }
}

async fn v311_mqtt_3_8_3_2_wildcards_are_supported(at: Stage) {
    let root = unique("subscribe/wild");
    let mut client = at.client().await;
    let filters = [format!("{root}/#"), format!("{root}/+/x")];
    assert_eq!(
        client
            .subscribe(&[(&filters[0], 1), (&filters[1], 2)])
            .await,
        [1, 2]
    );
    at.publish(&Publish::new(&format!("{root}/a"), "x", 0))
        .await;
    assert_eq!(client.receive().await.topic, format!("{root}/a"));
}

async fn v5_v311_mqtt_3_10_4_1_a_filter_is_given_up_character_for_character(at: Stage) {
    let root = unique("unsubscribe/exact");
    let [plus, exact, other] = ["+", "b", "c"].map(|t| format!("{root}/{t}"));
    let mut client = at.subscriber(&[(&plus, 0), (&exact, 0)]).await;
    // these match what is subscribed to, and are no equals of it
    client
        .unsubscribe(&[
            &format!("{root}/#"),
            &other,
            &exact.to_uppercase(),
            &format!("{exact}/"),
        ])
        .await;
    at.publish(&Publish::new(&other, "through +", 0)).await;
    assert_eq!(client.receive().await.text(), "through +");
    client.unsubscribe(&[&plus]).await;
    at.publish(&Publish::new(&other, "no more", 0)).await;
    at.publish(&Publish::new(&exact, "still", 0)).await;
    assert_eq!(client.receive().await.text(), "still");
}

async fn v5_v311_mqtt_3_10_4_2_after_unsuback_nothing_new_comes(at: Stage) {
    let topic = unique("unsubscribe/done");
    let filters = [
        topic.clone(),
        format!("{topic}/#"),
        format!("$share/g/{topic}"),
    ];
    let mut client = at.client().await;
    for filter in &filters {
        client.subscribe(&[(filter, 2)]).await;
    }
    for filter in &filters {
        client.unsubscribe(&[filter]).await;
    }
    for qos in 0..=2 {
        at.publish(&Publish::new(&topic, "x", qos)).await;
    }
    at.nothing_more_for(&mut client).await;
}

async fn v5_v311_mqtt_3_10_4_3_what_was_begun_is_finished(at: Stage) {
    let topic = unique("unsubscribe/begun");
    let mut client = at.subscriber(&[(&topic, 2)]).await;
    at.publish(&Publish::new(&topic, "two", 2)).await;
    at.publish(&Publish::new(&topic, "one", 1)).await;
    let (two, one) = (client.receive_only().await, client.receive_only().await);
    client.unsubscribe(&[&topic]).await;
    let [high, low] = two.id.to_be_bytes();
    client.send(&wire::ack(PUBREC, two.id)).await;
    client.expect(&[0x62, 2, high, low]).await;
    client.send(&wire::ack(PUBCOMP, two.id)).await;
    client.acknowledge(&one).await;
    at.nothing_more_for(&mut client).await;
}

async fn v5_v311_mqtt_3_10_4_4_unsubscribe_is_answered_even_if_nothing_was_there(at: Stage) {
    let mut client = at.client().await;
    for id in [0xABCD, 1] {
        client
            .send(&at.request_bytes(0xA2, id, &text(b"never/subscribed")))
            .await;
        let [high, low] = id.to_be_bytes();
        match at.is_v5() {
            true => client.expect(&[0xB0, 4, high, low, 0, 0x11]).await,
            false => client.expect(&[0xB0, 2, high, low]).await,
        }
    }
}

async fn v5_v311_mqtt_3_10_4_6_many_filters_are_given_up_at_once(at: Stage) {
    let root = unique("unsubscribe/many");
    let topics = ["a", "b", "c"].map(|t| format!("{root}/{t}"));
    let filters: Vec<(&str, u8)> = topics.iter().map(|t| (t.as_str(), 1)).collect();
    let mut client: Client = at.subscriber(&filters).await;
    let unknown = format!("{root}/unknown");
    let tail = joined(&[
        &text(topics[0].as_bytes()),
        &text(unknown.as_bytes()),
        &text(topics[1].as_bytes()),
        &text(topics[2].as_bytes()),
        &text(topics[2].as_bytes()),
    ]);
    client.send(&at.request_bytes(0xA2, 9, &tail)).await;
    match at.is_v5() {
        true => {
            client
                .expect(&[0xB0, 8, 0, 9, 0, 0, 0x11, 0, 0, 0x11])
                .await
        }
        false => client.expect(&[0xB0, 2, 0, 9]).await,
    }
    for topic in &topics {
        at.publish(&Publish::new(topic, "x", 1)).await;
    }
    at.nothing_more_for(&mut client).await;
}

async fn v5_errors_of_subscribe_without_a_number(at: Stage) {
    for (what, options) in [("QoS 3", 0x03), ("retain handling 3", 0x30)] {
        let filter = joined(&[&text(b"a"), &[options]]);
        at.forbids(what, &at.request_bytes(0x82, 1, &filter), 0x82)
            .await;
    }
    for (what, properties, code) in [
        ("identifier 0", &[0x0B, 0][..], 0x82),
        ("identifier twice", &[0x0B, 1, 0x0B, 2], 0x82),
        ("a property of PUBLISH", &[0x01, 1], 0x81),
    ] {
        let length = [properties.len() as u8];
        let body = joined(&[&[0, 1], &length, properties, &text(b"a"), &[0]]);
        at.forbids(what, &wire::packet(0x82, &body), code).await;
    }
}

fn identifier(id: u32) -> Properties {
    Properties::default().with(property::SUBSCRIPTION_ID, Value::Var(id))
}

async fn v5_mqtt_3_8_3_3_no_local_holds_for_its_own_filter_only(at: Stage) {
    let root = unique("subscribe/two");
    let topic = format!("{root}/t");
    let mut client = at.client().await;
    client
        .subscribe_with(&[(&topic, 2 | 0x04)], &identifier(1))
        .await;
    client
        .subscribe_with(&[(&format!("{root}/+"), 1)], &identifier(2))
        .await;
    client.publish(&Publish::new(&topic, "own", 2)).await;
    let own = client.receive().await;
    assert_eq!((own.qos, &own.properties), (1, &identifier(2)));
    at.publish(&Publish::new(&topic, "foreign", 2)).await;
    let foreign = client.receive().await;
    assert_eq!((foreign.qos, foreign.properties.0.len()), (2, 2));
    at.nothing_more_for(&mut client).await;
}

async fn v5_mqtt_3_8_4_3_a_subscription_replaced_without_an_identifier_has_none(at: Stage) {
    let topic = unique("subscribe/bare");
    let mut client = at.client().await;
    client.subscribe_with(&[(&topic, 0)], &identifier(7)).await;
    client.subscribe(&[(&topic, 0)]).await;
    at.publish(&Publish::new(&topic, "x", 0)).await;
    client
        .expect(&at.publish_bytes(0x30, topic.as_bytes(), &[], b"x"))
        .await;
}

async fn v5_mqtt_3_3_4_3_a_retained_message_carries_the_identifier_of_its_subscription(at: Stage) {
    let topic = unique("subscribe/kept");
    at.publish(&Publish::new(&topic, "kept", 1).retained())
        .await;
    let mut client = at.client().await;
    client
        .subscribe_with(&[(&topic, 1)], &identifier(268_435_455))
        .await;
    assert_eq!(client.receive().await.properties, identifier(268_435_455));
    // one that overlaps brings it again, for itself
    client
        .subscribe_with(&[(&format!("{topic}/#"), 1)], &identifier(128))
        .await;
    let got = at.rest_of(&mut client).await;
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].properties, identifier(128));
}

async fn v5_mqtt_3_3_1_10_a_subscription_of_a_resumed_session_is_not_new(at: Stage) {
    let (topic, id) = (unique("subscribe/known"), unique("known"));
    at.publish(&Publish::new(&topic, "kept", 1).retained())
        .await;
    let if_new = 1 | 1 << 4;
    for wanted in [1, 0] {
        let (mut client, _) = at.resume(&id).await;
        client.subscribe(&[(&topic, if_new)]).await;
        assert_eq!(at.rest_of(&mut client).await.len(), wanted);
    }
    // nothing retained is sent because a session is resumed
    let (mut client, present) = at.resume(&id).await;
    assert!(present);
    at.nothing_more_for(&mut client).await;
}

async fn v5_mqtt_3_3_1_13_options_of_each_filter_are_its_own(at: Stage) {
    let root = unique("subscribe/options");
    let topics = ["a", "b"].map(|t| format!("{root}/{t}"));
    for topic in &topics {
        at.publish(&Publish::new(topic, "kept", 2).retained()).await;
    }
    let mut client = at.client().await;
    let options = [(topics[0].as_str(), 0x08 | 0x20), (topics[1].as_str(), 1)];
    assert_eq!(client.subscribe(&options).await, [0, 1]);
    let kept = at.rest_of(&mut client).await;
    assert_eq!(
        kept.iter().map(|m| &m.topic).collect::<Vec<_>>(),
        [&topics[1]]
    );
    for topic in &topics {
        at.publish(&Publish::new(topic, "live", 2).retained()).await;
    }
    let mut live = at.rest_of(&mut client).await;
    live.sort_by_key(|m| m.topic.clone());
    let live: Vec<_> = live.iter().map(|m| (m.qos, m.retain)).collect();
    assert_eq!(live, [(0, true), (1, false)]);
}
