//! How fast one user may publish, over all ways in together. Nothing here depends on how fast the machine is: whoever is
//! in debt for seconds is so also on a slow one.

use crate::{
    support::{
        http::{Request, Response},
        mqtt::Client,
        wire::{self, Opening, PUBACK, Publish, Version},
    },
    world::{self, USERS, by, client, json_socket, post},
};
use serde_json::json;
use std::time::{Duration, Instant};

const MILLI: Duration = Duration::from_millis(1);

/// The seconds of Retry-After in a refusal for being too fast.
fn wait_of(answer: &Response) -> u64 {
    answer.assert_problem(429, "quota-exceeded");
    let seconds = answer.header("retry-after").expect("Retry-After");
    seconds.parse().expect("whole seconds")
}

async fn batch(gateway: &crate::support::gateway::Gateway, count: usize) -> Response {
    let messages: Vec<_> = (0..count).map(|_| json!({"topic": "spent"})).collect();
    let request = Request::post("/api/v1/messages", json!(messages).to_string());
    let request = request.header("Content-Type", "application/json");
    by(USERS[0], request).send(gateway.http).await
}

#[tokio::test]
async fn a_publisher_above_his_rate_is_read_more_slowly_and_nobody_else_is() {
    let (gateway, _users) = world::start(&["quota.messages=50"]);
    // its keep-alive is over long before the gateway reads again
    let opening = Opening::v5("ann").keep_alive(1);
    let mut ann = client(&gateway, opening, USERS[0]).await;
    let mut bob = client(&gateway, Opening::v5("bob"), USERS[1]).await;
    let message = |id: u16| Publish {
        id,
        ..Publish::new("a", "x", 1)
    };
    let all: Vec<u8> = (1..=200)
        .flat_map(|id| wire::publish(Version::V5, &message(id)))
        .collect();
    let begun = Instant::now();
    ann.send(&all).await;
    assert_eq!(ann.acknowledgement(PUBACK, 1).await, 0);
    assert_eq!(bob.publish(&Publish::new("a", "x", 1)).await, 0);
    bob.ping().await;
    for id in 2..=200 {
        assert!(ann.acknowledgement(PUBACK, id).await < 0x80, "{id}");
    }
    ann.ping().await;
    assert!(begun.elapsed() >= 2900 * MILLI, "{:?}", begun.elapsed());
    assert_eq!(ann.publish(&Publish::new("a", "x", 2)).await, 0);
}

#[tokio::test]
async fn who_uses_up_his_rate_by_requests_is_slowed_over_mqtt_and_the_other_way_round() {
    let (gateway, _users) = world::start(&["quota.messages=1"]);
    let mut bob = client(&gateway, Opening::v5("bob"), USERS[1]).await;
    bob.subscribe(&[("#", 1)]).await;
    let mut ann = client(&gateway, Opening::v5("ann"), USERS[0]).await;
    let begun = Instant::now();
    // more than a second's worth is had if nothing else was
    assert_eq!(batch(&gateway, 6).await.status, 200);
    assert!((3..=6).contains(&wait_of(&post(&gateway, USERS[0], "no", b"x").await)));
    assert!(wait_of(&batch(&gateway, 2).await) >= 3);
    let retained = Request::put("/api/v1/topics/no", "x");
    assert!(wait_of(&by(USERS[0], retained).send(gateway.http).await) >= 3);
    ann.publish(&Publish::new("mqtt", "x", 0)).await;
    ann.ping().await;
    ann.ping().await;
    assert!(begun.elapsed() >= 5900 * MILLI, "{:?}", begun.elapsed());
    for _ in 0..4 {
        ann.send(&wire::publish(Version::V5, &Publish::new("mqtt", "x", 0)))
            .await;
    }
    ann.send(&wire::publish(Version::V5, &Publish::new("last", "x", 0)))
        .await;
    let seen = bob.receive_until("last").await;
    assert!(seen.iter().all(|one| one.topic != "no"), "{seen:?}");
    assert!(wait_of(&post(&gateway, USERS[0], "no", b"x").await) >= 1);
    assert_eq!(post(&gateway, USERS[1], "bobs", b"x").await.status, 200);
}

#[tokio::test]
async fn bytes_are_counted_as_messages_are() {
    let (gateway, _users) = world::start(&["quota.bytes=1024"]);
    let large = [b'x'; 6 * 1024];
    assert_eq!(post(&gateway, USERS[0], "a", &large).await.status, 200);
    assert!(wait_of(&post(&gateway, USERS[0], "a", b"x").await) >= 2);
    // what has no bytes costs none
    assert_eq!(post(&gateway, USERS[0], "a", b"").await.status, 200);
    assert_eq!(post(&gateway, USERS[1], "a", &large).await.status, 200);
}

#[tokio::test]
async fn a_json_websocket_above_its_rate_is_heard_more_slowly() {
    let (gateway, _users) = world::start(&["quota.messages=1"]);
    let mut ann = json_socket(&gateway, USERS[0]).await.expect("a socket");
    let mut bob = json_socket(&gateway, USERS[1]).await.expect("a socket");
    let begun = Instant::now();
    for _ in 0..4 {
        ann.ask(json!({"op": "pub", "topic": "a", "payload": "x"}))
            .await;
    }
    for _ in 0..4 {
        assert_eq!(ann.next().await["op"], "ok");
    }
    let pong = bob.answered(json!({"op": "ping"})).await;
    assert_eq!(pong["op"], "pong");
    let pong = ann.answered(json!({"op": "ping"})).await;
    assert_eq!(pong["op"], "pong");
    assert!(begun.elapsed() >= 2900 * MILLI, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn anonymous_clients_of_one_address_share_a_rate_and_those_of_this_machine_have_none() {
    let gateway = crate::support::gateway::Gateway::start(&[
        "--set",
        "quota.messages=1",
        "--set",
        "http.trusted_proxies=127.0.0.1",
    ]);
    let publish = async |from: Option<&str>, count: usize| {
        let messages: Vec<_> = (0..count).map(|_| json!({"topic": "a"})).collect();
        let request = Request::post("/api/v1/messages", json!(messages).to_string());
        let request = request.header("Content-Type", "application/json");
        let request = match from {
            Some(from) => request.header("X-Forwarded-For", from),
            None => request,
        };
        request.send(gateway.http).await
    };
    assert_eq!(publish(Some("203.0.113.5"), 9).await.status, 200);
    assert!(wait_of(&publish(Some("203.0.113.5"), 1).await) >= 2);
    assert_eq!(publish(Some("203.0.113.6"), 1).await.status, 200);
    for _ in 0..5 {
        assert_eq!(publish(None, 9).await.status, 200);
    }
    let mut local = Client::tcp(&gateway, &Opening::v5("local")).await;
    for _ in 0..20 {
        assert!(local.publish(&Publish::new("a", "x", 1)).await < 0x80);
    }
}
