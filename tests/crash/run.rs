//! A run of the store with everything it keeps, and a model that keeps the same in plain maps.

use crate::{disk::MemoryDisk, random::Random};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tidegate::{
    message::{Epoch, Message, Millis, Origin},
    mqtt::{
        PacketId, Qos,
        payload::Payload,
        subscribe::SubscriptionOptions,
        topic::{TopicFilter, TopicName},
    },
    session::{snapshot::Snapshot, subscriptions::Subscription},
    store::{
        Store, Urgency,
        config::Durability,
        frame::Lsn,
        log::{DiskStore, Options},
        record::Change,
        recovery::{self, Header, OpenError, Recovered},
    },
};

/// What a store must remember, as far as this model goes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Model {
    /// Payloads by position.
    pub messages: BTreeMap<u64, Vec<u8>>,
    /// Filters and unreleased identifiers by client.
    pub sessions: BTreeMap<String, (BTreeSet<String>, BTreeSet<u16>)>,
    /// Position and payload by topic.
    pub retained: BTreeMap<String, (u64, Vec<u8>)>,
}

#[derive(Debug, Clone)]
pub enum Op {
    Message {
        offset: u64,
        topic: String,
        payload: Vec<u8>,
        retain: bool,
        inbound: Option<(String, u16)>,
    },
    Begin(String),
    End(String),
    Subscribe(String, String),
    Unsubscribe(String, String),
    Release(String, u16),
}

impl Model {
    pub fn apply(&mut self, op: &Op) {
        match op.clone() {
            Op::Message {
                offset,
                topic,
                payload,
                retain,
                inbound,
            } => {
                if let Some((client, id)) = inbound
                    && let Some(session) = self.sessions.get_mut(&client)
                {
                    session.1.insert(id);
                }
                if retain && payload.is_empty() {
                    self.retained.remove(&topic);
                } else if retain {
                    self.retained.insert(topic, (offset, payload.clone()));
                }
                self.messages.insert(offset, payload);
            }
            Op::Begin(client) => {
                self.sessions.insert(client, Default::default());
            }
            Op::End(client) => {
                self.sessions.remove(&client);
            }
            Op::Subscribe(client, filter) => {
                if let Some(session) = self.sessions.get_mut(&client) {
                    session.0.insert(filter);
                }
            }
            Op::Unsubscribe(client, filter) => {
                if let Some(session) = self.sessions.get_mut(&client) {
                    session.0.remove(&filter);
                }
            }
            Op::Release(client, id) => {
                if let Some(session) = self.sessions.get_mut(&client) {
                    session.1.remove(&id);
                }
            }
        }
    }

    /// What a store found at a start, as the model says it; messages up to `trimmed` do not count.
    pub fn found(store: &DiskStore, recovered: &Recovered, trimmed: u64) -> Self {
        let mut model = Model::default();
        let mut after = trimmed;
        loop {
            let page = store.read(after, 100, None);
            if page.is_end(after) {
                break;
            }
            for record in page.records {
                assert!(record.offset > after, "in order");
                after = record.offset;
                model
                    .messages
                    .insert(after, record.message.payload.to_vec());
            }
            after = after.max(page.through);
        }
        for session in &recovered.sessions {
            let filters = session
                .subscriptions
                .iter()
                .map(|s| s.filter.as_str().to_owned());
            let unreleased = session.unreleased.iter().map(|id| id.get());
            let entry = (filters.collect(), unreleased.collect());
            model.sessions.insert(session.client_id.to_string(), entry);
        }
        for (topic, (offset, message)) in &recovered.retained {
            let entry = (*offset, message.payload.to_vec());
            model.retained.insert(topic.to_string(), entry);
        }
        model
    }
}

/// A recorded run.
pub struct Run {
    pub disk: MemoryDisk,
    /// In the order of the log.
    pub ops: Vec<(u64, Op)>,
    /// How far the log had been trimmed when so many steps were done.
    pub trims: Vec<(usize, u64)>,
    /// The highest position given.
    pub head: u64,
}

pub fn open(disk: MemoryDisk, segment_bytes: usize) -> Result<(DiskStore, Recovered), OpenError> {
    open_with(Durability::Fsync, disk, segment_bytes)
}

pub fn open_with(
    durability: Durability,
    disk: MemoryDisk,
    segment_bytes: usize,
) -> Result<(DiskStore, Recovered), OpenError> {
    let options = Options {
        durability,
        max_bytes: 1 << 30,
        tail_bytes: 2_000,
        segment_bytes,
    };
    let fresh = Header {
        epoch: Epoch(*b"testtest"),
        secret: 0x00c0_ffee,
        segment: 0,
    };
    recovery::open(Arc::new(disk), options, fresh, Millis(1_000), &|_| 0)
}

/// Waits until a record is durable. False if the store failed.
pub fn wait(store: &DiskStore, lsn: Lsn) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        match store.watermark().poll_reached(lsn, 1, &mut cx) {
            Poll::Ready(reached) => return reached.is_ok(),
            Poll::Pending => std::thread::sleep(Duration::from_micros(50)),
        }
    }
}

pub fn message(topic: &str, payload: &[u8], retain: bool, client: Option<&str>) -> Arc<Message> {
    let origin = client.map(|client| {
        Arc::new(Origin {
            client_id: Some(client.into()),
            user: None,
        })
    });
    let topic = TopicName::parse(topic).expect("as the test made it");
    let payload = Payload::copy_from_slice(payload);
    let qos = Qos::ExactlyOnce;
    Arc::new(Message::new(
        topic,
        payload,
        qos,
        retain,
        None,
        origin,
        Millis(5),
    ))
}

/// Does `count` random things to a store on `disk`, until it fails.
pub fn run(disk: &MemoryDisk, random: &mut Random, count: usize) -> Option<Run> {
    let (store, _) = open(disk.clone(), 4_000).ok()?;
    let mut run = Run {
        disk: disk.clone(),
        ops: Vec::new(),
        trims: vec![(0, 0)],
        head: 0,
    };
    let mut retained: BTreeMap<String, u64> = BTreeMap::new();
    for number in 0..count {
        let client = format!("client-{}", random.below(4));
        let arc: Arc<str> = client.as_str().into();
        let filter = format!("f/{}/#", random.below(5));
        let id = PacketId::new(1 + random.below(5) as u16).expect("as the test made it");
        let (change, op) = match random.below(12) {
            0 => {
                let session = Snapshot::new(arc, None, 60, 0);
                (Change::Session(Box::new(session)), Op::Begin(client))
            }
            1 if random.once_in(3) => (Change::Ended { client: arc }, Op::End(client)),
            2 | 3 => {
                let subscription = Subscription {
                    filter: TopicFilter::parse(&filter).expect("as the test made it"),
                    options: SubscriptionOptions::default(),
                    id: None,
                    since: 0,
                };
                let change = Change::Subscribed {
                    client: arc,
                    subscription,
                };
                (change, Op::Subscribe(client, filter))
            }
            4 => {
                let change = Change::Unsubscribed {
                    client: arc,
                    filter: filter.as_str().into(),
                };
                (change, Op::Unsubscribe(client, filter))
            }
            5 => {
                let change = Change::Released {
                    client: arc,
                    packet_id: id,
                };
                (change, Op::Release(client, id.get()))
            }
            _ => {
                let topic = format!("t/{}", random.below(6));
                let retain = random.once_in(3);
                let empty = retain && random.once_in(4);
                let size = if empty { 0 } else { random.below(900) as usize };
                let mut payload = number.to_string().into_bytes();
                payload.resize(size.max(if empty { 0 } else { payload.len() }), b'.');
                let inbound = random.once_in(3).then_some((client.clone(), id.get()));
                let from = inbound.as_ref().map(|(client, _)| client.as_str());
                let message = message(&topic, &payload, retain, from);
                let appended = store.append(&message, inbound.as_ref().map(|_| id), Urgency::Soon);
                let Ok(appended) = appended else { break };
                let offset = appended.position.offset;
                run.head = run.head.max(offset);
                if retain {
                    retained.insert(topic.clone(), offset);
                }
                let op = Op::Message {
                    offset,
                    topic,
                    payload,
                    retain,
                    inbound,
                };
                run.ops.push((appended.lsn.0, op));
                continue;
            }
        };
        let lsn = store.change(change, Urgency::Soon);
        run.ops.push((lsn.0, op));
        if random.once_in(8) {
            let newest = store.newest();
            if !wait(&store, newest) {
                break;
            }
            disk.told(newest.0);
        }
        if random.once_in(25) && run.head > 0 {
            let through = random.between(store.trimmed(), run.head);
            store.trim(through, 0, 0);
            // from here on what it trimmed may be gone
            run.trims
                .push((disk.steps().len(), through.max(store.trimmed())));
            let if_retained = |topic: &TopicName, offset, write: &mut dyn FnMut()| {
                if retained.get(&**topic) == Some(&offset) {
                    write();
                }
            };
            store.compact(&if_retained, 0);
        }
    }
    drop(store);
    Some(run)
}
