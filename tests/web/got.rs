//! What a reader of numbered messages has got over all its connections.

use std::collections::BTreeMap;

use serde_json::Value;

/// Who writes: each to a topic of its own, that ends in its number.
pub const WRITERS: usize = 4;

/// So many, or a tenth.
pub fn amount(long: usize) -> usize {
    match std::env::var_os("TIDEGATE_TEST_LONG") {
        Some(_) => long,
        None => long / 10,
    }
}

/// What a reader has got, over all its connections.
#[derive(Default)]
pub struct Got {
    pub by_topic: BTreeMap<String, Vec<usize>>,
    pub taken: usize,
    pub last_id: Option<String>,
    pub gaps: Vec<Value>,
}

impl Got {
    /// Takes a message; true at the end of all. Positions only ever rise, whatever happened in between.
    pub fn message(&mut self, id: &str, data: &Value) -> bool {
        if let Some(last) = &self.last_id {
            assert!(
                offset(id) > offset(last),
                "{id} comes behind {last}: {data}"
            );
        }
        self.last_id = Some(id.to_owned());
        let text = data["payload"].as_str().expect("text");
        if text == "end" {
            return true;
        }
        let topic = data["topic"].as_str().expect("a topic").to_owned();
        let number = text.parse().expect("a number");
        self.by_topic.entry(topic).or_default().push(number);
        self.taken += 1;
        false
    }

    pub fn is_everything_once(&self, root: &str, each: usize, who: &str) {
        assert_eq!(self.gaps, Vec::<Value>::new(), "{who}");
        for nth in 0..WRITERS {
            let all: Vec<usize> = (0..each).collect();
            let got = self.by_topic.get(&format!("{root}/{nth}"));
            assert_eq!(got, Some(&all), "{who}: what writer {nth} wrote");
        }
        assert_eq!(self.taken, WRITERS * each, "{who}");
    }
}

/// The second part of a cursor.
pub fn offset(cursor: &str) -> u64 {
    let (_, offset) = cursor.split_once('-').expect("epoch and offset");
    offset.parse().expect("a number")
}
