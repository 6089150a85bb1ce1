//! The healthy pair: numbered messages at QoS 1, each awaited, in order, with the time it took.

use std::time::{Duration, Instant};

use crate::support::{
    gateway::Gateway,
    mqtt::Client,
    stream::{Encoding, Stream},
    unique,
    wire::{Opening, Publish},
};

/// A publisher, a subscriber and a stream that must never be disturbed.
pub struct Canary {
    topic: String,
    publisher: Client,
    subscriber: Client,
    stream: Stream,
    sent: u32,
    slowest: Duration,
}

impl Canary {
    pub async fn perched(gateway: &Gateway) -> Self {
        let topic = unique("canary");
        let publisher = Client::tcp(gateway, &Opening::v311(&unique("canary-in"))).await;
        let mut subscriber = Client::tcp(gateway, &Opening::v5(&unique("canary-out"))).await;
        subscriber.subscribe(&[(&topic, 1)]).await;
        let stream = Stream::ready(gateway.http, Encoding::Ndjson, &[&topic], "").await;
        Self {
            topic,
            publisher,
            subscriber,
            stream,
            sent: 0,
            slowest: Duration::ZERO,
        }
    }

    /// One message there; fails when another one comes, or none.
    pub async fn sing(&mut self) {
        self.sent += 1;
        let (text, since) = (self.sent.to_string(), Instant::now());
        self.publisher
            .publish(&Publish::new(&self.topic, text.as_str(), 1))
            .await;
        assert_eq!(
            self.subscriber.receive().await.text(),
            text,
            "the canary pair is in order"
        );
        assert_eq!(
            self.stream.message().await.data["payload"],
            text,
            "the canary's stream is in order"
        );
        self.slowest = self.slowest.max(since.elapsed());
    }

    /// Asserts that no message took longer than a healthy pair would accept.
    pub fn was_never_delayed(&self) {
        // on a busy machine the pair itself may have to wait for a second or two
        let most = Duration::from_secs(5);
        assert!(
            self.slowest < most,
            "one of {} messages took {:?}",
            self.sent,
            self.slowest
        );
    }
}
