//! CONNECT and CONNACK, keep-alive, takeover, the ends of a connection.

use std::time::{Duration, Instant};

use crate::support::{
    gateway::Gateway,
    mqtt::{Client, Link},
    unique,
    wire::{
        self, Opening, PUBACK, PUBREC, Packet, Properties, Publish, Value, Version, Will, property,
    },
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
            &Opening::new(version, &unique("pinging")).keep_alive(2),
        )
        .await;
        let since = Instant::now();
        let end = async {
            let reason = silent.closed().await;
            (reason, since.elapsed())
        };
        let pings = async {
            // longer than it would live in silence, and each well in time, on a busy machine too
            for _ in 0..8 {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_3_1_2_28_response_information_is_given_to_who_asks_where_the_operator_has_some() {
    let asking = |value| {
        Opening::v5(&unique("asking"))
            .property(property::REQUEST_RESPONSE_INFORMATION, Value::Byte(value))
    };
    let gateway = Gateway::start(&["--set", "mqtt.response_information=replies/%c/"]);
    let wants = asking(1);
    let expected = format!("replies/{}/", wants.client);
    for (opening, expected) in [
        (wants, Some(expected.as_str())),
        (asking(0), None),
        (Opening::v5(&unique("silent")), None),
    ] {
        let (_, welcome) = Client::tcp_with_welcome(&gateway, &opening).await;
        let told = welcome.properties.string(property::RESPONSE_INFORMATION);
        assert_eq!(told, expected);
    }
    let (_, welcome) = Client::tcp_with_welcome(&Gateway::shared(), &asking(1)).await;
    assert_eq!(welcome.properties.get(property::RESPONSE_INFORMATION), None);
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_3_1_2_29_refusals_explain_themselves_to_who_does_not_mind() {
    let gateway = Gateway::shared();
    for (wanted, property) in [(true, None), (true, Some(1)), (false, Some(0))] {
        let mut opening = Opening::v5(&unique("asking"));
        if let Some(value) = property {
            opening = opening.property(property::REQUEST_PROBLEM_INFORMATION, Value::Byte(value));
        }
        let mut client = Client::tcp(&gateway, &opening).await;
        for (kind, qos) in [(PUBACK, 1), (PUBREC, 2)] {
            let mut message = Publish::new("$SYS/mine", "x", qos);
            message.id = 1;
            client.send(&wire::publish(Version::V5, &message)).await;
            match client.next().await {
                Some(Packet::Ack {
                    kind: answered,
                    code,
                    properties,
                    ..
                }) => {
                    assert_eq!((answered, code), (kind, 0x87));
                    let why = properties.string(property::REASON_STRING);
                    assert_eq!(why.is_some(), wanted, "{properties:?}");
                }
                other => panic!("{other:?}"),
            }
        }
        let id = client.packet_id();
        let none = Properties::default();
        let bytes = wire::subscribe(Version::V5, id, &[("$reply/x", 1)], &none);
        client.send(&bytes).await;
        match client.next().await {
            Some(Packet::Suback {
                codes, properties, ..
            }) => {
                assert_eq!(codes, [0x87]);
                assert!(wanted || properties == none);
            }
            other => panic!("{other:?}"),
        }
        // DISCONNECT may explain itself to everybody
        client.send(&[0x00, 0x00]).await;
        match client.next().await {
            Some(Packet::Disconnect { code: 0x81, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_stops_sends_its_clients_where_the_operator_says() {
    for (moved, code) in [("false", 0x9C), ("true", 0x9D)] {
        let gateway = Gateway::start(&[
            "--set",
            "mqtt.server_reference=other.example:1883",
            "--set",
            &format!("mqtt.server_moved={moved}"),
        ]);
        // these say CONNECT while the gateway stops; they are accepted before those behind them
        let mut late = Client::on(Link::tcp(gateway.mqtt).await, Version::V5);
        let mut late_old = Client::on(Link::tcp(gateway.mqtt).await, Version::V311);
        let mut new = Client::tcp(&gateway, &Opening::v5("new")).await;
        let mut old = Client::tcp(&gateway, &Opening::v311("old")).await;
        gateway.terminate();
        match new.next().await {
            Some(Packet::Disconnect {
                code: said,
                properties,
            }) => {
                let server = properties.string(property::SERVER_REFERENCE);
                assert_eq!((said, server), (code, Some("other.example:1883")));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(old.next().await, None);
        late.send(&Opening::v5("late").encode()).await;
        match late.next().await {
            Some(Packet::Connack {
                code: said,
                properties,
                ..
            }) => {
                let server = properties.string(property::SERVER_REFERENCE);
                assert_eq!((said, server), (code, Some("other.example:1883")));
            }
            other => panic!("{other:?}"),
        }
        late_old.send(&Opening::v311("late").encode()).await;
        match late_old.next().await {
            Some(Packet::Connack { code: 3, .. }) => {}
            other => panic!("{other:?}"),
        }
        gateway_exit(gateway);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_that_says_it_is_text_and_is_not_is_refused() {
    let gateway = Gateway::shared();
    for (payload, code) in [(vec![0xFF], 0x99), (b"text".to_vec(), 0)] {
        let will = Will {
            topic: unique("connecting/will"),
            payload,
            properties: Properties::default().with(property::PAYLOAD_FORMAT, Value::Byte(1)),
            ..Default::default()
        };
        let opening = Opening::v5(&unique("owner")).will(will);
        let (_, welcome) = Client::open(Link::tcp(gateway.mqtt).await, &opening).await;
        assert_eq!(welcome.code, code);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_3_1_2_24_no_answer_is_larger_than_the_client_takes() {
    let gateway = Gateway::shared();
    let narrow = |size| {
        Opening::v5(&unique("narrow")).property(property::MAXIMUM_PACKET_SIZE, Value::Four(size))
    };
    // not even CONNACK: refused as short as that goes, or not at all
    let (_, welcome) = Client::open(Link::tcp(gateway.mqtt).await, &narrow(8)).await;
    assert_eq!(
        (welcome.code, welcome.properties),
        (0x95, Properties::default())
    );
    let mut client = Client::on(Link::tcp(gateway.mqtt).await, Version::V5);
    client.send(&narrow(4).encode()).await;
    assert_eq!(client.next().await, None);
    // a SUBACK that is: [MQTT-3.14.2-3] the goodbye fits
    let mut client = Client::tcp(&gateway, &narrow(24)).await;
    let names: Vec<String> = (0..30).map(|n| n.to_string()).collect();
    let filters: Vec<(&str, u8)> = names.iter().map(|name| (name.as_str(), 0)).collect();
    let bytes = wire::subscribe(Version::V5, 1, &filters, &Properties::default());
    client.send(&bytes).await;
    assert_eq!(client.closed().await, Some(0x95));
}
