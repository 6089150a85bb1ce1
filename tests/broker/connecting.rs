//! CONNECT and CONNACK, keep-alive, takeover, the ends of a connection.

use std::time::{Duration, Instant};

use crate::support::{
    gateway::Gateway,
    mqtt::{Client, Link},
    unique,
    wire::{self, Opening, Packet, Publish, Version, property},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_mqtt_5_client_without_an_identifier_is_told_the_one_it_got() {
    let gateway = Gateway::shared();
    let (_first, one) = Client::tcp_with_welcome(&gateway, &Opening::v5("")).await;
    let (_second, two) = Client::tcp_with_welcome(&gateway, &Opening::v5("")).await;
    let name = |w: &crate::support::mqtt::Welcome| {
        w.properties
            .string(property::ASSIGNED_CLIENT_ID)
            .expect("an assigned identifier")
            .to_owned()
    };
    assert!(!name(&one).is_empty());
    assert_ne!(name(&one), name(&two));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_identifier_is_for_clean_sessions_of_3_1_1_only() {
    let gateway = Gateway::shared();
    let (_client, welcome) = Client::tcp_with_welcome(&gateway, &Opening::v311("")).await;
    assert!(!welcome.session_present);
    for opening in [Opening::v311("").resuming(), Opening::new(Version::V31, "")] {
        let (mut refused, welcome) = Client::open(Link::tcp(gateway.mqtt).await, &opening).await;
        assert_eq!(welcome.code, 2, "identifier rejected: {opening:?}");
        assert_eq!(refused.closed().await, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unsupported_level_is_answered_in_the_layout_every_client_can_read() {
    let gateway = Gateway::shared();
    for (name, level) in [("MQTT", 6), ("MQTT", 3), ("MQIsdp", 4), ("MQTT", 0)] {
        let mut body = vec![];
        wire::put_text(&mut body, name);
        body.extend([level, 2, 0, 0]);
        wire::put_text(&mut body, "x");
        let mut client = Client::on(Link::tcp(gateway.mqtt).await, Version::V311);
        client.send(&wire::packet(0x10, &body)).await;
        match client.next().await {
            Some(Packet::Connack {
                session_present: false,
                code: 1,
                ..
            }) => {}
            other => panic!("20 02 00 01 expected for {name} {level}, not {other:?}"),
        }
        assert_eq!(client.next().await, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bridge_levels_of_mosquitto_are_accepted() {
    let gateway = Gateway::shared();
    for version in [Version::V31, Version::V311] {
        let mut opening = Opening::new(version, &unique("bridge"));
        opening.level = Some(version.level() | 0x80);
        let mut bridge = Client::tcp(&gateway, &opening).await;
        let topic = unique("connecting/bridge");
        bridge.subscribe(&[(&topic, 1)]).await;
        let mut other = Client::tcp(&gateway, &Opening::v311(&unique("other"))).await;
        bridge.publish(&Publish::new(&topic, "own", 1)).await;
        other
            .publish(&Publish::new(&topic, "foreign", 1).retained())
            .await;
        let got = bridge.receive().await;
        assert_eq!(
            got.text(),
            "foreign",
            "a bridge is not sent what it published"
        );
        assert!(got.retain, "a bridge is told the retain flag as published");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_3_1_2_24_a_silent_client_is_closed_after_one_and_a_half_keep_alives() {
    let gateway = Gateway::shared();
    for version in [Version::V311, Version::V5] {
        let mut silent = Client::tcp(
            &gateway,
            &Opening::new(version, &unique("silent")).keep_alive(1),
        )
        .await;
        let mut pinging = Client::tcp(
            &gateway,
            &Opening::new(version, &unique("pinging")).keep_alive(1),
        )
        .await;
        let since = Instant::now();
        let end = async {
            let reason = silent.closed().await;
            (reason, since.elapsed())
        };
        let pings = async {
            // six half periods: twice as long as the silent one lives
            for _ in 0..6 {
                tokio::time::sleep(Duration::from_millis(500)).await;
                pinging.ping().await;
            }
        };
        let ((reason, lived), ()) = tokio::join!(end, pings);
        assert!(
            lived >= Duration::from_millis(1400),
            "closed too early, after {lived:?}"
        );
        assert!(
            lived < Duration::from_secs(8),
            "closed too late, after {lived:?}"
        );
        assert_eq!(
            reason,
            (version == Version::V5).then_some(0x8D),
            "keep alive timeout"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_3_1_4_3_the_second_connection_of_an_identifier_takes_over() {
    let gateway = Gateway::shared();
    for (old, new) in [
        (Version::V5, Version::V5),
        (Version::V311, Version::V5),
        (Version::V5, Version::V311),
    ] {
        let (id, topic) = (unique("twin"), unique("connecting/takeover"));
        let mut first = Client::tcp(&gateway, &Opening::new(old, &id)).await;
        let mut second = Client::tcp(&gateway, &Opening::new(new, &id)).await;
        assert_eq!(
            first.closed().await,
            (old == Version::V5).then_some(0x8E),
            "session taken over"
        );
        second.subscribe(&[(&topic, 0)]).await;
        second.publish(&Publish::new(&topic, "alive", 0)).await;
        assert_eq!(second.receive().await.text(), "alive");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_connect_is_a_protocol_error() {
    let gateway = Gateway::shared();
    for version in [Version::V311, Version::V5] {
        let opening = Opening::new(version, &unique("twice"));
        let mut client = Client::tcp(&gateway, &opening).await;
        client.send(&opening.encode()).await;
        assert_eq!(
            client.closed().await,
            (version == Version::V5).then_some(0x82)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_tells_mqtt_5_clients_and_ends_within_ten_seconds_with_success() {
    let mut gateway = Gateway::start(&[]);
    let mut new = Client::tcp(&gateway, &Opening::v5("new")).await;
    let mut old = Client::tcp(&gateway, &Opening::v311("old")).await;
    let mut web = Client::websocket(&gateway, &Opening::v5("web")).await;
    gateway.terminate();
    assert_eq!(new.closed().await, Some(0x8B), "server shutting down");
    assert_eq!(web.closed().await, Some(0x8B), "server shutting down");
    assert_eq!(old.closed().await, None);
    let status = gateway.exited_within(Duration::from_secs(10));
    assert_eq!(status.and_then(|s| s.code()), Some(0), "{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_stop_publishes_no_wills() {
    let gateway = Gateway::start(&[]);
    let will = wire::Will {
        topic: "stop/will".into(),
        payload: b"dead".to_vec(),
        qos: 1,
        ..Default::default()
    };
    let mut watcher = Client::tcp(&gateway, &Opening::v5("watcher")).await;
    watcher.subscribe(&[("stop/#", 1)]).await;
    let _owner = Client::tcp(&gateway, &Opening::v5("owner").will(will)).await;
    gateway.terminate();
    while let Some(packet) = watcher.next().await {
        assert!(
            !matches!(packet, Packet::Publish(_)),
            "a will at a clean stop: {packet:?}"
        );
    }
    gateway_exit(gateway);
}

fn gateway_exit(mut gateway: Gateway) {
    let status = gateway.exited_within(Duration::from_secs(10));
    assert_eq!(status.and_then(|s| s.code()), Some(0), "{}", gateway.log());
}
