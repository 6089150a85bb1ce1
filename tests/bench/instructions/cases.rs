//! The operations that are counted. Each runs as often as it is told; the set-up before it is not counted.

use std::{hint::black_box, ops::Range, sync::Arc};
use tidegate::{
    auth::identity::Identity,
    broker::{Broker, Draft, outbox::Outbox, registry::Attached},
    message::{Delivery, Epoch, Message, Millis},
    mqtt::{
        Packet, PacketId, Qos, Version,
        ack::Ack,
        connect::{Connect, ConnectProperties},
        frame::{Decoder, Peer},
        payload::Payload,
        publish::{Head, Publish},
        reason::ReasonCode,
        subscribe::{Subscribe, SubscriptionOptions, Unsubscribe},
        topic::{TopicFilter, TopicName},
        write_queue::WriteQueue,
    },
    routing::Routes,
    session::{
        Request, Session,
        limits::Limits,
        opening::{Opening, negotiate},
    },
    store::memory::MemoryStore,
};

/// An operation on the hot path.
pub struct Case {
    /// As it stands in the table and in the baseline.
    pub name: &'static str,
    /// How many of it are counted.
    pub repetitions: usize,
    /// Counts so many of it.
    pub run: fn(usize),
}

const fn case(name: &'static str, run: fn(usize)) -> Case {
    Case {
        name,
        repetitions: 6_000,
        run,
    }
}

use Qos::{AtLeastOnce, AtMostOnce, ExactlyOnce};

/// All of them.
pub const CASES: &[Case] = &[
    // those that take long first, so that they do not run alone at the end
    Case {
        repetitions: 3_000,
        ..case("match, 100,000 filters, a third with wildcards", |n| {
            matching(100_000, n)
        })
    },
    case("match, 1,000 filters, a third with wildcards", |n| {
        matching(1_000, n)
    }),
    Case {
        repetitions: 200,
        ..case("publish QoS 0 to 100 receivers, and take it", |n| {
            publish(AtMostOnce, 0, 100, n)
        })
    },
    case("decode PUBLISH QoS 0, 3.1.1", |n| {
        decode(Version::V311, AtMostOnce, n)
    }),
    case("decode PUBLISH QoS 1, 5.0", |n| {
        decode(Version::V5, AtLeastOnce, n)
    }),
    case("encode the head of a PUBLISH, 3.1.1", |n| {
        head(Version::V311, n)
    }),
    case("encode the head of a PUBLISH, 5.0", |n| {
        head(Version::V5, n)
    }),
    case("publish QoS 0 to one receiver, and take it", |n| {
        publish(AtMostOnce, 0, 1, n)
    }),
    case("publish QoS 1 to one clean session, and take it", |n| {
        publish(AtLeastOnce, 0, 1, n)
    }),
    case("publish QoS 1 to one durable session, and take it", |n| {
        publish(AtLeastOnce, 100, 1, n)
    }),
    case(
        "publish one of 20 at QoS 0 to one receiver, and take it",
        batches,
    ),
    case("receive QoS 1, 5.0: PUBLISH, PUBACK", |n| {
        receive(AtLeastOnce, n)
    }),
    case(
        "receive QoS 2, 5.0: PUBLISH, PUBREC, PUBREL, PUBCOMP",
        |n| receive(ExactlyOnce, n),
    ),
    case("deliver QoS 0, 3.1.1", |n| {
        deliver(Version::V311, AtMostOnce, n)
    }),
    case("deliver QoS 1, 5.0: PUBLISH, PUBACK", |n| {
        deliver(Version::V5, AtLeastOnce, n)
    }),
    case(
        "deliver QoS 2, 5.0: PUBLISH, PUBREC, PUBREL, PUBCOMP",
        |n| deliver(Version::V5, ExactlyOnce, n),
    ),
    case("subscribe and unsubscribe one filter of 100", subscribing),
];

/// Counts `repetitions` of what runs `at_a_time` per call, after a few that fill caches and grow buffers.
fn count(repetitions: usize, at_a_time: usize, mut operation: impl FnMut(usize)) {
    const FEW: usize = 10;
    (0..FEW).for_each(&mut operation);
    counted(FEW..FEW + repetitions / at_a_time, operation);
}

/// Callgrind counts what runs below this, and finds it by its name.
#[inline(never)]
fn counted(calls: Range<usize>, operation: impl FnMut(usize)) {
    calls.for_each(operation);
}

fn decode(version: Version, qos: Qos, repetitions: usize) {
    let mut bytes = Vec::new();
    let (topic, payload) = (topic(), payload());
    (0..100).for_each(|_| packet(&topic, &payload, qos, id(6)).encode(version, &mut bytes));
    let mut decoder = Decoder::with_version(Peer::Client, version, 1 << 20);
    let mut packets = Vec::new();
    count(repetitions, 100, |_| {
        decoder.feed(&bytes, &mut packets).unwrap();
        black_box(&packets);
        packets.clear();
    });
}

fn head(version: Version, repetitions: usize) {
    let mut out = Vec::new();
    count(repetitions, 1, |nth| {
        let head = black_box(Head {
            version,
            dup: false,
            qos: AtLeastOnce,
            retain: false,
            topic: TOPIC,
            alias: None,
            properties: None,
            expiry: None,
            subscription_ids: &[],
            payload_len: 64,
        });
        head.put(&head.sizes(), Some(id(nth)), &mut out);
        black_box(&out);
        out.clear();
    });
}

fn matching(filters: usize, repetitions: usize) {
    let broker = broker();
    let receivers: Vec<_> = (0..100)
        .map(|nth| attach(&broker, Version::V311, &format!("c{nth}"), 0).outbox)
        .collect();
    let routes: Routes<Arc<Outbox>> = Routes::default();
    for nth in 0..filters {
        let text = match nth % 3 {
            0 => format!("plant/{}/+/device{nth}/temperature", nth % 50),
            _ => format!("plant/{}/line{nth}/temperature", nth % 50),
        };
        routes.subscribe(
            &TopicFilter::parse(&text).unwrap(),
            receivers[nth % receivers.len()].clone(),
            at(AtMostOnce),
            None,
        );
    }
    // every second topic has a receiver
    let topics: Vec<_> = (0..100)
        .map(|nth| format!("plant/{}/line{}/temperature", nth % 50, 3 * (nth / 2) + 1))
        .collect();
    count(repetitions, 1, |nth| {
        black_box(routes.matching(&topics[nth % topics.len()], None));
    });
}

fn publish(qos: Qos, expiry: u32, receivers: usize, repetitions: usize) {
    let broker = broker();
    let mut all: Vec<_> = (0..receivers)
        .map(|nth| attach(&broker, Version::V5, &format!("receiver{nth}"), expiry))
        .collect();
    for one in &mut all {
        subscribe(&broker, one, "plant/#", qos);
    }
    let mut publisher = broker.publisher(Identity::anonymous(), None);
    let (topic, payload, mut batch) = (topic(), payload(), Vec::new());
    count(repetitions, 1, |_| {
        let draft = draft(&topic, &payload, qos);
        broker.publish(&mut publisher, draft).unwrap();
        for one in &all {
            one.outbox.take(&mut batch, 100, 100);
            black_box(batch.drain(..).count());
        }
    });
}

fn batches(repetitions: usize) {
    let broker = broker();
    let mut one = attach(&broker, Version::V5, "receiver", 0);
    subscribe(&broker, &mut one, "plant/#", AtMostOnce);
    let mut publisher = broker.publisher(Identity::anonymous(), None);
    let (topic, payload, mut batch) = (topic(), payload(), Vec::new());
    count(repetitions, 20, |_| {
        let now = broker.now();
        for _ in 0..20 {
            let draft = draft(&topic, &payload, AtMostOnce);
            broker
                .publish_in_batch(&mut publisher, draft, None, now)
                .unwrap();
        }
        broker.flush(&mut publisher);
        one.outbox.take(&mut batch, 100, 100);
        black_box(batch.drain(..).count());
    });
}

fn receive(qos: Qos, repetitions: usize) {
    let broker = broker();
    let mut session = attach(&broker, Version::V5, "publisher", 0).session;
    let (topic, payload, mut out) = (topic(), payload(), WriteQueue::default());
    count(repetitions, 1, |nth| {
        let id = id(nth);
        let publish = packet(&topic, &payload, qos, id);
        match session.handle(publish, &mut out).unwrap() {
            Request::Publish(incoming) => {
                black_box(&incoming);
                session.answer_publish(qos, Some(id), ReasonCode::Success, &mut out);
            }
            other => panic!("{other:?}"),
        }
        if qos == ExactlyOnce {
            answer(&mut session, Packet::PubRel, id, &mut out);
        }
        written(&mut out);
    });
}

fn deliver(version: Version, qos: Qos, repetitions: usize) {
    let broker = broker();
    let mut session = attach(&broker, version, "receiver", 0).session;
    let mut out = WriteQueue::default();
    let message = Message::new(topic(), payload(), qos, false, None, None, Millis(1));
    let message = Arc::new(message);
    count(repetitions, 1, |nth| {
        let delivery = Delivery {
            message: message.clone(),
            qos,
            retain: false,
            position: None,
            subscription_ids: None,
            share: None,
        };
        session.deliver(delivery, Millis(2), &mut out);
        match qos {
            AtMostOnce => {}
            AtLeastOnce => answer(&mut session, Packet::PubAck, id(nth), &mut out),
            ExactlyOnce => {
                answer(&mut session, Packet::PubRec, id(nth), &mut out);
                answer(&mut session, Packet::PubComp, id(nth), &mut out);
            }
        }
        written(&mut out);
    });
    // the answers named the identifiers that were chosen
    assert_eq!(session.in_flight(), 0);
}

fn subscribing(repetitions: usize) {
    let broker = broker();
    let mut one = attach(&broker, Version::V5, "subscriber", 0);
    for nth in 0..99 {
        subscribe(
            &broker,
            &mut one,
            &format!("plant/{nth}/temperature"),
            AtLeastOnce,
        );
    }
    let end = Unsubscribe {
        packet_id: id(2),
        user: Vec::new(),
        filters: vec!["plant/7/+/temperature".into()],
    };
    let mut out = WriteQueue::default();
    count(repetitions, 1, |_| {
        let reasons = subscribe(&broker, &mut one, "plant/7/+/temperature", AtLeastOnce);
        one.session
            .answer_subscribe(id(1), reasons, &mut out)
            .unwrap();
        let reasons = broker.unsubscribe(&mut one.session, &one.outbox, &end);
        one.session
            .answer_unsubscribe(id(2), reasons.0, &mut out)
            .unwrap();
        written(&mut out);
    });
}

const TOPIC: &str = "plant/7/line7/temperature";

fn topic() -> TopicName {
    TopicName::parse(TOPIC).unwrap()
}

fn payload() -> Payload {
    vec![b'x'; 64].into()
}

fn draft(topic: &TopicName, payload: &Payload, qos: Qos) -> Draft {
    Draft {
        topic: topic.clone(),
        payload: payload.clone(),
        qos,
        retain: false,
        properties: None,
    }
}

fn packet(topic: &TopicName, payload: &Payload, qos: Qos, id: PacketId) -> Packet {
    Packet::Publish(Publish {
        dup: false,
        qos,
        retain: false,
        packet_id: (qos > AtMostOnce).then_some(id),
        topic: Some(topic.clone()),
        alias: None,
        subscription_ids: Default::default(),
        properties: None,
        payload: payload.clone(),
    })
}

fn id(nth: usize) -> PacketId {
    ((nth % 65_535 + 1) as u16).try_into().unwrap()
}

fn at(qos: Qos) -> SubscriptionOptions {
    SubscriptionOptions {
        qos,
        ..Default::default()
    }
}

fn answer(session: &mut Session, kind: fn(Ack) -> Packet, id: PacketId, out: &mut WriteQueue) {
    let ack = Ack::new(id, ReasonCode::Success);
    session.handle(kind(ack), out).unwrap();
}

fn written(out: &mut WriteQueue) {
    let waiting = out.len();
    out.advance(waiting);
}

fn subscribe(broker: &Broker, to: &mut Attached, filter: &str, qos: Qos) -> Vec<ReasonCode> {
    let request = Subscribe {
        packet_id: id(1),
        subscription_id: None,
        user: Vec::new(),
        filters: vec![(filter.into(), at(qos))],
    };
    let identity = Identity::anonymous();
    let answer = broker.subscribe(&identity, &mut to.session, &to.outbox, &request);
    answer.unwrap().reasons
}

fn broker() -> Broker {
    let store = MemoryStore::new(Epoch(*b"benchmrk"), 1 << 30, 1 << 24);
    Broker::new(Default::default(), Limits::default(), Box::new(store))
}

fn attach(broker: &Broker, version: Version, client_id: &str, expiry: u32) -> Attached {
    let properties = ConnectProperties {
        session_expiry: Some(expiry),
        ..Default::default()
    };
    let connect = Connect {
        version,
        bridge: false,
        clean_start: true,
        keep_alive: 0,
        client_id: client_id.into(),
        will: None,
        username: None,
        password: None,
        properties,
    };
    let opening: Opening = negotiate(&connect, broker.limits(), u32::MAX, String::new).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime
        .block_on(broker.connect(&opening, true, &Identity::anonymous()))
        .unwrap()
        .0
}
