//! The driver's own record: which messages were sent, and which of them were acknowledged.

use std::{
    ops::RangeInclusive,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{random::Random, support::wire::Publish};

/// Numbered messages of one publisher to one topic at one QoS: among these the order is promised.
#[derive(Clone, Debug)]
pub struct Stream {
    pub publisher: &'static str,
    pub topic: String,
    pub qos: u8,
    pub retained: bool,
}

impl Stream {
    pub fn name(&self) -> String {
        format!("{} at QoS {}", self.topic, self.qos)
    }
}

pub struct Record {
    pub streams: Vec<Stream>,
    /// For each stream, for each number ever sent: whether it was acknowledged.
    acknowledged: Mutex<Vec<Vec<bool>>>,
}

impl Record {
    pub fn of(streams: Vec<Stream>) -> Self {
        let acknowledged = Mutex::new(vec![vec![]; streams.len()]);
        Self {
            streams,
            acknowledged,
        }
    }

    fn pages(&self) -> MutexGuard<'_, Vec<Vec<bool>>> {
        self.acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The next number of the stream; from now on it counts as sent.
    pub fn next(&self, stream: usize) -> u64 {
        let page = &mut self.pages()[stream];
        page.push(false);
        page.len() as u64 - 1
    }

    pub fn acknowledge(&self, stream: usize, number: u64) {
        self.pages()[stream][number as usize] = true;
    }

    /// How many numbers of the stream were sent: the first that was not.
    pub fn sent(&self, stream: usize) -> u64 {
        self.pages()[stream].len() as u64
    }

    /// The last number sent of each stream that has any.
    pub fn last_sent(&self) -> Vec<Option<u64>> {
        let pages = self.pages();
        pages
            .iter()
            .map(|page| (page.len() as u64).checked_sub(1))
            .collect()
    }

    pub fn last_acknowledged(&self, stream: usize) -> Option<u64> {
        let last = self.pages()[stream].iter().rposition(|known| *known);
        last.map(|number| number as u64)
    }

    /// The acknowledged numbers among these.
    pub fn acknowledged_among(&self, stream: usize, numbers: RangeInclusive<u64>) -> Vec<u64> {
        let page = &self.pages()[stream];
        numbers.filter(|number| page[*number as usize]).collect()
    }

    pub fn count_acknowledged(&self) -> usize {
        let pages = self.pages();
        pages.iter().flatten().filter(|known| **known).count()
    }

    /// The message with this number.
    pub fn message(&self, stream: usize, number: u64) -> Publish {
        let Stream {
            topic,
            qos,
            retained,
            ..
        } = &self.streams[stream];
        let mut message = Publish::new(topic, self.payload(stream, number), *qos);
        message.retain = *retained;
        message
    }

    /// Says what the message is, and goes on with bytes that follow from it.
    pub fn payload(&self, stream: usize, number: u64) -> Vec<u8> {
        let Stream {
            publisher,
            topic,
            qos,
            ..
        } = &self.streams[stream];
        let mut random = Random::seeded(number << 8 | stream as u64);
        let filler = if random.once_in(200) {
            random.below(8192)
        } else {
            random.below(200)
        };
        let mut payload = format!("{publisher} {topic} {qos} {number} ").into_bytes();
        payload.extend((0..filler).map(|_| random.between(0x20, 0x7E) as u8));
        payload
    }

    /// Which message this is; a sentence if it is none that was ever sent.
    pub fn recognise(&self, topic: &str, payload: &[u8]) -> Result<(usize, u64), String> {
        let text = String::from_utf8_lossy(payload);
        let start: String = text.chars().take(60).collect();
        let strange = |why: &str| {
            Err(format!(
                "{why}: {} bytes {start:?} on {topic}",
                payload.len()
            ))
        };
        let words: Vec<&str> = text.splitn(5, ' ').collect();
        let &[publisher, on, qos, number, _] = words.as_slice() else {
            return strange("a payload nobody wrote");
        };
        let stream = self.streams.iter().position(|stream| {
            (
                stream.publisher,
                stream.topic.as_str(),
                stream.qos.to_string().as_str(),
            ) == (publisher, on, qos)
        });
        let (Some(stream), Ok(number)) = (stream, number.parse()) else {
            return strange("a payload nobody wrote");
        };
        if topic != on {
            return strange("a message on a topic it was not sent to");
        }
        if number >= self.sent(stream) {
            return strange("a number that was never sent");
        }
        if payload != self.payload(stream, number) {
            return strange("a payload that is not as it was sent");
        }
        Ok((stream, number))
    }
}
