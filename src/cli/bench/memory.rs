//! What things cost in the server's memory: it is read, many of one thing are made, it is read again. Only a server that
//! has just started tells the truth; one that has had much memory before uses it again.

use super::{
    frames,
    load::{Case, Load, Via, client_id},
    outcome::Outcome,
    process,
    ring::{self, Shape},
    traffic::progress,
    web,
    wire::Wire,
};
use crate::cli::client::Failure;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long a server may take to come to rest.
const REST: Duration = Duration::from_millis(700);
/// Filters of one session and of one SUBSCRIBE, within the limits of most servers.
const PER_SESSION: u32 = 1000;
const PER_PACKET: usize = 50;
/// Retained messages that are written at once.
const BATCH: u32 = 500;

/// Connections that are open and do nothing.
pub async fn idle(load: &Load) -> Result<Outcome, Failure> {
    // what the first connection costs is not what a connection costs
    let _first = connection(load, 0).await?;
    let before = at_rest(load).await;
    let count = load.count(Case::Idle);
    let mut held = Vec::with_capacity(count as usize);
    for number in 1..=count {
        if number % 500 == 0 {
            progress(&format!("{number} connections"));
        }
        held.push(connection(load, number as usize).await?);
    }
    let mut outcome = Outcome::new(Case::Idle, load);
    outcome.memory(count, before, at_rest(load).await);
    Ok(outcome)
}

/// Kept only to stay open.
enum Held {
    Mqtt { _wire: Wire },
    Sse { _stream: TcpStream },
}

async fn connection(load: &Load, number: usize) -> Result<Held, Failure> {
    let topic = format!("bench/idle/{number:06}");
    if load.via == Via::Sse {
        let (_stream, _) = web::open_stream(load, &topic).await?;
        return Ok(Held::Sse { _stream });
    }
    let door = load.door(load.via == Via::Ws);
    let mut wire = door.open(client_id("idle", number)).await?;
    if load.subscribed {
        wire.subscribe(&[topic], load.qos).await?;
    }
    wire.shrink();
    Ok(Held::Mqtt { _wire: wire })
}

/// Retained messages, each of its own topic; they are cleared afterwards.
pub async fn retained(load: &Load) -> Result<Outcome, Failure> {
    let mut wire = load.door(false).open(client_id("retain", 0)).await?;
    let before = at_rest(load).await;
    let count = load.count(Case::Retained);
    retain(&mut wire, load, count, load.payload).await?;
    let mut outcome = Outcome::new(Case::Retained, load);
    outcome.memory(count, before, at_rest(load).await);
    retain(&mut wire, load, count, 0).await?;
    Ok(outcome)
}

async fn retain(wire: &mut Wire, load: &Load, count: u32, payload: usize) -> Result<(), Failure> {
    let shape = Shape {
        qos: 1,
        retain: true,
        payload,
        ..load.shape(false)
    };
    let batch = BATCH.min(wire.receive_maximum.into());
    for first in (0..count).step_by(batch as usize) {
        let mut packets = Vec::new();
        let numbers = first..count.min(first + batch);
        for (number, id) in numbers.clone().zip(1..) {
            let topic = format!("bench/retained/{number:08}");
            packets.extend(ring::publish(shape, number, &topic, id));
        }
        wire.answer(&packets).await?;
        let mut acknowledged = 0;
        while acknowledged < numbers.len() {
            wire.fill().await?;
            wire.take(|frame| acknowledged += usize::from(frame.kind() == frames::PUBACK))?;
        }
        progress(&format!("{first} retained messages"));
    }
    Ok(())
}

/// Subscribes to many filters that nothing will match, a third of them with a wildcard. Returns the connections that
/// hold them, and the server's memory before and after.
pub async fn filters(load: &Load) -> Result<(Vec<Wire>, [Option<u64>; 2]), Failure> {
    let before = at_rest(load).await;
    let count = load.count(Case::Filters);
    let mut sessions = Vec::new();
    for first in (0..count).step_by(PER_SESSION as usize) {
        let mut wire = load
            .door(false)
            .open(client_id("filters", sessions.len()))
            .await?;
        let names: Vec<_> = (first..count.min(first + PER_SESSION))
            .map(filter)
            .collect();
        for part in names.chunks(PER_PACKET) {
            wire.subscribe(part, load.qos).await?;
        }
        sessions.push(wire);
        progress(&format!("{first} filters"));
    }
    Ok((sessions, [before, at_rest(load).await]))
}

/// Filters that share their first level with the topics of the pairs, so that each takes part in every match.
fn filter(number: u32) -> String {
    match number % 3 {
        0 => format!("bench/+/device{number:07}/state"),
        _ => format!("bench/{:03}/device{number:07}/state", number % 100),
    }
}

async fn at_rest(load: &Load) -> Option<u64> {
    let pid = load.pid?;
    tokio::time::sleep(REST).await;
    process::rss(pid)
}
