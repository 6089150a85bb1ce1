//! Topics and filters against a matcher of ten lines: what is one, what matches, what the tree and the retained
//! messages find.

use std::sync::Arc;

use tidegate::{
    message::{Epoch, Message, Millis, Position},
    mqtt::{
        Qos,
        subscribe::SubscriptionOptions,
        topic::{TopicFilter, TopicName, is_deeper},
    },
    routing::{Routes, Subscriber, retained::RetainedMessages},
};

/// As the standard says it: section 4.7.
fn matches(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) => true,
        ([], []) => true,
        (["+", filter @ ..], [_, topic @ ..]) => matches(filter, topic),
        ([wanted, filter @ ..], [level, topic @ ..]) => wanted == level && matches(filter, topic),
        _ => false,
    }
}

fn expected(filter: &str, topic: &str) -> bool {
    let filter: Vec<&str> = filter.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    let hidden = topic[0].starts_with('$') && matches!(filter[0], "+" | "#");
    !hidden && matches(&filter, &topic)
}

/// Sections 4.7.1 and 4.7.3.
fn is_filter(text: &str) -> bool {
    let levels: Vec<&str> = text.split('/').collect();
    let (last, front) = levels.split_last().expect("at least one level");
    let plain = |level: &str| level == "+" || !level.contains(['+', '#']);
    let sound = front.iter().all(|level| plain(level)) && (plain(last) || *last == "#");
    sound && !text.is_empty() && text.len() <= 65_535 && !text.contains('\0')
}

/// Section 4.8.2.
fn is_shared_filter(text: &str) -> bool {
    let Some((name, filter)) = text.split_once('/') else {
        return false;
    };
    !name.is_empty() && !name.contains(['+', '#', '\0']) && is_filter(filter)
}

#[derive(Clone)]
struct Someone(u64);

impl Subscriber for Someone {
    fn key(&self) -> u64 {
        self.0
    }
    fn is_durable(&self) -> bool {
        false
    }
    fn is_online(&self) -> bool {
        true
    }

    fn has_room(&self, _weight: usize) -> bool {
        true
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

/// Lines of text, each both a topic and a filter if it can be.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // as deep as the gateway admits them
    let lines: Vec<&str> = text.lines().filter(|line| !is_deeper(line, 128)).collect();
    let routes = Routes::default();
    let retained = RetainedMessages::default();
    let (mut topics, mut filters) = (Vec::new(), Vec::new());
    for (key, line) in lines.into_iter().take(40).enumerate() {
        let topic = TopicName::parse(line);
        let is_topic = !line.is_empty() && !line.contains(['+', '#', '\0']);
        assert_eq!(topic.is_ok(), is_topic, "{line:?}");
        if let Ok(topic) = topic {
            retain(&retained, &topic);
            topics.push(topic);
        }
        let filter = TopicFilter::parse(line);
        let is_right = match line.strip_prefix("$share/") {
            Some(shared) => is_shared_filter(shared),
            None => line != "$share" && is_filter(line),
        };
        assert_eq!(filter.is_ok(), is_right, "{line:?}");
        if let Ok(filter) = filter {
            let options = SubscriptionOptions::default();
            routes.subscribe(&filter, Someone(key as u64), options, None);
            filters.push((key as u64, filter));
        }
    }
    topics.sort();
    topics.dedup();
    check(&routes, &topics, &filters);
    for (_, filter) in &filters {
        check_retained(&retained, &topics, filter);
    }
    // every other one goes again
    let stays = |key: u64| key % 2 == 1;
    for (key, filter) in filters.iter().filter(|(key, _)| !stays(*key)) {
        assert!(routes.unsubscribe(filter, *key));
        assert!(!routes.unsubscribe(filter, *key));
    }
    filters.retain(|(key, _)| stays(*key));
    check(&routes, &topics, &filters);
}

fn check(routes: &Routes<Someone>, topics: &[TopicName], filters: &[(u64, TopicFilter)]) {
    for topic in topics {
        let (mut direct, mut shared) = (Vec::new(), Vec::new());
        for (key, filter) in filters {
            let wanted = expected(filter.pattern(), topic);
            assert_eq!(filter.matches(topic), wanted, "{filter} on {topic}");
            match (wanted, filter.share()) {
                (true, None) => direct.push(*key),
                (true, Some(_)) => shared.push(filter.as_str()),
                (false, _) => {}
            }
        }
        let targets = routes.matching(topic, None);
        let mut found: Vec<u64> = targets.direct.iter().map(|t| t.subscriber.0).collect();
        found.sort_unstable();
        assert_eq!(found, direct, "{topic}");
        let mut found: Vec<&str> = targets.shared.iter().map(|g| g.filter().as_str()).collect();
        found.sort_unstable();
        shared.sort_unstable();
        shared.dedup();
        assert_eq!(found, shared, "{topic}");
    }
}

fn retain(retained: &RetainedMessages, topic: &TopicName) {
    let (payload, qos) = (b"x".into(), Qos::AtMostOnce);
    let message = Message::new(topic.clone(), payload, qos, true, None, None, Millis(0));
    retained.set(&Arc::new(message), AT);
}

const AT: Position = Position {
    epoch: Epoch(*b"fuzzfuzz"),
    offset: 1,
};

fn check_retained(retained: &RetainedMessages, topics: &[TopicName], filter: &TopicFilter) {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let chunk = retained.matching(filter.pattern(), after.as_ref(), AT, 3, Millis(0));
        found.extend(chunk.found.iter().map(|r| r.message.topic.clone()));
        after = chunk.resume_after;
        if after.is_none() {
            break;
        }
    }
    let wanted = topics
        .iter()
        .filter(|topic| expected(filter.pattern(), topic));
    assert_eq!(found, wanted.cloned().collect::<Vec<_>>(), "{filter}");
}
