//! An MQTT client for tests: says exactly what it is told, keeps what it did not ask for, fails with a sentence.

use std::{collections::VecDeque, net::SocketAddr};

use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        self, Message, client::IntoClientRequest, handshake::client::Response, http::HeaderValue,
    },
};

use super::{
    gateway::Gateway,
    wire::{self, Opening, PUBACK, PUBCOMP, PUBREC, PUBREL, Packet, Properties, Publish, Version},
    within,
};

/// The byte stream under a client.
pub enum Link {
    Tcp(TcpStream),
    WebSocket(Box<WebSocketStream<TcpStream>>),
}

impl Link {
    pub async fn tcp(address: SocketAddr) -> Self {
        let stream = within("a TCP connection", TcpStream::connect(address))
            .await
            .expect("the gateway accepts");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Self::Tcp(stream)
    }

    /// A connection whose receive buffer is as small as the kernel allows, to be full soon.
    pub async fn narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(2048).expect("SO_RCVBUF");
        Self::Tcp(
            within("a TCP connection", socket.connect(address))
                .await
                .expect("the gateway accepts"),
        )
    }

    /// MQTT over WebSocket at `/mqtt` with the subprotocol of the version.
    pub async fn websocket(address: SocketAddr, version: Version) -> Self {
        let protocol = if version == Version::V31 {
            "mqttv3.1"
        } else {
            "mqtt"
        };
        let (link, response) = Self::upgrade(address, "/mqtt", Some(protocol), &[])
            .await
            .expect("the upgrade succeeds");
        let chosen = response
            .headers()
            .get("sec-websocket-protocol")
            .map(|v| v.as_bytes().to_vec());
        assert_eq!(
            chosen.as_deref(),
            Some(protocol.as_bytes()),
            "the subprotocol is echoed"
        );
        link
    }

    /// A WebSocket handshake to any path, with any offer of subprotocols and further headers.
    pub async fn upgrade(
        address: SocketAddr,
        path: &str,
        protocols: Option<&str>,
        headers: &[(&'static str, &str)],
    ) -> Result<(Self, Response), tungstenite::Error> {
        let mut request = format!("ws://{address}{path}").into_client_request()?;
        if let Some(protocols) = protocols {
            request
                .headers_mut()
                .insert("sec-websocket-protocol", HeaderValue::from_str(protocols)?);
        }
        for (name, value) in headers {
            request
                .headers_mut()
                .insert(*name, HeaderValue::from_str(value)?);
        }
        let stream = within("a TCP connection", TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        let (socket, response) =
            within("the WebSocket handshake", client_async(request, stream)).await?;
        Ok((Self::WebSocket(Box::new(socket)), response))
    }

    /// Writes the bytes; over WebSocket as one binary frame. Fails when the peer is gone.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes).await.is_ok(),
            Self::WebSocket(socket) => socket.send(Message::binary(bytes.to_vec())).await.is_ok(),
        }
    }

    /// The next bytes, or nothing when the connection has ended.
    async fn receive(&mut self, buffer: &mut Vec<u8>) -> bool {
        match self {
            Self::Tcp(stream) => stream.read_buf(buffer).await.is_ok_and(|count| count > 0),
            Self::WebSocket(socket) => match socket.next().await {
                Some(Ok(Message::Binary(bytes))) => {
                    buffer.extend_from_slice(&bytes);
                    true
                }
                Some(Ok(Message::Close(_))) | None | Some(Err(_)) => false,
                Some(Ok(other)) => panic!("no MQTT client expects this frame: {other:?}"),
            },
        }
    }
}

/// What CONNACK said.
#[derive(Clone, Debug)]
pub struct Welcome {
    pub session_present: bool,
    pub code: u8,
    pub properties: Properties,
}

/// A connected client.
pub struct Client {
    pub link: Link,
    pub version: Version,
    buffer: Vec<u8>,
    set_aside: VecDeque<Packet>,
    next_id: u16,
}

impl Client {
    /// A client that has not said anything yet.
    pub fn on(link: Link, version: Version) -> Self {
        Self {
            link,
            version,
            buffer: Vec::with_capacity(4096),
            set_aside: VecDeque::new(),
            next_id: 0,
        }
    }

    /// Connects over TCP; the gateway must agree.
    pub async fn tcp(gateway: &Gateway, opening: &Opening) -> Self {
        Self::welcomed(Link::tcp(gateway.mqtt).await, opening)
            .await
            .0
    }

    /// As [`Client::tcp`], and what CONNACK said.
    pub async fn tcp_with_welcome(gateway: &Gateway, opening: &Opening) -> (Self, Welcome) {
        Self::welcomed(Link::tcp(gateway.mqtt).await, opening).await
    }

    /// Connects over a WebSocket; the gateway must agree.
    pub async fn websocket(gateway: &Gateway, opening: &Opening) -> Self {
        let link = Link::websocket(gateway.http, opening.version).await;
        Self::welcomed(link, opening).await.0
    }

    /// Connects over `link` and asserts that the gateway agrees.
    pub async fn welcomed(link: Link, opening: &Opening) -> (Self, Welcome) {
        let (client, welcome) = Self::open(link, opening).await;
        assert_eq!(welcome.code, 0, "CONNACK for {opening:?}: {welcome:?}");
        (client, welcome)
    }

    /// Connects over `link`, whatever CONNACK says.
    pub async fn open(link: Link, opening: &Opening) -> (Self, Welcome) {
        let mut client = Self::on(link, opening.version);
        client.send(&opening.encode()).await;
        match client.next().await {
            Some(Packet::Connack {
                session_present,
                code,
                properties,
            }) => (
                client,
                Welcome {
                    session_present,
                    code,
                    properties,
                },
            ),
            other => panic!("CONNACK expected for {opening:?}, not {other:?}"),
        }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        let sent = within("the gateway to take bytes", self.link.send(bytes)).await;
        assert!(sent, "the gateway closed the connection");
    }

    /// Sends what the gateway may refuse to read to the end.
    pub async fn try_send(&mut self, bytes: &[u8]) -> bool {
        within(
            "the gateway to take bytes or to close",
            self.link.send(bytes),
        )
        .await
    }

    /// The next packet of the wire, or nothing at its end. Sees neither what was set aside nor acknowledges.
    pub async fn next(&mut self) -> Option<Packet> {
        within("a packet from the gateway", async {
            loop {
                if let Some(packet) = wire::take_packet(self.version, &mut self.buffer) {
                    return Some(packet);
                }
                if !self.link.receive(&mut self.buffer).await {
                    assert!(
                        self.buffer.is_empty(),
                        "the connection ended inside a packet: {:?}",
                        self.buffer
                    );
                    return None;
                }
            }
        })
        .await
    }

    /// The next packet as it is on the wire, or nothing at the end of the connection.
    pub async fn next_bytes(&mut self) -> Option<Vec<u8>> {
        within("a packet from the gateway", async {
            loop {
                let before = self.buffer.clone();
                if let Some(packet) = wire::take_packet(self.version, &mut self.buffer) {
                    drop(packet); // decoded only to be checked and measured
                    return Some(before[..before.len() - self.buffer.len()].to_vec());
                }
                if !self.link.receive(&mut self.buffer).await {
                    assert!(
                        self.buffer.is_empty(),
                        "the connection ended inside a packet"
                    );
                    return None;
                }
            }
        })
        .await
    }

    /// The next packet must be exactly these bytes.
    pub async fn expect(&mut self, bytes: &[u8]) {
        let got = self.next_bytes().await;
        assert_eq!(
            got.as_deref(),
            Some(bytes),
            "got {:02x?}, expected {bytes:02x?}",
            got.as_deref().unwrap_or_default()
        );
    }

    /// The connection ends here, with nothing more on it.
    pub async fn ends(&mut self) {
        assert_eq!(self.next().await, None, "nothing comes before the end");
    }

    /// The first packet that `wanted` accepts; the others stay for later.
    pub async fn take(&mut self, what: &str, wanted: impl Fn(&Packet) -> bool) -> Packet {
        if let Some(at) = self.set_aside.iter().position(&wanted) {
            return self.set_aside.remove(at).expect("position found it");
        }
        loop {
            match self.next().await {
                Some(packet) if wanted(&packet) => return packet,
                Some(packet) => self.set_aside.push_back(packet),
                None => panic!(
                    "the gateway closed before {what}; set aside: {:?}",
                    self.set_aside
                ),
            }
        }
    }

    /// A packet identifier not in use by this client's own requests.
    pub fn packet_id(&mut self) -> u16 {
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        self.next_id
    }

    /// Subscribes and returns the granted codes.
    pub async fn subscribe(&mut self, filters: &[(&str, u8)]) -> Vec<u8> {
        self.subscribe_with(filters, &Properties::default()).await
    }

    pub async fn subscribe_with(
        &mut self,
        filters: &[(&str, u8)],
        properties: &Properties,
    ) -> Vec<u8> {
        let id = self.packet_id();
        let bytes = wire::subscribe(self.version, id, filters, properties);
        self.send(&bytes).await;
        match self
            .take(
                "SUBACK",
                |p| matches!(p, Packet::Suback { id: i, .. } if *i == id),
            )
            .await
        {
            Packet::Suback { codes, .. } => codes,
            _ => unreachable!("taken by its kind"),
        }
    }

    pub async fn unsubscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        let id = self.packet_id();
        let bytes = wire::unsubscribe(self.version, id, filters);
        self.send(&bytes).await;
        match self
            .take(
                "UNSUBACK",
                |p| matches!(p, Packet::Unsuback { id: i, .. } if *i == id),
            )
            .await
        {
            Packet::Unsuback { codes, .. } => codes,
            _ => unreachable!("taken by its kind"),
        }
    }

    /// Publishes with the whole flow of its QoS; returns the reason code of PUBACK or PUBREC.
    pub async fn publish(&mut self, message: &Publish) -> u8 {
        let mut message = message.clone();
        if message.qos > 0 {
            message.id = self.packet_id();
        }
        let bytes = wire::publish(self.version, &message);
        self.send(&bytes).await;
        match message.qos {
            0 => 0,
            1 => self.acknowledgement(PUBACK, message.id).await,
            _ => {
                let code = self.acknowledgement(PUBREC, message.id).await;
                if code < 0x80 {
                    self.send(&wire::ack(PUBREL, message.id)).await;
                    self.acknowledgement(PUBCOMP, message.id).await;
                }
                code
            }
        }
    }

    /// Waits for an acknowledgement and returns its reason code.
    pub async fn acknowledgement(&mut self, kind: u8, id: u16) -> u8 {
        let what = format!("acknowledgement {kind} of packet {id}");
        match self
            .take(
                &what,
                |p| matches!(p, Packet::Ack { kind: k, id: i, .. } if (*k, *i) == (kind, id)),
            )
            .await
        {
            Packet::Ack { code, .. } => code,
            _ => unreachable!("taken by its kind"),
        }
    }

    /// The next PUBLISH, not acknowledged.
    pub async fn receive_only(&mut self) -> Publish {
        match self
            .take("a PUBLISH", |p| matches!(p, Packet::Publish(_)))
            .await
        {
            Packet::Publish(publish) => publish,
            _ => unreachable!("taken by its kind"),
        }
    }

    /// The next PUBLISH, acknowledged as its QoS demands (QoS 2: to the PUBCOMP).
    pub async fn receive(&mut self) -> Publish {
        let publish = self.receive_only().await;
        self.acknowledge(&publish).await;
        publish
    }

    /// Goes through the receiver's side of the flow for `publish`.
    pub async fn acknowledge(&mut self, publish: &Publish) {
        match publish.qos {
            0 => {}
            1 => self.send(&wire::ack(PUBACK, publish.id)).await,
            _ => {
                self.send(&wire::ack(PUBREC, publish.id)).await;
                self.acknowledgement(PUBREL, publish.id).await;
                self.send(&wire::ack(PUBCOMP, publish.id)).await;
            }
        }
    }

    /// Receives messages up to one on the topic `marker`, which proves that nothing else was on its way.
    pub async fn receive_until(&mut self, marker: &str) -> Vec<Publish> {
        let mut received = vec![];
        loop {
            let publish = self.receive().await;
            if publish.topic == marker {
                return received;
            }
            received.push(publish);
        }
    }

    /// Proves by a round trip that the gateway has handled everything sent so far.
    pub async fn ping(&mut self) {
        self.send(&wire::pingreq()).await;
        self.take("PINGRESP", |p| matches!(p, Packet::Pingresp))
            .await;
    }

    pub async fn disconnect(mut self) {
        let bytes = wire::disconnect(self.version, 0);
        self.send(&bytes).await;
        self.closed().await;
    }

    /// Waits for the end of the connection; returns the reason code of a DISCONNECT before it.
    /// Other packets on their way are passed over.
    pub async fn closed(&mut self) -> Option<u8> {
        let mut reason = self.set_aside.iter().find_map(|p| match p {
            Packet::Disconnect { code, .. } => Some(*code),
            _ => None,
        });
        while let Some(packet) = self.next().await {
            if let Packet::Disconnect { code, .. } = packet {
                reason = Some(code);
            }
        }
        reason
    }
}
