//! The driver: start, look for everything that was acknowledged, load, kill, and again.

use std::{
    io::Write,
    mem::take,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, watch};

use crate::{
    cast::{self, Acting},
    findings::Findings,
    publisher::Publisher,
    random::{self, Random, Repeat},
    record::Record,
    retained,
    subscriber::Subscriber,
    support::{gateway::Gateway, within},
    web::WebPublisher,
    world::{World, free_ports},
};

/// Everyone, at rest.
struct Cast {
    publishers: Vec<Publisher>,
    web: Vec<WebPublisher>,
    subscribers: Vec<Subscriber>,
}

/// A subscriber that is away for several lives of the gateway misses more than waits for it by default.
const ROOMY: [&str; 4] = [
    "--set",
    "session.max_queued_messages=10000000",
    "--set",
    "session.max_queued_bytes=1GiB",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_often_the_gateway_is_killed_what_it_acknowledged_is_there_and_qos_2_comes_once() {
    let cycles = match std::env::var("TIDEGATE_TEST_CYCLES") {
        Ok(text) => text.parse().expect("TIDEGATE_TEST_CYCLES is a number"),
        Err(_) if std::env::var_os("TIDEGATE_TEST_LONG").is_some() => 1_000,
        Err(_) => 30,
    };
    let (seed, _) = random::seed("TIDEGATE_TEST_SEED");
    // the times are not in the seed: a crash that needs a certain moment may take several runs to show again
    let _repeat = Repeat(format!(
        "TIDEGATE_TEST_SEED={seed} cargo test --test durability"
    ));
    tell(&format!("{cycles} kills, seed {seed}"));

    let mut random = Random::seeded(seed);
    let data = tempfile::tempdir().expect("a folder for the gateway's data");
    let data = Arc::new(data);
    let ports = free_ports(&mut random);
    let record = Arc::new(Record::of(cast::streams()));
    let findings = Arc::new(Findings::of_run(seed));
    let mut cast = Cast {
        publishers: cast::publishers(&record.streams, &mut random),
        web: cast::web_publishers(&record.streams),
        subscribers: cast::subscribers(&record.streams, &mut random),
    };
    let (begun, mut told) = (Instant::now(), Instant::now());
    for cycle in 0..=cycles {
        let _cycle = Repeat(format!("it was cycle {cycle}"));
        let is_last = cycle == cycles;
        if random.once_in(5) {
            let mut command = Gateway::command(data.path(), ports, &ROOMY);
            let mut child = command.spawn().expect("the built tidegate starts");
            // a crash while it recovers from a crash
            thread::sleep(Duration::from_millis(random.between(1, 60)));
            child.kill().expect("SIGKILL");
            child.wait().expect("the killed child's status");
        }
        let gateway = Gateway::start_at(data.clone(), ports, &ROOMY);
        let (world, killed) = World::around(&gateway, cycle, &record, &findings);
        for subscriber in &mut cast.subscribers {
            subscriber.away = cycle > 0 && !is_last && random.once_in(5);
        }
        cast = cast.verify(&world).await;
        cast = cast.end_some(&world, &mut random).await;
        findings.fail_if_any(cycle);
        if is_last {
            gateway.stop();
            break;
        }
        let moment = Duration::from_millis(random.between(200, 2_000));
        cast = cast.load(&world, gateway, moment, killed).await;
        if told.elapsed() > Duration::from_secs(20) {
            told = Instant::now();
            let count = record.count_acknowledged();
            let took = begun.elapsed().as_secs();
            tell(&format!(
                "{} of {cycles} kills, {count} messages acknowledged, {took} s",
                cycle + 1
            ));
        }
    }
    let count = record.count_acknowledged();
    tell(&format!("{cycles} kills, {count} messages acknowledged"));
}

impl Cast {
    /// Looks for everything that must have survived, while publishers repeat what they had no answer for.
    async fn verify(mut self, world: &World) -> Self {
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
    async fn end_some(mut self, world: &World, random: &mut Random<'_>) -> Self {
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

    /// Everyone does what they do, until the gateway is killed in the middle of it.
    async fn load(
        mut self,
        world: &World,
        gateway: Gateway,
        moment: Duration,
        killed: watch::Sender<bool>,
    ) -> Self {
        let (away, awake) = self.subscribers.into_iter().partition(|s| s.away);
        let subscribers = Acting::begin(awake, |s: Subscriber| s.load(world.clone()));
        let publishers = Acting::begin(self.publishers, |p| p.load(world.clone()));
        let web = Acting::begin(self.web, |p| p.load(world.clone()));
        tokio::time::sleep(moment).await;
        drop(gateway); // SIGKILL
        killed.send_replace(true);
        let what = "everyone to notice the kill";
        self.publishers = publishers.end(what).await;
        self.web = web.end(what).await;
        self.subscribers = subscribers.end(what).await;
        self.subscribers.extend::<Vec<_>>(away);
        self
    }
}

/// Not by `eprintln`, which the test harness holds back until the end: a thousand cycles take most of an hour.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "durability: {text}");
}
