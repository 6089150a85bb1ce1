//! Retained messages: kept, replaced, cleared, handed out as the subscription asks.

use crate::support::{
    gateway::Gateway,
    mqtt::Client,
    unique,
    wire::{Opening, Publish, Value, Version, property},
};

const RETAIN_AS_PUBLISHED: u8 = 0x08;

async fn pair(gateway: &Gateway) -> (Client, Client) {
    let publisher = Client::tcp(gateway, &Opening::v5(&unique("in"))).await;
    (
        publisher,
        Client::tcp(gateway, &Opening::v5(&unique("out"))).await,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_subscriber_gets_the_last_retained_message_of_every_matching_topic() {
    let gateway = Gateway::shared();
    let root = unique("retained/last");
    let mut publisher = Client::tcp(&gateway, &Opening::v311(&unique("in"))).await;
    for (topic, payload, qos) in [
        ("a", "old", 0),
        ("a", "new", 2),
        ("b/c", "deep", 1),
        ("b/d", "zero", 0),
    ] {
        publisher
            .publish(&Publish::new(&format!("{root}/{topic}"), payload, qos).retained())
            .await;
    }
    publisher
        .publish(&Publish::new(&format!("{root}/a"), "not kept", 1))
        .await;
    for version in [Version::V31, Version::V311, Version::V5] {
        let mut subscriber = Client::tcp(&gateway, &Opening::new(version, &unique("out"))).await;
        subscriber.subscribe(&[(&format!("{root}/#"), 1)]).await;
        let mut got = vec![];
        for _ in 0..3 {
            let message = subscriber.receive().await;
            assert!(message.retain, "{version:?}: {message:?}");
            got.push((
                message.topic.replace(&root, ""),
                message.text(),
                message.qos,
            ));
        }
        got.sort();
        let want = [("/a", "new", 1), ("/b/c", "deep", 1), ("/b/d", "zero", 0)];
        assert_eq!(
            got,
            want.map(|(t, p, q)| (t.to_owned(), p.to_owned(), q)),
            "{version:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_retained_payload_clears_the_topic_and_is_delivered_live() {
    let gateway = Gateway::shared();
    let topic = unique("retained/cleared");
    let (mut publisher, mut live) = pair(&gateway).await;
    publisher
        .publish(&Publish::new(&topic, "kept", 1).retained())
        .await;
    live.subscribe(&[(&topic, 1)]).await;
    assert_eq!(live.receive().await.text(), "kept");
    publisher
        .publish(&Publish::new(&topic, "", 1).retained())
        .await;
    let cleared = live.receive().await;
    assert_eq!((cleared.text().as_str(), cleared.retain), ("", false));
    let mut late = Client::tcp(&gateway, &Opening::v5(&unique("late"))).await;
    late.subscribe(&[(&topic, 1)]).await;
    publisher.publish(&Publish::new(&topic, "marker", 1)).await;
    assert_eq!(late.receive().await.text(), "marker", "nothing was kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retain_handling_decides_what_a_subscription_starts_with() {
    let gateway = Gateway::shared();
    let topic = unique("retained/handling");
    let (mut publisher, _) = pair(&gateway).await;
    publisher
        .publish(&Publish::new(&topic, "kept", 1).retained())
        .await;
    for (handling, at_first, at_repeat) in [(0u8, true, true), (1, true, false), (2, false, false)]
    {
        let mut subscriber = Client::tcp(&gateway, &Opening::v5(&unique("out"))).await;
        for (round, expected) in [at_first, at_repeat].into_iter().enumerate() {
            subscriber.subscribe(&[(&topic, 1 | handling << 4)]).await;
            let marker = format!("marker {round}");
            publisher
                .publish(&Publish::new(&topic, marker.as_str(), 1))
                .await;
            let first = subscriber.receive().await.text();
            assert_eq!(
                first == "kept",
                expected,
                "retain handling {handling}, subscribe {round}"
            );
            if expected {
                assert_eq!(subscriber.receive().await.text(), marker);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retain_as_published_keeps_the_flag_of_live_messages() {
    let gateway = Gateway::shared();
    let topic = unique("retained/flag");
    let (mut publisher, mut keeping) = pair(&gateway).await;
    keeping.subscribe(&[(&topic, RETAIN_AS_PUBLISHED)]).await;
    let mut dropping = Client::tcp(&gateway, &Opening::v5(&unique("out"))).await;
    dropping.subscribe(&[(&topic, 0)]).await;
    let mut old = Client::tcp(&gateway, &Opening::v311(&unique("out"))).await;
    old.subscribe(&[(&topic, 0)]).await;
    for retain in [true, false] {
        let mut message = Publish::new(&topic, "x", 1);
        message.retain = retain;
        publisher.publish(&message).await;
        assert_eq!(keeping.receive().await.retain, retain);
        assert!(!dropping.receive().await.retain);
        assert!(!old.receive().await.retain);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retained_message_expires() {
    let gateway = Gateway::shared();
    let (short, long) = (unique("retained/short"), unique("retained/long"));
    let (mut publisher, mut subscriber) = pair(&gateway).await;
    let expiring = |topic: &str, seconds| {
        Publish::new(topic, "x", 1)
            .retained()
            .property(property::MESSAGE_EXPIRY, Value::Four(seconds))
    };
    publisher.publish(&expiring(&short, 1)).await;
    publisher.publish(&expiring(&long, 100)).await;
    // expiry is about time: this is one of the few tests that must let some pass
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    subscriber.subscribe(&[(&short, 1)]).await;
    subscriber.subscribe(&[(&long, 1)]).await;
    let got = subscriber.receive().await;
    assert_eq!(got.topic, long, "the short-lived one is gone");
    let left = got
        .properties
        .number(property::MESSAGE_EXPIRY)
        .expect("what is left of the expiry");
    assert!(
        (90..=98).contains(&left),
        "{left} seconds left of 100 after two"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_subscription_gets_no_retained_messages() {
    let gateway = Gateway::shared();
    let topic = unique("retained/shared");
    let (mut publisher, mut member) = pair(&gateway).await;
    publisher
        .publish(&Publish::new(&topic, "kept", 1).retained())
        .await;
    member.subscribe(&[(&format!("$share/g/{topic}"), 1)]).await;
    publisher.publish(&Publish::new(&topic, "live", 1)).await;
    assert_eq!(member.receive().await.text(), "live");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_3_10_4_2_what_was_retained_does_not_come_after_unsuback_nor_twice_for_one_subscription()
 {
    let gateway = Gateway::shared();
    let root = unique("retained/replay");
    let mut publisher = Client::tcp(&gateway, &Opening::v311(&unique("in"))).await;
    for n in 0..3 {
        let message = Publish::new(&format!("{root}/{n}"), "x", 1).retained();
        publisher.publish(&message).await;
    }
    let opening = Opening::v5(&unique("narrow"));
    let window = opening.property(property::RECEIVE_MAXIMUM, Value::Two(1));
    let mut client = Client::tcp(&gateway, &window).await;
    let filter = format!("{root}/#");
    for _ in 0..100 {
        client.subscribe(&[(&filter, 1)]).await;
    }
    let first = client.receive().await;
    assert_eq!(first.topic, format!("{root}/0"));
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(client.receive().await.topic);
    }
    assert_eq!(others, [0, 1, 2].map(|n| format!("{root}/{n}")));
    client.subscribe(&[(&filter, 1)]).await;
    let under_way = client.receive_only().await;
    client.unsubscribe(&[&filter]).await;
    client.acknowledge(&under_way).await;
    let marker = unique("retained/marker");
    client.subscribe(&[(&marker, 1)]).await;
    publisher.publish(&Publish::new(&marker, "", 1)).await;
    assert_eq!(client.receive_until(&marker).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retained_messages_that_a_broken_connection_left_unsent_come_with_the_session() {
    let gateway = Gateway::shared();
    let root = unique("retained/broken");
    let (mut publisher, _) = pair(&gateway).await;
    let most = 200;
    for n in 0..most {
        let message = Publish::new(&format!("{root}/{n}"), n.to_string(), 1);
        publisher.publish(&message.retained()).await;
    }
    // one at a time: most of them wait for room
    let opening = Opening::v5(&unique("out"))
        .resuming()
        .session_expiry(100)
        .property(property::RECEIVE_MAXIMUM, Value::Two(1));
    let mut got = std::collections::BTreeSet::new();
    let mut subscriber = Client::tcp(&gateway, &opening).await;
    subscriber.subscribe(&[(&format!("{root}/#"), 1)]).await;
    for round in 0..4 {
        for _ in 0..most / 5 {
            let message = subscriber.receive().await;
            assert!(message.retain);
            got.insert(message.text());
        }
        // what was sent last is not acknowledged, and repeated
        let unacknowledged = subscriber.receive_only().await;
        drop(subscriber);
        subscriber = Client::tcp(&gateway, &opening).await;
        let repeated = subscriber.receive().await;
        assert_eq!(
            (repeated.dup, &repeated.topic),
            (true, &unacknowledged.topic),
            "{round}"
        );
        got.insert(repeated.text());
    }
    while got.len() < most {
        got.insert(subscriber.receive().await.text());
    }
}
