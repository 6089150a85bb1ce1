//! A connection whose other end may be killed at any time: its end is an answer, not a failure.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    wire::{self, Opening, Packet, Version},
    within,
};

pub struct Line {
    stream: TcpStream,
    version: Version,
    received: Vec<u8>,
    /// Not yet written.
    queued: Vec<u8>,
}

impl Line {
    /// Connects and returns whether the session was present; nothing if the gateway is gone before it has answered.
    pub async fn open(address: std::net::SocketAddr, opening: &Opening) -> Option<(Self, bool)> {
        let stream = within("a TCP connection", TcpStream::connect(address))
            .await
            .ok()?;
        stream.set_nodelay(true).ok()?;
        let mut line = Self {
            stream,
            version: opening.version,
            received: Vec::with_capacity(16 * 1024),
            queued: vec![],
        };
        line.queue(&opening.encode());
        let what = format!("CONNACK for {}", opening.client);
        match within(&what, line.next()).await? {
            Packet::Connack {
                session_present,
                code: 0,
                ..
            } => Some((line, session_present)),
            other => panic!("{what} is {other:?}"),
        }
    }

    /// Bytes to be written before the next wait.
    pub fn queue(&mut self, bytes: &[u8]) {
        self.queued.extend_from_slice(bytes);
    }

    /// The next packet, or nothing at the end of the connection, be it in the midst of a packet.
    /// Nothing is lost when this is abandoned while it waits.
    pub async fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = wire::take_packet(self.version, &mut self.received) {
                return Some(packet);
            }
            self.write().await;
            let read = self.stream.read_buf(&mut self.received).await;
            if !read.is_ok_and(|count| count > 0) {
                return None;
            }
        }
    }

    async fn write(&mut self) {
        while !self.queued.is_empty() {
            // what the gateway has still said is read, even if it hears no more
            let Ok(count @ 1..) = self.stream.write(&self.queued).await else {
                self.queued.clear();
                return;
            };
            self.queued.drain(..count);
        }
    }

    /// Writes what is queued, and ends the connection without a word.
    pub async fn flush(mut self) {
        within("the gateway to take bytes", self.write()).await;
    }

    /// Says DISCONNECT and waits for the gateway to hang up. What comes meanwhile is not taken, so it will come again.
    pub async fn say_goodbye(mut self, disconnect: &[u8]) {
        self.queue(disconnect);
        within("the gateway to hang up after DISCONNECT", async {
            while self.next().await.is_some() {}
        })
        .await;
    }
}
