//! Parts of MQTT that the operator switched off: announced to 5.0 clients, refused to everybody.

use crate::support::{
    gateway::Gateway,
    http::Request,
    mqtt::{Client, Link},
    unique,
    wire::{self, Opening, Properties, Publish, Value, Version, Will, property},
};

const ALL_OFF: &[&str] = &[
    "--set",
    "features.maximum_qos=1",
    "--set",
    "features.retain=false",
    "--set",
    "features.wildcard_subscriptions=false",
    "--set",
    "features.shared_subscriptions=false",
    "--set",
    "features.subscription_identifiers=false",
];

const ANNOUNCED: [u8; 5] = [
    property::MAXIMUM_QOS,
    property::RETAIN_AVAILABLE,
    property::WILDCARD_AVAILABLE,
    property::SHARED_AVAILABLE,
    property::SUBSCRIPTION_IDS_AVAILABLE,
];

fn will(qos: u8, retain: bool) -> Will {
    Will {
        topic: "features/will".into(),
        payload: b"gone".to_vec(),
        qos,
        retain,
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_3_2_2_9_what_is_off_is_announced_and_what_is_on_is_not_mentioned() {
    let gateway = Gateway::start(ALL_OFF);
    let (_client, welcome) = Client::tcp_with_welcome(&gateway, &Opening::v5("new")).await;
    let said = ANNOUNCED.map(|id| welcome.properties.number(id));
    assert_eq!(said, [Some(1), Some(0), Some(0), Some(0), Some(0)]);
    let (_client, welcome) =
        Client::tcp_with_welcome(&Gateway::shared(), &Opening::v5(&unique("full"))).await;
    assert_eq!(
        ANNOUNCED.map(|id| welcome.properties.number(id)),
        [None; 5],
        "a gateway that can everything"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_3_2_2_11_and_14_a_publish_that_uses_what_is_off_ends_the_connection() {
    let gateway = Gateway::start(ALL_OFF);
    let (above, kept) = (
        Publish::new("features/a", "x", 2),
        Publish::new("features/a", "x", 1).retained(),
    );
    let mut watcher = Client::tcp(&gateway, &Opening::v5("watcher")).await;
    watcher.subscribe(&[("features/a", 1)]).await;
    for version in [Version::V31, Version::V311, Version::V5] {
        for (mut message, reason) in [(above.clone(), 0x9B), (kept.clone(), 0x9A)] {
            let mut client = Client::tcp(&gateway, &Opening::new(version, &unique("in"))).await;
            message.id = 1;
            client.send(&wire::publish(version, &message)).await;
            let said = client.closed().await;
            assert_eq!(said, (version == Version::V5).then_some(reason));
        }
    }
    assert_eq!(gateway.refused("not-supported").await, 6);
    let mut good = Client::tcp(&gateway, &Opening::v5("good")).await;
    good.publish(&Publish::new("features/a", "marker", 1)).await;
    assert_eq!(
        watcher.receive().await.text(),
        "marker",
        "nothing else came"
    );
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_3_2_2_12_and_13_a_will_that_uses_what_is_off_is_refused() {
    let gateway = Gateway::start(ALL_OFF);
    for (last, reason) in [(will(2, false), 0x9B), (will(1, true), 0x9A)] {
        let opening = Opening::v5(&unique("owner")).will(last.clone());
        let (mut refused, welcome) = Client::open(Link::tcp(gateway.mqtt).await, &opening).await;
        assert_eq!(welcome.code, reason);
        assert_eq!(refused.closed().await, None);
        // no return code of 3.x fits: the connection is closed without one
        let opening = Opening::v311(&unique("owner")).will(last);
        let mut refused = Client::on(Link::tcp(gateway.mqtt).await, Version::V311);
        refused.send(&opening.encode()).await;
        assert_eq!(refused.next().await, None);
    }
    Client::tcp(&gateway, &Opening::v5("owner").will(will(1, false))).await;
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_3_2_2_10_more_than_the_maximum_qos_may_be_asked_for_and_is_not_granted() {
    let gateway = Gateway::start(ALL_OFF);
    for version in [Version::V31, Version::V311, Version::V5] {
        let mut client = Client::tcp(&gateway, &Opening::new(version, &unique("out"))).await;
        let granted = client.subscribe(&[("a", 0), ("b", 1), ("c", 2)]).await;
        assert_eq!(granted, [0, 1, 1], "{version:?}");
    }
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_uses_what_is_off_is_a_protocol_error_on_5_0_and_a_failure_on_3_1_1() {
    let gateway = Gateway::start(ALL_OFF);
    let numbered = Properties::default().with(property::SUBSCRIPTION_ID, Value::Var(7));
    for (filter, properties, reason) in [
        ("a/+", Properties::default(), 0xA2),
        ("a/#", Properties::default(), 0xA2),
        ("$share/g/a", Properties::default(), 0x9E),
        ("a", numbered, 0xA1),
    ] {
        let mut client = Client::tcp(&gateway, &Opening::v5(&unique("out"))).await;
        let bytes = wire::subscribe(Version::V5, 1, &[("fine", 1), (filter, 1)], &properties);
        client.send(&bytes).await;
        assert_eq!(client.closed().await, Some(reason), "{filter}");
    }
    let mut old = Client::tcp(&gateway, &Opening::v311("old")).await;
    let codes = old
        .subscribe(&[("a/+", 1), ("fine", 1), ("$share/g/a", 1)])
        .await;
    assert_eq!(codes, [0x80, 1, 0x80]);
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_web_is_held_to_the_same() {
    let gateway = Gateway::start(ALL_OFF);
    for (request, reason) in [
        (Request::post("/api/v1/topics/a?qos=2", "x"), 0x9B),
        (Request::post("/api/v1/topics/a?retain=true", "x"), 0x9A),
        (Request::put("/api/v1/topics/a", "x"), 0x9A),
        (Request::new("DELETE", "/api/v1/topics/a"), 0x9A),
        (Request::get("/api/v1/stream?topic=a/%2B"), 0xA2),
        (Request::get("/api/v1/stream?topic=$share/g/a"), 0x9E),
    ] {
        let answer = request.send(gateway.http).await;
        let problem = match reason {
            0x9A => answer.assert_problem(422, "retain-unsupported"),
            _ => answer.assert_problem(403, "not-supported"),
        };
        assert_eq!(problem["reason_code"], reason, "{request:?}");
    }
    let published = Request::post("/api/v1/topics/a", "x")
        .send(gateway.http)
        .await;
    assert_eq!(published.status, 200);
    let discovery = Request::get("/api/v1").send(gateway.http).await.json();
    assert_eq!(discovery["limits"]["maximum_qos"], 1);
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_qos_1_a_web_publish_has_qos_0() {
    let gateway = Gateway::start(&["--set", "features.maximum_qos=0"]);
    let published = Request::post("/api/v1/topics/a", "x")
        .send(gateway.http)
        .await;
    assert_eq!(published.json()["qos"], 0);
    let mut client = Client::tcp(&gateway, &Opening::v5("out")).await;
    assert_eq!(client.subscribe(&[("a", 2)]).await, [0]);
    gateway.stop();
}
