//! Wills: published when a connection ends without a goodbye, and only then.

use std::time::{Duration, Instant};

use crate::support::{
    gateway::Gateway,
    mqtt::Client,
    unique,
    wire::{self, Opening, Properties, Publish, Value, Version, Will, property},
};

fn will(topic: &str) -> Will {
    Will {
        topic: topic.to_owned(),
        payload: b"gone".to_vec(),
        qos: 1,
        retain: false,
        properties: Properties::default(),
    }
}

async fn watcher(gateway: &Gateway, topic: &str) -> Client {
    let mut watcher = Client::tcp(gateway, &Opening::v5(&unique("watcher"))).await;
    watcher.subscribe(&[(topic, 1)]).await;
    watcher
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_is_published_when_the_connection_breaks() {
    let gateway = Gateway::shared();
    for version in [Version::V31, Version::V311, Version::V5] {
        let topic = unique("wills/broken");
        let mut watcher = watcher(&gateway, &topic).await;
        let owner = Client::tcp(
            &gateway,
            &Opening::new(version, &unique("owner")).will(will(&topic)),
        )
        .await;
        drop(owner);
        let got = watcher.receive().await;
        assert_eq!(
            (got.text().as_str(), got.qos, got.retain),
            ("gone", 1, false),
            "{version:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_over_websocket_is_published_when_the_connection_breaks() {
    let gateway = Gateway::shared();
    let topic = unique("wills/websocket");
    let mut watcher = watcher(&gateway, &topic).await;
    drop(Client::websocket(&gateway, &Opening::v5(&unique("owner")).will(will(&topic))).await);
    assert_eq!(watcher.receive().await.text(), "gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_carries_its_properties_and_can_be_retained() {
    let gateway = Gateway::shared();
    let topic = unique("wills/properties");
    let mut last = will(&topic);
    last.retain = true;
    last.properties = Properties::default()
        .text(property::CONTENT_TYPE, "text/plain")
        .user("a", "1")
        .user("a", "2");
    let mut watcher = watcher(&gateway, &topic).await;
    drop(Client::tcp(&gateway, &Opening::v5(&unique("owner")).will(last.clone())).await);
    assert_eq!(watcher.receive().await.properties, last.properties);
    let mut late = Client::tcp(&gateway, &Opening::v5(&unique("late"))).await;
    late.subscribe(&[(&topic, 1)]).await;
    let kept = late.receive().await;
    assert!(kept.retain);
    assert_eq!(kept.properties, last.properties);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_3_1_2_10_a_goodbye_drops_the_will_but_not_disconnect_with_will() {
    let gateway = Gateway::shared();
    for (version, code, published) in [
        (Version::V311, 0, false),
        (Version::V5, 0, false),
        (Version::V5, 4, true),
        (Version::V5, 0x80, true),
    ] {
        let topic = unique("wills/goodbye");
        let mut watcher = watcher(&gateway, &topic).await;
        let mut owner = Client::tcp(
            &gateway,
            &Opening::new(version, &unique("owner")).will(will(&topic)),
        )
        .await;
        owner.send(&wire::disconnect(version, code)).await;
        owner.closed().await;
        let mut other = Client::tcp(&gateway, &Opening::v5(&unique("other"))).await;
        if published {
            assert_eq!(
                watcher.receive().await.text(),
                "gone",
                "{version:?} {code:#04x}"
            );
        }
        other.publish(&Publish::new(&topic, "marker", 1)).await;
        assert_eq!(
            watcher.receive().await.text(),
            "marker",
            "{version:?} {code:#04x}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_follows_a_keep_alive_timeout_and_a_protocol_error() {
    let gateway = Gateway::shared();
    let topic = unique("wills/errors");
    let mut watcher = watcher(&gateway, &topic).await;
    let silent = Opening::v311(&unique("silent"))
        .keep_alive(1)
        .will(will(&topic));
    let _silent = Client::tcp(&gateway, &silent).await;
    assert_eq!(
        watcher.receive().await.text(),
        "gone",
        "after the keep-alive timeout"
    );
    let mut rude = Client::tcp(&gateway, &Opening::v5(&unique("rude")).will(will(&topic))).await;
    rude.send(&[0x00, 0x00]).await;
    assert_eq!(
        watcher.receive().await.text(),
        "gone",
        "after a malformed packet"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_publishes_the_will_of_the_old_connection() {
    let gateway = Gateway::shared();
    let (topic, id) = (unique("wills/takeover"), unique("twin"));
    let mut watcher = watcher(&gateway, &topic).await;
    let _old = Client::tcp(&gateway, &Opening::v5(&id).will(will(&topic))).await;
    let _new = Client::tcp(&gateway, &Opening::v5(&id)).await;
    assert_eq!(watcher.receive().await.text(), "gone");
}

fn delayed(topic: &str, id: &str, delay: u32, expiry: u32) -> Opening {
    let mut late = will(topic);
    late.properties = Properties::default().with(property::WILL_DELAY, Value::Four(delay));
    Opening::v5(id).will(late).session_expiry(expiry)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delayed_will_waits_for_its_delay() {
    let gateway = Gateway::shared();
    let topic = unique("wills/delayed");
    let mut watcher = watcher(&gateway, &topic).await;
    let owner = Client::tcp(&gateway, &delayed(&topic, &unique("owner"), 2, 60)).await;
    let since = Instant::now();
    drop(owner);
    assert_eq!(watcher.receive().await.text(), "gone");
    let waited = since.elapsed();
    assert!(
        waited >= Duration::from_millis(1900),
        "published after {waited:?} of 2 s"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delayed_will_comes_at_the_latest_with_the_end_of_the_session() {
    let gateway = Gateway::shared();
    let topic = unique("wills/expiry");
    let mut watcher = watcher(&gateway, &topic).await;
    drop(Client::tcp(&gateway, &delayed(&topic, &unique("owner"), 1000, 1)).await);
    assert_eq!(watcher.receive().await.text(), "gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_3_1_3_9_reconnecting_within_the_delay_cancels_the_will() {
    let gateway = Gateway::shared();
    let (topic, id, other) = (
        unique("wills/cancelled"),
        unique("owner"),
        unique("wills/other"),
    );
    let mut watcher = watcher(&gateway, &topic).await;
    watcher.subscribe(&[(&other, 1)]).await;
    drop(Client::tcp(&gateway, &delayed(&topic, &id, 2, 60)).await);
    let back = Client::tcp(&gateway, &Opening::v5(&id).resuming().session_expiry(60)).await;
    // a second will with a longer delay, dropped after the first one's: when it fires, the first had its time
    drop(Client::tcp(&gateway, &delayed(&other, &unique("other"), 3, 60)).await);
    assert_eq!(
        watcher.receive().await.topic,
        other,
        "the cancelled will did not fire"
    );
    drop(back);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_3_1_3_9_a_takeover_cancels_a_delayed_will_unless_the_session_ends_with_it() {
    let gateway = Gateway::shared();
    // (expiry of the session that is taken over, whether the newcomer begins anew, whether the will is published)
    for (expiry, anew, published) in [(60, false, false), (60, true, true), (0, false, true)] {
        let (topic, id) = (unique("wills/takeover"), unique("twin"));
        let mut watcher = watcher(&gateway, &topic).await;
        let mut old = Client::tcp(&gateway, &delayed(&topic, &id, 1000, expiry)).await;
        let newcomer = Opening::v5(&id).session_expiry(60);
        let newcomer = if anew { newcomer } else { newcomer.resuming() };
        let (mut new, welcome) = Client::tcp_with_welcome(&gateway, &newcomer).await;
        assert_eq!(welcome.session_present, !published);
        assert_eq!(old.closed().await, Some(0x8E));
        new.publish(&Publish::new(&topic, "marker", 1)).await;
        if published {
            assert_eq!(watcher.receive().await.text(), "gone", "{expiry} {anew}");
        }
        assert_eq!(watcher.receive().await.text(), "marker", "{expiry} {anew}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delayed_will_does_not_outlive_a_session_that_its_client_ends() {
    let gateway = Gateway::shared();
    let topic = unique("wills/ended");
    let mut watcher = watcher(&gateway, &topic).await;
    let mut owner = Client::tcp(&gateway, &delayed(&topic, &unique("owner"), 1000, 60)).await;
    // with the will, and without a session from now on
    let ends = Properties::default().with(property::SESSION_EXPIRY, Value::Four(0));
    owner.send(&wire::disconnect_with(4, &ends)).await;
    owner.closed().await;
    assert_eq!(watcher.receive().await.text(), "gone");
}
