//! A client that keeps no rule: whatever it sends, the session does not panic, keeps its own identifiers apart and
//! stays within every limit.

use std::{collections::BTreeSet, io::IoSlice, num::NonZeroU16, sync::Arc};

use crate::random::Random;
use tidegate::{
    message::{Delivery, GroupId, Message, Millis},
    mqtt::{
        Packet, PacketId, Qos, Version,
        ack::Ack,
        auth::Auth,
        connect::{Connect, ConnectProperties},
        disconnect::Disconnect,
        frame::{Decoder, Peer},
        property::MessageProperties,
        publish::Publish,
        reason::ReasonCode,
        subscribe::{Subscribe, SubscriptionOptions},
        topic::{TopicFilter, TopicName},
        write_queue::WriteQueue,
    },
    session::{
        Delivered, Request, Session,
        limits::Limits,
        opening::{Terms, negotiate},
    },
};

const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

/// Every byte is a choice.
pub fn run(data: &[u8]) {
    let mut random = Random::bytes(data);
    let terms = terms(&mut random);
    let mut world = World {
        session: Session::new("fuzz".into(), terms, 0),
        out: WriteQueue::default(),
        in_use: BTreeSet::new(),
        now: Millis(1_000_000),
    };
    while !random.is_over() {
        world.step(&mut random);
        world.check();
    }
}

struct World {
    session: Session,
    out: WriteQueue,
    /// Identifiers that the session has sent and has not been freed of.
    in_use: BTreeSet<PacketId>,
    now: Millis,
}

impl World {
    fn step(&mut self, random: &mut Random<'_>) {
        match random.below(16) {
            0 => {
                self.out = WriteQueue::default();
                self.session.resume(terms(random));
            }
            1 => {
                self.session.resend(self.now, |_| true, &mut self.out);
            }
            2..6 => self.deliver(random),
            6 => {
                let leaves = random.once_in(2);
                self.session.hand_on_shared(|delivery| {
                    assert!(delivery.share.is_some() && delivery.qos == Qos::AtLeastOnce);
                    leaves
                });
                self.forget_unused();
            }
            7 => self.now = self.now.plus_seconds(random.below(100)),
            8 => {
                let qos = random.of(&QOS);
                let packet_id = PacketId::new(random.below(9) as u16);
                let reason = random.of(&[ReasonCode::Success, ReasonCode::QuotaExceeded]);
                self.session
                    .answer_publish(qos, packet_id, reason, &mut self.out);
            }
            _ => self.hear(random),
        }
    }

    fn deliver(&mut self, random: &mut Random<'_>) {
        let delivery = delivery(self.now, random);
        if delivery.qos > Qos::AtMostOnce && self.session.quota() == 0 {
            return;
        }
        let (before, counts) = (self.session.in_flight(), delivery.qos > Qos::AtMostOnce);
        let sent = self.session.deliver(delivery, self.now, &mut self.out) == Delivered::Sent;
        assert_eq!(
            self.session.in_flight(),
            before + usize::from(sent && counts)
        );
    }

    fn hear(&mut self, random: &mut Random<'_>) {
        let packet = packet(self.session.terms().version, random);
        let acknowledges = match &packet {
            Packet::PubAck(ack) | Packet::PubComp(ack) | Packet::PubRec(ack) => Some(ack.packet_id),
            _ => None,
        };
        let before = self.session.in_flight();
        match self.session.handle_unkept(packet, &mut self.out) {
            Ok(Request::Publish(incoming)) => {
                let reason = random.of(&[ReasonCode::Success, ReasonCode::NotAuthorized]);
                let (qos, id) = (incoming.qos, incoming.packet_id);
                assert_eq!(id.is_some(), qos > Qos::AtMostOnce);
                // sometimes the broker takes its time
                if random.below(4) > 0 {
                    self.session.answer_publish(qos, id, reason, &mut self.out);
                }
            }
            Ok(Request::Subscribe(request)) => {
                for (filter, options) in &request.filters {
                    if let Ok(filter) = TopicFilter::parse(filter) {
                        self.session
                            .subscribe(filter, *options, request.subscription_id, 0);
                    }
                }
                let reasons = vec![ReasonCode::Success; request.filters.len()];
                // an answer that does not fit is not written, and ends the connection
                let _ = self
                    .session
                    .answer_subscribe(request.packet_id, reasons, &mut self.out);
            }
            Ok(Request::Room) => {
                assert_eq!(self.session.in_flight() + 1, before);
                self.in_use
                    .remove(&acknowledges.expect("only these make room"));
            }
            Ok(_) => assert_eq!(self.session.in_flight(), before),
            Err(violation) => {
                self.session.farewell(
                    violation.reason(),
                    &violation.to_string(),
                    None,
                    &mut self.out,
                );
            }
        }
    }

    /// What the session writes is well formed, small enough, and names no identifier twice.
    fn check(&mut self) {
        let terms = self.session.terms().clone();
        let mut bytes = Vec::new();
        while !self.out.is_empty() {
            let mut slices = [IoSlice::new(&[]); 64];
            let used = self.out.slices(&mut slices);
            let taken = slices[..used]
                .iter()
                .flat_map(|slice| slice.to_vec())
                .collect::<Vec<u8>>();
            assert!(!taken.is_empty());
            self.out.advance(taken.len());
            bytes.extend(taken);
        }
        let mut packets = Vec::new();
        let limit = terms.max_packet_out;
        let mut decoder = Decoder::with_version(Peer::Server, terms.version, limit);
        assert_eq!(decoder.feed(&bytes, &mut packets), Ok(()));
        assert_eq!(decoder.buffered(), 0);
        for packet in packets {
            if let Packet::Publish(Publish {
                packet_id: Some(id),
                dup,
                ..
            }) = packet
            {
                assert_eq!(self.in_use.insert(id), !dup, "identifier {id}");
            }
        }
        self.forget_unused();
        assert!(self.session.quota() <= terms.receive_maximum_out.into());
    }

    /// Messages that are given up free their identifiers without an acknowledgement.
    fn forget_unused(&mut self) {
        if self.session.in_flight() == 0 {
            self.in_use.clear();
        }
        assert!(self.session.in_flight() <= self.in_use.len());
    }
}

fn terms(random: &mut Random<'_>) -> Terms {
    let version = random.of(&[Version::V5, Version::V311, Version::V31]);
    let limits = Limits {
        receive_maximum: random.of(&[4, 1, 2, 100]),
        payload: 200,
        ..Limits::default()
    };
    let v5 = ConnectProperties {
        session_expiry: random.of(&[None, Some(9), Some(u32::MAX)]),
        receive_maximum: random.of(&[None, Some(1), Some(3)]),
        maximum_packet_size: random.of(&[None, Some(64), Some(100)]),
        topic_alias_maximum: random.of(&[0, 1, 3, u16::MAX]),
        request_problem_information: random.once_in(2),
        ..Default::default()
    };
    let connect = Connect {
        version,
        bridge: false,
        clean_start: random.once_in(2),
        keep_alive: 0,
        client_id: "fuzz".into(),
        will: None,
        username: None,
        password: None,
        properties: if version.is_v5() {
            v5
        } else {
            ConnectProperties::default()
        },
    };
    let max_expiry = random.of(&[u32::MAX, 0, 60]);
    let opening = negotiate(&connect, &limits, max_expiry, String::new);
    opening.expect("an acceptable CONNECT").terms
}

fn delivery(now: Millis, random: &mut Random<'_>) -> Delivery {
    let qos = random.of(&QOS);
    let properties = random.once_in(4).then(|| {
        Box::new(MessageProperties {
            message_expiry: Some(random.below(50) as u32),
            ..Default::default()
        })
    });
    let size = random.of(&[0, 1, 50, 90, 1024, 5000]);
    let message = Message::new(
        topic(random),
        vec![7; size].into(),
        qos,
        false,
        properties,
        None,
        now,
    );
    Delivery {
        message: Arc::new(message),
        qos,
        retain: random.once_in(2),
        position: None,
        subscription_ids: random.once_in(4).then(|| vec![1, 268_435_455].into()),
        share: random
            .once_in(4)
            .then(|| GroupId(1.try_into().expect("not 0"))),
    }
}

fn topic(random: &mut Random<'_>) -> TopicName {
    TopicName::parse(random.of(&["a", "b/c", "a/longer/topic", "d"])).expect("a topic")
}

/// Anything that a decoder could have made of a client's bytes.
fn packet(version: Version, random: &mut Random<'_>) -> Packet {
    let packet_id = PacketId::new(random.between(1, 8) as u16).expect("from 1");
    let v5 = version.is_v5();
    let reason = match v5 && random.once_in(4) {
        true => ReasonCode::UnspecifiedError,
        false => ReasonCode::Success,
    };
    let ack = Ack::new(packet_id, reason);
    match random.below(12) {
        0 => Packet::PubAck(ack),
        1 => Packet::PubRec(ack),
        2 => Packet::PubRel(ack),
        3 => Packet::PubComp(ack),
        4 => Packet::Subscribe(Box::new(Subscribe {
            packet_id,
            subscription_id: v5.then_some(5),
            user: Vec::new(),
            filters: vec![(
                random.of(&["a/#", "$share/g/a", "#/x"]).into(),
                SubscriptionOptions::default(),
            )],
        })),
        5 => Packet::Disconnect(Box::new(Disconnect {
            session_expiry: match v5 {
                true => random.of(&[None, Some(0), Some(7), Some(u32::MAX)]),
                false => None,
            },
            ..Disconnect::new(ReasonCode::Success)
        })),
        6 => Packet::PingReq,
        7 if v5 => Packet::Auth(Box::new(Auth {
            reason: ReasonCode::ReAuthenticate,
            method: Some("m".into()),
            data: None,
            explanation: None,
        })),
        _ => {
            let qos = random.of(&QOS);
            let alias = match v5 {
                true => NonZeroU16::new(random.of(&[0, 0, 1, 32, 33])),
                false => None,
            };
            Packet::Publish(Publish {
                dup: qos > Qos::AtMostOnce && random.once_in(3),
                qos,
                retain: random.once_in(3),
                packet_id: (qos > Qos::AtMostOnce).then_some(packet_id),
                topic: (alias.is_none() || random.once_in(2)).then(|| topic(random)),
                alias,
                subscription_ids: Default::default(),
                properties: None,
                payload: vec![7; random.of(&[1, 0, 200, 201])].into(),
            })
        }
    }
}
