//! The broker without a socket. Here is what its tests share.

mod missing;
mod room;
mod shared;
mod sharing;
mod slow;
mod streams;
mod takeover;
mod wills;

use super::{outbox::Outbox, registry::Attached, subscribe::Replay, *};
use crate::{
    message::Delivery,
    mqtt::{
        Packet, Version,
        ack::Ack,
        connect::{Connect, ConnectProperties},
        subscribe::{Subscribe, SubscriptionOptions},
        write_queue::WriteQueue,
    },
    session::{
        Request,
        opening::{Opening, negotiate},
    },
    store::{
        config::Durability,
        disk::{Disk, Folder},
        log::Options,
        memory::MemoryStore,
        recovery::{self, Header},
    },
};

fn broker(max_queued_messages: usize) -> Broker {
    let config = Config {
        max_queued_messages,
        ..Config::default()
    };
    let store = MemoryStore::new(Epoch(*b"testtest"), 1 << 20, 1 << 20);
    Broker::new(config, Limits::default(), Box::new(store))
}

/// A broker on the log in this folder.
fn on_disk(data: &tempfile::TempDir) -> Broker {
    let folder = Folder::open(data.path().to_owned()).unwrap();
    on(Arc::new(folder), 1 << 20)
}

fn on(disk: Arc<dyn Disk>, tail_bytes: usize) -> Broker {
    let fresh = Header {
        epoch: Epoch(*b"testtest"),
        secret: 7,
        segment: 0,
    };
    let options = Options::new(Durability::Fsync, 1 << 20, tail_bytes);
    let (store, recovered) = recovery::open(disk, options, fresh, Millis(1), &|_| 0).unwrap();
    let broker = Broker::new(Config::default(), Limits::default(), Box::new(store));
    broker.restore(recovered);
    broker
}

fn opening(broker: &Broker, client_id: &str, expiry: u32) -> Opening {
    let connect = Connect {
        version: Version::V5,
        bridge: false,
        clean_start: false,
        keep_alive: 0,
        client_id: client_id.into(),
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties {
            session_expiry: Some(expiry),
            ..Default::default()
        },
    };
    negotiate(&connect, broker.limits(), u32::MAX, String::new).unwrap()
}

async fn connect(broker: &Broker, client_id: &str, expiry: u32) -> Attached {
    broker
        .connect(
            &opening(broker, client_id, expiry),
            false,
            &Identity::anonymous(),
        )
        .await
        .unwrap()
        .0
}

fn subscribe(broker: &Broker, attached: &mut Attached, filter: &str, qos: Qos) -> Vec<Replay> {
    let options = SubscriptionOptions {
        qos,
        ..Default::default()
    };
    subscribe_with(broker, attached, filter, options)
}

fn subscribe_with(
    broker: &Broker,
    attached: &mut Attached,
    filter: &str,
    options: SubscriptionOptions,
) -> Vec<Replay> {
    let request = Subscribe {
        packet_id: 1.try_into().unwrap(),
        subscription_id: None,
        user: Vec::new(),
        filters: vec![(filter.into(), options)],
    };
    let (session, outbox) = (&mut attached.session, &attached.outbox);
    let subscribed = broker.subscribe(&Identity::anonymous(), session, outbox, &request);
    subscribed.unwrap().replays
}

fn publish(broker: &Broker, topic: &str, payload: &str, qos: Qos) -> Receipt {
    let draft = Draft {
        topic: TopicName::parse(topic).unwrap(),
        payload: payload.into(),
        qos,
        retain: false,
        properties: None,
    };
    broker
        .publish(&mut broker.publisher(Identity::anonymous(), None), draft)
        .unwrap()
}

fn publish_numbers(broker: &Broker, topic: &str, range: std::ops::Range<usize>) {
    for number in numbers(range) {
        publish(broker, topic, &number, Qos::AtLeastOnce);
    }
}

/// Takes everything that waits for a session, as its connection would.
fn receive(broker: &Broker, attached: &mut Attached) -> Vec<String> {
    let mut received = Vec::new();
    loop {
        let mut batch = Vec::new();
        attached.outbox.take(&mut batch, 100, 100);
        if batch.is_empty() && look(&attached.outbox).behind {
            batch = broker.catch_up(&mut attached.session, &attached.outbox, 100);
        }
        if batch.is_empty() && !look(&attached.outbox).behind {
            return received;
        }
        for delivery in batch {
            received.push(payload(&delivery));
            attached
                .session
                .deliver(delivery, broker.now(), &mut WriteQueue::default());
        }
        broker.note_taken(&attached.session, &attached.outbox);
    }
}

/// Answers all QoS 1 messages that a session was sent.
fn acknowledge(broker: &Broker, attached: &mut Attached) {
    let sent = attached.session.snapshot(None, None, |_| None).outgoing;
    for one in sent {
        let ack = Packet::PubAck(Ack::new(one.packet_id, ReasonCode::Success));
        let answered = attached.session.handle(ack, &mut WriteQueue::default());
        assert_eq!(answered, Ok(Request::Room));
    }
    broker.note_taken(&attached.session, &attached.outbox);
}

/// What a reader would see, without taking anything.
fn look(outbox: &Outbox) -> outbox::Taken {
    outbox.take(&mut Vec::new(), 0, 0)
}

fn payload(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message.payload.to_vec()).unwrap()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

async fn wait_until_closed(outbox: &Arc<Outbox>) {
    std::future::poll_fn(|cx| outbox.poll_wait(cx, true)).await;
}
