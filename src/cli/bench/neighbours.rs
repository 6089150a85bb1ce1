//! What subscribers that never read cost those that do: the same topic, with them and without.

use super::{
    frames,
    load::{Case, Load, client_id},
    outcome::Outcome,
    ring::{self, Shape},
    traffic::{self, Traffic, progress},
    wire::Wire,
};
use crate::cli::client::Failure;
use crate::mqtt::PacketId;

/// Messages for those that do not read: more than the system buffers for a connection and the gateway lets wait, so
/// that what is measured is not how their queues fill.
const FILL: usize = 768;
const FILL_BYTES: usize = 32 * 1024;
/// Where they go: matched, as the measured topic is, by the stalled ones' filter, but not by that of the others.
const FILL_TOPIC: &str = "bench/fill";

/// Measures the others without, with and again without the stalled ones.
pub async fn measure(load: &Load) -> Result<Outcome, Failure> {
    let case = Case::Neighbours;
    let mut traffic = traffic::fan_out(load, load.subscribers(case)).await?;
    let before = rate(&mut traffic, load).await?;
    let stalled = stall(load).await?;
    let mut outcome = traffic.measure(case, load).await?;
    drop(stalled);
    let after = rate(&mut traffic, load).await?;
    outcome.kept = Some(outcome.per_second / ((before + after) / 2.0));
    Ok(outcome)
}

async fn rate(traffic: &mut Traffic, load: &Load) -> Result<f64, Failure> {
    let outcome = traffic.measure(Case::Neighbours, load).await?;
    Ok(outcome.per_second)
}

/// Subscribers that have not read for so long that the server can write nothing more to them.
async fn stall(load: &Load) -> Result<Vec<Wire>, Failure> {
    let mut stalled = Vec::new();
    for number in 0..load.stalled {
        let id = client_id("stalled", number as usize);
        let mut wire = load.door(false).open(id).await?;
        wire.subscribe(&["bench/+".to_owned()], load.qos).await?;
        stalled.push(wire);
    }
    let mut wire = load.door(false).open(client_id("fill", 0)).await?;
    let shape = Shape {
        qos: 1,
        payload: FILL_BYTES,
        ..load.shape(false)
    };
    let message = ring::publish(shape, 0, FILL_TOPIC, PacketId::MIN.get());
    for sent in 0..FILL {
        wire.answer(&message).await?;
        let mut acknowledged = false;
        while !acknowledged {
            wire.fill().await?;
            wire.take(|frame| acknowledged |= frame.kind() == frames::PUBACK)?;
        }
        progress(&format!("{sent} messages to those that do not read"));
    }
    Ok(stalled)
}
