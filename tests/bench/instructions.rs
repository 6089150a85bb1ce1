//! Instructions per operation on the hot path, counted by valgrind's callgrind: the same on a busy machine as on an
//! idle one. `cargo bench --bench instructions` prints a table.
//!
//! Each case runs twice under callgrind, with fewer and with more repetitions; the difference is free of set-up.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{hint::black_box, process::Command, sync::Arc};
use tidegate::{
    auth::identity::Identity,
    broker::{Broker, Draft, outbox::Outbox, registry::Attached},
    message::{Delivery, Epoch, Message, Millis},
    mqtt::{
        Packet, Qos, Version,
        ack::Ack,
        connect::{Connect, ConnectProperties},
        frame::{Decoder, Peer},
        payload::Payload,
        publish::Publish,
        reason::ReasonCode,
        subscribe::{Subscribe, SubscriptionOptions},
        topic::TopicName,
        write_queue::WriteQueue,
    },
    routing::Routes,
    session::{
        Session,
        limits::Limits,
        opening::{Opening, negotiate},
    },
    store::memory::MemoryStore,
};

const FEW: usize = 2_000;
const MANY: usize = 12_000;
const CASE: &str = "TIDEGATE_BENCH_CASE";
const REPETITIONS: &str = "TIDEGATE_BENCH_REPETITIONS";

type Case = (&'static str, fn(usize));

const CASES: &[Case] = &[
    ("decode PUBLISH QoS 0, 3.1.1", |n| {
        decode(Version::V311, Qos::AtMostOnce, n)
    }),
    ("decode PUBLISH QoS 1, 5.0", |n| {
        decode(Version::V5, Qos::AtLeastOnce, n)
    }),
    ("match, 1,000 filters, a third with wildcards", matching),
    ("publish QoS 0 to one receiver, and take it", |n| {
        publish(Qos::AtMostOnce, 0, n)
    }),
    ("publish QoS 1 to one clean session, and take it", |n| {
        publish(Qos::AtLeastOnce, 0, n)
    }),
    ("publish QoS 1 to one durable session, and take it", |n| {
        publish(Qos::AtLeastOnce, 100, n)
    }),
    ("deliver QoS 0, 3.1.1", |n| {
        deliver(Version::V311, Qos::AtMostOnce, n)
    }),
    ("deliver QoS 1 and its PUBACK, 5.0", |n| {
        deliver(Version::V5, Qos::AtLeastOnce, n)
    }),
];

fn main() {
    if let (Ok(case), Ok(repetitions)) = (std::env::var(CASE), std::env::var(REPETITIONS)) {
        return CASES[case.parse::<usize>().unwrap()].1(repetitions.parse().unwrap());
    }
    // `cargo test --all-targets` also calls benches: counting is for those who ask for it
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!("{:>12}  case", "instructions");
    for (nth, (name, _)) in CASES.iter().enumerate() {
        let per_operation = (count(nth, MANY) - count(nth, FEW)) as f64 / (MANY - FEW) as f64;
        println!("{per_operation:>12.1}  {name}");
    }
}

fn count(case: usize, repetitions: usize) -> u64 {
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .env(CASE, case.to_string())
        .env(REPETITIONS, repetitions.to_string())
        .output()
        .expect("valgrind runs; Debian's package is called valgrind");
    let report = String::from_utf8_lossy(&run.stderr);
    let collected = report
        .lines()
        .find_map(|line| line.split("Collected : ").nth(1));
    collected
        .unwrap_or_else(|| panic!("callgrind says what it collected:\n{report}"))
        .trim()
        .parse()
        .unwrap()
}

fn decode(version: Version, qos: Qos, repetitions: usize) {
    let packet = Packet::Publish(Publish {
        dup: false,
        qos,
        retain: false,
        packet_id: (qos > Qos::AtMostOnce).then(|| 7.try_into().unwrap()),
        topic: Some(topic()),
        alias: None,
        subscription_ids: Default::default(),
        properties: None,
        payload: payload(),
    });
    let mut bytes = Vec::new();
    (0..100).for_each(|_| packet.encode(version, &mut bytes));
    let mut decoder = Decoder::with_version(Peer::Client, version, 1 << 20);
    let mut packets = Vec::new();
    for _ in 0..repetitions / 100 {
        decoder.feed(&bytes, &mut packets).unwrap();
        black_box(&packets);
        packets.clear();
    }
}

fn matching(repetitions: usize) {
    let routes: Routes<Arc<Outbox>> = Routes::default();
    let broker = broker();
    for nth in 0..1000_u32 {
        let text = match nth % 3 {
            0 => format!("plant/{}/+/temperature", nth % 50),
            _ => format!("plant/{}/line{nth}/temperature", nth % 50),
        };
        let receiver = attach(&broker, Version::V311, &format!("c{nth}"), 0).outbox;
        routes.subscribe(
            &tidegate::mqtt::topic::TopicFilter::parse(&text).unwrap(),
            receiver,
            at(Qos::AtMostOnce),
            None,
        );
    }
    for nth in 0..repetitions {
        black_box(routes.matching(&format!("plant/{}/line7/temperature", nth % 50), None));
    }
}

fn publish(qos: Qos, expiry: u32, repetitions: usize) {
    let broker = broker();
    let mut attached = attach(&broker, Version::V5, "receiver", expiry);
    let request = Subscribe {
        packet_id: 1.try_into().unwrap(),
        subscription_id: None,
        user: Vec::new(),
        filters: vec![("plant/#".into(), at(qos))],
    };
    broker
        .subscribe(
            &Identity::anonymous(),
            &mut attached.session,
            &attached.outbox,
            &request,
        )
        .unwrap();
    let mut publisher = broker.publisher(Identity::anonymous(), None);
    let (topic, payload) = (topic(), payload());
    let mut batch = Vec::new();
    for _ in 0..repetitions {
        let draft = Draft {
            topic: topic.clone(),
            payload: payload.clone(),
            qos,
            retain: false,
            properties: None,
        };
        broker.publish(&mut publisher, draft).unwrap();
        attached.outbox.take(&mut batch, 100, 100);
        black_box(batch.drain(..).count());
    }
}

fn deliver(version: Version, qos: Qos, repetitions: usize) {
    let broker = broker();
    let mut session = attach(&broker, version, "receiver", 0).session;
    let mut out = WriteQueue::default();
    let message = Arc::new(Message::new(
        topic(),
        payload(),
        qos,
        false,
        None,
        None,
        Millis(1),
    ));
    for nth in 0..repetitions {
        let delivery = Delivery {
            message: message.clone(),
            qos,
            retain: false,
            position: None,
            subscription_ids: None,
            share: None,
        };
        session.deliver(delivery, Millis(2), &mut out);
        if qos > Qos::AtMostOnce {
            let id = (nth % 65_535 + 1) as u16;
            session
                .handle(
                    Packet::PubAck(Ack::new(id.try_into().unwrap(), ReasonCode::Success)),
                    &mut out,
                )
                .unwrap();
        }
        let waiting = out.len();
        out.advance(waiting);
    }
    black_box(session_is_idle(&session));
}

fn session_is_idle(session: &Session) -> bool {
    session.in_flight() == 0
}

fn broker() -> Broker {
    let store = MemoryStore::new(Epoch(*b"benchmrk"), 1 << 30);
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
    runtime.block_on(broker.connect(&opening, true)).unwrap()
}

fn at(qos: Qos) -> SubscriptionOptions {
    SubscriptionOptions {
        qos,
        ..Default::default()
    }
}

fn topic() -> TopicName {
    TopicName::parse("plant/7/line7/temperature").unwrap()
}

fn payload() -> Payload {
    vec![b'x'; 64].into()
}
