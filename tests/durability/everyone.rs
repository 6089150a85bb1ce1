//! Everyone who takes part, and what they do together in one life of the gateway.

use std::{mem::take, sync::Arc, time::Duration};

use tokio::sync::{Semaphore, watch};

use crate::{
    cast::{self, Acting},
    publisher::Publisher,
    random::Random,
    record::Record,
    retained,
    subscriber::Subscriber,
    support::within,
    web::WebPublisher,
    world::World,
};

/// A subscriber that is away for several lives of the gateway misses more than waits for it by default.
pub const ROOMY: [&str; 4] = [
    "--set",
    "session.max_queued_messages=10000000",
    "--set",
    "session.max_queued_bytes=1GiB",
];

/// All of them, at rest.
pub struct Everyone {
    publishers: Vec<Publisher>,
    web: Vec<WebPublisher>,
    subscribers: Vec<Subscriber>,
}

impl Everyone {
    pub fn of(record: &Record, random: &mut Random<'_>) -> Self {
        Self {
            publishers: cast::publishers(&record.streams, random),
            web: cast::web_publishers(&record.streams),
            subscribers: cast::subscribers(&record.streams, random),
        }
    }

    /// Some subscribers sleep over this life of the gateway, with messages waiting for them.
    pub fn send_some_away(&mut self, random: &mut Random<'_>) {
        for subscriber in &mut self.subscribers {
            subscriber.away = random.once_in(5);
        }
    }

    /// Nobody sleeps over this life of the gateway.
    pub fn wake_all(&mut self) {
        for subscriber in &mut self.subscribers {
            subscriber.away = false;
        }
    }

    /// Looks for everything that must have survived, while publishers repeat what they had no answer for.
    pub async fn verify(mut self, world: &World) -> Self {
        retained::check(world).await;
        let (tell_marks, marks) = watch::channel(None);
        let (away, awake): (Vec<_>, Vec<_>) = take(&mut self.subscribers)
            .into_iter()
            .partition(|s| s.away);
        let (count, listening) = (awake.len() as u32, Arc::new(Semaphore::new(0)));
        let draining = Acting::begin(awake, |s: Subscriber| {
            s.drain(world.clone(), listening.clone(), marks.clone())
        });
        self = self.settle(world).await;
        // so that the markers come even to those whose sessions are lost, and what else they lost is seen
        let all = within(
            "every SUBACK after the restart",
            listening.acquire_many(count),
        );
        all.await.expect("never closed").forget();
        self = self.mark(world).await;
        tell_marks.send_replace(Some(world.record.last_sent()));
        self.subscribers = draining.end("the subscribers to have everything").await;
        self.subscribers.extend(away);
        self
    }

    /// Sessions that come and go end now and then; what is acknowledged after that makes it certain.
    pub async fn end_some(mut self, world: &World, random: &mut Random<'_>) -> Self {
        let (ending, staying): (Vec<_>, Vec<_>) = take(&mut self.subscribers)
            .into_iter()
            .partition(|s| s.comes_and_goes && !s.away && random.once_in(3));
        self.subscribers = staying;
        let ending = Acting::begin(ending, |s: Subscriber| s.end(world.clone()));
        let mut ended = ending.end("the sessions to end").await;
        if !ended.is_empty() {
            self = self.mark(world).await;
            for subscriber in &mut ended {
                subscriber.session.seal(world);
            }
        }
        self.subscribers.extend(ended);
        self
    }

    /// The publishers bring to its end what the kill interrupted.
    async fn settle(mut self, world: &World) -> Self {
        let publishers = Acting::begin(self.publishers, |p| p.settle(world.clone()));
        let web = Acting::begin(self.web, |p| p.settle(world.clone()));
        let what = "the publishers to get their answers";
        self.publishers = publishers.end(what).await;
        self.web = web.end(what).await;
        self
    }

    /// The publishers publish their markers.
    async fn mark(mut self, world: &World) -> Self {
        let publishers = Acting::begin(self.publishers, |p| p.mark(world.clone()));
        let web = Acting::begin(self.web, |p| p.mark(world.clone()));
        let what = "the markers to be acknowledged";
        self.publishers = publishers.end(what).await;
        self.web = web.end(what).await;
        self
    }

    /// Everyone does what they do, until the gateway is brought to its end in the middle of it.
    pub async fn load(
        mut self,
        world: &World,
        moment: Duration,
        end: impl FnOnce(),
        killed: watch::Sender<bool>,
    ) -> Self {
        let (away, awake) = self.subscribers.into_iter().partition(|s| s.away);
        let subscribers = Acting::begin(awake, |s: Subscriber| s.load(world.clone()));
        let publishers = Acting::begin(self.publishers, |p| p.load(world.clone()));
        let web = Acting::begin(self.web, |p| p.load(world.clone()));
        tokio::time::sleep(moment).await;
        end();
        killed.send_replace(true);
        let what = "everyone to notice the kill";
        self.publishers = publishers.end(what).await;
        self.web = web.end(what).await;
        self.subscribers = subscribers.end(what).await;
        self.subscribers.extend::<Vec<_>>(away);
        self
    }
}
