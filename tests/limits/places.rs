//! How much one user, or one address, may have open at a time.

use crate::{
    support::{
        gateway::Gateway,
        http::{Opened, Request},
        json_ws::assert_err,
        mqtt::{Client, Link},
        stream::{Encoding, Stream},
        wire::{Opening, Version},
        within,
    },
    world::{self, USERS, by, client, from, json_socket, open_from},
};
use serde_json::json;
use std::time::Duration;
use tokio::io::AsyncReadExt;

const QUOTA_EXCEEDED: u8 = 0x97;

async fn stream(gateway: &Gateway, user: (&str, &str), accept: &str) -> Opened {
    let request = Request::get("/api/v1/stream?topic=a").header("Accept", accept);
    by(user, request).open(gateway.http).await
}

/// Tries until it succeeds: what was let go is free a moment later.
async fn soon(what: &str, mut attempt: impl AsyncFnMut() -> bool) {
    within(what, async {
        while !attempt().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn one_user_has_so_many_streams_and_an_event_source_is_told_to_come_back() {
    let (gateway, _users) = world::start(&["quota.streams=2"]);
    let (ndjson, sse) = ("application/x-ndjson", "text/event-stream");
    let mut socket = json_socket(&gateway, USERS[0]).await.expect("a socket");
    socket.subscribe(&["a"], json!({})).await;
    let held = stream(&gateway, USERS[0], ndjson).await;
    assert_eq!(held.head.status, 200);

    let refused = stream(&gateway, USERS[0], ndjson).await;
    assert_eq!(refused.head.status, 429);
    assert!(refused.head.header("retry-after").is_some());
    let short = stream(&gateway, USERS[0], sse).await;
    assert_eq!(short.head.status, 200);
    let mut short = Stream::on(short, Encoding::Sse);
    let bye = short.next().await;
    assert_eq!(bye.name, "bye");
    assert_eq!(bye.data["reason"], "quota_exceeded", "{bye:?}");
    assert_eq!(bye.data["reconnect"], true, "{bye:?}");
    let strict = Request::get("/api/v1/stream?topic=a&strict=true").header("Accept", sse);
    let strict = by(USERS[0], strict).send(gateway.http).await;
    strict.assert_problem(429, "quota-exceeded");
    let page = by(USERS[0], Request::get("/api/v1/messages?topic=a"));
    page.send(gateway.http)
        .await
        .assert_problem(429, "quota-exceeded");
    let answer = socket.answered(json!({"op": "sub", "topics": ["b"]})).await;
    assert_err(&answer, "quota-exceeded");

    assert_eq!(stream(&gateway, USERS[1], ndjson).await.head.status, 200);
    drop(held);
    soon("a place for a stream", async || {
        stream(&gateway, USERS[0], ndjson).await.head.status == 200
    })
    .await;
    gateway.logs("kind=\"quota\"").await;
}

#[tokio::test]
async fn one_user_has_so_many_connections_and_may_take_over_his_own() {
    let (gateway, _users) = world::start(&["quota.connections=2"]);
    let (user, password) = USERS[0];
    let code = async |version, id: &str| {
        let opening = Opening::new(version, id).login(user, password);
        Client::open(Link::tcp(gateway.mqtt).await, &opening)
            .await
            .1
            .code
    };
    let first = client(&gateway, Opening::v5("one"), USERS[0]).await;
    let socket = json_socket(&gateway, USERS[0]).await.expect("a socket");
    assert_eq!(code(Version::V5, "two").await, QUOTA_EXCEEDED);
    assert_eq!(code(Version::V311, "two").await, 3);
    assert_eq!(json_socket(&gateway, USERS[0]).await.err(), Some(429));
    json_socket(&gateway, USERS[1])
        .await
        .expect("another user's");
    // whoever comes back before his old connection is known to be dead
    let again = client(&gateway, Opening::v5("one"), USERS[0]).await;
    drop(first);
    assert_eq!(code(Version::V5, "two").await, QUOTA_EXCEEDED);
    again.disconnect().await;
    let second = client(&gateway, Opening::v5("two"), USERS[0]).await;
    assert_eq!(code(Version::V5, "three").await, QUOTA_EXCEEDED);
    drop(socket);
    soon("a place for a connection", async || {
        code(Version::V5, "three").await == 0
    })
    .await;
    drop(second);
}

#[tokio::test]
async fn all_sessions_of_one_user_have_so_many_subscriptions_together_also_after_a_restart() {
    let settings = ["quota.subscriptions=3"];
    let (gateway, users) = world::start(&settings);
    let lasting = || Opening::v5("one").resuming().session_expiry(1000);
    let mut one = client(&gateway, lasting(), USERS[0]).await;
    assert_eq!(one.subscribe(&[("a", 0), ("b", 0)]).await, [0, 0]);
    // anew is not one more
    assert_eq!(one.subscribe(&[("a", 0)]).await, [0]);
    let full = async |gateway: &Gateway| {
        let mut two = client(gateway, Opening::v5("two"), USERS[0]).await;
        assert_eq!(
            two.subscribe(&[("a", 0), ("b", 0)]).await,
            [0, QUOTA_EXCEEDED]
        );
        let mut old = client(gateway, Opening::v311("old"), USERS[0]).await;
        assert_eq!(old.subscribe(&[("a", 0)]).await, [0x80]);
        let mut other = client(gateway, Opening::v5("other"), USERS[1]).await;
        assert_eq!(other.subscribe(&[("a", 0), ("b", 0)]).await, [0, 0]);
        two.disconnect().await;
    };
    full(&gateway).await;
    one.disconnect().await;
    let gateway = world::restarted(gateway, &users, &settings);
    full(&gateway).await;
    let mut one = client(&gateway, lasting(), USERS[0]).await;
    assert_eq!(one.unsubscribe(&["a"]).await, [0]);
    soon("the end of another session", async || {
        let mut two = client(&gateway, Opening::v5("two"), USERS[0]).await;
        two.subscribe(&[("a", 0), ("b", 0)]).await == [0, 0]
    })
    .await;
}

const PROXIED: [&str; 4] = [
    "--set",
    "mqtt.proxy_protocol=true",
    "--set",
    "mqtt.trusted_proxies=127.0.0.1",
];

#[tokio::test]
async fn anonymous_clients_of_one_address_have_so_many_connections_together() {
    let gateway = Gateway::start(&[&PROXIED[..], &["--set", "quota.connections=1"]].concat());
    let open = async |ip: &str, id: &str| open_from(ip, gateway.mqtt, &Opening::v5(id)).await;
    let (_held, welcome) = open("2001:db8::1", "a").await;
    assert_eq!(welcome.code, 0);
    assert_eq!(open("2001:db8::2", "b").await.1.code, QUOTA_EXCEEDED);
    assert_eq!(open("2001:db8:0:1::2", "c").await.1.code, 0);
    assert_eq!(open("203.0.113.5", "d").await.1.code, 0);
}

#[tokio::test]
async fn one_address_has_so_many_sockets_at_a_time() {
    let limit = ["--set", "quota.connections_per_address=2"];
    let gateway = Gateway::start(&[&PROXIED[..], &limit].concat());
    let open = async |id: &str| {
        let (client, welcome) = open_from("203.0.113.5", gateway.mqtt, &Opening::v5(id)).await;
        assert_eq!(welcome.code, 0);
        client
    };
    let held = (open("a").await, open("b").await);
    let mut third = from("203.0.113.5", gateway.mqtt).await;
    let read = within("the end", third.read(&mut [0; 16])).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    let (_other, welcome) = open_from("203.0.113.6", gateway.mqtt, &Opening::v5("c")).await;
    assert_eq!(welcome.code, 0);
    assert_eq!(gateway.refused("address").await, 1);
    drop(held);
    soon("a place for a socket", async || {
        let mut again = Client::on(
            Link::Tcp(from("203.0.113.5", gateway.mqtt).await),
            Version::V5,
        );
        again.try_send(&Opening::v5("again").encode()).await && again.next().await.is_some()
    })
    .await;
}

#[tokio::test]
async fn one_address_has_so_many_new_sockets_per_second() {
    let limit = ["--set", "quota.connection_rate=2"];
    let gateway = Gateway::start(&[&PROXIED[..], &limit].concat());
    let mut all = Vec::new();
    for _ in 0..40 {
        all.push(from("203.0.113.5", gateway.mqtt).await);
    }
    // those that stay are never refused, and the metrics tell when the others are
    gateway.refused_at_least("address", 1).await;
    let (_other, welcome) = open_from("203.0.113.6", gateway.mqtt, &Opening::v5("c")).await;
    assert_eq!(welcome.code, 0);
}
