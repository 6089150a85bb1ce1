//! Who takes part: the publishers, the subscribers, and what they have to do with each other.

use std::future::Future;

use tokio::task::JoinHandle;

use crate::{
    publisher::Publisher,
    random::Random,
    record::Stream,
    session::Session,
    subscriber::Subscriber,
    support::{
        DEADLINE,
        wire::Version::{self, V5, V311},
    },
    web::WebPublisher,
};

/// Client, topics, QoS: one stream for each pair of topic and QoS.
type Publishing = (
    &'static str,
    Version,
    &'static [&'static str],
    &'static [u8],
);

const PUBLISHERS: &[Publishing] = &[
    (
        "mixed-5",
        V5,
        &["load/mixed-5/a", "load/mixed-5/b"],
        &[1, 2],
    ),
    (
        "mixed-311",
        V311,
        &["load/mixed-311/a", "load/mixed-311/b"],
        &[1, 2],
    ),
    ("twice-5", V5, &["load/twice-5/a"], &[2]),
    ("once-311", V311, &["load/once-311/b"], &[1]),
    (
        "keeper",
        V5,
        &["kept/a", "kept/b", "kept/c", "kept/d"],
        &[1],
    ),
];

/// Publishes over HTTP.
const WEB: &str = "web";
const WEB_TOPIC: &str = "load/web/a";

/// Client, filters, whether its session comes and goes.
type Subscribing = (&'static str, Version, &'static [(&'static str, u8)], bool);

const SUBSCRIBERS: &[Subscribing] = &[
    ("all-5", V5, &[("load/#", 2)], false),
    ("all-311", V311, &[("load/#", 2)], false),
    ("low-5", V5, &[("load/#", 1), ("kept/#", 1)], false),
    ("low-311", V311, &[("load/+/a", 1)], false),
    // one copy at the highest QoS
    ("overlapping", V5, &[("load/#", 1), ("load/+/b", 2)], false),
    ("guest", V5, &[("load/mixed-5/#", 2)], true),
    ("passer-by", V5, &[("load/+/a", 2), ("kept/a", 1)], true),
];

/// Every stream that anybody publishes.
pub fn streams() -> Vec<Stream> {
    let mut streams = vec![];
    for (publisher, _, topics, qualities) in PUBLISHERS {
        for topic in *topics {
            streams.extend(qualities.iter().map(|qos| Stream {
                publisher,
                topic: (*topic).to_owned(),
                qos: *qos,
                retained: topic.starts_with("kept/"),
            }));
        }
    }
    streams.push(Stream {
        publisher: WEB,
        topic: WEB_TOPIC.to_owned(),
        qos: 1,
        retained: false,
    });
    streams
}

fn of(publisher: &str, streams: &[Stream]) -> Vec<usize> {
    let numbered = streams.iter().enumerate();
    numbered
        .filter(|(_, stream)| stream.publisher == publisher)
        .map(|(place, _)| place)
        .collect()
}

pub fn publishers(streams: &[Stream], random: &mut Random<'_>) -> Vec<Publisher> {
    let each = PUBLISHERS.iter().map(|(id, version, ..)| {
        let session = Session::new(id, *version);
        Publisher::new(session, of(id, streams), fork(random))
    });
    each.collect()
}

pub fn web_publishers(streams: &[Stream]) -> Vec<WebPublisher> {
    of(WEB, streams)
        .into_iter()
        .map(WebPublisher::new)
        .collect()
}

pub fn subscribers(streams: &[Stream], random: &mut Random<'_>) -> Vec<Subscriber> {
    let each = SUBSCRIBERS
        .iter()
        .map(|(id, version, filters, comes_and_goes)| {
            let session = Session::new(id, *version);
            Subscriber::new(session, filters, *comes_and_goes, streams, fork(random))
        });
    each.collect()
}

fn fork(random: &mut Random<'_>) -> Random<'static> {
    Random::seeded(random.below(u64::MAX))
}

/// What each of them does, all at the same time.
pub struct Acting<Actor>(Vec<JoinHandle<Actor>>);

impl<Actor: Send + 'static> Acting<Actor> {
    pub fn begin<Act>(actors: Vec<Actor>, act: impl Fn(Actor) -> Act) -> Self
    where
        Act: Future<Output = Actor> + Send + 'static,
    {
        Self(
            actors
                .into_iter()
                .map(|actor| tokio::spawn(act(actor)))
                .collect(),
        )
    }

    /// Waits for all of them; whoever failed fails the test.
    pub async fn end(self, what: &str) -> Vec<Actor> {
        let mut actors = vec![];
        for acting in self.0 {
            // each has deadlines of its own, which say more than this one
            match tokio::time::timeout(2 * DEADLINE, acting).await {
                Ok(Ok(actor)) => actors.push(actor),
                Ok(Err(failed)) => std::panic::resume_unwind(failed.into_panic()),
                Err(_) => panic!("waited {:?} in vain for {what}", 2 * DEADLINE),
            }
        }
        actors
    }
}
