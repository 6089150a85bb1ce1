//! Web streams: where they begin, what they bring, and what they tell of what is missing.

use super::{broker, numbers, payload, publish, publish_numbers};
use crate::{
    auth::rules::{Subject, access::Access, own},
    broker::{
        resume::{Gap, Reason, Start},
        stream::{Stream, StreamItem},
        *,
    },
    mqtt::topic::TopicFilter,
    store::memory::MemoryStore,
};

fn stream(broker: &Broker, filters: &[TopicFilter], start: Start) -> Stream {
    broker
        .stream(Identity::anonymous(), filters, start)
        .unwrap()
}

/// All messages that are there, and what is told to be missing.
fn everything(stream: &mut Stream) -> (Vec<String>, Vec<Gap>) {
    let (mut messages, mut gaps) = (Vec::new(), Vec::new());
    loop {
        match stream.try_next() {
            Some(StreamItem::Message(delivery)) => messages.push(payload(&delivery)),
            Some(StreamItem::Gap(gap)) => gaps.push(gap),
            Some(StreamItem::Closed(reason)) => panic!("{reason:?}"),
            None if stream.is_behind() => {}
            None => return (messages, gaps),
        }
    }
}

#[test]
fn a_stream_goes_on_exactly_where_the_one_before_it_was_given_up() {
    let broker = broker(1000);
    let filters = [TopicFilter::parse("t/#").unwrap()];
    let mut first = stream(&broker, &filters, Start::Now);
    publish_numbers(&broker, "t/x", 0..300);
    let mut got = Vec::new();
    for _ in 0..137 {
        if let Some(StreamItem::Message(delivery)) = first.try_next() {
            got.push(payload(&delivery));
        }
    }
    let cursor = first.cursor();
    drop(first);
    publish_numbers(&broker, "t/x", 300..500);
    publish(&broker, "other", "not for it", Qos::AtLeastOnce);
    let mut second = stream(&broker, &filters, Start::After(Some(cursor)));
    publish_numbers(&broker, "t/x", 500..600);
    let (rest, gaps) = everything(&mut second);
    assert_eq!(gaps, []);
    got.extend(rest);
    assert_eq!(got, numbers(0..600));
    assert_eq!(second.cursor(), broker.head());
}

#[test]
fn a_filter_is_recorded_from_its_first_stream_on_and_a_while_longer() {
    let config = Config {
        linger: std::time::Duration::ZERO,
        ..Config::default()
    };
    let store = MemoryStore::new(Epoch(*b"testtest"), 1 << 20, 1 << 20);
    let broker = Broker::new(config, Limits::default(), Box::new(store));
    let filters = [TopicFilter::parse("t/#").unwrap()];
    assert_eq!(publish(&broker, "t", "0", Qos::AtMostOnce).position, None);
    let mut first = stream(&broker, &filters, Start::Now);
    let cursor = first.cursor();
    drop(first);
    assert!(
        publish(&broker, "t", "1", Qos::AtMostOnce)
            .position
            .is_some()
    );
    let mut second = stream(&broker, &filters, Start::After(Some(cursor)));
    assert_eq!(everything(&mut second), (vec!["1".to_owned()], vec![]));
    let cursor = second.cursor();
    drop(second);
    broker.stop_recording();
    assert_eq!(publish(&broker, "t", "2", Qos::AtMostOnce).position, None);
    // other positions are given meanwhile
    let other = [TopicFilter::parse("other").unwrap()];
    let _other = stream(&broker, &other, Start::Now);
    publish(&broker, "other", "x", Qos::AtMostOnce);
    let mut third = stream(&broker, &filters, Start::After(Some(cursor)));
    let (messages, gaps) = everything(&mut third);
    assert_eq!(messages, numbers(0..0));
    assert_eq!(gaps[0].reason, Reason::NotRecorded);
}

#[test]
fn publishers_that_race_a_join_neither_lose_nor_double_anything() {
    let store = MemoryStore::new(Epoch(*b"testtest"), 1 << 26, 1 << 26);
    let broker = Broker::new(Config::default(), Limits::default(), Box::new(store));
    let filters = [TopicFilter::parse("t/#").unwrap()];
    let keeps = stream(&broker, &filters, Start::Now);
    let each = 2000;
    let threads: Vec<_> = (0..3)
        .map(|nth| {
            let broker = broker.clone();
            std::thread::spawn(move || publish_numbers(&broker, &format!("t/{nth}"), 0..each))
        })
        .collect();
    let mut got: std::collections::HashMap<String, Vec<String>> = Default::default();
    let mut cursor = Position {
        epoch: broker.epoch(),
        offset: 0,
    };
    let mut taken = 0;
    while taken < 3 * each {
        // a new stream after every few messages
        let mut one = stream(&broker, &filters, Start::After(Some(cursor)));
        for _ in 0..97 {
            match one.try_next() {
                Some(StreamItem::Message(delivery)) => {
                    let topic = delivery.message.topic.to_string();
                    got.entry(topic).or_default().push(payload(&delivery));
                    taken += 1;
                }
                Some(other) => panic!("{other:?}"),
                None => break,
            }
        }
        cursor = one.cursor();
    }
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    drop(keeps);
    for nth in 0..3 {
        assert_eq!(got[&format!("t/{nth}")], numbers(0..each));
    }
}

#[tokio::test]
async fn a_stream_is_told_how_much_it_missed_and_is_gone_when_dropped() {
    let broker = broker(1000);
    let filters = [
        TopicFilter::parse("t/#").unwrap(),
        TopicFilter::parse("t/+").unwrap(),
    ];
    let mut stream = stream(&broker, &filters, Start::Now);
    publish(&broker, "t/x", "0", Qos::ExactlyOnce);
    let StreamItem::Message(first) = stream.next().await else {
        panic!("a message comes first")
    };
    assert_eq!(
        (payload(&first).as_str(), first.subscription_ids.as_deref()),
        ("0", Some(&[1, 2][..]))
    );
    // more than waits for it, and less than the log keeps
    publish_numbers(&broker, "t/x", 0..2000);
    assert_eq!(everything(&mut stream), (numbers(0..2000), vec![]));
    // more than the log keeps
    publish_numbers(&broker, "t/x", 0..9000);
    let (rest, gaps) = everything(&mut stream);
    let [gap] = gaps[..] else {
        panic!("one gap: {gaps:?}")
    };
    let lost = gap.lost_at_most.unwrap() as usize;
    assert_eq!(gap.reason, Reason::Overflow);
    assert_eq!(rest, numbers(lost..9000));
    drop(stream);
    assert_eq!(publish(&broker, "t/x", "x", Qos::AtMostOnce).offered, 0);
}

/// Somebody who may subscribe to `t/#` and receive all of it but `t/secret`.
fn half_trusted() -> Arc<Identity> {
    let rules = "[[rule]]\ndeny = [\"receive\"]\ntopics = [\"t/secret\"]\n\
                 [[rule]]\nallow = [\"subscribe\", \"receive\"]\ntopics = [\"t/#\"]\n";
    let access = Access::new(own::parse(rules).unwrap());
    Arc::new(Identity::new(Subject::default(), Some(Arc::new(access))))
}

#[test]
fn what_waits_for_a_stream_and_is_denied_to_whoever_it_is_read_as_from_then_on_goes() {
    let broker = broker(1000);
    let filters = [TopicFilter::parse("t/#").unwrap()];
    let mut stream = stream(&broker, &filters, Start::Now);
    publish(&broker, "t/open", "first", Qos::AtMostOnce);
    publish(&broker, "t/secret", "taken from the queue", Qos::AtMostOnce);
    assert!(matches!(stream.try_next(), Some(StreamItem::Message(_))));
    publish(&broker, "t/secret", "in the queue", Qos::AtMostOnce);
    publish(&broker, "t/open", "last", Qos::AtMostOnce);
    assert!(stream.read_as(&half_trusted()));
    publish(&broker, "t/secret", "later", Qos::AtMostOnce);
    assert_eq!(everything(&mut stream).0, ["last"]);
}

#[test]
fn a_stream_read_as_somebody_else_leaves_what_publishers_remember_of_other_topics() {
    let broker = broker(1000);
    let filters = [TopicFilter::parse("t/#").unwrap()];
    let mut stream = stream(&broker, &filters, Start::Now);
    let mut publisher = broker.publisher(Identity::anonymous(), None);
    let mut say = |topic: &str, payload: &str| {
        let draft = Draft {
            topic: TopicName::parse(topic).unwrap(),
            payload: payload.into(),
            qos: Qos::AtMostOnce,
            retain: false,
            properties: None,
        };
        broker.publish(&mut publisher, draft).unwrap();
    };
    say("t/secret", "remembered as its");
    let routes = &broker.0.routes;
    let own = routes.shard("t/secret");
    let mut names = ('a'..='z').map(|name| routes.shard(&name.to_string()));
    let other = names.find(|shard| *shard != own).unwrap();
    let before = (routes.stamp(own), routes.stamp(other));
    assert!(stream.read_as(&half_trusted()));
    assert_ne!(routes.stamp(own), before.0);
    assert_eq!(routes.stamp(other), before.1);
    say("t/secret", "no longer its");
    assert_eq!(everything(&mut stream).0, Vec::<String>::new());
}

#[test]
fn a_message_larger_than_all_that_is_remembered_leaves_a_gap_and_not_nothing() {
    let store = MemoryStore::new(Epoch(*b"testtest"), 1 << 26, 1 << 16);
    let broker = Broker::new(Config::default(), Limits::default(), Box::new(store));
    let filters = [TopicFilter::parse("t").unwrap()];
    let mut slow = stream(&broker, &filters, Start::Now);
    let large = "x".repeat(70_000);
    for _ in 0..40 {
        publish(&broker, "t", &large, Qos::AtMostOnce);
    }
    let (messages, gaps) = everything(&mut slow);
    assert!(messages.len() < 40);
    let told: u64 = gaps.iter().filter_map(|gap| gap.lost_at_most).sum();
    assert_eq!(messages.len() as u64 + told, 40);
    assert_eq!(slow.cursor(), broker.head());
}
