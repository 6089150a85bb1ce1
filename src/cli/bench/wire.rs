//! One connection of the generator: opened, greeted, then nothing but whole batches.

use super::{
    frames::{self, Frame},
    websocket::{self, Unframer},
};
use crate::cli::client::Failure;
use crate::mqtt::{
    Packet, PacketId, Qos, Version,
    connect::{Connect, ConnectProperties},
    disconnect::Disconnect,
    frame::{Decoder, Peer},
    reason::ReasonCode,
    subscribe::{Subscribe, SubscriptionOptions},
};
use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};

/// Room for one read.
const READ: usize = 64 * 1024;
thread_local! {
    /// Where bytes are read to, on behalf of all connections: twenty thousand buffers of their own would cost more
    /// than what is measured.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into());
}

/// Largest packet of a handshake.
const HANDSHAKE: usize = 1024 * 1024;

/// Where a server is and how it is spoken to.
#[derive(Debug, Clone)]
pub struct Door {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Protocol version.
    pub version: Version,
    /// Over WebSocket.
    pub websocket: bool,
}

/// An MQTT connection.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    version: Version,
    unframer: Option<Unframer>,
    /// MQTT not walked yet.
    inbox: Vec<u8>,
    /// Unacknowledged messages the server takes.
    pub receive_maximum: u16,
}

impl Door {
    /// A TCP connection without delay.
    pub async fn tcp(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// An MQTT connection of a clean session that ends with it.
    pub async fn open(&self, client_id: String) -> Result<Wire, Failure> {
        self.open_session(client_id, None).await
    }

    /// An MQTT connection of a new session, in the place of one that may have been there, that is kept for so many
    /// seconds after it; only MQTT 5 can say for how many.
    pub async fn open_session(
        &self,
        client_id: String,
        expiry: Option<u32>,
    ) -> Result<Wire, Failure> {
        let mut wire = Wire {
            stream: self.tcp().await?,
            version: self.version,
            unframer: None,
            inbox: Vec::new(),
            receive_maximum: u16::MAX,
        };
        if self.websocket {
            wire.upgrade().await?;
        }
        wire.connect(client_id, expiry).await?;
        Ok(wire)
    }
}

impl Wire {
    async fn upgrade(&mut self) -> Result<(), Failure> {
        self.stream.write_all(websocket::UPGRADE.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.stream.read_u8().await?);
        }
        if !head.starts_with(b"HTTP/1.1 101") {
            let head = String::from_utf8_lossy(&head).into_owned();
            return Err(format!("no WebSocket: {}", head.lines().next().unwrap_or("")).into());
        }
        self.unframer = Some(Unframer::default());
        Ok(())
    }

    async fn connect(&mut self, client_id: String, expiry: Option<u32>) -> Result<(), Failure> {
        let connect = Connect {
            version: self.version,
            bridge: false,
            clean_start: true,
            keep_alive: 0,
            client_id: client_id.into(),
            will: None,
            username: None,
            password: None,
            properties: ConnectProperties {
                session_expiry: expiry,
                ..ConnectProperties::default()
            },
        };
        match self.ask(Packet::Connect(Box::new(connect))).await? {
            Packet::ConnAck(answer) if !answer.reason.is_failure() => {
                self.receive_maximum = answer.receive_maximum.unwrap_or(u16::MAX);
                Ok(())
            }
            other => Err(format!("connection refused: {other:?}").into()),
        }
    }

    /// Subscribes to all filters with one packet.
    pub async fn subscribe(&mut self, filters: &[String], qos: u8) -> Result<(), Failure> {
        let options = SubscriptionOptions {
            qos: Qos::from_wire(qos).unwrap_or_default(),
            ..SubscriptionOptions::default()
        };
        let subscribe = Subscribe {
            packet_id: PacketId::MIN,
            subscription_id: None,
            user: vec![],
            filters: filters
                .iter()
                .map(|filter| (filter.as_str().into(), options))
                .collect(),
        };
        match self.ask(Packet::Subscribe(Box::new(subscribe))).await? {
            Packet::SubAck(answer) if !answer.reasons.iter().any(|r| r.is_failure()) => Ok(()),
            other => Err(format!("subscription refused: {other:?}").into()),
        }
    }

    /// Takes leave, and returns when the server has closed the connection.
    pub async fn leave(mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        let goodbye = Disconnect::new(ReasonCode::Success);
        Packet::Disconnect(Box::new(goodbye)).encode(self.version, &mut bytes);
        self.answer(&bytes).await?;
        // a client closes the connection behind it; without that some servers would wait
        self.stream.shutdown().await?;
        while self.fill().await.is_ok() {}
        Ok(())
    }

    /// Sends a packet and takes the next one as its answer.
    async fn ask(&mut self, question: Packet) -> Result<Packet, Failure> {
        let mut bytes = Vec::new();
        question.encode(self.version, &mut bytes);
        self.answer(&bytes).await?;
        let mut decoder = Decoder::with_version(Peer::Server, self.version, HANDSHAKE);
        let mut packets = Vec::new();
        while packets.is_empty() {
            self.fill().await?;
            let bytes = std::mem::take(&mut self.inbox);
            decoder.feed(&bytes, &mut packets)?;
        }
        Ok(packets.swap_remove(0))
    }

    /// Writes MQTT packets, in one WebSocket frame if there is need of one.
    pub async fn answer(&mut self, packets: &[u8]) -> io::Result<()> {
        if self.unframer.is_none() {
            return self.write(packets).await;
        }
        let mut frame = Vec::with_capacity(packets.len() + 14);
        websocket::put_frame(&mut frame, packets);
        self.write(&frame).await
    }

    /// Writes bytes that are framed already.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Gives back the memory of the handshake.
    pub fn shrink(&mut self) {
        self.inbox = Vec::new();
    }

    /// The connection again, and a second handle of it that writes without waiting.
    pub fn split_writer(self) -> io::Result<(std::net::TcpStream, Wire)> {
        let stream = self.stream.into_std()?;
        let writer = stream.try_clone()?;
        let stream = TcpStream::from_std(stream)?;
        Ok((writer, Wire { stream, ..self }))
    }

    /// Reads once. To give up waiting loses nothing.
    pub async fn fill(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
            match (read.filled(), &mut self.unframer) {
                ([], _) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                (bytes, None) => self.inbox.extend_from_slice(bytes),
                (bytes, Some(unframer)) => unframer.feed(bytes, &mut self.inbox),
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Hands every complete frame to `each`.
    pub fn take(&mut self, each: impl FnMut(Frame<'_>)) -> io::Result<()> {
        let consumed = frames::walk(&self.inbox, each).ok_or(io::ErrorKind::InvalidData)?;
        self.inbox.drain(..consumed);
        Ok(())
    }
}
