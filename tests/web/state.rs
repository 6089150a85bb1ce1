//! `PUT`, `GET`, `HEAD`, `DELETE` of a topic's retained message.

use serde_json::json;

use crate::support::{
    gateway::Gateway,
    http::{Request, Response},
    mqtt::Client,
    unique,
    wire::{Opening, Properties, Publish},
};

fn target(stem: &str) -> (String, String) {
    let topic = unique(stem);
    (format!("/api/v1/topics/{topic}"), topic)
}

async fn put(gateway: &Gateway, target: &str, body: &str) -> Response {
    Request::put(target, body).send(gateway.http).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn put_sets_get_reads_delete_clears() {
    let gateway = Gateway::shared();
    let (target, topic) = target("state/basic");
    Request::get(&target)
        .send(gateway.http)
        .await
        .assert_problem(404, "not-retained");
    let answer = put(&gateway, &target, "on").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let got = Request::get(&target).send(gateway.http).await;
    assert_eq!((got.status, got.text().as_str()), (200, "on"));
    assert_eq!(
        got.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(got.header("mqtt-qos"), Some("1"));
    assert!(got.header("last-modified").is_some());
    assert_eq!(got.header("cache-control"), Some("no-cache, private"));
    let head = Request::new("HEAD", &target).send(gateway.http).await;
    assert_eq!(head.status, 200);
    for name in [
        "etag",
        "content-type",
        "content-length",
        "mqtt-qos",
        "mqtt-topic",
    ] {
        assert_eq!(head.header(name), got.header(name), "HEAD repeats {name}");
    }
    let mut subscriber = Client::tcp(&gateway, &Opening::v5(&unique("out"))).await;
    subscriber.subscribe(&[(&topic, 1)]).await;
    assert!(subscriber.receive().await.retain);
    for _ in 0..2 {
        let gone = Request::new("DELETE", &target).send(gateway.http).await;
        assert_eq!(
            (gone.status, gone.body.len()),
            (204, 0),
            "also when nothing is stored"
        );
    }
    Request::get(&target)
        .send(gateway.http)
        .await
        .assert_problem(404, "not-retained");
    assert_eq!(
        Request::new("HEAD", &target)
            .send(gateway.http)
            .await
            .status,
        404
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_put_is_refused_with_a_hint() {
    let gateway = Gateway::shared();
    let (target, _) = target("state/empty");
    let answer = put(&gateway, &target, "").await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("DELETE"), "{}", answer.text());
    assert!(
        answer
            .header("content-type")
            .is_some_and(|v| v.starts_with("application/problem+json"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etag_saves_the_transfer_until_the_state_changes() {
    let gateway = Gateway::shared();
    let (target, topic) = target("state/etag");
    assert_eq!(put(&gateway, &target, "one").await.status, 200);
    let first = Request::get(&target).send(gateway.http).await;
    let etag = first.header("etag").expect("an ETag").to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"'), "{etag}");
    for value in [
        etag.clone(),
        format!("\"other\", {etag}"),
        format!("W/{etag}"),
        "*".to_owned(),
    ] {
        let unchanged = Request::get(&target)
            .header("If-None-Match", &value)
            .send(gateway.http)
            .await;
        assert_eq!(
            (unchanged.status, unchanged.body.len()),
            (304, 0),
            "{value}"
        );
        assert_eq!(unchanged.header("etag"), Some(etag.as_str()));
    }
    // the same bytes again are a new state, and an MQTT publisher moves it like anybody else
    let mut client = Client::tcp(&gateway, &Opening::v311(&unique("in"))).await;
    client
        .publish(&Publish::new(&topic, "one", 1).retained())
        .await;
    let changed = Request::get(&target)
        .header("If-None-Match", &etag)
        .send(gateway.http)
        .await;
    assert_eq!((changed.status, changed.text().as_str()), (200, "one"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_envelope_is_given_on_request_only() {
    let gateway = Gateway::shared();
    let (target, topic) = target("state/envelope");
    let answer = Request::put(
        &format!("{target}?qos=2&user=a=1&user=a=2"),
        r#"{"on":true}"#,
    )
    .header("Content-Type", "application/json")
    .send(gateway.http)
    .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let plain = Request::get(&target)
        .header("Accept", "application/json")
        .send(gateway.http)
        .await;
    assert_eq!(
        plain.json(),
        json!({"on": true}),
        "a caller asking for JSON wants its own JSON"
    );
    let media_type = "application/vnd.tidegate.message+json";
    for request in [
        Request::get(&format!("{target}?envelope=1")),
        Request::get(&target).header("Accept", media_type),
    ] {
        let got = request.send(gateway.http).await.json();
        assert_eq!(got["topic"], topic);
        assert_eq!(got["payload"], r#"{"on":true}"#);
        assert_eq!(got["encoding"], "utf8");
        assert_eq!(
            (&got["qos"], &got["retain"], &got["size"]),
            (&json!(2), &json!(true), &json!(11))
        );
        assert_eq!(got["properties"]["content_type"], "application/json");
        assert_eq!(got["properties"]["user"], json!([["a", "1"], ["a", "2"]]));
        let time = got["time"].as_str().expect("a time");
        assert!(
            time.ends_with('Z') && time.contains('T'),
            "RFC 3339: {time}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_publisher_makes_a_state_unreadable_with_what_comes_beside_the_payload() {
    let gateway = Gateway::shared();
    let (target, topic) = target("state/long");
    let long = "ü".repeat(30_000);
    let mut publisher = Client::tcp(&gateway, &Opening::v5(&unique("long"))).await;
    let mut message = Publish::new(&topic, "x", 1).retained();
    message.properties = Properties::default().text(0x03, &format!("text/plain; a={long}"));
    for _ in 0..15 {
        message.properties = message.properties.user("long", &long);
    }
    message.properties = message.properties.user("short", "1");
    publisher.publish(&message).await;
    let got = Request::get(&target).send(gateway.http).await;
    assert_eq!((got.status, got.text().as_str()), (200, "x"));
    assert_eq!(got.header("content-type"), Some("text/plain"));
    assert_eq!(got.all("mqtt-user-property"), ["short=1"]);
    let omitted = got.header("mqtt-omitted").expect("Mqtt-Omitted");
    assert_eq!(
        omitted,
        "Mqtt-Content-Type, Mqtt-User-Property; see=\"envelope=1\""
    );
    let whole = format!("{target}?envelope=1");
    let whole = Request::get(&whole).send(gateway.http).await.json();
    let user = whole["properties"]["user"].as_array().expect("pairs");
    assert_eq!(user.len(), 16);
}
