//! MQTT over WebSocket: the handshake, and packets that do not care about frames.

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::{Error, Message, protocol::frame::coding::CloseCode};

use crate::support::{
    gateway::Gateway,
    mqtt::{Client, Link},
    unique,
    wire::{self, Opening, PUBACK, Packet, Publish, Version},
    within,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_path_and_subprotocol_leads_to_the_broker() {
    let gateway = Gateway::shared();
    for path in ["/mqtt", "/ws", "/"] {
        for (offer, answer) in [
            ("mqtt", "mqtt"),
            ("mqttv3.1", "mqttv3.1"),
            ("mqtt, mqttv3.1", "mqtt"),
            ("mqttv3.1,mqtt", ""),
            ("other, mqtt", "mqtt"),
        ] {
            let (link, response) = Link::upgrade(gateway.http, path, Some(offer), &[])
                .await
                .expect("an upgrade");
            let chosen = response
                .headers()
                .get_all("sec-websocket-protocol")
                .iter()
                .collect::<Vec<_>>();
            assert_eq!(chosen.len(), 1, "{path} {offer}");
            let chosen = chosen[0].to_str().expect("ASCII");
            assert!(
                chosen == answer || answer.is_empty() && offer.contains(chosen),
                "{path} {offer}: {chosen}"
            );
            // Paho for Java compares it as it stands, and takes an empty value for the end of the head
            let connection = response.headers().get("connection").map(|v| v.as_bytes());
            assert_eq!(connection, Some(&b"Upgrade"[..]));
            assert!(response.headers().values().all(|value| !value.is_empty()));
            let version = if chosen == "mqttv3.1" {
                Version::V31
            } else {
                Version::V5
            };
            let (mut client, _) =
                Client::welcomed(link, &Opening::new(version, &unique("web"))).await;
            client.ping().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_without_an_mqtt_subprotocol_is_a_bad_request() {
    let gateway = Gateway::shared();
    for path in ["/mqtt", "/ws", "/"] {
        for offer in [None, Some("chat"), Some("MQTT"), Some("mqttv3.10")] {
            match Link::upgrade(gateway.http, path, offer, &[]).await {
                Err(Error::Http(response)) => {
                    assert_eq!(response.status(), 400, "{path} {offer:?}")
                }
                Err(other) => panic!("{path} {offer:?}: {other}"),
                Ok(_) => panic!("{path} {offer:?} was upgraded"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_frame_is_answered_with_close_1003() {
    let gateway = Gateway::shared();
    let link = Link::websocket(gateway.http, Version::V311).await;
    let Link::WebSocket(mut socket) = link else {
        unreachable!("asked for a WebSocket")
    };
    socket
        .send(Message::text("CONNECT me"))
        .await
        .expect("it is open");
    let answer = within("a close frame", socket.next()).await;
    match answer {
        Some(Ok(Message::Close(Some(frame)))) => assert_eq!(frame.code, CloseCode::Unsupported),
        other => panic!("close 1003 expected, not {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_are_split_over_frames_and_joined_in_them() {
    let gateway = Gateway::shared();
    for version in [Version::V31, Version::V311, Version::V5] {
        let topic = unique("websocket/frames");
        let mut client = Client::on(Link::websocket(gateway.http, version).await, version);
        for byte in Opening::new(version, &unique("web")).encode() {
            client.send(&[byte]).await;
        }
        assert!(matches!(
            client.next().await,
            Some(Packet::Connack { code: 0, .. })
        ));
        let mut together = wire::subscribe(version, 1, &[(&topic, 1)], &Default::default());
        for id in 2..40 {
            let mut message = Publish::new(&topic, id.to_string(), 1);
            message.id = id;
            together.extend(wire::publish(version, &message));
        }
        together.extend(wire::pingreq());
        // the last packet begins in this frame and ends in the next one
        let last = wire::publish(version, &Publish::new(&topic, "in two frames", 0));
        let (first, second) = last.split_at(last.len() / 2);
        together.extend(first);
        client.send(&together).await;
        client.send(second).await;
        let mut got = vec![];
        for _ in 2..=40 {
            got.push(client.receive().await.text());
        }
        // the one at QoS 0 may overtake those that wait for acknowledgements
        got.retain(|text| text != "in two frames");
        let wanted: Vec<String> = (2..40).map(|id| id.to_string()).collect();
        assert_eq!(got, wanted, "{version:?}");
        for id in 2..40 {
            client.acknowledgement(PUBACK, id).await;
        }
        client.take("PINGRESP", |p| *p == Packet::Pingresp).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_frame_and_a_ping_frame_disturb_nothing() {
    let gateway = Gateway::shared();
    let mut client = Client::websocket(&gateway, &Opening::v5(&unique("web"))).await;
    client.send(&[]).await;
    client.ping().await;
    let Link::WebSocket(socket) = &mut client.link else {
        unreachable!("asked for a WebSocket")
    };
    socket
        .send(Message::Ping("are you there".into()))
        .await
        .expect("it is open");
    match within("a pong", socket.next()).await {
        Some(Ok(Message::Pong(echo))) => assert_eq!(&echo[..], b"are you there"),
        other => panic!("{other:?}"),
    }
    client.ping().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_goodbye_in_mqtt_is_followed_by_a_close_of_the_websocket() {
    let gateway = Gateway::shared();
    let client = Client::websocket(&gateway, &Opening::v5(&unique("web"))).await;
    client.disconnect().await;
}
