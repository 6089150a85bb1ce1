//! Receive maximum and maximum packet size, both ways.

use tokio::io::AsyncReadExt;

use crate::support::{
    gateway::Gateway,
    http::Request,
    mqtt::{Client, Link},
    unique,
    wire::{self, Opening, PUBREC, Packet, Publish, Value, Version, property},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_3_3_4_9_the_gateway_sends_no_more_than_the_clients_receive_maximum() {
    let gateway = Gateway::shared();
    for qos in [1, 2] {
        let topic = unique("limits/outbound");
        let opening =
            Opening::v5(&unique("out")).property(property::RECEIVE_MAXIMUM, Value::Two(3));
        let mut subscriber = Client::tcp(&gateway, &opening).await;
        subscriber.subscribe(&[(&topic, qos)]).await;
        let mut publisher = Client::tcp(&gateway, &Opening::v5(&unique("in"))).await;
        for n in 0..10 {
            publisher
                .publish(&Publish::new(&topic, n.to_string(), qos))
                .await;
        }
        let mut open: Vec<Publish> = vec![];
        for n in 0..3 {
            match subscriber.next().await {
                Some(Packet::Publish(publish)) => {
                    assert_eq!(publish.text(), n.to_string());
                    open.push(publish);
                }
                other => panic!("{other:?}"),
            }
        }
        // three are open: the next packet must be the answer to a ping, not a fourth PUBLISH
        subscriber.send(&wire::pingreq()).await;
        assert_eq!(subscriber.next().await, Some(Packet::Pingresp), "QoS {qos}");
        for publish in open {
            subscriber.acknowledge(&publish).await;
        }
        for n in 3..10 {
            assert_eq!(subscriber.receive().await.text(), n.to_string());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qos_0_is_not_held_back_by_the_receive_maximum() {
    let gateway = Gateway::shared();
    let topic = unique("limits/qos0");
    let opening = Opening::v5(&unique("out")).property(property::RECEIVE_MAXIMUM, Value::Two(1));
    let mut subscriber = Client::tcp(&gateway, &opening).await;
    subscriber.subscribe(&[(&topic, 1)]).await;
    let mut publisher = Client::tcp(&gateway, &Opening::v5(&unique("in"))).await;
    publisher.publish(&Publish::new(&topic, "held", 1)).await;
    assert_eq!(subscriber.receive_only().await.text(), "held");
    publisher.publish(&Publish::new(&topic, "free", 0)).await;
    assert_eq!(subscriber.receive_only().await.text(), "free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_3_3_4_7_a_client_above_the_gateways_receive_maximum_is_told_and_closed() {
    let gateway = Gateway::start(&["--set", "limits.receive_maximum=4"]);
    let opening = Opening::v5(&unique("flood"));
    let (mut client, welcome) = Client::tcp_with_welcome(&gateway, &opening).await;
    assert_eq!(
        welcome.properties.number(property::RECEIVE_MAXIMUM),
        Some(4)
    );
    for id in 1..=5 {
        let mut message = Publish::new("limits/inbound", "x", 2);
        message.id = id;
        client.try_send(&wire::publish(Version::V5, &message)).await;
    }
    // QoS 2 without PUBREL keeps the identifiers open, so the fifth is one too many
    let mut recorded = 0;
    let reason = loop {
        match client.next().await {
            Some(Packet::Ack { kind: PUBREC, .. }) => recorded += 1,
            Some(Packet::Disconnect { code, .. }) => break code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((recorded, reason), (4, 0x93));
    assert_eq!(client.next().await, None);
    assert_eq!(gateway.refused("in-flight").await, 1);
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_3_1_2_25_a_message_too_large_for_a_client_is_dropped_for_it_alone() {
    let gateway = Gateway::shared();
    let topic = unique("limits/small");
    let opening =
        Opening::v5(&unique("small")).property(property::MAXIMUM_PACKET_SIZE, Value::Four(200));
    let mut small = Client::tcp(&gateway, &opening).await;
    let mut large = Client::tcp(&gateway, &Opening::v5(&unique("large"))).await;
    for client in [&mut small, &mut large] {
        client.subscribe(&[(&topic, 2)]).await;
    }
    let mut publisher = Client::tcp(&gateway, &Opening::v5(&unique("in"))).await;
    for qos in 0..=2 {
        publisher
            .publish(&Publish::new(&topic, vec![b'x'; 300], qos))
            .await;
        publisher.publish(&Publish::new(&topic, "fits", qos)).await;
        assert_eq!(small.receive().await.text(), "fits", "QoS {qos}");
        assert_eq!(large.receive().await.payload.len(), 300);
        assert_eq!(large.receive().await.text(), "fits");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packet_above_the_gateways_maximum_is_refused_before_it_is_read() {
    let gateway = Gateway::start(&[]);
    let (mut client, welcome) = Client::tcp_with_welcome(&gateway, &Opening::v5("big")).await;
    let most = welcome
        .properties
        .number(property::MAXIMUM_PACKET_SIZE)
        .expect("the gateway has a limit");
    assert_eq!(most, (1 << 20) + (256 << 10), "limits.payload and 256 KiB");
    // the header alone condemns it
    let mut head = vec![0x30];
    wire::put_var(&mut head, most + 1);
    client.send(&head).await;
    assert_eq!(client.closed().await, Some(0x95), "packet too large");
    let mut old = Client::tcp(&gateway, &Opening::v311("big")).await;
    old.send(&head).await;
    assert_eq!(old.closed().await, None);
    assert_eq!(gateway.refused("too-large").await, 2);
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_above_the_limit_ends_the_connection_whatever_its_qos() {
    let gateway = Gateway::start(&["--set", "limits.payload=1KiB"]);
    let mut watcher = Client::tcp(&gateway, &Opening::v5("watcher")).await;
    watcher.subscribe(&[("limits/payload", 0)]).await;
    for qos in 0..=2 {
        for (version, code) in [(Version::V5, Some(0x95)), (Version::V311, None)] {
            let mut client = Client::tcp(&gateway, &Opening::new(version, "big")).await;
            let fits = Publish::new("limits/payload", vec![0; 1 << 10], qos);
            client.publish(&fits).await;
            assert_eq!(watcher.receive().await.payload.len(), 1 << 10);
            // no acknowledgement has a code for it
            let mut large = Publish::new("limits/payload", vec![0; (1 << 10) + 1], qos);
            large.id = 9;
            client.send(&wire::publish(version, &large)).await;
            assert_eq!(client.closed().await, code);
        }
    }
    assert_eq!(gateway.refused("too-large").await, 6);
    let post = Request::post("/api/v1/topics/limits/payload", vec![b'x'; (1 << 10) + 1]);
    post.send(gateway.http)
        .await
        .assert_problem(413, "payload-too-large");
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_that_is_not_read_meanwhile_is_not_taken_for_silent() {
    let gateway = Gateway::shared();
    let topic = unique("limits/slow");
    let opening = Opening::v311(&unique("slow")).keep_alive(1);
    let link = Link::narrow(gateway.mqtt).await;
    let (mut slow, _) = Client::welcomed(link, &opening).await;
    slow.subscribe(&[(&topic, 0)]).await;
    let mut publisher = Client::tcp(&gateway, &Opening::v311(&unique("in"))).await;
    let payload = vec![b'x'; 1 << 20];
    for _ in 0..12 {
        publisher
            .publish(&Publish::new(&topic, payload.clone(), 0))
            .await;
    }
    publisher.ping().await;
    let (mut total, mut buffer) = (0, vec![0; 256 * 1024]);
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(120));
    while total < 12 << 20 {
        pace.tick().await;
        slow.try_send(&wire::pingreq()).await;
        let Link::Tcp(stream) = &mut slow.link else {
            unreachable!("made narrow")
        };
        let count = stream.read_exact(&mut buffer).await;
        assert!(count.is_ok(), "closed after {total} bytes");
        total += buffer.len();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_the_store_can_never_hold_is_refused_and_not_taken_for_stored() {
    let gateway = Gateway::start(&["--set", "store.max_bytes=1 MiB"]);
    let web = Request::post(
        "/api/v1/topics/limits/store?qos=1&retain=true",
        vec![b'x'; 1 << 20],
    );
    let answer = web.send(gateway.http).await;
    assert_eq!(
        answer.assert_problem(413, "payload-too-large")["reason_code"],
        0x97
    );
    for opening in [
        Opening::v5(&unique("large")),
        Opening::v311(&unique("large")),
    ] {
        let opening = opening.resuming();
        let (version, topic) = (opening.version, unique("limits/store"));
        for body in [vec![b'x'; 1 << 20], b"fits".to_vec()] {
            let fits = body.len() < 100;
            let mut client = Client::tcp(&gateway, &opening).await;
            let mut message = Publish::new(&topic, body, 2);
            (message.id, message.retain) = (7, true);
            client.send(&wire::publish(version, &message)).await;
            if fits {
                // the identifier did not stay behind as that of a message the gateway has
                assert_eq!(client.acknowledgement(PUBREC, 7).await, 0);
                let mut reader = Client::tcp(&gateway, &Opening::v5(&unique("reader"))).await;
                reader.subscribe(&[(&topic, 1)]).await;
                assert_eq!(reader.receive().await.text(), "fits");
            } else if version == Version::V5 {
                assert_eq!(client.acknowledgement(PUBREC, 7).await, 0x97);
            } else {
                // 3.1.1 has no way to say so
                assert_eq!(client.closed().await, None);
            }
        }
    }
    gateway.stop();
}
