//! Any sequence of what can happen to sessions, messages and the gateway, against a model that keeps every message.

use super::model::{Page, Told};
use crate::{
    auth::identity::Identity,
    broker::{
        Broker, Draft,
        config::Config,
        registry::{Attached, Ending},
    },
    message::{Epoch, Millis},
    mqtt::{
        Packet, PacketId, Qos, Version,
        ack::Ack,
        connect::{Connect, ConnectProperties},
        frame::{Decoder, Peer},
        reason::ReasonCode,
        subscribe::{Subscribe, SubscriptionOptions, Unsubscribe},
        topic::TopicName,
        write_queue::WriteQueue,
    },
    session::{Request, limits::Limits, opening::negotiate},
    store::{
        config::Durability,
        disk::Folder,
        frame::Lsn,
        log::Options,
        recovery::{self, Header},
    },
};
use proptest::{collection::vec, prelude::*};
use std::{
    collections::{BTreeSet, VecDeque},
    fs,
    io::IoSlice,
    path::Path,
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;

const CLIENTS: [&str; 3] = ["a", "b", "c"];
const TOPICS: [&str; 3] = ["t/1", "t/2", "u"];
const FILTERS: [&str; 4] = ["t/#", "t/1", "+/2", "u"];

#[derive(Debug, Clone)]
enum Step {
    Publish {
        topic: usize,
        qos: u8,
        retain: bool,
        times: usize,
    },
    Connect {
        client: usize,
        clean: bool,
        window: u16,
    },
    Leave(usize),
    Subscribe {
        client: usize,
        filter: usize,
        qos: u8,
    },
    Unsubscribe {
        client: usize,
        filter: usize,
    },
    /// So many messages leave for a client; if its connection breaks, it gets none of them.
    Send {
        client: usize,
        most: usize,
        breaks: bool,
    },
    /// The gateway takes so many of the answers that a client has given; first those of QoS 2, if they overtake the
    /// others.
    Answer {
        client: usize,
        most: usize,
        overtakes: bool,
    },
    KeepCursors,
    Clean,
    Stop,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS.len();
    prop_oneof![
        6 => (0..TOPICS.len(), 0..3u8, prop::bool::weighted(0.2), 1..6usize)
            .prop_map(|(topic, qos, retain, times)| Step::Publish { topic, qos, retain, times }),
        4 => (client.clone(), prop::bool::weighted(0.1), prop_oneof![1..4u16, Just(100)])
            .prop_map(|(client, clean, window)| Step::Connect { client, clean, window }),
        2 => client.clone().prop_map(Step::Leave),
        4 => (client.clone(), 0..FILTERS.len(), 0..3u8)
            .prop_map(|(client, filter, qos)| Step::Subscribe { client, filter, qos }),
        1 => (client.clone(), 0..FILTERS.len())
            .prop_map(|(client, filter)| Step::Unsubscribe { client, filter }),
        5 => (client.clone(), prop_oneof![1..4usize, Just(100)], prop::bool::weighted(0.1))
            .prop_map(|(client, most, breaks)| Step::Send { client, most, breaks }),
        5 => (client, prop_oneof![1..4usize, Just(100)], any::<bool>())
            .prop_map(|(client, most, overtakes)| Step::Answer { client, most, overtakes }),
        1 => Just(Step::KeepCursors),
        1 => Just(Step::Clean),
        1 => Just(Step::Stop),
        1 => Just(Step::Kill),
    ]
}

/// A client that does everything right.
#[derive(Default)]
struct Client {
    attached: Option<Attached>,
    unreleased: BTreeSet<PacketId>,
    /// What it has said and the gateway has not heard, and the message that a PUBACK is for.
    said: VecDeque<(Packet, Option<usize>)>,
    /// What its session must be given, if it has one.
    page: Option<Page>,
}

struct World {
    broker: Broker,
    folder: TempDir,
    clients: [Client; CLIENTS.len()],
    all: Vec<Told>,
}

/// In memory where the system offers that: what a sync costs is not the question here.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    made.expect("a folder for the log")
}

fn open(folder: &TempDir) -> Broker {
    let options = Options {
        segment_bytes: 2_000,
        ..Options::new(Durability::Interval(Duration::from_secs(60)), 1 << 30, 500)
    };
    let fresh = Header {
        epoch: Epoch(*b"testtest"),
        secret: 7,
        segment: 0,
    };
    let disk = Folder::open(folder.path().to_owned()).expect("nobody else uses it");
    let opened = recovery::open(Arc::new(disk), options, fresh, Millis(0), &|_| 0);
    let (store, recovered) = opened.expect("a log that can be opened");
    assert!(recovered.damage.is_empty(), "{:?}", recovered.damage);
    let broker = Broker::new(Config::default(), Limits::default(), Box::new(store));
    broker.restore(recovered);
    broker
}

fn qos(number: u8) -> Qos {
    [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][usize::from(number)]
}

impl World {
    fn new() -> Self {
        let folder = folder();
        World {
            broker: open(&folder),
            folder,
            clients: Default::default(),
            all: Vec::new(),
        }
    }

    async fn durable(&self, lsn: Option<Lsn>) {
        if let Some(lsn) = lsn {
            self.broker.durable(lsn).await.expect("the disk works");
        }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Publish {
                topic,
                qos,
                retain,
                times,
            } => {
                for _ in 0..times {
                    self.publish(TOPICS[topic], qos, retain).await;
                }
            }
            Step::Connect {
                client,
                clean,
                window,
            } => self.connect(client, clean, window).await,
            Step::Leave(client) => self.leave(client, Ending::Broken),
            Step::Subscribe {
                client,
                filter,
                qos,
            } => self.subscribe(client, FILTERS[filter], qos).await,
            Step::Unsubscribe { client, filter } => {
                self.unsubscribe(client, FILTERS[filter]).await;
            }
            Step::Send {
                client,
                most,
                breaks,
            } => {
                self.send(client, most, breaks).await;
            }
            Step::Answer {
                client,
                most,
                overtakes,
            } => self.answer(client, most, overtakes).await,
            Step::KeepCursors => self.broker.keep_cursors(),
            Step::Clean => {
                self.broker.clean_log();
                self.broker.compact();
            }
            Step::Stop => {
                (0..CLIENTS.len()).for_each(|client| self.leave(client, Ending::Stopped));
                self.broker.close_store();
                // the folder belongs to one at a time
                self.broker = Broker::new(
                    Config::default(),
                    Limits::default(),
                    Box::new(crate::store::memory::MemoryStore::new(
                        Epoch(*b"betweens"),
                        1,
                        1,
                    )),
                );
                self.broker = open(&self.folder);
            }
            Step::Kill => self.kill(),
        }
    }

    async fn publish(&mut self, topic: &'static str, level: u8, retain: bool) {
        let number = self.all.len();
        let draft = Draft {
            topic: TopicName::parse(topic).expect("a topic"),
            payload: number.to_string().as_str().into(),
            qos: qos(level),
            retain,
            properties: None,
        };
        let mut publisher = self.broker.publisher(Identity::anonymous(), None);
        let receipt = self.broker.publish(&mut publisher, draft);
        let told = Told { topic, qos: level };
        for page in self.clients.iter_mut().filter_map(|c| c.page.as_mut()) {
            page.publish(number, &told);
        }
        self.all.push(told);
        self.durable(receipt.expect("there is room").durable_at)
            .await;
    }

    async fn connect(&mut self, client: usize, clean: bool, window: u16) {
        if self.clients[client].attached.is_some() {
            return;
        }
        let connect = Connect {
            version: Version::V5,
            bridge: false,
            clean_start: clean,
            keep_alive: 0,
            client_id: CLIENTS[client].into(),
            will: None,
            username: None,
            password: None,
            properties: ConnectProperties {
                session_expiry: Some(100_000),
                receive_maximum: Some(window),
                ..Default::default()
            },
        };
        let limits = self.broker.limits();
        let opening = negotiate(&connect, limits, u32::MAX, String::new).expect("fair terms");
        let begun = self
            .broker
            .connect(&opening, clean, &Identity::anonymous())
            .await;
        let (attached, durable_at) = begun.expect("nobody else has this name");
        self.durable(durable_at).await;
        let client = &mut self.clients[client];
        let known = client.page.is_some() && !clean;
        assert_eq!(attached.present, known, "Session Present");
        if !known {
            client.page = Some(Page::default());
            client.unreleased.clear();
        }
        client.attached = Some(attached);
    }

    fn leave(&mut self, client: usize, ending: Ending) {
        let client = &mut self.clients[client];
        if let Some(attached) = client.attached.take() {
            client.said.clear();
            self.broker.detach(attached, None, ending);
        }
    }

    async fn subscribe(&mut self, client: usize, filter: &'static str, level: u8) {
        let client = &mut self.clients[client];
        let (Some(attached), Some(page)) = (&mut client.attached, &mut client.page) else {
            return;
        };
        let options = SubscriptionOptions {
            qos: qos(level),
            ..Default::default()
        };
        let request = Subscribe {
            packet_id: 1.try_into().expect("not 0"),
            subscription_id: None,
            user: Vec::new(),
            filters: vec![(filter.into(), options)],
        };
        let (session, outbox) = (&mut attached.session, &attached.outbox);
        let identity = Identity::anonymous();
        // retained messages are no matter of cursors: they are not asked for
        let subscribed = self.broker.subscribe(&identity, session, outbox, &request);
        page.subscribe(filter, level, &self.all);
        let durable_at = subscribed.expect("a filter").durable_at;
        self.durable(durable_at).await;
    }

    async fn unsubscribe(&mut self, client: usize, filter: &'static str) {
        let client = &mut self.clients[client];
        let (Some(attached), Some(page)) = (&mut client.attached, &mut client.page) else {
            return;
        };
        let request = Unsubscribe {
            packet_id: 1.try_into().expect("not 0"),
            user: Vec::new(),
            filters: vec![filter.into()],
        };
        let (session, outbox) = (&mut attached.session, &attached.outbox);
        let (_, durable_at) = self.broker.unsubscribe(session, outbox, &request);
        page.unsubscribe(filter, &self.all);
        self.durable(durable_at).await;
    }

    /// What a connection does when there is something for its client. True if anything left.
    async fn send(&mut self, client: usize, most: usize, breaks: bool) -> bool {
        let Some(mut attached) = self.clients[client].attached.take() else {
            return false;
        };
        let (broker, now) = (&self.broker, self.broker.now());
        let (session, outbox) = (&mut attached.session, &attached.outbox);
        let mut out = WriteQueue::default();
        session.resend(now, |_| true, &mut out);
        let mut left = most;
        while left > 0 {
            let mut batch = Vec::new();
            let quota = session.quota().min(left);
            let taken = outbox.take(&mut batch, quota, left);
            let behind = batch.is_empty() && taken.behind && quota > 0;
            if behind {
                batch = broker.catch_up(session, outbox, quota);
            }
            if batch.is_empty() && !behind {
                break;
            }
            left -= batch.len();
            for delivery in batch {
                if delivery.qos == Qos::ExactlyOnce {
                    let copy = delivery.clone();
                    if let Some(packet_id) = session.hold(delivery, now) {
                        let lsn = broker.pair(session, packet_id, &copy);
                        broker.durable(lsn).await.expect("the disk works");
                        session.deliver_held(packet_id, now, &mut out);
                    }
                } else {
                    session.deliver(delivery, now, &mut out);
                }
            }
        }
        broker.note_taken(session, outbox);
        self.clients[client].attached = Some(attached);
        if breaks {
            self.leave(client, Ending::Broken);
            return false;
        }
        self.hear(client, &out)
    }

    /// A client is given what was written for it.
    fn hear(&mut self, client: usize, out: &WriteQueue) -> bool {
        let mut slices = [IoSlice::new(&[]); 4_096];
        let count = out.slices(&mut slices);
        let bytes: Vec<u8> = slices[..count]
            .iter()
            .flat_map(|part| part.iter())
            .copied()
            .collect();
        assert_eq!(bytes.len(), out.len(), "all of it");
        let mut packets = Vec::new();
        let mut decoder = Decoder::with_version(Peer::Server, Version::V5, usize::MAX);
        let decoded = decoder.feed(&bytes, &mut packets);
        decoded.expect("what a gateway says");
        let client = &mut self.clients[client];
        let page = client.page.as_mut().expect("a session");
        let anything = !packets.is_empty();
        for packet in packets {
            match packet {
                Packet::Publish(publish) => {
                    let text = publish.payload.to_vec();
                    let text = String::from_utf8(text).expect("a number");
                    let number = text.parse().expect("a number");
                    let level = publish.qos as u8;
                    let is_new = match publish.packet_id {
                        Some(packet_id) if level == 2 => client.unreleased.insert(packet_id),
                        _ => true,
                    };
                    if is_new {
                        page.receive(number, level, &self.all);
                    }
                    let ack = publish.packet_id;
                    let ack = ack.map(|packet_id| Ack::new(packet_id, ReasonCode::Success));
                    match (level, ack) {
                        (1, Some(ack)) => {
                            client.said.push_back((Packet::PubAck(ack), Some(number)))
                        }
                        (2, Some(ack)) => client.said.push_back((Packet::PubRec(ack), None)),
                        _ => {}
                    }
                }
                Packet::PubRel(ack) => {
                    client.unreleased.remove(&ack.packet_id);
                    let done = Ack::new(ack.packet_id, ReasonCode::Success);
                    client.said.push_back((Packet::PubComp(done), None));
                }
                other => panic!("{other:?}"),
            }
        }
        anything
    }

    async fn answer(&mut self, client: usize, most: usize, overtakes: bool) {
        let broker = &self.broker;
        let mut out = WriteQueue::default();
        let one = &mut self.clients[client];
        let (Some(attached), Some(page)) = (&mut one.attached, &mut one.page) else {
            return;
        };
        if overtakes {
            // the order is promised within each kind only
            let said = one.said.make_contiguous();
            said.sort_by_key(|(_, number)| number.is_some());
        }
        let count = one.said.len().min(most);
        for (packet, number) in one.said.drain(..count) {
            let session = &mut attached.session;
            let asked = session.handle(packet, &mut out);
            match asked.expect("a client that does everything right") {
                Request::Received(packet_id) => {
                    let lsn = broker.answered(session, packet_id);
                    broker.durable(lsn).await.expect("the disk works");
                    session.release(packet_id, true, &mut out);
                }
                Request::Completed(packet_id) => broker.completed(session, packet_id),
                Request::Room | Request::Nothing => {}
                other => panic!("{other:?}"),
            }
            if let Some(number) = number {
                page.answer(number);
            }
        }
        broker.note_taken(&attached.session, &attached.outbox);
        self.hear(client, &out);
    }

    /// The process ends, and another one is started on what it had given to the operating system.
    fn kill(&mut self) {
        let next = folder();
        let files = fs::read_dir(self.folder.path()).expect("the folder of the log");
        let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
        files.sort();
        for file in files {
            let name = file.file_name().expect("a name");
            fs::copy(&file, next.path().join(name)).expect("a copy");
        }
        let killed = std::mem::replace(&mut self.broker, open(&next));
        killed.0.store.close();
        self.folder = next;
        for client in &mut self.clients {
            client.attached = None;
            client.said.clear();
            client.page.iter_mut().for_each(Page::kill);
        }
    }

    /// Everyone takes all there is.
    async fn finish(mut self) {
        for client in 0..CLIENTS.len() {
            if self.clients[client].page.is_none() {
                continue;
            }
            self.leave(client, Ending::Broken);
            self.connect(client, false, 10).await;
            loop {
                let sent = self.send(client, 1_000, false).await;
                // an answer may make room for what is still to be sent
                let answers = !self.clients[client].said.is_empty();
                self.answer(client, 1_000, false).await;
                if !(sent || answers) {
                    break;
                }
            }
            let client = &self.clients[client];
            assert!(client.unreleased.is_empty(), "all is released");
            client.page.iter().for_each(Page::check);
        }
        self.broker.0.store.close();
    }
}

fn run(steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(async {
        let mut world = World::new();
        for step in steps {
            world.take(step).await;
        }
        world.finish().await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_qos_1_comes_at_least_once_and_qos_2_exactly_once(steps in vec(step(), 1..60)) {
        run(steps);
    }
}
