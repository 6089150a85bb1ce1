//! A client as the standard wants it, and as slow or as rude as it allows.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    num::NonZeroU16,
};

use tidegate::mqtt::{
    Packet, PacketId, Qos, Version,
    ack::Ack,
    connack::ConnAck,
    connect::{Connect, ConnectProperties},
    disconnect::Disconnect,
    frame::{Decoder, Peer},
    publish::Publish,
    reason::ReasonCode,
    subscribe::{Subscribe, SubscriptionOptions, Unsubscribe},
    topic::TopicName,
};

use super::{
    ledger::{Fate, Ledger, number_in, payload},
    random::Random,
};

/// What a client of 3.x, which is told nothing, keeps unacknowledged.
const OWN_WINDOW: usize = 20;

/// The client: what it keeps between connections, and the present connection.
pub struct Client {
    /// Whether anything it kept must not be used again until a clean start has succeeded.
    forget: bool,
    /// Unacknowledged messages in the order first sent.
    outgoing: VecDeque<Outgoing>,
    /// QoS 2 identifiers whose PUBREL has not come.
    incoming: BTreeSet<PacketId>,
    last_id: u16,
    online: Option<Online>,
}

struct Outgoing {
    id: PacketId,
    number: u64,
    qos: Qos,
    released: bool,
    /// Whether this connection has sent it.
    sent: bool,
}

/// What lasts as long as a connection.
struct Online {
    version: Version,
    decoder: Decoder,
    clean_start: bool,
    welcomed: bool,
    /// Messages it may have under way to the server.
    window: usize,
    aliases_out: u16,
    /// Announced in CONNECT.
    receive_maximum: usize,
    alias_maximum: u16,
    aliases_in: BTreeMap<NonZeroU16, TopicName>,
    /// Received and not finally acknowledged.
    unacknowledged: BTreeSet<PacketId>,
    /// Acknowledgements that it has not got round to.
    owed: VecDeque<Packet>,
    /// Identifiers in the order in which PUBACK, PUBREC and PUBCOMP must come.
    awaited: [VecDeque<PacketId>; 3],
    /// SUBSCRIBE and UNSUBSCRIBE that wait for their answers.
    asked: VecDeque<PacketId>,
}

impl Client {
    pub fn new() -> Self {
        Client {
            forget: false,
            outgoing: VecDeque::new(),
            incoming: BTreeSet::new(),
            last_id: 0,
            online: None,
        }
    }

    /// Whether it waits for nothing and owes nothing.
    pub fn is_idle(&self) -> bool {
        self.outgoing.is_empty()
            && self
                .online
                .as_ref()
                .is_none_or(|online| online.owed.is_empty() && online.asked.is_empty())
    }

    /// Begins a connection; `calm` asks for nothing special.
    pub fn connect(
        &mut self,
        version: Version,
        calm: bool,
        random: &mut Random<'_>,
        ledger: &mut Ledger,
        out: &mut Vec<u8>,
    ) {
        let clean_start = self.forget || (!calm && random.once_in(12));
        if clean_start {
            self.discard(ledger);
            self.forget = true;
        }
        let v5 = version.is_v5();
        let mut properties = ConnectProperties::default();
        if v5 {
            let expiry = match random.below(8) {
                0 if !calm => 0,
                1 if !calm => random.between(1, 100) as u32,
                _ => u32::MAX,
            };
            properties.session_expiry = (expiry > 0).then_some(expiry);
            if !calm {
                properties.receive_maximum =
                    random.of(&[None, Some(1), Some(2), Some(3), Some(10), Some(100)]);
                properties.maximum_packet_size = random.of(&[None, None, Some(60), Some(200)]);
                properties.topic_alias_maximum = random.of(&[0, 0, 1, 5]);
                properties.request_problem_information = random.once_in(2);
            }
        }
        self.online = Some(Online {
            version,
            decoder: Decoder::with_version(Peer::Server, version, usize::MAX),
            clean_start,
            welcomed: false,
            window: OWN_WINDOW,
            aliases_out: 0,
            receive_maximum: properties.receive_maximum.unwrap_or(u16::MAX).into(),
            alias_maximum: properties.topic_alias_maximum,
            aliases_in: BTreeMap::new(),
            unacknowledged: BTreeSet::new(),
            owed: VecDeque::new(),
            awaited: Default::default(),
            asked: VecDeque::new(),
        });
        let connect = Connect {
            version,
            bridge: false,
            clean_start,
            keep_alive: 0,
            client_id: "model".into(),
            will: None,
            username: None,
            password: None,
            properties,
        };
        connect.encode(out);
    }

    /// The connection is gone.
    pub fn cut(&mut self, ledger: &mut Ledger) {
        let Some(online) = self.online.take() else {
            return;
        };
        // the state of a clean session of 3.x ends with it, and 3.1 never says whether there is any
        if online.clean_start && !online.version.is_v5() {
            self.discard(ledger);
        }
        for item in &mut self.outgoing {
            item.sent = false;
        }
    }

    fn discard(&mut self, ledger: &mut Ledger) {
        for item in self.outgoing.drain(..) {
            give_up(ledger, item.number);
        }
        self.incoming.clear();
    }

    /// A new message, if the window allows it; `rude` is over the window on purpose.
    pub fn publish(
        &mut self,
        rude: bool,
        random: &mut Random<'_>,
        ledger: &mut Ledger,
        out: &mut Vec<u8>,
    ) {
        if !self.is_ready() {
            return;
        }
        let qos = random.of(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]);
        if qos > Qos::AtMostOnce && !rude && self.room() == 0 {
            return;
        }
        let number = ledger.new_up(qos);
        if qos == Qos::AtMostOnce {
            let online = self.online.as_mut().expect("it is ready");
            online.write_publish(false, qos, None, number, random, ledger, out);
            return;
        }
        let id = self.free_id();
        self.outgoing.push_back(Outgoing {
            id,
            number,
            qos,
            released: false,
            sent: false,
        });
        let last = self.outgoing.len() - 1;
        self.send(last, false, random, ledger, out);
    }

    /// SUBSCRIBE or UNSUBSCRIBE.
    pub fn ask(&mut self, random: &mut Random<'_>, out: &mut Vec<u8>) {
        if !self.is_ready() {
            return;
        }
        let packet_id = self.free_id();
        let online = self.online.as_mut().expect("it is ready");
        online.asked.push_back(packet_id);
        let filter = format!("f/{}", random.below(6));
        let packet = if random.once_in(2) {
            Packet::Unsubscribe(Box::new(Unsubscribe {
                packet_id,
                user: Vec::new(),
                filters: vec![filter.into()],
            }))
        } else {
            Packet::Subscribe(Box::new(Subscribe {
                packet_id,
                subscription_id: None,
                user: Vec::new(),
                filters: vec![(filter.into(), SubscriptionOptions::default())],
            }))
        };
        packet.encode(online.version, out);
    }

    /// DISCONNECT; on 5.0 perhaps with another session expiry.
    pub fn say_goodbye(&mut self, random: &mut Random<'_>, out: &mut Vec<u8>) {
        let Some(online) = self.online.as_ref().filter(|online| online.welcomed) else {
            return;
        };
        let mut goodbye = Disconnect::new(ReasonCode::Success);
        if online.version.is_v5() {
            goodbye.session_expiry = random.of(&[None, None, Some(0), Some(50), Some(u32::MAX)]);
        }
        Packet::Disconnect(Box::new(goodbye)).encode(online.version, out);
    }

    /// Sends some of the acknowledgements it owes.
    pub fn acknowledge(&mut self, random: &mut Random<'_>, out: &mut Vec<u8>) {
        let Some(online) = &mut self.online else {
            return;
        };
        let most = random.between(1, 8);
        for _ in 0..most {
            let Some(packet) = online.owed.pop_front() else {
                return;
            };
            match &packet {
                Packet::PubAck(ack) | Packet::PubComp(ack) => {
                    online.unacknowledged.remove(&ack.packet_id);
                }
                Packet::PubRec(ack) if ack.reason.is_failure() => {
                    online.unacknowledged.remove(&ack.packet_id);
                }
                Packet::PubRel(ack) => online.awaited[2].push_back(ack.packet_id),
                _ => {}
            }
            packet.encode(online.version, out);
        }
    }

    /// Sends again what a former connection left, as far as the window allows.
    pub fn resend(&mut self, random: &mut Random<'_>, ledger: &mut Ledger, out: &mut Vec<u8>) {
        if self.online.as_ref().is_none_or(|online| !online.welcomed) {
            return;
        }
        while self.room() > 0 {
            let next = self.outgoing.iter().position(|item| !item.sent);
            let Some(at) = next else { return };
            self.send(at, true, random, ledger, out);
        }
    }

    /// Takes bytes from the server. True if the server ended the connection.
    pub fn read(
        &mut self,
        bytes: &[u8],
        random: &mut Random<'_>,
        ledger: &mut Ledger,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(online) = &mut self.online else {
            return false;
        };
        let mut packets = Vec::new();
        let read = online.decoder.feed(bytes, &mut packets);
        read.expect("the server writes packets");
        packets
            .into_iter()
            .any(|packet| self.take(packet, random, ledger, out))
    }

    fn take(
        &mut self,
        packet: Packet,
        random: &mut Random<'_>,
        ledger: &mut Ledger,
        out: &mut Vec<u8>,
    ) -> bool {
        match packet {
            Packet::ConnAck(connack) => self.welcome(&connack, random, ledger, out),
            Packet::Publish(publish) => self.receive(publish, random, ledger),
            Packet::PubAck(ack) => {
                self.online().expect_next(0, ack.packet_id);
                self.finish(ack.packet_id, Qos::AtLeastOnce, ack.reason, ledger);
            }
            Packet::PubRec(ack) => {
                self.online().expect_next(1, ack.packet_id);
                if ack.reason.is_failure() {
                    self.finish(ack.packet_id, Qos::ExactlyOnce, ack.reason, ledger);
                } else {
                    let item = self
                        .outgoing
                        .iter_mut()
                        .find(|item| item.id == ack.packet_id);
                    item.expect("PUBREC belongs to a PUBLISH").released = true;
                    let release = Ack::new(ack.packet_id, ReasonCode::Success);
                    self.online().owed.push_back(Packet::PubRel(release));
                }
            }
            Packet::PubComp(ack) => {
                self.online().expect_next(2, ack.packet_id);
                // 0x92 is success, too: the server has forgotten the exchange
                self.finish(ack.packet_id, Qos::ExactlyOnce, ReasonCode::Success, ledger);
            }
            Packet::PubRel(ack) => {
                let known = self.incoming.remove(&ack.packet_id);
                let online = self.online();
                let reason = match known || !online.version.is_v5() || random.once_in(2) {
                    true => ReasonCode::Success,
                    false => ReasonCode::PacketIdentifierNotFound,
                };
                online
                    .owed
                    .push_back(Packet::PubComp(Ack::new(ack.packet_id, reason)));
            }
            Packet::SubAck(ack) | Packet::UnsubAck(ack) => {
                assert_eq!(self.online().asked.pop_front(), Some(ack.packet_id));
            }
            Packet::Disconnect(disconnect) => {
                assert!(self.online().version.is_v5());
                assert!(disconnect.reason.is_failure(), "{disconnect:?}");
                return true;
            }
            other => panic!("a server does not send {other:?}"),
        }
        false
    }

    fn welcome(
        &mut self,
        connack: &ConnAck,
        random: &mut Random<'_>,
        ledger: &mut Ledger,
        out: &mut Vec<u8>,
    ) {
        assert_eq!(connack.reason, ReasonCode::Success);
        let online = self.online();
        assert!(!online.welcomed, "CONNACK twice");
        online.welcomed = true;
        let (version, clean_start) = (online.version, online.clean_start);
        if version.is_v5() {
            online.window = connack.receive_maximum.unwrap_or(u16::MAX).into();
            online.aliases_out = connack.topic_alias_maximum.unwrap_or(0);
        }
        assert!(!(clean_start && connack.session_present));
        self.forget = false;
        if !connack.session_present && version != Version::V31 {
            self.discard(ledger);
        }
        // releases first, since they need no room in the window
        for at in 0..self.outgoing.len() {
            if self.outgoing[at].released {
                self.outgoing[at].sent = true;
                let release = Ack::new(self.outgoing[at].id, ReasonCode::Success);
                self.online().owed.push_back(Packet::PubRel(release));
            }
        }
        self.resend(random, ledger, out);
    }

    fn receive(&mut self, publish: Publish, random: &mut Random<'_>, ledger: &mut Ledger) {
        let online = self.online.as_mut().expect("it reads");
        let topic = match (publish.topic, publish.alias) {
            (Some(topic), Some(alias)) => {
                assert!(alias.get() <= online.alias_maximum);
                online.aliases_in.insert(alias, topic.clone());
                topic
            }
            (Some(topic), None) => topic,
            (None, Some(alias)) => online.aliases_in[&alias].clone(),
            (None, None) => panic!("PUBLISH without a topic"),
        };
        let number = number_in(&publish.payload);
        assert_eq!(*topic, *format!("down/{}", number % 7));
        let Some(id) = publish.packet_id else {
            received(ledger, number);
            return;
        };
        // [MQTT-3.3.4-9]
        assert!(
            online.unacknowledged.insert(id),
            "identifier {id} is in use"
        );
        assert!(online.unacknowledged.len() <= online.receive_maximum);
        let refuses = online.version.is_v5() && random.once_in(40);
        let reason = match refuses {
            true => ReasonCode::QuotaExceeded,
            false => ReasonCode::Success,
        };
        let ack = Ack::new(id, reason);
        if publish.qos == Qos::AtLeastOnce {
            online.owed.push_back(Packet::PubAck(ack));
        } else if self.incoming.contains(&id) {
            // received before: no refusal any more
            let ack = Ack::new(id, ReasonCode::Success);
            return online.owed.push_back(Packet::PubRec(ack));
        } else {
            if !refuses {
                self.incoming.insert(id);
            }
            online.owed.push_back(Packet::PubRec(ack));
        }
        if refuses {
            ledger.down.get_mut(&number).expect("entered").refused += 1;
        } else {
            received(ledger, number);
        }
    }

    fn finish(&mut self, id: PacketId, qos: Qos, reason: ReasonCode, ledger: &mut Ledger) {
        let at = self
            .outgoing
            .iter()
            .position(|item| item.id == id && item.qos == qos);
        let item = self
            .outgoing
            .remove(at.expect("what was sent is acknowledged"));
        let number = item.expect("position found it").number;
        let entry = ledger.up.get_mut(&number).expect("entered");
        entry.fate = if reason.is_failure() {
            Fate::Refused
        } else {
            Fate::Settled
        };
        ledger.check(number);
    }

    fn online(&mut self) -> &mut Online {
        self.online.as_mut().expect("packets come on a connection")
    }

    /// Whether new messages may be sent: connected, everything older sent again, and identifiers left.
    fn is_ready(&self) -> bool {
        let online = self.online.as_ref().filter(|online| online.welcomed);
        online.is_some_and(|online| online.asked.len() + self.outgoing.len() < 250)
            && self.outgoing.iter().all(|item| item.sent)
    }

    /// Room in the server's window: releases of a former connection take none.
    fn room(&self) -> usize {
        let Some(online) = &self.online else { return 0 };
        let open = online.awaited[0].len() + self.exchanges_of_this_connection();
        online.window.saturating_sub(open)
    }

    fn exchanges_of_this_connection(&self) -> usize {
        self.outgoing
            .iter()
            .filter(|item| item.sent && item.qos == Qos::ExactlyOnce)
            .count()
    }

    fn send(
        &mut self,
        at: usize,
        dup: bool,
        random: &mut Random<'_>,
        ledger: &mut Ledger,
        out: &mut Vec<u8>,
    ) {
        let item = &mut self.outgoing[at];
        item.sent = true;
        let (qos, id, number) = (item.qos, item.id, item.number);
        let online = self.online.as_mut().expect("it sends");
        online.awaited[usize::from(qos == Qos::ExactlyOnce)].push_back(id);
        online.write_publish(dup, qos, Some(id), number, random, ledger, out);
    }

    fn free_id(&mut self) -> PacketId {
        loop {
            // a small range, so that identifiers come round often
            self.last_id = self.last_id % 300 + 1;
            let id = PacketId::new(self.last_id).expect("from 1");
            let asked = self.online.as_ref().is_some_and(|o| o.asked.contains(&id));
            if !asked && self.outgoing.iter().all(|item| item.id != id) {
                return id;
            }
        }
    }
}

impl Online {
    fn expect_next(&mut self, kind: usize, id: PacketId) {
        // [MQTT-4.6.0-2], [MQTT-4.6.0-3], [MQTT-4.6.0-4]
        assert_eq!(
            self.awaited[kind].pop_front(),
            Some(id),
            "acknowledgements come in order"
        );
    }

    #[allow(clippy::too_many_arguments)] // the parts of a PUBLISH
    fn write_publish(
        &mut self,
        dup: bool,
        qos: Qos,
        packet_id: Option<PacketId>,
        number: u64,
        random: &mut Random<'_>,
        ledger: &mut Ledger,
        out: &mut Vec<u8>,
    ) {
        ledger.up.get_mut(&number).expect("entered").written += 1;
        let topic = TopicName::parse(&format!("up/{}", number % 7)).expect("a topic");
        let alias = match self.aliases_out {
            0 => None,
            most => NonZeroU16::new(random.below(u64::from(most) + 1) as u16),
        };
        Packet::Publish(Publish {
            dup,
            qos,
            retain: false,
            packet_id,
            topic: Some(topic),
            alias,
            subscription_ids: Default::default(),
            properties: None,
            payload: payload(number, random.below(20) as usize).into(),
        })
        .encode(self.version, out);
    }
}

fn received(ledger: &mut Ledger, number: u64) {
    ledger.down.get_mut(&number).expect("entered").received += 1;
    ledger.check(number);
}

fn give_up(ledger: &mut Ledger, number: u64) {
    let entry = ledger.up.get_mut(&number).expect("entered");
    entry.fate = Fate::Dropped("the session is gone");
}
