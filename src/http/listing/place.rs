//! Places in a listing as clients carry them: short, whatever the topics there are called.
//!
//! The place behind a long topic is carried as what the topic begins with and a digest of it all. To go on, the topic is
//! looked for among those that begin so.

use crate::{
    auth::identity::Identity,
    broker::listing::Selection,
    http::{State, extract::BASE64URL, problem::Problem},
    routing::retained::level::{Found, Mark},
};
use base64::Engine;
use sha2::{Digest, Sha256};

/// Bytes of a topic that are carried as they are.
const SHORT: usize = 512;
/// What is looked through at a time.
const STEP: usize = 64;

/// Where a client wants to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Behind what is named.
    Named(Mark),
    /// Behind something longer.
    Long(Long),
}

/// What is known of a long topic, or of a long level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Long {
    is_level: bool,
    bytes: u32,
    digest: [u8; 32],
    start: String,
}

/// Whether a place can be carried by its name alone, so that it need not be found again.
pub fn is_short(mark: &Mark) -> bool {
    text(mark).1.len() <= SHORT
}

/// A place as a client carries it: nothing it needs to understand.
pub fn spell(mark: &Mark) -> String {
    let (is_level, text) = text(mark);
    if is_short(mark) {
        let kind = if is_level { 'l' } else { 't' };
        return BASE64URL.encode(format!("{kind}{text}"));
    }
    let long = Long::of(is_level, text);
    let kind = if is_level { b'L' } else { b'T' };
    let bytes = [
        &[kind],
        &long.bytes.to_be_bytes()[..],
        &long.digest,
        long.start.as_bytes(),
    ];
    BASE64URL.encode(bytes.concat())
}

/// The place that a client carried. A forged one is a place like any other: what may be read there is the same.
pub fn understand(spelt: &str) -> Result<Place, Problem> {
    let place = BASE64URL.decode(spelt).ok().and_then(|bytes| {
        let (kind, rest) = bytes.split_first()?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        match kind {
            b't' => Some(Place::Named(Mark::Topic(text(rest)?))),
            b'l' => Some(Place::Named(Mark::Level(text(rest)?))),
            b'T' | b'L' => {
                let (bytes, rest) = rest.split_first_chunk()?;
                let (digest, start) = rest.split_first_chunk()?;
                Some(Place::Long(Long {
                    is_level: *kind == b'L',
                    bytes: u32::from_be_bytes(*bytes),
                    digest: *digest,
                    start: text(start)?,
                }))
            }
            _ => None,
        }
    });
    place.ok_or_else(|| Problem::parameter("after", "it is not the `next` of another page"))
}

impl Place {
    /// The place in the listing. Where something long is not there any more, all that begins as it did is told again:
    /// rather twice than never.
    pub async fn find(self, state: &State, caller: &Identity, selection: &Selection) -> Mark {
        let long = match self {
            Place::Named(mark) => return mark,
            Place::Long(long) => long,
        };
        let start = Mark::Topic(long.start.clone());
        let mut at = start.clone();
        loop {
            let page = state.broker.list(caller, selection, Some(&at), STEP);
            if let Some(found) = page.found.iter().find(|found| long.is(found)) {
                return found.mark();
            }
            match page.resume {
                Some(resume) if text(&resume).1.starts_with(&long.start) => at = resume,
                _ => return start,
            }
            // others of this worker have their turn
            tokio::task::yield_now().await;
        }
    }
}

impl Long {
    fn of(is_level: bool, text: &str) -> Self {
        Long {
            is_level,
            bytes: text.len() as u32,
            digest: Sha256::digest(text).into(),
            start: text[..text.floor_char_boundary(SHORT)].to_owned(),
        }
    }

    fn is(&self, found: &Found) -> bool {
        let (is_level, text) = match found {
            Found::Topic(retained) => (false, &*retained.message.topic),
            Found::Level(level) => (true, level.as_str()),
        };
        is_level == self.is_level
            && text.len() == self.bytes as usize
            && <[u8; 32]>::from(Sha256::digest(text)) == self.digest
    }
}

fn text(mark: &Mark) -> (bool, &str) {
    match mark {
        Mark::Topic(topic) => (false, topic),
        Mark::Level(level) => (true, level),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_place_survives_its_spelling() {
        for mark in [
            Mark::Topic("a/ü\n\"<>".to_owned()),
            Mark::Level("a//".to_owned()),
            Mark::Topic(String::new()),
            Mark::Topic("x".repeat(SHORT)),
        ] {
            assert_eq!(understand(&spell(&mark)).unwrap(), Place::Named(mark));
        }
        for forged in ["", "%", "eA", "/w", "dP8", "t", "TAAA"] {
            assert!(understand(forged).is_err(), "{forged}");
        }
    }

    #[test]
    fn a_long_place_is_spelt_briefly_and_like_no_other() {
        let long = |last: &str| format!("{}{last}", "ü".repeat(30_000));
        let marks = [
            Mark::Topic(long("a/")),
            Mark::Level(long("a/")),
            Mark::Topic(long("b/")),
        ];
        let spelt = marks.each_ref().map(spell);
        for (spelt, mark) in spelt.iter().zip(&marks) {
            assert!(spelt.len() < 800, "{}", spelt.len());
            let (is_level, text) = text(mark);
            let expected = Place::Long(Long::of(is_level, text));
            assert_eq!(understand(spelt).unwrap(), expected);
        }
        assert!(spelt[0] != spelt[1] && spelt[0] != spelt[2]);
    }
}
