//! The numbers under `$SYS/broker/`, with the names that Mosquitto's exporters read: retained, every few seconds.
//!
//! Publishes in the gateway's own name and counts nothing itself: everything comes from [`METRICS`].

use super::process;
use crate::{
    auth::identity::Identity,
    broker::{Broker, Draft, publish::Publisher},
    metrics::METRICS,
    mqtt::{Qos, topic::TopicName},
};
use std::{collections::HashMap, time::Duration};

/// Minutes over which loads are averaged.
const AVERAGES: [u32; 3] = [1, 5, 15];

/// Publishes until dropped.
pub async fn publish(broker: Broker) {
    let interval = broker.config().sys_interval;
    let mut sys = Sys {
        publisher: broker.publisher(Identity::anonymous(), None),
        broker,
        said: HashMap::new(),
        loads: Loads::default(),
    };
    sys.say("version", format!("tidegate {}", env!("CARGO_PKG_VERSION")));
    let mut round = tokio::time::interval(interval);
    round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        round.tick().await;
        sys.round(interval);
    }
}

struct Sys {
    broker: Broker,
    publisher: Publisher,
    /// What every topic said last: what has not changed is not said again.
    said: HashMap<String, String>,
    loads: Loads,
}

impl Sys {
    fn round(&mut self, interval: Duration) {
        self.broker.measure();
        self.say(
            "uptime",
            format!("{} seconds", self.broker.uptime().as_secs()),
        );
        for (name, value) in numbers() {
            self.say(name, value.to_string());
        }
        for (name, average) in self.loads.advance(interval) {
            self.say(&name, format!("{average:.2}"));
        }
    }

    fn say(&mut self, name: &str, value: String) {
        if self.said.get(name) == Some(&value) {
            return;
        }
        // the names are ours: all of them are topics
        let Ok(topic) = TopicName::parse(&format!("$SYS/broker/{name}")) else {
            return;
        };
        let payload = value.as_str().into();
        let draft = Draft {
            topic,
            payload,
            qos: Qos::AtMostOnce,
            retain: true,
            properties: None,
        };
        if self.broker.announce(&mut self.publisher, draft).is_ok() {
            self.said.insert(name.to_owned(), value);
        }
    }
}

fn numbers() -> Vec<(&'static str, u64)> {
    let m = &METRICS;
    let (connected, parked) = (m.clients_connected.get(), m.sessions_parked.get());
    let memory = process::memory();
    vec![
        ("bytes/received", m.received.bytes.get()),
        ("bytes/sent", m.sent.bytes.get()),
        ("messages/received", m.received.packets.get()),
        ("messages/sent", m.sent.packets.get()),
        (
            "messages/stored",
            m.stored_messages.get() + m.retained_messages.get(),
        ),
        ("publish/bytes/received", m.received.publish_bytes.get()),
        ("publish/bytes/sent", m.sent.publish_bytes.get()),
        ("publish/messages/received", m.received.publishes.get()),
        ("publish/messages/sent", m.sent.publishes.get()),
        (
            "publish/messages/dropped",
            m.publishes_dropped.get() + m.stream_drops.get(),
        ),
        ("clients/connected", connected),
        ("clients/active", connected),
        ("clients/disconnected", parked),
        ("clients/inactive", parked),
        ("clients/total", connected + parked),
        ("clients/maximum", m.clients_maximum.get()),
        ("clients/expired", m.sessions_expired.get()),
        ("connections/socket/count", m.sockets_open.get()),
        ("subscriptions/count", m.subscriptions.get()),
        ("shared_subscriptions/count", m.subscriptions_shared.get()),
        ("retained messages/count", m.retained_messages.get()),
        (
            "store/messages/count",
            m.stored_messages.get() + m.retained_messages.get(),
        ),
        (
            "store/messages/bytes",
            m.stored_bytes.get() + m.retained_bytes.get(),
        ),
        ("heap/current", memory.resident),
        ("heap/maximum", memory.peak),
    ]
}

/// Moving averages per minute of everything that has a load.
#[derive(Default)]
struct Loads {
    last: Option<Vec<u64>>,
    averages: Vec<[f64; 3]>,
}

impl Loads {
    fn advance(&mut self, interval: Duration) -> Vec<(String, f64)> {
        let (names, now): (Vec<_>, Vec<_>) = loads().into_iter().unzip();
        let last = self
            .last
            .replace(now.clone())
            .unwrap_or_else(|| vec![0; now.len()]);
        self.averages.resize(now.len(), [0.0; 3]);
        let mut said = Vec::with_capacity(now.len() * AVERAGES.len());
        for (nth, name) in names.into_iter().enumerate() {
            let per_minute =
                now[nth].saturating_sub(last[nth]) as f64 * 60.0 / interval.as_secs_f64();
            for (average, minutes) in self.averages[nth].iter_mut().zip(AVERAGES) {
                *average = decay(*average, per_minute, interval, minutes);
                said.push((format!("load/{name}/{minutes}min"), *average));
            }
        }
        said
    }
}

/// One step of an exponentially decaying average over `minutes`.
fn decay(average: f64, sample: f64, interval: Duration, minutes: u32) -> f64 {
    let weight = (-interval.as_secs_f64() / (60.0 * f64::from(minutes))).exp();
    sample + weight * (average - sample)
}

fn loads() -> [(&'static str, u64); 9] {
    let m = &METRICS;
    [
        ("messages/received", m.received.packets.get()),
        ("messages/sent", m.sent.packets.get()),
        ("publish/received", m.received.publishes.get()),
        ("publish/sent", m.sent.publishes.get()),
        (
            "publish/dropped",
            m.publishes_dropped.get() + m.stream_drops.get(),
        ),
        ("bytes/received", m.received.bytes.get()),
        ("bytes/sent", m.sent.bytes.get()),
        ("connections", m.clients_total.get()),
        ("sockets", m.sockets_opened.get()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_load_becomes_its_own_average() {
        let ten = Duration::from_secs(10);
        let average = (0..600).fold(0.0, |average, _| decay(average, 42.0, ten, 5));
        assert!((average - 42.0).abs() < 0.01);
        assert!(
            (decay(42.0, 0.0, Duration::from_secs(60), 1) - 42.0 / std::f64::consts::E).abs()
                < 0.01
        );
    }
}
