//! Limits of what clients may have and keep: each refusal has its reason code and its counter.

use crate::support::{
    gateway::Gateway,
    http::Request,
    mqtt::{Client, Link},
    unique,
    wire::{
        self, Opening, PUBCOMP, PUBREC, PUBREL, Packet, Properties, Publish, Value, Version, Will,
        property,
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// How many topics retain something now.
async fn retained(gateway: &Gateway) -> usize {
    let mut client = Client::tcp(gateway, &Opening::v5(&unique("count"))).await;
    client.subscribe(&[("#", 0), ("q/marker", 0)]).await;
    client.publish(&Publish::new("q/marker", "", 0)).await;
    client.receive_until("q/marker").await.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retained_message_above_the_number_is_refused_whole_and_those_there_can_change_and_go() {
    // the gateway's own topics have theirs beside the clients'
    let gateway = Gateway::start(&["--set", "limits.retained_messages=100"]);
    let mut client = Client::tcp(&gateway, &Opening::v5("in")).await;
    let mut watcher = Client::tcp(&gateway, &Opening::v5("watcher")).await;
    let kept =
        |n: usize, payload: &str, qos| Publish::new(&format!("q/{n}"), payload, qos).retained();
    let mut count = 0;
    while client.publish(&kept(count, "x", 1)).await == 0 {
        count += 1;
    }
    assert!((1..=100).contains(&count), "{count} were kept");
    assert_eq!(retained(&gateway).await, count);
    watcher.subscribe(&[("#", 2 | 2 << 4)]).await;
    for qos in 0..=2 {
        let code = client.publish(&kept(count, "new", qos)).await;
        assert_eq!(code, if qos == 0 { 0 } else { 0x97 }, "QoS {qos}");
    }
    // changing, deleting, and the room that leaves
    assert_eq!(client.publish(&kept(0, "changed", 1)).await, 0);
    assert_eq!(
        watcher.receive().await.text(),
        "changed",
        "nothing refused was delivered"
    );
    assert_eq!(client.publish(&kept(0, "", 2)).await, 0);
    assert_eq!(client.publish(&kept(count, "new", 1)).await, 0);
    let put = Request::put("/api/v1/topics/q/web", "x")
        .send(gateway.http)
        .await;
    let problem = put.assert_problem(503, "storage-unavailable");
    assert_eq!(problem["reason_code"], 0x97);
    // 3.x cannot be told, and must not take it for kept
    let mut old = Client::tcp(&gateway, &Opening::v311("old")).await;
    let mut message = kept(count + 1, "x", 1);
    message.id = 1;
    old.send(&wire::publish(Version::V311, &message)).await;
    assert_eq!(old.closed().await, None);
    assert_eq!(gateway.refused("retained").await, 6);
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_that_there_is_no_room_to_retain_is_counted() {
    let gateway = Gateway::start(&["--set", "limits.retained_messages=0"]);
    let will = Will {
        topic: "q/will".into(),
        payload: b"gone".to_vec(),
        qos: 1,
        retain: true,
        ..Default::default()
    };
    let mut owner = Client::tcp(&gateway, &Opening::v5("owner").will(will)).await;
    owner.send(&wire::disconnect(Version::V5, 4)).await;
    owner.closed().await;
    assert_eq!(gateway.refused("retained").await, 1);
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retained_bytes_are_limited_and_something_smaller_always_fits_in_its_place() {
    let gateway = Gateway::start(&["--set", "limits.retained_bytes=1MiB"]);
    let mut client = Client::tcp(&gateway, &Opening::v5("in")).await;
    let kept = |topic: &str, size: usize| Publish::new(topic, vec![b'x'; size], 1).retained();
    assert_eq!(client.publish(&kept("q/a", 600 << 10)).await, 0);
    assert_eq!(client.publish(&kept("q/b", 600 << 10)).await, 0x97);
    assert_eq!(client.publish(&kept("q/a", 900 << 10)).await, 0);
    assert_eq!(client.publish(&kept("q/a", 500 << 10)).await, 0);
    assert_eq!(client.publish(&kept("q/b", 400 << 10)).await, 0);
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_limited_those_that_wait_included() {
    let gateway = Gateway::start(&["--set", "limits.sessions=2"]);
    let waits = Opening::v5("waits").session_expiry(100);
    Client::tcp(&gateway, &waits).await.disconnect().await;
    let _here = Client::tcp(&gateway, &Opening::v5("here")).await;
    for (opening, code) in [(Opening::v5("third"), 0x97), (Opening::v311("third"), 3)] {
        let (mut third, welcome) = Client::open(Link::tcp(gateway.mqtt).await, &opening).await;
        assert_eq!(welcome.code, code);
        assert_eq!(third.closed().await, None);
    }
    assert_eq!(gateway.refused("sessions").await, 2);
    // its own session is no new one, and one that ends leaves its place
    let back = Opening::v5("waits").resuming();
    let (back, welcome) = Client::tcp_with_welcome(&gateway, &back).await;
    assert!(welcome.session_present);
    back.disconnect().await;
    Client::tcp(&gateway, &Opening::v5("third")).await;
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_and_filters_are_limited_in_length() {
    let gateway = Gateway::start(&["--set", "limits.topic_bytes=20"]);
    let (fits, long) = ("x".repeat(20), "x".repeat(21));
    for version in [Version::V311, Version::V5] {
        let mut client = Client::tcp(&gateway, &Opening::new(version, &unique("in"))).await;
        let failure = if version == Version::V5 { 0x8F } else { 0x80 };
        let codes = client.subscribe(&[(&fits, 1), (&long, 1)]).await;
        assert_eq!(codes, [1, failure]);
        let code = client.publish(&Publish::new(&long, "no", 1)).await;
        assert_eq!(code, if version == Version::V5 { 0x90 } else { 0 });
        client.publish(&Publish::new(&fits, "yes", 1)).await;
        assert_eq!(client.receive().await.text(), "yes");
    }
    let will = Will {
        topic: long.clone(),
        ..Default::default()
    };
    let opening = Opening::v5("owner").will(will);
    let (_, welcome) = Client::open(Link::tcp(gateway.mqtt).await, &opening).await;
    assert_eq!(welcome.code, 0x90);
    let target = format!("/api/v1/topics/{long}");
    let answer = Request::post(&target, "x").send(gateway.http).await;
    answer.assert_problem(400, "topic-invalid");
    let target = format!("/api/v1/stream?topic={long}");
    let answer = Request::get(&target).send(gateway.http).await;
    answer.assert_problem(400, "filter-invalid");
    assert_eq!(gateway.refused("topic").await, 7);
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_and_filters_are_limited_in_levels() {
    let gateway = Gateway::start(&["--set", "limits.topic_levels=3"]);
    for (version, failure, code) in [(Version::V5, 0x8F, 0x90), (Version::V311, 0x80, 0)] {
        let mut client = Client::tcp(&gateway, &Opening::new(version, &unique("in"))).await;
        let codes = client.subscribe(&[("a/b/#", 1), ("a/b/c/d", 1)]).await;
        assert_eq!(codes, [1, failure]);
        assert_eq!(
            client.publish(&Publish::new("a/b/c/d", "no", 1)).await,
            code
        );
        client.publish(&Publish::new("a/b/c", "yes", 1)).await;
        assert_eq!(client.receive().await.text(), "yes");
    }
    assert_eq!(gateway.refused("topic").await, 4);
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_properties_of_a_packet_are_limited() {
    let gateway = Gateway::start(&["--set", "limits.user_properties=2"]);
    let user = |count| {
        let pair = (property::USER, Value::Pair("a".into(), "b".into()));
        Properties(vec![pair; count])
    };
    let mut opening = Opening::v5("fits");
    opening.properties = user(2);
    let mut client = Client::tcp(&gateway, &opening).await;
    let mut message = Publish::new("q/user", "x", 1);
    message.properties = user(2);
    assert_eq!(client.publish(&message).await, 0);
    message.properties = user(3);
    message.id = 9;
    client.send(&wire::publish(Version::V5, &message)).await;
    assert_eq!(client.closed().await, Some(0x83));
    for place in ["connect", "will"] {
        let mut opening = Opening::v5("more");
        match place {
            "connect" => opening.properties = user(3),
            _ => {
                opening.will = Some(Will {
                    topic: "q/will".into(),
                    properties: user(3),
                    ..Default::default()
                });
            }
        }
        let (_, welcome) = Client::open(Link::tcp(gateway.mqtt).await, &opening).await;
        assert_eq!(welcome.code, 0x83, "{place}");
    }
    assert_eq!(gateway.refused("user-properties").await, 3);
    let target = "/api/v1/topics/q/user?user=a=1&user=b=2&user=c=3";
    let answer = Request::post(target, "x").send(gateway.http).await;
    answer.assert_problem(400, "parameter-invalid");
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreleased_qos_2_messages_are_limited_over_all_connections_of_a_session() {
    let gateway = Gateway::start(&["--set", "limits.unreleased=3"]);
    let send = |version, id| {
        let mut message = Publish::new("q/two", "x", 2);
        message.id = id;
        wire::publish(version, &message)
    };
    let opening = Opening::v5("new").resuming().session_expiry(100);
    let mut client = Client::tcp(&gateway, &opening).await;
    for id in 1..=2 {
        client.send(&send(Version::V5, id)).await;
        assert_eq!(client.acknowledgement(PUBREC, id).await, 0);
    }
    drop(client);
    let mut client = Client::tcp(&gateway, &opening).await;
    for (id, code) in [(3, 0), (4, 0x97), (1, 0)] {
        client.send(&send(Version::V5, id)).await;
        assert_eq!(client.acknowledgement(PUBREC, id).await, code, "{id}");
    }
    client.send(&wire::ack(PUBREL, 1)).await;
    client.acknowledgement(PUBCOMP, 1).await;
    client.send(&send(Version::V5, 4)).await;
    assert_eq!(
        client.acknowledgement(PUBREC, 4).await,
        0,
        "there is room again"
    );
    let mut old = Client::tcp(&gateway, &Opening::v311("old")).await;
    for id in 1..=4 {
        old.send(&send(Version::V311, id)).await;
    }
    assert_eq!(old.closed().await, None);
    assert_eq!(gateway.refused("in-flight").await, 2);
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_are_limited_per_packet_and_per_session() {
    let gateway = Gateway::start(&[
        "--set",
        "limits.filters_per_request=2",
        "--set",
        "limits.filters_per_session=3",
    ]);
    for (version, failure) in [(Version::V5, 0x97), (Version::V311, 0x80)] {
        let mut client = Client::tcp(&gateway, &Opening::new(version, &unique("out"))).await;
        let codes = client.subscribe(&[("a", 1), ("b", 1), ("c", 1)]).await;
        assert_eq!(codes, [1, 1, failure], "per packet");
        let codes = client.subscribe(&[("c", 1), ("d", 1)]).await;
        assert_eq!(codes, [1, failure], "per session");
        assert_eq!(client.subscribe(&[("a", 0)]).await, [0], "one it has");
    }
    assert_eq!(gateway.refused("filters").await, 4);
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_identifiers_and_the_keep_alive_of_5_0_are_limited() {
    let gateway = Gateway::start(&[
        "--set",
        "limits.client_id_bytes=23",
        "--set",
        "limits.keep_alive=60",
    ]);
    for (version, code) in [(Version::V5, 0x85), (Version::V311, 2)] {
        let long = Opening::new(version, &"x".repeat(24));
        let (_, welcome) = Client::open(Link::tcp(gateway.mqtt).await, &long).await;
        assert_eq!(welcome.code, code);
    }
    assert_eq!(gateway.refused("client-identifier").await, 2);
    for (asked, told) in [(0, Some(60)), (61, Some(60)), (60, None), (5, None)] {
        let opening = Opening::v5("c").keep_alive(asked);
        let (_, welcome) = Client::tcp_with_welcome(&gateway, &opening).await;
        let server = welcome.properties.number(property::SERVER_KEEP_ALIVE);
        assert_eq!(server, told, "[MQTT-3.1.2-21] {asked}");
    }
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_before_connack_is_limited_in_size_and_time() {
    let gateway = Gateway::start(&[
        "--set",
        "limits.connect=1KiB",
        "--set",
        "mqtt.connect_timeout=1s",
    ]);
    let mut big = Opening::v5("big");
    big.will = Some(Will {
        topic: "q/will".into(),
        payload: vec![b'x'; 1000],
        ..Default::default()
    });
    let mut client = Client::on(Link::tcp(gateway.mqtt).await, Version::V5);
    client.send(&big.encode()).await;
    // the version is not read before the packet is whole: there is no layout to answer in
    assert_eq!(client.next().await, None);
    assert_eq!(gateway.refused_at_least("too-large", 1).await, 1);
    let mut slow = Client::on(Link::tcp(gateway.mqtt).await, Version::V5);
    slow.send(&Opening::v5("slow").encode()[..5]).await;
    assert_eq!(slow.next().await, None);
    assert_eq!(gateway.refused_at_least("timeout", 1).await, 1);
    gateway.stop();
}

/// Bytes that the gateway has read from MQTT clients.
async fn received_bytes(gateway: &Gateway) -> usize {
    let page = Request::get("/metrics").send(gateway.http).await.text();
    let start = "tidegate_mqtt_received_bytes_total ";
    let count = page.lines().find_map(|line| line.strip_prefix(start));
    count.and_then(|count| count.parse().ok()).expect("a count")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_connects_share_a_budget_that_is_free_again_when_they_are_done() {
    let gateway = Gateway::start(&["--set", "limits.unauthenticated=1MiB"]);
    let large = |name: &str| {
        let long = format!("{name}{}", "x".repeat(65_000));
        let will = Will {
            topic: long.clone(),
            payload: long.clone().into(),
            ..Default::default()
        };
        Opening::v5(&long).will(will).encode()
    };
    // five of 195 kB fit, a sixth does not
    let (mut waiting, mut read) = (vec![], 0);
    for n in 0..5 {
        let mut client = Client::on(Link::tcp(gateway.mqtt).await, Version::V5);
        let mut most = large(&n.to_string());
        let rest = most.split_off(most.len() - 10);
        client.send(&most).await;
        read += most.len();
        waiting.push((client, rest));
    }
    while received_bytes(&gateway).await < read {}
    let mut sixth = Client::on(Link::tcp(gateway.mqtt).await, Version::V5);
    let whole = large("sixth");
    sixth.try_send(&whole[..whole.len() - 10]).await;
    assert_eq!(sixth.next().await, None);
    assert_eq!(gateway.refused_at_least("busy", 1).await, 1);
    // those who have their CONNACK hold nothing more
    for (client, rest) in &mut waiting {
        client.send(rest).await;
        let welcome = client.next().await;
        let is_in = matches!(welcome, Some(Packet::Connack { code: 0, .. }));
        assert!(is_in, "{welcome:?}");
    }
    let mut sixth = Client::on(Link::tcp(gateway.mqtt).await, Version::V5);
    sixth.send(&large("sixth")).await;
    let welcome = sixth.next().await;
    assert!(
        matches!(welcome, Some(Packet::Connack { code: 0, .. })),
        "{welcome:?}"
    );
    gateway.stop();
}

/// Upgrades to MQTT over WebSocket and sends a frame that is not whole.
async fn unfinished_frame(gateway: &Gateway, bytes: usize) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.http).await.expect("it accepts");
    let head = format!(
        "GET /mqtt HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: mqtt\r\n\r\n",
        gateway.http
    );
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("an answer"));
    }
    let length = (bytes as u64 + 10).to_be_bytes();
    let frame = [&[0x82, 0xFF], &length[..], &[0; 4], &vec![b'x'; bytes]].concat();
    let _ = stream.write_all(&frame).await;
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_frames_of_websockets_share_that_budget() {
    let gateway = Gateway::start(&[
        "--set",
        "limits.unauthenticated=1MiB",
        "--set",
        "mqtt.connect_timeout=5m",
    ]);
    let mut waiting = Vec::new();
    for _ in 0..10 {
        waiting.push(unfinished_frame(&gateway, 195_000).await);
    }
    assert!(gateway.refused_at_least("busy", 5).await <= 7);
    drop(waiting);
    let mut client = Client::websocket(&gateway, &Opening::v5("good")).await;
    client.ping().await;
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_above_the_number_waits_until_another_one_ends() {
    // two, and the place that the web's door keeps for whoever comes there next
    let gateway = Gateway::start(&["--set", "limits.connections=3"]);
    let first = Client::tcp(&gateway, &Opening::v5("first")).await;
    let mut second = Client::tcp(&gateway, &Opening::v5("second")).await;
    let mut third = Client::on(Link::tcp(gateway.mqtt).await, Version::V5);
    third.send(&Opening::v5("third").encode()).await;
    second.subscribe(&[("q/first", 0)]).await;
    first.disconnect().await;
    assert!(matches!(
        third.next().await,
        Some(Packet::Connack { code: 0, .. })
    ));
    second.ping().await;
    gateway.stop();
}
