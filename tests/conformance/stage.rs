//! Where a test plays: one version of the protocol, one transport, one gateway; and the moves all tests share.

use std::sync::Arc;

use crate::support::{
    gateway::Gateway,
    mqtt::{Client, Link, Welcome},
    unique,
    wire::{self, Opening, Packet, Properties, Publish, Value, Version, Will, property},
};

/// What carries the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    Tcp,
    WebSocket,
}

/// The surroundings of one test.
#[derive(Clone)]
pub struct Stage {
    pub version: Version,
    pub carrier: Carrier,
    pub gateway: Arc<Gateway>,
}

impl Stage {
    fn new(version: Version, carrier: Carrier) -> Self {
        Self {
            version,
            carrier,
            gateway: Gateway::shared(),
        }
    }
    pub fn v5(carrier: Carrier) -> Self {
        Self::new(Version::V5, carrier)
    }
    pub fn v311(carrier: Carrier) -> Self {
        Self::new(Version::V311, carrier)
    }
    pub fn v31(carrier: Carrier) -> Self {
        Self::new(Version::V31, carrier)
    }

    /// The same with a gateway of its own, which has these settings.
    pub fn with(&self, settings: &[&str]) -> Self {
        let mut arguments = vec![];
        for setting in settings {
            arguments.extend(["--set", setting]);
        }
        Self {
            gateway: Arc::new(Gateway::start(&arguments)),
            ..*self
        }
    }

    /// The same in another version.
    pub fn in_version(&self, version: Version) -> Self {
        Self {
            version,
            ..self.clone()
        }
    }

    pub fn is_v5(&self) -> bool {
        self.version == Version::V5
    }

    /// A connection on which nothing was said yet.
    pub async fn line(&self) -> Client {
        let link = match self.carrier {
            Carrier::Tcp => Link::tcp(self.gateway.mqtt).await,
            Carrier::WebSocket => Link::websocket(self.gateway.http, self.version).await,
        };
        Client::on(link, self.version)
    }

    /// A CONNECT of a client nobody else is, with a session that ends with the connection.
    pub fn opening(&self) -> Opening {
        self.opening_of(&unique("client"))
    }
    pub fn opening_of(&self, id: &str) -> Opening {
        Opening::new(self.version, id)
    }

    /// A CONNECT that resumes a session and keeps it.
    pub fn lasting(&self, id: &str) -> Opening {
        let opening = self.opening_of(id).resuming();
        match self.version {
            Version::V5 => opening.session_expiry(300),
            _ => opening,
        }
    }

    /// The connection of an accepted CONNECT.
    pub async fn connect(&self, opening: &Opening) -> (Client, Welcome) {
        let mut client = self.line().await;
        client.send(&opening.encode()).await;
        match client.next().await {
            Some(Packet::Connack {
                session_present,
                code,
                properties,
            }) => {
                assert_eq!(code, 0, "{opening:?}: {properties:?}");
                let welcome = Welcome {
                    session_present,
                    code,
                    properties,
                };
                (client, welcome)
            }
            other => panic!("CONNACK expected for {opening:?}, not {other:?}"),
        }
    }

    pub async fn client_of(&self, opening: &Opening) -> Client {
        self.connect(opening).await.0
    }

    /// A client with a clean session.
    pub async fn client(&self) -> Client {
        self.client_of(&self.opening()).await
    }

    /// The same client as before, and whether the gateway had its session.
    pub async fn resume(&self, id: &str) -> (Client, bool) {
        let (client, welcome) = self.connect(&self.lasting(id)).await;
        (client, welcome.session_present)
    }

    /// A client with a clean session and these filters.
    pub async fn subscriber(&self, filters: &[(&str, u8)]) -> Client {
        let mut client = self.client().await;
        let granted = client.subscribe(filters).await;
        assert!(granted.iter().all(|code| *code < 0x80), "{granted:02x?}");
        client
    }

    /// Somebody else publishes this and goes.
    pub async fn publish(&self, message: &Publish) {
        let mut publisher = self.client().await;
        assert_eq!(publisher.publish(message).await, 0, "{message:?}");
        publisher.disconnect().await;
    }

    /// What a new subscriber gets that is retained, before something retained that it asks for behind it.
    pub async fn retained(&self, filter: &str) -> Vec<Publish> {
        let marker = unique("marker");
        self.publish(&Publish::new(&marker, "kept", 1).retained())
            .await;
        let mut late = self.subscriber(&[(filter, 2), (&marker, 2)]).await;
        let found = late.receive_until(&marker).await;
        self.publish(&Publish::new(&marker, "", 0).retained()).await;
        found
    }

    /// Asserts that nothing else is on its way to `subscriber`, by a message that comes after it.
    pub async fn nothing_more_for(&self, subscriber: &mut Client) {
        assert_eq!(self.rest_of(subscriber).await, [], "nothing more comes");
    }

    /// All that is on its way to `subscriber`.
    pub async fn rest_of(&self, subscriber: &mut Client) -> Vec<Publish> {
        let marker = unique("marker");
        subscriber.subscribe(&[(&marker, 2)]).await;
        self.publish(&Publish::new(&marker, "", 2)).await;
        subscriber.receive_until(&marker).await
    }

    /// A connected client sends `bytes`: its connection ends, and 5.0 is told why.
    pub async fn forbids(&self, what: &str, bytes: &[u8], code: u8) {
        let mut client = self.client().await;
        client.try_send(bytes).await;
        self.is_over(what, &mut client, code).await;
    }

    /// The next thing on this connection is its end: DISCONNECT with `code` in 5.0, in 3.x just the close.
    pub async fn is_over(&self, what: &str, client: &mut Client, code: u8) {
        if self.is_v5() {
            match client.next().await {
                Some(Packet::Disconnect { code: got, .. }) => {
                    assert_eq!(got, code, "{what}: {got:#04x} instead of {code:#04x}");
                }
                other => panic!("{what}: DISCONNECT {code:#04x} expected, not {other:?}"),
            }
        }
        assert_eq!(client.next().await, None, "{what}: the connection ends");
    }

    /// A first packet that is refused: with CONNACK `code` in 5.0, in 3.x by the close alone.
    pub async fn turns_away(&self, what: &str, bytes: &[u8], code: u8) {
        let v3 = None;
        self.turns_away_with(what, bytes, if self.is_v5() { Some(code) } else { v3 })
            .await;
    }

    /// A first packet that is refused, with a CONNACK of this code or without any.
    pub async fn turns_away_with(&self, what: &str, bytes: &[u8], code: Option<u8>) {
        let mut client = self.line().await;
        client.try_send(bytes).await;
        if let Some(code) = code {
            match client.next().await {
                Some(Packet::Connack {
                    session_present: false,
                    code: got,
                    ..
                }) => assert_eq!(got, code, "{what}: {got:#04x} instead of {code:#04x}"),
                other => panic!("{what}: CONNACK {code:#04x} expected, not {other:?}"),
            }
        }
        assert_eq!(client.next().await, None, "{what}: the connection ends");
    }

    /// A CONNECT as bytes: flags, keep-alive 0, no properties, and whatever payload.
    pub fn connect_bytes(&self, flags: u8, payload: &[u8]) -> Vec<u8> {
        self.connect_bytes_with(flags, &[], payload)
    }

    /// As [`Stage::connect_bytes`], with properties in 5.0.
    pub fn connect_bytes_with(&self, flags: u8, properties: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut body = text(self.version.name().as_bytes());
        body.extend([self.version.level(), flags, 0, 0]);
        if self.is_v5() {
            wire::put_var(&mut body, properties.len() as u32);
            body.extend_from_slice(properties);
        }
        body.extend_from_slice(payload);
        wire::packet(0x10, &body)
    }

    /// A PUBLISH as bytes: first byte, topic, what stands between topic and properties, payload.
    pub fn publish_bytes(&self, first: u8, topic: &[u8], id: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut body = text(topic);
        body.extend_from_slice(id);
        if self.is_v5() {
            body.push(0);
        }
        body.extend_from_slice(payload);
        wire::packet(first, &body)
    }

    /// A SUBSCRIBE (0x82) or UNSUBSCRIBE (0xA2) as bytes; `tail` is what follows identifier and properties.
    pub fn request_bytes(&self, first: u8, id: u16, tail: &[u8]) -> Vec<u8> {
        let mut body = id.to_be_bytes().to_vec();
        if self.is_v5() {
            body.push(0);
        }
        body.extend_from_slice(tail);
        wire::packet(first, &body)
    }
}

/// A field with its length before it.
pub fn text(bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![];
    wire::put_binary(&mut field, bytes);
    field
}

/// Byte strings one after another.
pub fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// A will of QoS 1 that says `gone`.
pub fn will(topic: &str) -> Will {
    Will {
        topic: topic.to_owned(),
        payload: b"gone".to_vec(),
        qos: 1,
        ..Will::default()
    }
}

/// A will that waits, and a session that lives for `expiry` seconds.
pub fn delayed(opening: Opening, topic: &str, delay: u32, expiry: u32) -> Opening {
    let mut late = will(topic);
    late.properties = Properties::default().with(property::WILL_DELAY, Value::Four(delay));
    opening.will(late).session_expiry(expiry)
}

/// A PUBLISH with an identifier, as bytes.
pub fn with_id(version: Version, message: &Publish, id: u16) -> Vec<u8> {
    let mut message = message.clone();
    message.id = id;
    wire::publish(version, &message)
}
