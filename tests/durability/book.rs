//! What one subscriber has received, and whether that is what it must have.

use crate::{
    record::{Record, Stream},
    support::wire::Publish,
    world::World,
};

pub struct Book {
    who: &'static str,
    /// One for each stream of the record.
    pages: Vec<Page>,
    subscribed: bool,
}

#[derive(Clone, Default)]
struct Page {
    /// The QoS at which the stream is subscribed to, if it is.
    granted: Option<u8>,
    /// The first number whose sending began after the SUBACK.
    since: u64,
    /// Everything below was looked for already.
    checked: u64,
    /// For each number, how often it came.
    seen: Vec<u8>,
    /// The newest from `since` on that came not as a retained message. What is older may have been sent in part before
    /// the subscription, and be sent again after it.
    newest: Option<u64>,
}

impl Book {
    pub fn new(who: &'static str, filters: &[(&str, u8)], streams: &[Stream]) -> Self {
        let pages = streams.iter().map(|stream| Page {
            granted: filters
                .iter()
                .filter(|(filter, _)| matches(filter, &stream.topic))
                .map(|(_, qos)| *qos)
                .max(),
            ..Page::default()
        });
        Self {
            who,
            pages: pages.collect(),
            subscribed: false,
        }
    }

    /// Another session begins: what came in the one before is no duplicate of what comes in this one.
    pub fn begin_anew(&mut self) {
        self.subscribed = false;
        for page in &mut self.pages {
            *page = Page {
                granted: page.granted,
                ..Page::default()
            };
        }
    }

    /// A SUBACK has come. Only the first counts: to subscribe again changes nothing.
    pub fn subscribed(&mut self, record: &Record) {
        if !self.subscribed {
            self.subscribed = true;
            for (stream, page) in self.pages.iter_mut().enumerate() {
                page.since = record.sent(stream);
            }
        }
    }

    /// Takes a message in that the application is given.
    pub fn note(&mut self, world: &World, publish: &Publish) {
        let who = self.who;
        let (stream, number) = match world.record.recognise(&publish.topic, &publish.payload) {
            Ok(known) => known,
            Err(strange) => return world.findings.note(format_args!("{who} got {strange}")),
        };
        let (of, page) = (&world.record.streams[stream], &mut self.pages[stream]);
        let name = of.name();
        let qos = page.granted.map(|granted| granted.min(of.qos));
        if qos != Some(publish.qos) {
            let text = format!("{who} got {name} at QoS {}, not {qos:?}", publish.qos);
            return world.findings.note(text);
        }
        let how = format!("packet {} with DUP {}", publish.id, u8::from(publish.dup));
        let place = number as usize;
        if page.seen.len() <= place {
            page.seen.resize(place + 1, 0);
        }
        page.seen[place] = page.seen[place].saturating_add(1);
        let in_order = self.subscribed && number >= page.since && !publish.retain;
        if let Some(newest) = page.newest.filter(|newest| *newest > number)
            && in_order
            && page.seen[place] == 1
        {
            let text =
                format!("{who} got {name}: {number} for the first time after {newest}, {how}");
            world.findings.note(text);
        }
        if page.seen[place] > 1 && publish.qos == 2 {
            let times = page.seen[place];
            let text = format!("{who} got {name}: {number}, {times} times by now, {how}");
            world.findings.note(text);
        }
        if in_order {
            page.newest = page.newest.max(Some(number));
        }
    }

    /// The markers, as last numbers of the streams, that have not come yet.
    pub fn waits_for(&self, record: &Record, marks: &[Option<u64>]) -> Vec<String> {
        let mut missing = vec![];
        if !self.subscribed {
            missing.push("SUBACK".to_owned());
        }
        for (stream, mark) in marks.iter().enumerate() {
            let page = &self.pages[stream];
            if let Some(mark) = mark.filter(|mark| *mark >= page.since)
                && page.granted.is_some()
                && page.seen.get(mark as usize).is_none_or(|times| *times == 0)
            {
                missing.push(format!("{} {mark}", record.streams[stream].name()));
            }
        }
        missing
    }

    /// The markers have come: what was acknowledged before them and is not here now is lost.
    pub fn check(&mut self, world: &World, marks: &[Option<u64>]) {
        for (stream, mark) in marks.iter().enumerate() {
            let page = &mut self.pages[stream];
            let (Some(mark), Some(_)) = (mark, page.granted) else {
                continue;
            };
            let from = page.since.max(page.checked);
            page.checked = mark + 1;
            let mut lost = world.record.acknowledged_among(stream, from..=*mark);
            lost.retain(|number| page.seen.get(*number as usize).is_none_or(|n| *n == 0));
            if let (Some(first), Some(last)) = (lost.first(), lost.last()) {
                world.findings.note(format_args!(
                    "{} lost {} acknowledged messages of {}, from {first} to {last} of {mark}",
                    self.who,
                    lost.len(),
                    world.record.streams[stream].name(),
                ));
            }
        }
    }
}

/// Whether a topic matches a filter, level by level as the standards say.
fn matches(filter: &str, topic: &str) -> bool {
    let mut topic = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, topic.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (wanted, found) if found == Some(wanted) => {}
            _ => return false,
        }
    }
    topic.next().is_none()
}
