use super::{retained::RetainedMessages, *};
use crate::{
    message::{Epoch, Message, Millis, Position},
    mqtt::topic::{self, TopicName},
};

#[derive(Debug, Clone, PartialEq)]
struct Someone {
    key: u64,
    durable: bool,
    room: bool,
}

impl Subscriber for Someone {
    fn key(&self) -> u64 {
        self.key
    }
    fn is_durable(&self) -> bool {
        self.durable
    }
    fn is_online(&self) -> bool {
        true
    }

    fn has_room(&self, _weight: usize) -> bool {
        self.room
    }

    fn is_held_up(&self) -> bool {
        false
    }
    fn may_receive(&self, _topic: &str) -> bool {
        true
    }

    fn is_tail(&self) -> bool {
        false
    }

    fn is_away(&self) -> bool {
        false
    }
}

fn someone(key: u64) -> Someone {
    Someone {
        key,
        durable: false,
        room: true,
    }
}

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).unwrap()
}

fn at(qos: Qos) -> SubscriptionOptions {
    SubscriptionOptions {
        qos,
        ..Default::default()
    }
}

fn keys(targets: &Targets<Someone>) -> Vec<u64> {
    let mut keys: Vec<_> = targets.direct.iter().map(|t| t.subscriber.key).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn the_tree_finds_what_the_ten_line_matcher_finds() {
    let levels = ["", "a", "b", "+", "$x"];
    let mut filters = vec!["#".to_owned(), "$x/#".to_owned()];
    for a in levels {
        for b in levels {
            filters.push(format!("{a}/{b}"));
            filters.push(format!("{a}/{b}/#"));
            filters.push(format!("{a}/{b}/+"));
        }
        filters.push(format!("a/{a}/#"));
    }
    filters.retain(|f| TopicFilter::parse(f).is_ok());
    filters.sort();
    filters.dedup();
    let routes = Routes::default();
    for (key, text) in filters.iter().enumerate() {
        routes.subscribe(
            &filter(text),
            someone(key as u64),
            at(Qos::AtMostOnce),
            None,
        );
    }
    let check = |alive: &dyn Fn(usize) -> bool| {
        for a in ["", "a", "b", "c", "$x"] {
            for rest in ["", "/", "/a", "/a/b", "/b/", "/a/b/c", "//"] {
                let Ok(name) = TopicName::parse(&format!("{a}{rest}")) else {
                    continue;
                };
                let expected: Vec<u64> = (0..filters.len())
                    .filter(|k| alive(*k) && topic::matches(&filters[*k], &name))
                    .map(|k| k as u64)
                    .collect();
                assert_eq!(keys(&routes.matching(&name, None)), expected, "{name}");
            }
        }
    };
    check(&|_| true);
    for key in (0..filters.len()).filter(|k| k % 2 == 0) {
        assert!(routes.unsubscribe(&filter(&filters[key]), key as u64));
    }
    check(&|k| k % 2 == 1);
}

#[test]
fn mqtt_3_3_4_2_overlapping_filters_make_one_target_with_the_highest_qos_and_all_identifiers() {
    let routes = Routes::default();
    routes.subscribe(&filter("a/#"), someone(1), at(Qos::AtLeastOnce), Some(7));
    routes.subscribe(&filter("a/+"), someone(1), at(Qos::ExactlyOnce), Some(3));
    routes.subscribe(&filter("#"), someone(1), at(Qos::AtMostOnce), None);
    routes.subscribe(&filter("a/b"), someone(2), at(Qos::AtMostOnce), None);
    let mut targets = routes.matching("a/b", None).direct;
    targets.sort_by_key(|t| t.subscriber.key);
    assert_eq!(targets.len(), 2);
    assert_eq!(
        (targets[0].qos, targets[0].ids.as_deref()),
        (Qos::ExactlyOnce, Some(&[3, 7][..]))
    );
    assert_eq!(
        (targets[1].qos, targets[1].ids.as_deref()),
        (Qos::AtMostOnce, None)
    );
}

#[test]
fn mqtt_3_8_3_3_no_local_keeps_a_message_from_its_publisher_only() {
    let routes = Routes::default();
    let options = SubscriptionOptions {
        no_local: true,
        ..Default::default()
    };
    routes.subscribe(&filter("a"), someone(1), options, None);
    routes.subscribe(&filter("a"), someone(2), options, None);
    assert_eq!(keys(&routes.matching("a", Some(1))), [2]);
    assert_eq!(keys(&routes.matching("a", None)), [1, 2]);
}

#[test]
fn mqtt_3_8_4_3_the_same_filter_again_replaces_the_subscription() {
    let routes = Routes::default();
    assert!(routes.subscribe(&filter("a"), someone(1), at(Qos::ExactlyOnce), Some(1)));
    assert!(!routes.subscribe(&filter("a"), someone(1), at(Qos::AtMostOnce), None));
    let targets = routes.matching("a", None).direct;
    assert_eq!(
        (targets.len(), targets[0].qos, targets[0].ids.is_none()),
        (1, Qos::AtMostOnce, true)
    );
}

#[test]
fn a_memo_notices_every_change_that_concerns_its_topic() {
    let routes = Routes::default();
    let mut memo = memo::Memo::new(None);
    let topic = TopicName::parse("a/b").unwrap();
    assert!(memo.targets(&routes, &topic).direct.is_empty());
    routes.subscribe(&filter("a/b"), someone(1), at(Qos::AtMostOnce), None);
    assert_eq!(keys(memo.targets(&routes, &topic)), [1]);
    routes.subscribe(&filter("#"), someone(2), at(Qos::AtMostOnce), None);
    assert_eq!(keys(memo.targets(&routes, &topic)), [1, 2]);
    routes.unsubscribe(&filter("a/b"), 1);
    assert_eq!(keys(memo.targets(&routes, &topic)), [2]);
}

#[test]
fn a_share_group_takes_turns_among_members_with_room() {
    let routes = Routes::default();
    for key in 1..=3 {
        let member = Someone {
            key,
            durable: false,
            room: key != 2,
        };
        routes.subscribe(&filter("$share/g/a"), member, at(Qos::AtLeastOnce), None);
    }
    let group = routes.matching("a", None).shared.remove(0);
    let turns: Vec<u64> = (0..4)
        .map(|_| group.next(1, None, |_| true).unwrap().subscriber.key)
        .collect();
    assert_eq!(turns, [1, 3, 1, 3]);
    assert_eq!(group.next(1, Some(1), |_| true).unwrap().subscriber.key, 3);
    for key in 1..=3 {
        assert!(routes.unsubscribe(&filter("$share/g/a"), key));
    }
    assert!(routes.matching("a", None).shared.is_empty());
}

#[test]
fn only_durable_subscribers_above_qos_0_make_a_message_worth_keeping() {
    let routes = Routes::default();
    let durable = Someone {
        key: 1,
        durable: true,
        room: true,
    };
    routes.subscribe(&filter("a"), durable.clone(), at(Qos::AtMostOnce), None);
    assert!(!routes.matching("a", None).durable);
    routes.subscribe(&filter("$share/g/a"), durable, at(Qos::AtLeastOnce), None);
    assert!(routes.matching("a", None).durable);
}

fn retain(store: &RetainedMessages, topic: &str, payload: &'static str, offset: u64) {
    let topic = TopicName::parse(topic).unwrap();
    let message = Message::new(
        topic,
        payload.into(),
        Qos::AtMostOnce,
        true,
        None,
        Default::default(),
        Millis(0),
    );
    store.set(
        &Arc::new(message),
        Position {
            epoch: Epoch(*b"testtest"),
            offset,
        },
    );
}

#[test]
fn retained_messages_are_found_by_filter_in_chunks() {
    let store = RetainedMessages::default();
    let topics = ["a", "a/b", "a/b/c", "ab", "a!", "b", "$SYS/x", "/a"];
    for (offset, topic) in topics.iter().enumerate() {
        retain(&store, topic, "x", offset as u64);
    }
    for pattern in [
        "#", "a/#", "+", "a/+", "a/b", "+/b", "$SYS/#", "/#", "+/+/#",
    ] {
        let mut expected: Vec<&str> = topics
            .iter()
            .copied()
            .filter(|t| topic::matches(pattern, t))
            .collect();
        expected.sort_unstable();
        let (mut found, mut after) = (Vec::new(), None);
        let through = Position {
            epoch: Epoch(*b"testtest"),
            offset: 100,
        };
        loop {
            let chunk = store.matching(pattern, after.as_ref(), through, 1, Millis(1));
            found.extend(chunk.found.iter().map(|r| r.message.topic.to_string()));
            match chunk.resume_after {
                Some(topic) => after = Some(topic),
                None => break,
            }
        }
        assert_eq!(found, expected, "{pattern}");
    }
}

#[test]
fn mqtt_3_3_1_6_an_empty_payload_erases_the_retained_message() {
    let store = RetainedMessages::default();
    retain(&store, "a", "x", 1);
    assert_eq!(store.size().0, 1);
    retain(&store, "a", "", 2);
    assert_eq!(store.size(), (0, 0));
}
