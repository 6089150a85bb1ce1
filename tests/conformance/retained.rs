//! Section 3.3.1.3: RETAIN.

use std::collections::BTreeSet;

use crate::{
    stage::{Carrier, Stage},
    support::{
        unique,
        wire::{self, PUBACK, Publish, Version},
    },
};

claims! {
    v5_v311_mqtt_3_3_1_5_a_retained_message_replaces_the_one_before: v5["3.3.1-5"]
        v311["3.3.1-5", "3.3.1-6", "3.3.1-7", "3.3.1-8"];
    v5_v311_mqtt_3_3_1_6_an_empty_one_clears_the_topic_and_is_delivered: v5["3.3.1-6"] v311["3.3.1-10"];
    v5_v311_mqtt_3_3_1_7_an_empty_one_is_never_kept: v5["3.3.1-7"] v311["3.3.1-11"];
    v5_v311_mqtt_3_3_1_8_without_retain_the_kept_one_stays: v5["3.3.1-8"] v311["3.3.1-12"];
    v5_mqtt_3_3_1_9_retain_handling_says_when_retained_messages_are_sent:
        v5["3.3.1-9", "3.3.1-10", "3.3.1-11"];
    v5_v311_mqtt_3_3_1_12_live_messages_have_no_retain_flag: v5["3.3.1-12"] v311["3.3.1-9"];
    v5_mqtt_3_3_1_13_retain_as_published_keeps_the_flag: v5["3.3.1-13"];
    v311_mqtt_3_1_2_7_retained_messages_belong_to_no_session: v311["3.1.2-7"];
    v5_v311_a_retained_message_comes_at_the_lower_qos_also_through_wildcards:
        v5["QoS of retained messages"] v311["QoS of retained messages"];
    v5_a_shared_subscription_gets_nothing_retained: v5["retained messages and shared subscriptions"];
    v5_v311_whoever_asks_for_everything_gets_it_paced_and_disturbs_nobody:
        v5["# over many retained messages"] v311["# over many retained messages"];
}

async fn v5_v311_mqtt_3_3_1_5_a_retained_message_replaces_the_one_before(at: Stage) {
    let root = unique("retained/last");
    for (topic, payload, qos) in [
        ("a", "old", 2),
        ("a", "new", 1),
        ("b/c", "old", 1),
        ("b/c", "zero", 0), // 3.1.1 lets a server forget this one: ours keeps it like any other
    ] {
        at.publish(&Publish::new(&format!("{root}/{topic}"), payload, qos).retained())
            .await;
    }
    let got = at.retained(&format!("{root}/#")).await;
    let mut got: Vec<_> = got
        .iter()
        .map(|m| (m.topic[root.len()..].to_owned(), m.text(), m.qos, m.retain))
        .collect();
    got.sort();
    let wanted = [("/a", "new", 1, true), ("/b/c", "zero", 0, true)];
    assert_eq!(
        got,
        wanted.map(|(t, p, q, r)| (t.to_owned(), p.to_owned(), q, r))
    );
    assert_eq!(at.retained(&format!("{root}/a")).await.len(), 1);
}

async fn v5_v311_mqtt_3_3_1_6_an_empty_one_clears_the_topic_and_is_delivered(at: Stage) {
    for qos in 0..=2 {
        let topic = unique("retained/cleared");
        let mut live = at.subscriber(&[(&topic, 0)]).await;
        at.publish(&Publish::new(&topic, "kept", 1).retained())
            .await;
        assert_eq!(live.receive().await.text(), "kept");
        at.publish(&Publish::new(&topic, "", qos).retained()).await;
        live.expect(&at.publish_bytes(0x30, topic.as_bytes(), &[], b""))
            .await;
        assert_eq!(at.retained(&topic).await, []);
    }
}

async fn v5_v311_mqtt_3_3_1_7_an_empty_one_is_never_kept(at: Stage) {
    let topic = unique("retained/empty");
    at.publish(&Publish::new(&topic, "", 1).retained()).await;
    assert_eq!(at.retained(&topic).await, []);
}

async fn v5_v311_mqtt_3_3_1_8_without_retain_the_kept_one_stays(at: Stage) {
    let topic = unique("retained/stays");
    at.publish(&Publish::new(&topic, "not kept", 1)).await;
    assert_eq!(at.retained(&topic).await, []);
    at.publish(&Publish::new(&topic, "kept", 1).retained())
        .await;
    for payload in ["passing", ""] {
        at.publish(&Publish::new(&topic, payload, 1)).await;
        let kept = at.retained(&topic).await;
        assert_eq!(kept.iter().map(Publish::text).collect::<Vec<_>>(), ["kept"]);
    }
}

async fn v5_mqtt_3_3_1_9_retain_handling_says_when_retained_messages_are_sent(at: Stage) {
    let topic = unique("retained/handling");
    at.publish(&Publish::new(&topic, "kept", 1).retained())
        .await;
    for (handling, first, again) in [(0u8, 1, 1), (1, 1, 0), (2, 0, 0)] {
        let mut subscriber = at.client().await;
        for wanted in [first, again] {
            subscriber.subscribe(&[(&topic, 1 | handling << 4)]).await;
            let got = at.rest_of(&mut subscriber).await;
            assert_eq!(got.len(), wanted, "retain handling {handling}");
            assert!(got.iter().all(|m| m.retain));
        }
        // a subscription that was given up is new the next time
        subscriber.unsubscribe(&[&topic]).await;
        subscriber.subscribe(&[(&topic, 1 | handling << 4)]).await;
        assert_eq!(at.rest_of(&mut subscriber).await.len(), first);
    }
}

async fn v5_v311_mqtt_3_3_1_12_live_messages_have_no_retain_flag(at: Stage) {
    let topic = unique("retained/flag");
    let mut subscriber = at.subscriber(&[(&topic, 2)]).await;
    for qos in 0..=2 {
        at.publish(&Publish::new(&topic, "x", qos).retained()).await;
        let got = subscriber.receive().await;
        assert_eq!((got.qos, got.retain), (qos, false));
    }
}

async fn v5_mqtt_3_3_1_13_retain_as_published_keeps_the_flag(at: Stage) {
    let topic = unique("retained/as-published");
    let mut keeping = at.subscriber(&[(&topic, 0x08)]).await;
    for retain in [true, false] {
        let mut message = Publish::new(&topic, "x", 0);
        message.retain = retain;
        at.publish(&message).await;
        let first = if retain { 0x31 } else { 0x30 };
        keeping
            .expect(&at.publish_bytes(first, topic.as_bytes(), &[], b"x"))
            .await;
    }
}

async fn v311_mqtt_3_1_2_7_retained_messages_belong_to_no_session(at: Stage) {
    for keep in [false, true] {
        let (topic, id) = (unique("retained/survives"), unique("publisher"));
        let opening = if keep {
            at.lasting(&id)
        } else {
            at.opening_of(&id)
        };
        let mut publisher = at.client_of(&opening).await;
        publisher
            .publish(&Publish::new(&topic, "kept", 1).retained())
            .await;
        publisher.disconnect().await;
        at.client_of(&at.opening_of(&id)).await.disconnect().await;
        assert_eq!(at.retained(&topic).await.len(), 1);
    }
}

async fn v5_v311_a_retained_message_comes_at_the_lower_qos_also_through_wildcards(at: Stage) {
    let root = unique("retained/minimum");
    let topic = format!("{root}/t");
    for published in 0..=2 {
        at.publish(&Publish::new(&topic, "x", published).retained())
            .await;
        for filter in ["t", "+", "#"] {
            for granted in 0..=2 {
                let filter = format!("{root}/{filter}");
                let mut late = at.subscriber(&[(&filter, granted)]).await;
                let got = late.receive().await;
                assert_eq!(
                    (got.qos, got.retain),
                    (published.min(granted), true),
                    "{filter}"
                );
            }
        }
    }
}

async fn v5_a_shared_subscription_gets_nothing_retained(at: Stage) {
    let topic = unique("retained/shared");
    at.publish(&Publish::new(&topic, "kept", 1).retained())
        .await;
    for version in [Version::V5, Version::V311] {
        let filter = format!("$share/{}/{topic}", unique("group"));
        let mut member = at.in_version(version).subscriber(&[(&filter, 1)]).await;
        at.nothing_more_for(&mut member).await;
    }
}

async fn v5_v311_whoever_asks_for_everything_gets_it_paced_and_disturbs_nobody(at: Stage) {
    // once as many as are promised; a tenth on the other ways, unless there is time
    let is_whole = (at.version, at.carrier) == (Version::V5, Carrier::Tcp);
    let count = match is_whole || std::env::var_os("TIDEGATE_TEST_LONG").is_some() {
        true => 100_000,
        false => 10_000,
    };
    // fewer may wait than are retained, and be under way
    let at = at.with(&[
        "session.max_queued_messages=1000",
        "limits.receive_maximum=100",
    ]);
    let mut publisher = at.client().await;
    let (mut bytes, mut ids) = (vec![], vec![]);
    for n in 0..count {
        let topic = format!("flood/{}/{n}", n % 97);
        let mut message = Publish::new(&topic, "kept", u8::from(n % 10 == 0)).retained();
        if message.qos > 0 {
            message.id = publisher.packet_id();
            ids.push(message.id);
        }
        bytes.extend(wire::publish(at.version, &message));
        if ids.len() == 50 || n + 1 == count {
            publisher.send(&std::mem::take(&mut bytes)).await;
            for id in ids.drain(..) {
                assert_eq!(publisher.acknowledgement(PUBACK, id).await, 0);
            }
        }
    }
    publisher.ping().await;

    let mut receiver = at.subscriber(&[("pair/t", 1)]).await;
    let mut everything = at.client().await;
    everything
        .send(&wire::subscribe(
            at.version,
            1,
            &[("#", 1)],
            &Default::default(),
        ))
        .await;
    let mut topics = BTreeSet::new();
    let mut live = 0;
    // it reads no more than it is told to, so that the gateway has to wait for its acknowledgements
    let mut take = |message: Publish| match message.retain {
        true => assert!(topics.insert(message.topic), "each once"),
        false => live += 1,
    };
    for n in 0..100 {
        for _ in 0..count / 101 {
            take(everything.receive().await);
        }
        publisher
            .publish(&Publish::new("pair/t", n.to_string(), 1))
            .await;
        assert_eq!(receiver.receive().await.text(), n.to_string());
    }
    // the pair has exchanged its messages, and there is still something retained to come
    let left = count + 100 - 100 * (count / 101);
    for _ in 0..left {
        take(everything.receive().await);
    }
    assert_eq!((topics.len(), live), (count, 100), "all of them");
    everything.ping().await;
}
