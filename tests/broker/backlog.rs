//! What may wait for one client, and what becomes of it when there is more: by quality of service and by whether the
//! session outlives its connection.
//!
//! Clients with a window of one message make the rest wait in the gateway, whatever sockets hold.

use crate::support::{
    gateway::Gateway,
    http::Request,
    mqtt::Client,
    unique,
    wire::{Opening, Publish, Value, property},
};

/// Copies that met a full queue, as `/metrics` says.
async fn dropped(gateway: &Gateway) -> u64 {
    let page = Request::get("/metrics").send(gateway.http).await.text();
    let start = "tidegate_publishes_dropped_total ";
    let count = page.lines().find_map(|line| line.strip_prefix(start));
    count.and_then(|count| count.parse().ok()).expect("a count")
}

/// A subscriber that has one message under way, does not acknowledge it, and for which another one waits.
async fn stuck(
    gateway: &Gateway,
    publisher: &mut Client,
    opening: Opening,
    topic: &str,
) -> (Client, Publish) {
    let opening = opening.property(property::RECEIVE_MAXIMUM, Value::Two(1));
    let mut stuck = Client::tcp(gateway, &opening).await;
    stuck.subscribe(&[(topic, 1)]).await;
    publisher.publish(&Publish::new(topic, "sent", 1)).await;
    let sent = stuck.receive_only().await;
    assert_eq!(sent.text(), "sent");
    publisher.publish(&Publish::new(topic, "waits", 1)).await;
    (stuck, sent)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qos_0_messages_above_the_number_that_may_wait_are_dropped_and_counted() {
    let gateway = Gateway::start(&["--set", "session.max_queued_messages=10"]);
    let mut publisher = Client::tcp(&gateway, &Opening::v5("in")).await;
    let (mut slow, sent) = stuck(&gateway, &mut publisher, Opening::v5("out"), "backlog").await;
    for n in 0..20 {
        publisher
            .publish(&Publish::new("backlog", n.to_string(), 0))
            .await;
    }
    publisher.ping().await;
    assert_eq!(dropped(&gateway).await, 11, "one waited, nine more may");
    slow.acknowledge(&sent).await;
    assert_eq!(slow.receive().await.text(), "waits");
    for n in 0..9 {
        assert_eq!(slow.receive().await.text(), n.to_string());
    }
    publisher.publish(&Publish::new("backlog", "next", 0)).await;
    assert_eq!(slow.receive().await.text(), "next", "the others are gone");
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_limited_in_bytes_too() {
    let gateway = Gateway::start(&["--set", "session.max_queued_bytes=16KiB"]);
    let mut publisher = Client::tcp(&gateway, &Opening::v5("in")).await;
    let (mut slow, sent) = stuck(&gateway, &mut publisher, Opening::v5("out"), "backlog").await;
    for _ in 0..20 {
        publisher
            .publish(&Publish::new("backlog", vec![b'x'; 7 << 10], 0))
            .await;
    }
    publisher.ping().await;
    assert_eq!(dropped(&gateway).await, 18, "two of 7 KiB fit");
    slow.acknowledge(&sent).await;
    assert_eq!(slow.receive().await.text(), "waits");
    for _ in 0..2 {
        assert_eq!(slow.receive().await.payload.len(), 7 << 10);
    }
    // alone it may be as large as it likes
    publisher
        .publish(&Publish::new("backlog", vec![b'x'; 100 << 10], 0))
        .await;
    assert_eq!(slow.receive().await.payload.len(), 100 << 10);
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_qos_1_messages_have_no_room_and_no_session_is_disconnected_and_counted() {
    let gateway = Gateway::start(&[
        "--set",
        "session.max_queued_messages=10",
        "--set",
        "limits.receive_maximum=1", // 3.1.1 has no window of its own to name
    ]);
    let mut publisher = Client::tcp(&gateway, &Opening::v5("in")).await;
    for (opening, code) in [
        (Opening::v5("out"), Some(0x97)),
        (Opening::v311("out"), None),
    ] {
        let topic = unique("backlog");
        let mut slow = Client::tcp(&gateway, &opening).await;
        slow.subscribe(&[(&topic, 1)]).await;
        publisher.publish(&Publish::new(&topic, "sent", 1)).await;
        assert_eq!(slow.receive_only().await.text(), "sent");
        for n in 0..11 {
            publisher
                .publish(&Publish::new(&topic, n.to_string(), 1))
                .await;
        }
        assert_eq!(slow.closed().await, code);
    }
    assert_eq!(gateway.refused("quota").await, 2);
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_kept_gets_everything_however_much_had_to_wait() {
    let gateway = Gateway::start(&["--set", "session.max_queued_messages=10"]);
    let mut publisher = Client::tcp(&gateway, &Opening::v5("in")).await;
    let opening = Opening::v5("out").session_expiry(100);
    let (mut slow, sent) = stuck(&gateway, &mut publisher, opening, "backlog").await;
    for n in 0..100 {
        publisher
            .publish(&Publish::new("backlog", n.to_string(), 1 + n % 2))
            .await;
    }
    slow.acknowledge(&sent).await;
    assert_eq!(slow.receive().await.text(), "waits");
    for n in 0..100 {
        assert_eq!(slow.receive().await.text(), n.to_string());
    }
    assert_eq!(dropped(&gateway).await, 0);
    publisher.publish(&Publish::new("backlog", "next", 1)).await;
    assert_eq!(slow.receive().await.text(), "next", "and nothing twice");
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_was_away_gets_the_newest_of_too_many_messages_and_the_rest_is_counted() {
    for (limit, kept) in [
        ("session.max_queued_messages=10", 10),
        ("session.max_queued_bytes=16KiB", 2),
    ] {
        let gateway = Gateway::start(&["--set", limit]);
        let opening = Opening::v5("out").resuming().session_expiry(100);
        let mut away = Client::tcp(&gateway, &opening).await;
        away.subscribe(&[("backlog", 2)]).await;
        away.disconnect().await;
        let mut publisher = Client::tcp(&gateway, &Opening::v5("in")).await;
        for n in 0..30 {
            let text = format!("{n:>7168}");
            publisher.publish(&Publish::new("backlog", text, 1)).await;
        }
        let mut back = Client::tcp(&gateway, &opening).await;
        for n in 30 - kept..30 {
            assert_eq!(back.receive().await.text().trim(), n.to_string(), "{limit}");
        }
        publisher.publish(&Publish::new("backlog", "next", 1)).await;
        assert_eq!(back.receive().await.text(), "next");
        assert_eq!(dropped(&gateway).await, 30 - kept, "{limit}");
        gateway.stop();
    }
}
