//! The cases in which messages flow as fast as windows allow: who is connected to whom, and the measuring itself.

use super::{
    flow::Flow,
    load::{Case, Load, WARM_UP, client_id},
    outcome::{Outcome, number},
    process,
    publisher::Publisher,
    ring::Ring,
    subscriber::Subscriber,
    wire::Wire,
};
use crate::cli::client::Failure;
use futures_util::{StreamExt, TryStreamExt, stream};
use std::{
    io::{self, IsTerminal},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Lost is what has not come when nothing has come for so long.
const PATIENCE: Duration = Duration::from_millis(500);

/// Pairs that are opened at a time.
pub const OPENING: usize = 32;

/// The topic of one publisher with many subscribers.
pub const ALL: &str = "bench/all";

/// Everything that runs in one case.
#[derive(Debug, Default)]
pub struct Traffic {
    /// One per publisher.
    pub flows: Vec<Arc<Flow>>,
    /// Whether to publish now.
    pub open: Arc<AtomicBool>,
    /// Publishers, subscribers, streams; all end when this is dropped.
    pub tasks: JoinSet<io::Result<()>>,
}

/// Publishers that each have one subscriber, over TCP or WebSocket. Each publishes to `topics` topics in turn.
pub async fn pairs(load: &Load, websocket: bool, topics: usize) -> Result<Traffic, Failure> {
    let mut traffic = Traffic::default();
    let door = load.door(websocket);
    // some servers are slow to open a connection, but not slower to open many
    let pairs = stream::iter(0..load.publishers(Case::Pairs))
        .map(|number| {
            let door = &door;
            async move {
                let mut subscriber = door.open(client_id("sub", number)).await?;
                let filter = match topics {
                    1 => topic(number, 0),
                    _ => format!("bench/+/pair{number:06}/+"),
                };
                subscriber.subscribe(&[filter], load.qos).await?;
                let publisher = door.open(client_id("pub", number)).await?;
                Ok::<_, Failure>((number, subscriber, publisher))
            }
        })
        .buffered(OPENING)
        .try_collect::<Vec<_>>()
        .await?;
    for (number, subscriber, publisher) in pairs {
        let flow = Arc::new(Flow::new(1));
        let subscriber = Subscriber {
            wire: subscriber,
            flows: vec![flow.clone()],
            payload: load.payload,
        };
        traffic.tasks.spawn(subscriber.run());
        let ring = usize::from(load.window(Case::Pairs)).max(topics);
        let topics = (0..ring).map(|n| topic(number, n % topics));
        let ring = Ring::new(load.shape(websocket), number as u32, topics);
        traffic.publish(load, publisher, flow, ring);
    }
    Ok(traffic)
}

fn topic(pair: usize, number: usize) -> String {
    format!("bench/{:03}/pair{pair:06}/{number:03}", number % 100)
}

/// One publisher whose messages go to many subscribers.
pub async fn fan_out(load: &Load, count: usize) -> Result<Traffic, Failure> {
    let mut traffic = Traffic::default();
    let flow = Arc::new(Flow::new(count));
    for number in 0..count {
        let mut wire = load.door(false).open(client_id("sub", number)).await?;
        wire.subscribe(&[ALL.to_owned()], load.qos).await?;
        let subscriber = Subscriber {
            wire,
            flows: vec![flow.clone()],
            payload: load.payload,
        };
        traffic.tasks.spawn(subscriber.run());
    }
    traffic.publish_all(load, flow).await?;
    Ok(traffic)
}

/// Many publishers whose messages go to one subscriber.
pub async fn fan_in(load: &Load) -> Result<Traffic, Failure> {
    if load.payload < 4 {
        return Err("fan-in needs a payload of 4 bytes, to know whose message it is".into());
    }
    let mut traffic = Traffic::default();
    let count = load.publishers(Case::FanIn);
    let flows: Vec<_> = (0..count).map(|_| Arc::new(Flow::new(1))).collect();
    let mut wire = load.door(false).open(client_id("sub", 0)).await?;
    wire.subscribe(&["bench/in/+".to_owned()], load.qos).await?;
    let subscriber = Subscriber {
        wire,
        flows: flows.clone(),
        payload: load.payload,
    };
    traffic.tasks.spawn(subscriber.run());
    for (number, flow) in flows.into_iter().enumerate() {
        let topics = (0..load.window(Case::FanIn)).map(|_| format!("bench/in/{number:06}"));
        let ring = Ring::new(load.shape(false), number as u32, topics);
        let wire = load.door(false).open(client_id("pub", number)).await?;
        traffic.publish(load, wire, flow, ring);
    }
    Ok(traffic)
}

impl Traffic {
    /// Adds a publisher to the topic of [`fan_out`].
    pub async fn publish_all(&mut self, load: &Load, flow: Arc<Flow>) -> Result<(), Failure> {
        let topics = (0..load.window(Case::FanOut)).map(|_| ALL.to_owned());
        let ring = Ring::new(load.shape(false), 0, topics);
        let wire = load.door(false).open(client_id("pub", 0)).await?;
        self.publish(load, wire, flow, ring);
        Ok(())
    }

    fn publish(&mut self, load: &Load, wire: Wire, flow: Arc<Flow>, ring: Ring) {
        let publisher = Publisher {
            wire,
            ring,
            flow: flow.clone(),
            // the cases whose publishers these are have the same
            window: load.window(Case::Pairs).into(),
            qos: load.qos,
            open: self.open.clone(),
        };
        self.flows.push(flow);
        self.tasks.spawn(publisher.run());
    }

    /// Lets messages flow, measures, and waits for the last ones; may be repeated.
    pub async fn measure(&mut self, case: Case, load: &Load) -> Result<Outcome, Failure> {
        let lost = self.missing();
        self.open.store(true, Relaxed);
        self.wake();
        self.watch(WARM_UP, None).await?;
        let (cpu, start, before) = (self.cpu(load), Instant::now(), self.received());
        self.watch(load.time(), Some(load)).await?;
        let (delivered, time) = (self.received() - before, start.elapsed());
        let cpu = self
            .cpu(load)
            .zip(cpu)
            .map(|(after, before)| after - before);
        let mut outcome = Outcome::new(case, load);
        outcome.rate(delivered, time, cpu);
        outcome.rss = load.pid.and_then(process::rss);
        self.open.store(false, Relaxed);
        outcome.lost = self.drain().await?.saturating_sub(lost);
        Ok(outcome)
    }

    fn cpu(&self, load: &Load) -> Option<Duration> {
        load.pid.and_then(process::cpu)
    }

    fn received(&self) -> u64 {
        self.flows.iter().map(|flow| flow.received()).sum()
    }

    /// Deliveries that were expected and have not come.
    fn missing(&self) -> u64 {
        let expected: u64 = self.flows.iter().map(|flow| flow.expected()).sum();
        expected.saturating_sub(self.received())
    }

    fn wake(&self) {
        for flow in &self.flows {
            flow.wake.notify_one();
        }
    }

    /// Lets `time` pass, unless a connection fails. Tells of progress every second if there is `load`.
    async fn watch(&mut self, time: Duration, load: Option<&Load>) -> Result<(), Failure> {
        let start = Instant::now();
        let mut seen = self.received();
        while let Some(left) = time
            .checked_sub(start.elapsed())
            .filter(|left| !left.is_zero())
        {
            let pause = left.min(Duration::from_secs(1));
            tokio::select! {
                ended = self.tasks.join_next() => match ended {
                    Some(Ok(Err(error))) => return Err(format!("a connection failed: {error}").into()),
                    ended => return Err(format!("a connection ended: {ended:?}").into()),
                },
                () = tokio::time::sleep(pause) => {}
            }
            if load.is_some() {
                let now = self.received();
                let rate = (now - seen) as f64 / pause.as_secs_f64();
                progress(&format!(
                    "{:.0} s, {}/s",
                    start.elapsed().as_secs_f64(),
                    number(rate)
                ));
                seen = now;
            }
        }
        Ok(())
    }

    /// Waits until everything has come or nothing comes any more; returns what is missing.
    async fn drain(&mut self) -> Result<u64, Failure> {
        loop {
            let (before, missing) = (self.received(), self.missing());
            if missing == 0 {
                return Ok(0);
            }
            self.watch(PATIENCE, None).await?;
            if self.received() == before {
                return Ok(missing);
            }
        }
    }
}

/// A line on standard error that the next one replaces; nothing if nobody looks.
pub fn progress(line: &str) {
    if io::stderr().is_terminal() {
        eprint!("\r{line:<60}\r");
    }
}
