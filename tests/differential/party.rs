//! One client of a dialogue, at one of the two brokers: it says what it is told and notes what it hears.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    dialogue::{Deed, Step},
    support::{
        wire::{self, PUBACK, PUBCOMP, PUBREC, PUBREL, Packet, Value, Version, property},
        within,
    },
};

/// How long a broker may take for an answer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The clients of one dialogue at one broker.
pub struct Parties {
    broker: SocketAddr,
    clients: Vec<Option<Client>>,
}

struct Client {
    version: Version,
    /// Whether it acknowledges what it gets.
    acknowledges: bool,
    stream: TcpStream,
    buffer: Vec<u8>,
    /// The broker neither answers nor closes.
    is_ignored: bool,
}

impl Parties {
    pub fn new(broker: SocketAddr, count: usize) -> Self {
        Parties {
            broker,
            clients: (0..count).map(|_| None).collect(),
        }
    }

    /// Does one step and returns what all clients hear, sorted: brokers differ in the order of things that happen at
    /// the same time.
    pub async fn take(&mut self, step: &Step) -> Vec<String> {
        let mut heard = Vec::new();
        match &step.deed {
            Deed::Connect {
                version,
                acknowledges,
            } => {
                let stream = within("a connection", TcpStream::connect(self.broker));
                let stream = stream.await.expect("the broker accepts");
                stream.set_nodelay(true).expect("TCP_NODELAY");
                let mut client = Client {
                    version: *version,
                    acknowledges: *acknowledges,
                    stream,
                    buffer: Vec::new(),
                    is_ignored: false,
                };
                let _ = client.stream.write_all(&step.bytes).await;
                // CONNACK, or the end
                let welcomed = client.hear(1, step.who, &mut heard).await;
                if let Some(old) = &mut self.clients[step.who] {
                    let _ = old.stream.shutdown().await;
                    old.end().await;
                }
                self.clients[step.who] = welcomed.then_some(client);
            }
            Deed::Send => {
                let Some(client) = &mut self.clients[step.who] else {
                    return heard;
                };
                let _ = client.stream.write_all(&step.bytes).await;
            }
            Deed::Leave => {
                if let Some(mut client) = self.clients[step.who].take() {
                    // the broker has noticed when it closes, too
                    let _ = client.stream.shutdown().await;
                    client.end().await;
                }
            }
        }
        self.listen(&mut heard).await;
        heard.sort();
        heard
    }

    /// Until three rounds of questions brought nothing but their answers: one message may be on its way to its
    /// receiver behind the answer to the first, and stand behind the answer to the second.
    async fn listen(&mut self, heard: &mut Vec<String>) {
        let mut quiet = 0;
        while quiet < 3 {
            let before = heard.len();
            for (who, place) in self.clients.iter_mut().enumerate() {
                let Some(client) = place else { continue };
                let _ = client.stream.write_all(&wire::pingreq()).await;
                if !client.hear_pong(who, heard).await {
                    *place = None;
                }
            }
            quiet = if heard.len() == before { quiet + 1 } else { 0 };
        }
    }
}

impl Client {
    /// Hears so many packets. False at the end of the connection.
    async fn hear(&mut self, count: usize, who: usize, heard: &mut Vec<String>) -> bool {
        for _ in 0..count {
            let Some(packet) = self.next().await else {
                heard.push(format!("{who} {}", self.last_word()));
                return false;
            };
            self.note(packet, who, heard).await;
        }
        true
    }

    async fn hear_pong(&mut self, who: usize, heard: &mut Vec<String>) -> bool {
        loop {
            match self.next().await {
                Some(Packet::Pingresp) => return true,
                Some(packet) => self.note(packet, who, heard).await,
                None => {
                    heard.push(format!("{who} {}", self.last_word()));
                    return false;
                }
            }
        }
    }

    fn last_word(&self) -> &'static str {
        match self.is_ignored {
            true => "ignored",
            false => "closed",
        }
    }

    async fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = wire::take_packet(self.version, &mut self.buffer) {
                return Some(packet);
            }
            if !self.read().await {
                return None;
            }
        }
    }

    async fn read(&mut self) -> bool {
        match timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await {
            Ok(read) => read.is_ok_and(|count| count > 0),
            Err(_) => {
                self.is_ignored = true;
                false
            }
        }
    }

    /// Waits until the broker has closed.
    async fn end(&mut self) {
        while self.read().await {}
    }

    /// Notes a packet without what brokers choose freely, and answers it.
    async fn note(&mut self, packet: Packet, who: usize, heard: &mut Vec<String>) {
        let (note, answer) = match packet {
            // what a server grants is its own affair
            Packet::Connack {
                session_present,
                code,
                ..
            } => (
                format!("CONNACK {code:#04x} present={session_present}"),
                None,
            ),
            Packet::Publish(publish) => {
                let mut properties: Vec<String> = publish
                    .properties
                    .0
                    .iter()
                    .map(|(id, value)| match (*id, value) {
                        // a second may have passed
                        (property::MESSAGE_EXPIRY, Value::Four(_)) => "expiry".to_owned(),
                        (id, value) => format!("{id:#04x}={value:?}"),
                    })
                    .collect();
                properties.sort();
                let note = format!(
                    "PUBLISH {} {:?} qos={} retain={} dup={} [{}]",
                    publish.topic,
                    publish.text(),
                    publish.qos,
                    publish.retain,
                    publish.dup,
                    properties.join(" ")
                );
                let answer = match publish.qos {
                    0 => None,
                    1 => Some(wire::ack(PUBACK, publish.id)),
                    _ => Some(wire::ack(PUBREC, publish.id)),
                };
                (note, answer)
            }
            Packet::Ack { kind, id, code, .. } => {
                let answer = match kind {
                    PUBREC if code < 0x80 => Some(wire::ack(PUBREL, id)),
                    PUBREL => Some(wire::ack(PUBCOMP, id)),
                    _ => None,
                };
                let name = ["PUBACK", "PUBREC", "PUBREL", "PUBCOMP"][usize::from(kind - PUBACK)];
                // identifiers of the broker's own are its choice
                let id = if kind == PUBREL { 0 } else { id };
                (format!("{name} {id} {code:#04x}"), answer)
            }
            Packet::Suback { id, codes, .. } => (format!("SUBACK {id} {codes:02x?}"), None),
            Packet::Unsuback { id, codes, .. } => (format!("UNSUBACK {id} {codes:02x?}"), None),
            Packet::Pingresp => ("PINGRESP".to_owned(), None),
            Packet::Auth { code, .. } => (format!("AUTH {code:#04x}"), None),
            Packet::Disconnect { code, .. } => (format!("DISCONNECT {code:#04x}"), None),
        };
        heard.push(format!("{who} {note}"));
        if self.acknowledges
            && let Some(answer) = answer
        {
            let _ = self.stream.write_all(&answer).await;
        }
    }
}
