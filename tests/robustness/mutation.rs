//! Packets that were right before a few of their bytes changed, many on each connection: none of them brings the
//! gateway down, disturbs a healthy pair or leaves memory behind.

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    canary::Canary,
    random::{Random, Repeat, seed},
    support::{
        gateway::Gateway,
        http::Request,
        mqtt::Link,
        wire::{self, Opening, Properties, Publish, Value, Version, Will, property},
        within,
    },
};

const MIB: u64 = 1 << 20;

/// Mutated packets of one burst.
const BURST: usize = 100;

/// Connections at a time.
const MUTANTS: usize = 4;

/// Bursts of each of them for one song of the canary.
const BURSTS: usize = 10;

/// Everything a client says, as it should be.
fn phrases(version: Version) -> Vec<Vec<u8>> {
    let five = |properties: Properties| match version {
        Version::V5 => properties,
        _ => Properties::default(),
    };
    let message = |qos: u8, retain: bool| Publish {
        topic: format!("mutant/{qos}"),
        payload: b"payload".to_vec(),
        qos,
        retain,
        id: 7,
        properties: five(
            Properties::default()
                .with(property::PAYLOAD_FORMAT, Value::Byte(1))
                .with(property::MESSAGE_EXPIRY, Value::Four(3))
                .with(property::TOPIC_ALIAS, Value::Two(1))
                .text(property::RESPONSE_TOPIC, "mutant/answer")
                .user("name", "value"),
        ),
        ..Publish::default()
    };
    let id = five(Properties::default().with(property::SUBSCRIPTION_ID, Value::Var(5)));
    let ack = |kind| match version {
        Version::V5 => wire::ack_with(kind, 7, 0x10),
        _ => wire::ack(kind, 7),
    };
    let mut phrases = vec![
        wire::publish(version, &message(0, false)),
        wire::publish(version, &message(0, true)),
        wire::publish(version, &message(1, false)),
        wire::publish(version, &message(2, false)),
        ack(wire::PUBACK),
        ack(wire::PUBREC),
        ack(wire::PUBREL),
        ack(wire::PUBCOMP),
        wire::subscribe(version, 9, &[("mutant/#", 1), ("mutant/+", 2)], &id),
        wire::subscribe(version, 10, &[("$share/g/mutant/1", 1)], &id),
        wire::unsubscribe(version, 11, &["mutant/#", "mutant/+"]),
        wire::pingreq(),
    ];
    if version == Version::V5 {
        let method = Properties::default().text(0x15, "method");
        let mut body = vec![0x19];
        wire::put_properties(&mut body, &method);
        phrases.push(wire::packet(0xF0, &body));
    }
    phrases
}

fn opening(version: Version) -> Opening {
    let mut opening = Opening::new(version, "mutant").will(Will {
        topic: "mutant/will".to_owned(),
        payload: b"gone".to_vec(),
        ..Will::default()
    });
    if version == Version::V5 {
        opening = opening
            .property(property::RECEIVE_MAXIMUM, Value::Two(10))
            .property(property::TOPIC_ALIAS_MAXIMUM, Value::Two(5));
    }
    opening
}

/// Changes a few bytes; mostly such that what follows can still be read.
fn mutate(packet: &mut Vec<u8>, random: &mut Random<'_>) {
    // behind the fixed header: one that lies about its length swallows all that follows
    let body = match random.once_in(50) {
        true => 0,
        false => 2.min(packet.len() as u64 - 1),
    };
    for _ in 0..random.between(1, 3) {
        let at = random.between(body, packet.len() as u64 - 1) as usize;
        match random.below(4) {
            0 => packet[at] ^= 1 << random.below(8),
            1 => packet[at] = random.of(&[0, 1, 0x7F, 0x80, 0xFF, b'+', b'#', b'/', b'$']),
            _ => packet[at] = random.below(256) as u8,
        }
    }
    if random.once_in(30) {
        let at = random.below(packet.len() as u64) as usize;
        packet.truncate(at.max(1));
    }
}

/// One connection: packets one after the other until the gateway ends it, or all are sent.
async fn burst(gateway: &Gateway, random: &mut Random<'_>) {
    let version = random.of(&[Version::V5, Version::V5, Version::V311, Version::V31]);
    let Link::Tcp(mut stream) = Link::tcp(gateway.mqtt).await else {
        unreachable!("asked for TCP")
    };
    let mut connect = opening(version).encode();
    if random.once_in(4) {
        mutate(&mut connect, random);
    }
    let phrases = phrases(version);
    let mut bytes = connect;
    for _ in 0..BURST {
        let mut packet = random.of(&phrases);
        mutate(&mut packet, random);
        bytes.extend(packet);
    }
    let (mut reader, mut writer) = stream.split();
    let write = async {
        let _ = writer.write_all(&bytes).await;
        let _ = writer.shutdown().await;
    };
    let read = async {
        let mut answers = Vec::new();
        // however it ends
        let _ = reader.read_to_end(&mut answers).await;
    };
    within("the gateway to end a mutant's connection", async {
        tokio::join!(write, read)
    })
    .await;
}

/// How many packets of connected clients the gateway has taken, whole or as the reason to end a connection.
async fn taken(gateway: &Gateway) -> u64 {
    let metrics = Request::get("/metrics").send(gateway.http).await.text();
    let count = |name: &str| {
        metrics
            .lines()
            .filter(|line| line.starts_with(name))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum::<u64>()
    };
    count("tidegate_mqtt_received_packets_total") + count("tidegate_refused_total")
}

/// Bursts until so many more packets were taken.
async fn half(gateway: &Gateway, canary: &mut Canary, random: &mut Random<'_>, packets: u64) {
    let goal = taken(gateway).await + packets;
    while taken(gateway).await < goal {
        let mutants = (0..MUTANTS).map(|_| {
            let mut own = Random::seeded(random.below(u64::MAX));
            async move {
                for _ in 0..BURSTS {
                    burst(gateway, &mut own).await;
                }
            }
        });
        tokio::join!(join_all(mutants), canary.sing());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutated_packets_bring_nothing_down_disturb_nobody_and_leave_nothing_behind() {
    let (seed, _) = seed("TIDEGATE_TEST_SEED");
    let _repeat = Repeat(format!(
        "TIDEGATE_TEST_SEED={seed} cargo test --test robustness mutated_packets"
    ));
    let mut random = Random::seeded(seed);
    let gateway = Gateway::start(&[
        "--set",
        "log.level=warn",
        // sessions that a mutant asks to be kept
        "--set",
        "session.max_expiry=1s",
    ]);
    let mut canary = Canary::perched(&gateway).await;
    let packets = match std::env::var_os("TIDEGATE_TEST_LONG") {
        Some(_) => 1_000_000,
        None => 100_000,
    };
    half(&gateway, &mut canary, &mut random, packets / 2).await;
    let first = gateway.resident();
    half(&gateway, &mut canary, &mut random, packets / 2).await;
    let second = gateway.resident();
    eprintln!(
        "{} {} {} {:?}",
        first,
        second,
        taken(&gateway).await,
        random.below(9)
    );
    canary.sing().await;
    canary.was_never_delayed();
    assert!(
        second < first + 8 * MIB,
        "{} MiB after the first half, {} after the second",
        first / MIB,
        second / MIB
    );
    let log = gateway.log();
    assert!(!log.contains("panicked"), "{log}");
    gateway.stop();
}
