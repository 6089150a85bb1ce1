//! The session under test, driven as its connection and the broker drive it.

use std::{
    collections::{BTreeSet, VecDeque},
    io::IoSlice,
    sync::Arc,
};

use tidegate::{
    message::{Delivery, GroupId, Message, Millis},
    mqtt::{
        Packet, PacketId, Qos, Version,
        ack::Ack,
        connect::Connect,
        frame::{Decoder, Peer},
        payload::Payload,
        property::MessageProperties,
        publish::Publish,
        reason::ReasonCode,
        topic::{TopicFilter, TopicName},
        write_queue::WriteQueue,
    },
    session::{
        self, Delivered, Request, Session, limits::Limits, opening::negotiate, violation::Violation,
    },
};

use super::{
    ledger::{Fate, Ledger, number_in, payload},
    random::Random,
    tap::Tap,
};

/// The server's side: the session, online or parked, and what waits for it.
pub struct Server {
    limits: Limits,
    max_expiry: u32,
    session: Option<Session>,
    /// What the session must still have, by what it was asked.
    filters: BTreeSet<String>,
    parked_at: Option<Millis>,
    tap: Tap,
    connection: Option<Connection>,
    /// As in an outbox.
    waiting: VecDeque<Delivery>,
}

struct Connection {
    decoder: Decoder,
    out: WriteQueue,
    /// Seen by the tap, not yet on the link.
    wire: Vec<u8>,
    /// Messages that the broker has not answered yet.
    unanswered: VecDeque<(Qos, Option<PacketId>, ReasonCode)>,
    /// Whether it made the session.
    is_new: bool,
    /// Whether the server wants no more of it.
    has_ended: bool,
    /// Accepted from the client on this connection and not finally acknowledged.
    open: BTreeSet<PacketId>,
}

impl Server {
    pub fn new(receive_maximum: u16, max_expiry: u32) -> Self {
        let limits = Limits {
            receive_maximum,
            topic_alias_maximum: 3,
            ..Limits::default()
        };
        Server {
            limits,
            max_expiry,
            session: None,
            filters: BTreeSet::new(),
            parked_at: None,
            tap: Tap::default(),
            connection: None,
            waiting: VecDeque::new(),
        }
    }

    /// A connection comes in. Another that is open yet has lost its client.
    pub fn accept(&mut self) {
        assert!(self.connection.is_none(), "the world cuts first");
        self.connection = Some(Connection {
            decoder: Decoder::new(Peer::Client, self.limits.connect),
            out: WriteQueue::default(),
            wire: Vec::new(),
            is_new: false,
            has_ended: false,
            unanswered: VecDeque::new(),
            open: BTreeSet::new(),
        });
    }

    /// Whether the present connection found no session.
    pub fn began_anew(&self) -> bool {
        self.connection
            .as_ref()
            .is_some_and(|connection| connection.is_new)
    }

    /// Whether the server reads no more.
    pub fn has_ended(&self) -> bool {
        self.connection
            .as_ref()
            .is_some_and(|connection| connection.has_ended)
    }

    /// Whether nothing is left to send or to hear about.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
            && self
                .session
                .as_ref()
                .is_none_or(|session| session.in_flight() == 0)
            && self
                .connection
                .as_ref()
                .is_none_or(|c| c.unanswered.is_empty())
    }

    /// The connection is gone: what goes on without it.
    pub fn cut(&mut self, now: Millis, random: &mut Random<'_>, ledger: &mut Ledger) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        let Some(session) = &mut self.session else {
            return;
        };
        if self.parked_at.is_some() {
            return; // its CONNECT never came
        }
        for (qos, packet_id, reason) in connection.unanswered.drain(..) {
            session.answer_publish(qos, packet_id, reason, &mut connection.out);
        }
        // somebody else in the share groups takes what is unacknowledged
        if random.once_in(2) {
            session.hand_on_shared(|delivery| {
                assert!(delivery.share.is_some() && delivery.qos == Qos::AtLeastOnce);
                let number = number_in(&delivery.message.payload);
                self.tap.forget(number);
                drop_down(ledger, number, "another member of the group has it");
                true
            });
        }
        if session.is_durable() {
            self.parked_at = Some(now);
        } else {
            self.end(ledger);
        }
    }

    /// Whether the session's time is over.
    pub fn expire(&mut self, now: Millis, ledger: &mut Ledger) {
        let (Some(session), Some(since)) = (&self.session, self.parked_at) else {
            return;
        };
        let expiry = session.expiry();
        if expiry != session::NEVER && now >= since.plus_seconds(expiry.into()) {
            self.end(ledger);
        }
    }

    fn end(&mut self, ledger: &mut Ledger) {
        let gone = self.tap.end();
        let waiting = self
            .waiting
            .drain(..)
            .map(|d| number_in(&d.message.payload));
        for number in gone.into_iter().chain(waiting) {
            drop_down(ledger, number, "the session is gone");
        }
        self.session = None;
        self.filters.clear();
        self.parked_at = None;
    }

    /// The broker has a message for the session, if there is one.
    pub fn offer(&mut self, now: Millis, random: &mut Random<'_>, ledger: &mut Ledger) {
        let online = self.parked_at.is_none();
        if self.session.is_none() || self.waiting.len() >= 50 {
            return;
        }
        let qos = random.of(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]);
        if qos == Qos::AtMostOnce && !online {
            return;
        }
        let number = ledger.new_down(qos);
        let size = match random.below(8) {
            0 => random.below(300),
            1 => 1024 + random.below(1000),
            _ => 0,
        };
        let properties = random.once_in(6).then(|| {
            Box::new(MessageProperties {
                message_expiry: Some(random.below(200) as u32),
                ..Default::default()
            })
        });
        let message = Message::new(
            TopicName::parse(&format!("down/{}", number % 7)).expect("a topic"),
            payload(number, size as usize).into(),
            qos,
            false,
            properties,
            None,
            now,
        );
        self.waiting.push_back(Delivery {
            message: Arc::new(message),
            qos,
            retain: random.once_in(5),
            position: None,
            subscription_ids: random.once_in(5).then(|| vec![number as u32].into()),
            share: random
                .once_in(8)
                .then(|| GroupId(1.try_into().expect("not 0"))),
        });
    }

    /// Uses nearly all packet identifiers once, so that those in use come round.
    pub fn age(&mut self) {
        let (Some(session), Some(_)) = (&mut self.session, &self.connection) else {
            return;
        };
        if self.parked_at.is_some() || session.quota() == 0 || session.in_flight() == 0 {
            return;
        }
        let topic = TopicName::parse("x").expect("a topic");
        let qos = Qos::AtLeastOnce;
        let message = Message::new(topic, Payload::EMPTY, qos, false, None, None, Millis(0));
        let delivery = Delivery {
            message: Arc::new(message),
            qos,
            retain: false,
            position: None,
            subscription_ids: None,
            share: None,
        };
        for _ in session.in_flight()..u16::MAX.into() {
            let mut out = WriteQueue::default();
            session.deliver(delivery.clone(), Millis(0), &mut out);
            let bytes = out.tail();
            // behind the first byte, the length, and the topic or nothing in the place of an alias
            let at = 4 + usize::from(bytes[3]);
            let id = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            let id = PacketId::new(id).expect("an identifier");
            let ack = Packet::PubAck(Ack::new(id, ReasonCode::Success));
            assert_eq!(session.handle_unkept(ack, &mut out), Ok(Request::Room));
        }
    }

    /// The broker answers the oldest messages that it has not.
    pub fn answer(&mut self, most: usize) {
        let (Some(session), Some(connection)) = (&mut self.session, &mut self.connection) else {
            return;
        };
        for _ in 0..most {
            let Some((qos, packet_id, reason)) = connection.unanswered.pop_front() else {
                break;
            };
            session.answer_publish(qos, packet_id, reason, &mut connection.out);
            if let Some(id) = packet_id
                && (qos == Qos::AtLeastOnce || reason.is_failure())
            {
                connection.open.remove(&id);
            }
        }
    }

    /// What the session has written since goes to the link.
    pub fn flush(&mut self, ledger: &mut Ledger) {
        if let (Some(session), Some(connection)) = (&self.session, &mut self.connection) {
            connection.pass_on(&mut self.tap, session, ledger);
        }
    }

    /// Messages for the client go out as far as the window allows.
    pub fn fill(&mut self, now: Millis, ledger: &mut Ledger) {
        if self.parked_at.is_some() {
            return;
        }
        let (Some(session), Some(connection)) = (&mut self.session, &mut self.connection) else {
            return;
        };
        let all = session.resend(now, |_| true, &mut connection.out).is_all;
        connection.pass_on(&mut self.tap, session, ledger);
        if all {
            self.tap.nothing_left_to_resend(session.terms(), ledger);
        }
        assert_eq!(session.in_flight(), self.tap.in_flight());
        while let Some(next) = self.waiting.front() {
            if next.qos > Qos::AtMostOnce && session.quota() == 0 {
                break;
            }
            let Some(delivery) = self.waiting.pop_front() else {
                break;
            };
            let number = number_in(&delivery.message.payload);
            let (size, deadline) = (size(&delivery, session), delivery.message.expires);
            match session.deliver(delivery, now, &mut connection.out) {
                Delivered::Sent => assert!(deadline.is_none_or(|deadline| deadline > now)),
                Delivered::Expired => {
                    assert!(deadline.is_some_and(|deadline| deadline <= now));
                    drop_down(ledger, number, "it expired");
                }
                Delivered::TooLarge => {
                    assert!(size > session.terms().max_packet_out);
                    drop_down(ledger, number, "it is too large");
                }
            }
            connection.pass_on(&mut self.tap, session, ledger);
        }
        assert_eq!(session.in_flight(), self.tap.in_flight());
    }

    /// Takes bytes from the client. True if the connection is to end.
    pub fn read(&mut self, bytes: &[u8], random: &mut Random<'_>, ledger: &mut Ledger) -> bool {
        let Some(connection) = &mut self.connection else {
            return false;
        };
        let mut packets = Vec::new();
        let read = connection.decoder.feed(bytes, &mut packets);
        read.expect("the client writes packets");
        while !packets.is_empty() {
            for packet in std::mem::take(&mut packets) {
                if self.take(packet, random, ledger) {
                    return true;
                }
            }
            // what came behind CONNECT
            let Some(connection) = &mut self.connection else {
                return true;
            };
            let read = connection.decoder.feed(&[], &mut packets);
            read.expect("the client writes packets");
        }
        false
    }

    fn take(&mut self, packet: Packet, random: &mut Random<'_>, ledger: &mut Ledger) -> bool {
        if let Packet::Connect(connect) = &packet {
            self.open(connect, ledger);
            return false;
        }
        // a repeated message is acknowledged at once: what came before it comes first
        if matches!(&packet, Packet::Publish(publish) if publish.dup) {
            self.answer(usize::MAX);
        }
        let (Some(session), Some(connection)) = (&mut self.session, &mut self.connection) else {
            return true;
        };
        self.tap.heard(&packet, ledger);
        let released = match &packet {
            Packet::PubRel(ack) => Some(ack.packet_id),
            _ => None,
        };
        let window = session.terms().receive_maximum_in;
        let ends = match session.handle_unkept(packet, &mut connection.out) {
            Ok(Request::Nothing | Request::Room) => false,
            Ok(
                waits @ (Request::Repeated(_)
                | Request::Released { .. }
                | Request::Received(_)
                | Request::Completed(_)),
            ) => unreachable!("answered at once: {waits:?}"),
            Ok(Request::Publish(incoming)) => {
                let number = number_in(&incoming.payload);
                assert_eq!(*incoming.topic, *format!("up/{}", number % 7));
                let refuses = incoming.qos > Qos::AtMostOnce && random.once_in(40);
                let reason = match refuses {
                    true => ReasonCode::QuotaExceeded,
                    false => ReasonCode::Success,
                };
                let entry = ledger.up.get_mut(&number).expect("entered");
                match refuses {
                    true => entry.refused += 1,
                    false => entry.received += 1,
                }
                ledger.check(number);
                connection.open.extend(incoming.packet_id);
                // [MQTT-3.3.4-7]
                assert!(window.is_none_or(|window| connection.open.len() <= window.into()));
                connection
                    .unanswered
                    .push_back((incoming.qos, incoming.packet_id, reason));
                false
            }
            Ok(Request::Subscribe(request)) => {
                let mut reasons = Vec::new();
                for (filter, options) in &request.filters {
                    let parsed = TopicFilter::parse(filter).expect("the model's filters are");
                    let is_new = session.subscribe(parsed, *options, None, 0);
                    assert_eq!(is_new, self.filters.insert(filter.to_string()));
                    reasons.push(ReasonCode::Success);
                }
                let (id, out) = (request.packet_id, &mut connection.out);
                session.answer_subscribe(id, reasons, out).is_err()
            }
            Ok(Request::Unsubscribe(request)) => {
                let mut reasons = Vec::new();
                for filter in &request.filters {
                    let was = session.unsubscribe(filter).is_some();
                    assert_eq!(was, self.filters.remove(&**filter));
                    reasons.push(ReasonCode::Success);
                }
                let (id, out) = (request.packet_id, &mut connection.out);
                session.answer_unsubscribe(id, reasons, out).is_err()
            }
            Ok(Request::Authenticate(_)) => panic!("the client names no method"),
            Ok(Request::Disconnect(_)) => true,
            Err(Violation::ReceiveMaximumExceeded) => {
                // no sooner than announced
                assert_eq!(Some(connection.open.len()), window.map(usize::from));
                true
            }
            Err(Violation::ExpiryAfterNone) => true,
            Err(other) => panic!("the client keeps this rule: {other}"),
        };
        connection.has_ended = ends;
        if ends {
            session.farewell(
                ReasonCode::UnspecifiedError,
                "the end",
                None,
                &mut connection.out,
            );
        }
        if let Some(id) = released {
            connection.open.remove(&id);
        }
        connection.pass_on(&mut self.tap, session, ledger);
        ends
    }

    fn open(&mut self, connect: &Connect, ledger: &mut Ledger) {
        let opening = negotiate(connect, &self.limits, self.max_expiry, String::new)
            .expect("the client's wishes are legal");
        if connect.clean_start && self.session.is_some() {
            self.end(ledger);
        }
        let Some(connection) = &mut self.connection else {
            return;
        };
        connection.is_new = self.session.is_none();
        let mut connack = opening.connack;
        connack.session_present = self.session.is_some() && connect.version != Version::V31;
        match &mut self.session {
            Some(session) => {
                session.resume(opening.terms);
                let kept: BTreeSet<String> = session
                    .subscriptions()
                    .map(|s| s.filter.as_str().to_owned())
                    .collect();
                assert_eq!(kept, self.filters);
            }
            None => self.session = Some(Session::new(opening.client_id, opening.terms, 0)),
        }
        self.parked_at = None;
        let (Some(session), Some(connection)) = (&self.session, &mut self.connection) else {
            return;
        };
        self.tap.resume(session.terms());
        let connack = Packet::ConnAck(Box::new(connack));
        session::send(connack, session.terms(), &mut connection.out);
        connection.decoder.accept(self.limits.packet());
        connection.pass_on(&mut self.tap, session, ledger);
    }

    /// Bytes for the link.
    pub fn written(&mut self) -> Vec<u8> {
        self.connection
            .as_mut()
            .map_or(Vec::new(), |c| std::mem::take(&mut c.wire))
    }
}

impl Connection {
    /// What the session wrote goes past the tap.
    fn pass_on(&mut self, tap: &mut Tap, session: &Session, ledger: &mut Ledger) {
        while !self.out.is_empty() {
            let mut slices = [IoSlice::new(&[]); 16];
            let used = self.out.slices(&mut slices);
            let bytes: Vec<u8> = slices[..used]
                .iter()
                .flat_map(|slice| slice.to_vec())
                .collect();
            self.out.advance(bytes.len());
            tap.see(&bytes, session.terms(), ledger);
            self.wire.extend(bytes);
        }
    }
}

/// What a message weighs on the wire without an alias.
fn size(delivery: &Delivery, session: &Session) -> usize {
    let message = &delivery.message;
    let mut bytes = Vec::new();
    Packet::Publish(Publish {
        dup: false,
        qos: delivery.qos,
        retain: delivery.retain,
        packet_id: (delivery.qos > Qos::AtMostOnce).then_some(PacketId::MIN),
        topic: Some(message.topic.clone()),
        alias: None,
        subscription_ids: delivery
            .subscription_ids
            .as_deref()
            .unwrap_or_default()
            .into(),
        properties: message.properties.clone(),
        payload: message.payload.clone(),
    })
    .encode(session.terms().version, &mut bytes);
    bytes.len()
}

fn drop_down(ledger: &mut Ledger, number: u64, why: &'static str) {
    ledger.down.get_mut(&number).expect("entered").fate = Fate::Dropped(why);
}
