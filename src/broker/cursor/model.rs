//! What one session must be given, by a model that keeps every message.

use crate::mqtt::topic::{TopicFilter, TopicName};
use std::collections::BTreeMap;

/// A message that was published.
#[derive(Debug, Clone)]
pub struct Told {
    pub topic: &'static str,
    pub qos: u8,
}

/// A session as its client knows it.
#[derive(Debug, Default)]
pub struct Page {
    /// QoS and the number of the first message after it, by filter.
    filters: BTreeMap<&'static str, (u8, usize)>,
    /// What matched a filter when it was published, by number.
    wanted: BTreeMap<usize, Wanted>,
    /// The newest that came for the first time, by topic and QoS.
    newest: BTreeMap<(&'static str, u8), usize>,
}

#[derive(Debug, Default)]
struct Wanted {
    /// The QoS it is to come at.
    qos: u8,
    /// It must come.
    due: bool,
    /// Its filter was changed before it came: it may come as it was before, or as it is now, or not at all.
    loose: bool,
    times: u32,
    exactly: u32,
    /// Its PUBACK was taken, and the gateway was not killed since.
    answered: bool,
}

impl Page {
    pub fn publish(&mut self, number: usize, told: &Told) {
        if let Some(qos) = self.qos(number, told) {
            let (due, loose) = (qos > 0, false);
            let wanted = Wanted {
                qos,
                due,
                loose,
                ..Wanted::default()
            };
            self.wanted.insert(number, wanted);
        }
    }

    /// At which QoS the session wants a message now.
    fn qos(&self, number: usize, told: &Told) -> Option<u8> {
        let topic = TopicName::parse(told.topic).expect("a topic");
        let matching = self.filters.iter().filter(|(filter, (_, since))| {
            let filter = TopicFilter::parse(filter).expect("a filter");
            *since <= number && filter.matches(&topic)
        });
        let granted = matching.map(|(_, (qos, _))| *qos).max();
        granted.map(|granted| granted.min(told.qos))
    }

    pub fn subscribe(&mut self, filter: &'static str, qos: u8, all: &[Told]) {
        let since = self.filters.get(filter).map_or(all.len(), |old| old.1);
        self.filters.insert(filter, (qos, since));
        self.look_again(all);
    }

    pub fn unsubscribe(&mut self, filter: &'static str, all: &[Told]) {
        self.filters.remove(filter);
        self.look_again(all);
    }

    /// The filters have changed: what has not come may come otherwise.
    fn look_again(&mut self, all: &[Told]) {
        let now: Vec<_> = self.wanted.keys().copied().collect();
        for number in now {
            let qos = self.qos(number, &all[number]);
            if let Some(wanted) = self.wanted.get_mut(&number) {
                wanted.loose |= qos != Some(wanted.qos);
                wanted.due &= qos.is_some_and(|qos| qos > 0);
            }
        }
    }

    /// The application is given a message.
    pub fn receive(&mut self, number: usize, qos: u8, all: &[Told]) {
        let topic = all[number].topic;
        let Some(wanted) = self.wanted.get_mut(&number) else {
            panic!("{number} is not for it");
        };
        wanted.times += 1;
        wanted.exactly += u32::from(qos == 2);
        assert!(wanted.exactly < 2, "{number} came twice at QoS 2");
        assert!(wanted.times == 1 || qos > 0, "{number} came twice at QoS 0");
        assert!(!wanted.answered, "{number} came again, and was answered");
        if !wanted.loose {
            assert_eq!(qos, wanted.qos, "QoS of {number}");
            assert!(qos < 2 || wanted.times == 1, "{number} came twice");
        }
        if wanted.times == 1 {
            let newest = self.newest.entry((topic, qos)).or_insert(number);
            assert!(
                *newest <= number || wanted.loose,
                "{number} came for the first time after {newest}"
            );
            *newest = number.max(*newest);
        }
    }

    /// PUBACK was taken.
    pub fn answer(&mut self, number: usize) {
        if let Some(wanted) = self.wanted.get_mut(&number) {
            wanted.answered = true;
        }
    }

    /// The gateway was killed: a cursor is written lazily.
    pub fn kill(&mut self) {
        for wanted in self.wanted.values_mut() {
            wanted.answered = false;
        }
    }

    /// QoS 0 messages in an outbox go with the connection, and are never due. All others must be there by now.
    pub fn check(&self) {
        let lost = self.wanted.iter().filter(|(_, w)| w.due && w.times == 0);
        let lost: Vec<_> = lost.map(|(number, _)| number).collect();
        assert!(lost.is_empty(), "{lost:?} never came");
    }
}
