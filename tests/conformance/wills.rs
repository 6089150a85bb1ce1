//! Sections 3.1.2.5 to 3.1.2.7 and 3.1.3.2: what is said for a client that is gone.

use std::time::{Duration, Instant};

use crate::{
    stage::{Stage, delayed, will, with_id},
    support::{
        unique,
        wire::{self, Properties, Publish, Value, property},
    },
};

claims! {
    v5_v311_mqtt_3_1_2_7_a_broken_connection_publishes_the_will: v5["3.1.2-7", "3.1.2-8"] v311["3.1.2-8"];
    v5_v311_mqtt_3_1_2_10_a_will_is_published_once: v5["3.1.2-10"] v311["3.1.2-10"];
    v5_v311_mqtt_3_14_4_3_a_goodbye_leaves_no_will:
        v5["3.14.4-3", "3.1.2-8", "3.1.2-10"] v311["3.14.4-3", "3.1.2-8", "3.1.2-10"];
    v5_mqtt_3_14_4_3_any_other_reason_leaves_the_will_due: v5["3.14.4-3"];
    v311_mqtt_3_1_2_12_without_a_will_nothing_is_published: v311["3.1.2-12"];
    v5_v311_mqtt_3_1_2_14_a_will_is_retained_if_it_says_so:
        v5["3.1.2-14", "3.1.2-15"] v311["3.1.2-16", "3.1.2-17"];
    v5_mqtt_3_1_2_8_a_will_waits_for_its_delay_or_the_end_of_the_session: v5["3.1.2-8"];
    v5_mqtt_3_1_3_9_coming_back_in_time_cancels_the_will: v5["3.1.3-9", "3.1.2-8"];
    v5_mqtt_3_1_3_10_a_will_keeps_its_properties_and_their_order: v5["3.1.3-10"];
    v5_v311_a_takeover_publishes_the_will_of_the_old_connection:
        v5["a will without delay at a takeover"] v311["a will at a takeover"];
    v5_a_takeover_that_resumes_cancels_a_delayed_will_and_one_that_starts_clean_publishes_it:
        v5["a delayed will at a takeover"];
    v5_v311_mqtt_4_7_0_1_a_will_topic_has_no_wildcards: v5["4.7.0-1"] v311["4.7.1-1"];
    v5_v311_an_empty_retained_will_clears_its_topic: v5["an empty retained will"] v311["an empty retained will"];
    v5_v311_what_came_before_the_break_counts:
        v5["messages sent just before the connection breaks"] v311["messages sent just before the connection breaks"];
}

async fn v5_v311_mqtt_3_1_2_7_a_broken_connection_publishes_the_will(at: Stage) {
    for qos in 0..=2 {
        let topic = unique("wills/broken");
        let mut watcher = at.subscriber(&[(&topic, 2)]).await;
        let mut last = will(&topic);
        last.qos = qos;
        drop(at.client_of(&at.opening().will(last)).await);
        let got = watcher.receive().await;
        assert_eq!(
            (got.text().as_str(), got.qos, got.retain),
            ("gone", qos, false)
        );
    }
}

async fn v5_v311_mqtt_3_1_2_10_a_will_is_published_once(at: Stage) {
    let (topic, id) = (unique("wills/once"), unique("owner"));
    let mut watcher = at.subscriber(&[(&topic, 1)]).await;
    drop(at.client_of(&at.lasting(&id).will(will(&topic))).await);
    assert_eq!(watcher.receive().await.text(), "gone");
    drop(at.resume(&id).await); // without a will
    let after = unique("wills/after");
    watcher.subscribe(&[(&after, 1)]).await;
    drop(at.client_of(&at.opening().will(will(&after))).await);
    assert_eq!(
        watcher.receive().await.topic,
        after,
        "the second break published nothing"
    );
}

async fn v5_v311_mqtt_3_14_4_3_a_goodbye_leaves_no_will(at: Stage) {
    let topic = unique("wills/goodbye");
    let mut watcher = at.subscriber(&[(&topic, 1)]).await;
    let id = unique("owner");
    at.client_of(&at.lasting(&id).will(will(&topic)))
        .await
        .disconnect()
        .await;
    drop(at.resume(&id).await);
    at.nothing_more_for(&mut watcher).await;
}

async fn v5_mqtt_3_14_4_3_any_other_reason_leaves_the_will_due(at: Stage) {
    for code in [0x04, 0x80, 0x82, 0x98, 0x99] {
        let topic = unique("wills/reason");
        let mut watcher = at.subscriber(&[(&topic, 1)]).await;
        let mut owner = at.client_of(&at.opening().will(will(&topic))).await;
        owner.send(&wire::disconnect(at.version, code)).await;
        owner.ends().await;
        assert_eq!(watcher.receive().await.text(), "gone", "{code:#04x}");
    }
}

async fn v311_mqtt_3_1_2_12_without_a_will_nothing_is_published(at: Stage) {
    let mut watcher = at.subscriber(&[("wills/#", 1), ("#", 0)]).await;
    let id = unique("quiet");
    drop(at.client_of(&at.opening_of(&id)).await);
    // the end of the connection is over when its session is gone and the next one begins
    let (_, present) = at.resume(&id).await;
    assert!(!present);
    let got = at.rest_of(&mut watcher).await;
    assert!(got.iter().all(|m| !m.topic.contains(&id) && m.text() != id));
}

async fn v5_v311_mqtt_3_1_2_14_a_will_is_retained_if_it_says_so(at: Stage) {
    for retain in [false, true] {
        let topic = unique("wills/retained");
        let mut watcher = at.subscriber(&[(&topic, 1)]).await;
        let mut last = will(&topic);
        last.retain = retain;
        drop(at.client_of(&at.opening().will(last)).await);
        assert_eq!(watcher.receive().await.text(), "gone");
        let kept = at.retained(&topic).await;
        let kept: Vec<_> = kept.iter().map(|m| (m.text(), m.retain)).collect();
        match retain {
            true => assert_eq!(kept, [("gone".to_owned(), true)]),
            false => assert_eq!(kept, []),
        }
    }
}

async fn v5_mqtt_3_1_2_8_a_will_waits_for_its_delay_or_the_end_of_the_session(at: Stage) {
    let root = unique("wills/delayed");
    let [none, delay, session] = ["none", "delay", "session"].map(|n| format!("{root}/{n}"));
    let mut watcher = at.subscriber(&[(&format!("{root}/+"), 1)]).await;
    let since = Instant::now();
    drop(
        at.client_of(&delayed(at.opening(), &session, 1000, 2))
            .await,
    );
    drop(at.client_of(&delayed(at.opening(), &delay, 3, 60)).await);
    drop(at.client_of(&delayed(at.opening(), &none, 0, 60)).await);
    for (topic, after) in [(none, 0), (session, 1950), (delay, 2950)] {
        let got = watcher.receive().await;
        assert_eq!(got.topic, topic);
        assert_eq!(
            got.properties,
            Properties::default(),
            "the delay is not part of the message"
        );
        assert!(
            since.elapsed() >= Duration::from_millis(after),
            "{topic}: {:?}",
            since.elapsed()
        );
    }
}

async fn v5_mqtt_3_1_3_9_coming_back_in_time_cancels_the_will(at: Stage) {
    let (cancelled, other, id) = (
        unique("wills/cancelled"),
        unique("wills/other"),
        unique("owner"),
    );
    let mut watcher = at.subscriber(&[(&cancelled, 1), (&other, 1)]).await;
    drop(
        at.client_of(&delayed(at.opening_of(&id), &cancelled, 2, 60))
            .await,
    );
    let (back, present) = at.resume(&id).await;
    assert!(present);
    // one that waits longer: when it comes, the first had its time
    drop(at.client_of(&delayed(at.opening(), &other, 3, 60)).await);
    assert_eq!(watcher.receive().await.topic, other);
    back.disconnect().await;
    at.nothing_more_for(&mut watcher).await;
}

async fn v5_mqtt_3_1_3_10_a_will_keeps_its_properties_and_their_order(at: Stage) {
    let topic = unique("wills/properties");
    let mut watcher = at.subscriber(&[(&topic, 1)]).await;
    let mut last = will(&topic);
    last.properties = Properties::default()
        .with(property::PAYLOAD_FORMAT, Value::Byte(1))
        .text(property::CONTENT_TYPE, "text/plain")
        .text(property::RESPONSE_TOPIC, "wills/answers")
        .with(property::CORRELATION, Value::Binary(vec![0, 0xFF]))
        .user("a", "1")
        .user("b", "2")
        .user("a", "3")
        .user("", "");
    drop(at.client_of(&at.opening().will(last.clone())).await);
    assert_eq!(watcher.receive().await.properties, last.properties);
}

async fn v5_v311_a_takeover_publishes_the_will_of_the_old_connection(at: Stage) {
    let (topic, id) = (unique("wills/takeover"), unique("twin"));
    let mut watcher = at.subscriber(&[(&topic, 1)]).await;
    let _old = at.client_of(&at.lasting(&id).will(will(&topic))).await;
    let _new = at.resume(&id).await;
    assert_eq!(watcher.receive().await.text(), "gone");
    at.nothing_more_for(&mut watcher).await;
}

async fn v5_a_takeover_that_resumes_cancels_a_delayed_will_and_one_that_starts_clean_publishes_it(
    at: Stage,
) {
    for clean in [false, true] {
        let (topic, id) = (unique("wills/takeover"), unique("twin"));
        let mut watcher = at.subscriber(&[(&topic, 1)]).await;
        let old = delayed(at.opening_of(&id), &topic, 1, 60);
        let mut first = at.client_of(&old).await;
        let mut opening = at.lasting(&id);
        opening.clean = clean;
        let _second = at.client_of(&opening).await;
        assert_eq!(first.closed().await, Some(0x8E));
        if clean {
            assert_eq!(
                watcher.receive().await.text(),
                "gone",
                "its session has ended"
            );
        } else {
            let other = unique("wills/other");
            watcher.subscribe(&[(&other, 1)]).await;
            drop(at.client_of(&delayed(at.opening(), &other, 3, 60)).await);
            assert_eq!(watcher.receive().await.topic, other, "its session goes on");
        }
    }
}

async fn v5_v311_mqtt_4_7_0_1_a_will_topic_has_no_wildcards(at: Stage) {
    for topic in ["wills/#", "wills/+/x", "+", "#"] {
        let refused = at.opening().will(will(topic)).encode();
        at.turns_away(topic, &refused, 0x90).await;
    }
}

async fn v5_v311_an_empty_retained_will_clears_its_topic(at: Stage) {
    let topic = unique("wills/cleared");
    let mut watcher = at.subscriber(&[(&topic, 1)]).await;
    at.publish(&Publish::new(&topic, "online", 1).retained())
        .await;
    assert_eq!(watcher.receive().await.text(), "online");
    let mut last = will(&topic);
    (last.payload, last.retain) = (vec![], true);
    drop(at.client_of(&at.opening().will(last)).await);
    assert_eq!(watcher.receive().await.text(), "");
    assert_eq!(at.retained(&topic).await, []);
}

async fn v5_v311_what_came_before_the_break_counts(at: Stage) {
    let topic = unique("wills/before");
    let mut watcher = at.subscriber(&[(&topic, 1)]).await;
    for _ in 0..20 {
        let mut owner = at.client_of(&at.opening().will(will(&topic))).await;
        owner
            .send(&with_id(at.version, &Publish::new(&topic, "said", 1), 1))
            .await;
        owner.expect(&[0x40, 2, 0, 1]).await;
        owner
            .send(&wire::publish(at.version, &Publish::new(&topic, "last", 0)))
            .await;
        drop(owner);
        for text in ["said", "last", "gone"] {
            assert_eq!(watcher.receive().await.text(), text);
        }
    }
}
