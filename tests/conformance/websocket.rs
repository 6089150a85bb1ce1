//! Chapter 6: WebSocket as the transport. These run over it alone.

use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncReadExt;
use tokio_tungstenite::tungstenite::{
    Error, Message,
    protocol::frame::{
        Frame,
        coding::{CloseCode, Data, OpCode},
    },
};

use crate::{
    stage::{Stage, will},
    support::{
        mqtt::{Client, Link},
        unique,
        wire::{self, Packet, Properties, Publish, Version},
        within,
    },
};

claims! {
    only websocket;
    v5_v311_mqtt_6_0_0_1_anything_but_binary_ends_the_connection: v5["6.0.0-1"] v311["6.0.0-1"];
    v5_v311_mqtt_6_0_0_1_the_gateway_sends_binary_frames_and_no_pings: v5["6.0.0-1"] v311["6.0.0-1"];
    v5_v311_mqtt_6_0_0_1_no_frame_of_the_gateway_is_a_fragment: v5["6.0.0-1"] v311["6.0.0-1"];
    v5_v311_mqtt_6_0_0_2_packets_and_frames_are_independent: v5["6.0.0-2"] v311["6.0.0-2"];
    v5_v311_mqtt_6_0_0_2_a_frame_may_hold_more_than_the_largest_packet: v5["6.0.0-2"] v311["6.0.0-2"];
    v5_v311_mqtt_6_0_0_3_a_handshake_without_the_subprotocol_fails: v5["6.0.0-3"] v311["6.0.0-3"];
    v5_v311_mqtt_6_0_0_4_the_subprotocol_is_mqtt: v5["6.0.0-4"] v311["6.0.0-4"];
    v5_v311_the_subprotocol_does_not_bind_the_version:
        v5["under the subprotocol mqttv3.1"] v311["under the subprotocol mqttv3.1"];
    v5_v311_mqtt_6_0_0_2_a_message_may_come_in_fragments: v5["6.0.0-2"] v311["6.0.0-2"];
    v5_v311_a_close_frame_is_no_goodbye: v5["a close frame without DISCONNECT"] v311["a close frame without DISCONNECT"];
}

async fn v5_v311_mqtt_6_0_0_1_anything_but_binary_ends_the_connection(at: Stage) {
    for connected in [false, true] {
        let mut client = match connected {
            true => at.client().await,
            false => at.line().await,
        };
        let Link::WebSocket(socket) = &mut client.link else {
            unreachable!("these tests run over WebSocket")
        };
        socket
            .send(Message::text("\u{10}\u{0}"))
            .await
            .expect("it is open");
        match within("a close frame", socket.next()).await {
            Some(Ok(Message::Close(Some(frame)))) => assert_eq!(frame.code, CloseCode::Unsupported),
            // a connected client of 5.0 may be told in MQTT first
            Some(Ok(Message::Binary(bytes))) if connected && at.is_v5() => {
                assert_eq!(bytes[0], 0xE0);
            }
            other => panic!("close 1003 expected, not {other:?}"),
        }
    }
}

async fn v5_v311_mqtt_6_0_0_1_the_gateway_sends_binary_frames_and_no_pings(at: Stage) {
    let topic = unique("websocket/binary");
    let mut client = at.client_of(&at.opening().keep_alive(2)).await;
    client.subscribe(&[(&topic, 1)]).await;
    let payload = vec![b'x'; 300_000];
    // longer than a keep-alive; the client of these tests fails on any frame but a binary or a close
    for _ in 0..3 {
        at.publish(&Publish::new(&topic, payload.clone(), 1)).await;
        assert_eq!(client.receive().await.payload, payload);
        tokio::time::sleep(std::time::Duration::from_millis(900)).await;
        client.ping().await;
    }
    client.disconnect().await;
}

async fn v5_v311_mqtt_6_0_0_1_no_frame_of_the_gateway_is_a_fragment(at: Stage) {
    let topic = unique("websocket/whole");
    let mut client = at.subscriber(&[(&topic, 0)]).await;
    let payload = vec![b'x'; 300_000];
    for _ in 0..3 {
        at.publish(&Publish::new(&topic, payload.clone(), 0)).await;
    }
    let Link::WebSocket(socket) = &mut client.link else {
        unreachable!("these tests run over WebSocket")
    };
    // behind the back of the client, which would put fragments together
    let stream = socket.get_mut();
    let mut left = 3 * at
        .publish_bytes(0x30, topic.as_bytes(), &[], &payload)
        .len();
    while left > 0 {
        let frame = async {
            assert_eq!(stream.read_u8().await?, 0x82, "the last frame, and binary");
            let length = match stream.read_u8().await? {
                126 => stream.read_u16().await?.into(),
                127 => stream.read_u64().await?,
                short => short.into(),
            };
            let mut body = vec![0; length as usize];
            stream.read_exact(&mut body).await
        };
        left -= within("a frame", frame).await.expect("a whole frame");
    }
}

async fn v5_v311_mqtt_6_0_0_2_packets_and_frames_are_independent(at: Stage) {
    let topic = unique("websocket/frames");
    let mut client = at.line().await;
    for byte in at.opening().encode() {
        client.send(&[byte]).await; // a frame each
    }
    assert!(matches!(
        client.next().await,
        Some(Packet::Connack { code: 0, .. })
    ));
    client.send(&[]).await;
    let mut together = wire::subscribe(at.version, 1, &[(&topic, 0)], &Properties::default());
    for n in 0..3 {
        together.extend(wire::publish(
            at.version,
            &Publish::new(&topic, n.to_string(), 0),
        ));
    }
    let last = wire::publish(at.version, &Publish::new(&topic, "3", 0));
    let (begin, end) = last.split_at(7);
    together.extend(begin);
    client.send(&together).await;
    assert!(matches!(client.next().await, Some(Packet::Suback { .. })));
    client.send(&[end, &wire::pingreq()].concat()).await;
    for n in 0..4 {
        assert_eq!(client.receive().await.text(), n.to_string());
    }
    client.take("PINGRESP", |p| *p == Packet::Pingresp).await;
    let Link::WebSocket(socket) = &mut client.link else {
        unreachable!("these tests run over WebSocket")
    };
    socket
        .send(Message::Ping("echo".into()))
        .await
        .expect("it is open");
    match within("a pong", socket.next()).await {
        Some(Ok(Message::Pong(echo))) => assert_eq!(&echo[..], b"echo"),
        other => panic!("{other:?}"),
    }
    client.ping().await;
}

async fn v5_v311_mqtt_6_0_0_2_a_frame_may_hold_more_than_the_largest_packet(at: Stage) {
    let topic = unique("websocket/large");
    let mut subscriber = at.subscriber(&[(&topic, 0)]).await;
    let mut client = at.client().await;
    let large = wire::publish(at.version, &Publish::new(&topic, vec![b'x'; 1 << 20], 0));
    client.send(&[large.clone(), large.clone()].concat()).await;
    for _ in 0..2 {
        assert_eq!(
            subscriber.next_bytes().await.expect("both").len(),
            large.len()
        );
    }
}

async fn v5_v311_mqtt_6_0_0_3_a_handshake_without_the_subprotocol_fails(at: Stage) {
    for path in ["/mqtt", "/ws", "/"] {
        for offer in [
            None,
            Some("chat"),
            Some("MQTT"),
            Some("mqttv5"),
            Some("xmqtt"),
        ] {
            match Link::upgrade(at.gateway.http, path, offer, &[]).await {
                Err(Error::Http(response)) => assert_eq!(response.status(), 400),
                Err(other) => panic!("{path} {offer:?}: {other}"),
                Ok(_) => panic!("{path} {offer:?} was upgraded"),
            }
        }
    }
}

async fn v5_v311_mqtt_6_0_0_4_the_subprotocol_is_mqtt(at: Stage) {
    for path in ["/mqtt", "/ws", "/"] {
        for offer in ["mqtt", "mqtt, mqttv3.1", "chat, mqtt", "chat,mqtt,other"] {
            let (link, response) = Link::upgrade(at.gateway.http, path, Some(offer), &[])
                .await
                .expect("an upgrade");
            let chosen: Vec<_> = response
                .headers()
                .get_all("sec-websocket-protocol")
                .iter()
                .collect();
            assert_eq!(chosen, ["mqtt"], "{path} {offer}");
            for (name, value) in response.headers() {
                assert!(
                    !value.is_empty(),
                    "{name} is empty: some clients choke on it"
                );
            }
            assert_eq!(response.headers()["connection"], "Upgrade");
            let (mut client, _) = Client::welcomed(link, &at.opening()).await;
            client.ping().await;
        }
    }
}

async fn v5_v311_the_subprotocol_does_not_bind_the_version(at: Stage) {
    let (link, _) = Link::upgrade(at.gateway.http, "/mqtt", Some("mqttv3.1"), &[])
        .await
        .expect("an upgrade");
    assert_ne!(at.version, Version::V31);
    let (mut client, _) = Client::welcomed(link, &at.opening()).await;
    client.ping().await;
}

async fn v5_v311_mqtt_6_0_0_2_a_message_may_come_in_fragments(at: Stage) {
    let topic = unique("websocket/fragments");
    let mut client = at.subscriber(&[(&topic, 0)]).await;
    let bytes = wire::publish(at.version, &Publish::new(&topic, "in fragments", 0));
    let Link::WebSocket(socket) = &mut client.link else {
        unreachable!("these tests run over WebSocket")
    };
    let last = bytes.len() - 1;
    for (n, byte) in bytes.iter().enumerate() {
        let opcode = match n {
            0 => OpCode::Data(Data::Binary),
            _ => OpCode::Data(Data::Continue),
        };
        let frame = Frame::message(vec![*byte], opcode, n == last);
        socket
            .send(Message::Frame(frame))
            .await
            .expect("it is open");
    }
    assert_eq!(client.receive().await.text(), "in fragments");
}

async fn v5_v311_a_close_frame_is_no_goodbye(at: Stage) {
    let topic = unique("websocket/closed");
    let mut watcher = at.subscriber(&[(&topic, 1)]).await;
    let mut client = at.client_of(&at.opening().will(will(&topic))).await;
    let Link::WebSocket(socket) = &mut client.link else {
        unreachable!("these tests run over WebSocket")
    };
    socket.send(Message::Close(None)).await.expect("it is open");
    assert_eq!(watcher.receive().await.text(), "gone");
}
