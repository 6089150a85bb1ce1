//! A batch that is read whole before anything of it is published.

use super::item;
use crate::{
    broker::Draft,
    http::{
        State,
        problem::{Kind, Problem},
    },
};
use serde::{
    Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::fmt;

/// Messages of a batch that is read whole.
pub const MOST: usize = 1000;

/// The messages of a body, each as far as it can be read.
type Drafts = Vec<Result<Draft, Problem>>;

/// The messages of a body, and the key of the request if it is one message that carries it. An error is the whole body's.
pub fn read(
    state: &State,
    body: &[u8],
    is_lines: bool,
) -> (Result<Drafts, Problem>, Option<String>) {
    match std::str::from_utf8(body) {
        Ok(text) if !is_lines && !is_array(text) => match serde_json::from_str::<&RawValue>(text) {
            Ok(one) => {
                let (draft, key) = item::read_alone(one.get(), &state.rules);
                (Ok(vec![draft]), key)
            }
            Err(error) => (Err(malformed(error)), None),
        },
        _ => (read_many(state, body, is_lines), None),
    }
}

fn is_array(text: &str) -> bool {
    text.trim_start().starts_with('[')
}

fn read_many(state: &State, body: &[u8], is_lines: bool) -> Result<Drafts, Problem> {
    let text = std::str::from_utf8(body)
        .map_err(|_| Problem::new(Kind::BodyInvalid, "the body is not UTF-8"))?;
    let items = match is_lines {
        true => lines(text)?,
        false => json(text)?,
    };
    if items.len() > MOST {
        return Err(too_many());
    }
    let items = items.into_iter();
    Ok(items.map(|one| item::read(one, &state.rules)).collect())
}

fn too_many() -> Problem {
    Problem::new(
        Kind::PayloadTooLarge,
        format!(
            "a batch may have {MOST} messages; NDJSON with Accept: application/x-ndjson may have any number"
        ),
    )
}

fn malformed(error: serde_json::Error) -> Problem {
    Problem::new(Kind::BodyInvalid, format!("the body is not JSON: {error}"))
}

fn lines(text: &str) -> Result<Vec<&str>, Problem> {
    let lines = text
        .lines()
        .enumerate()
        .map(|(nth, line)| (nth, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty()).take(MOST + 1);
    let whole = |(nth, line): (usize, &'_ str)| match serde_json::from_str::<&RawValue>(line) {
        Ok(_) => Ok(()),
        Err(error) => Err(Problem::new(
            Kind::BodyInvalid,
            format!("line {} is not JSON: {error}", nth + 1),
        )),
    };
    lines.map(|line| whole(line).map(|()| line.1)).collect()
}

/// An array of envelopes.
fn json(text: &str) -> Result<Vec<&str>, Problem> {
    let mut from = serde_json::Deserializer::from_str(text);
    let items = from.deserialize_seq(Items).map_err(malformed)?;
    if items.len() <= MOST {
        from.end().map_err(malformed)?;
    }
    Ok(items)
}

/// Reads an array item by item, up to one more than may be there.
struct Items;

impl<'de> Visitor<'de> for Items {
    type Value = Vec<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = array.next_element::<&RawValue>()? {
            if items.len() > MOST {
                // the rest is of no interest, but an array must be read to its end
                continue;
            }
            items.push(item.get());
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_split_into_its_messages_as_they_are_written() {
        assert_eq!(
            json(r#" [{"a": 1.50} ,[2]] "#).unwrap(),
            [r#"{"a": 1.50}"#, "[2]"]
        );
        assert_eq!(json("[]").unwrap(), [""; 0]);
        assert_eq!(lines("{\"a\":1}\r\n\n {} ").unwrap(), ["{\"a\":1}", "{}"]);
    }

    #[test]
    fn what_is_no_json_is_refused_as_a_whole() {
        for text in [
            "",
            "[",
            "[1,]",
            "[1] 2",
            "[1]]",
            "{\"a\":1} {}",
            "[{\"a\":}]",
            "nul",
        ] {
            assert_eq!(json(text).unwrap_err().kind(), Kind::BodyInvalid, "{text}");
        }
        assert_eq!(lines("{}\n{").unwrap_err().kind(), Kind::BodyInvalid);
    }

    #[test]
    fn no_more_is_held_than_may_be_there() {
        let many = format!("[{}0]", "0,".repeat(100_000));
        assert_eq!(json(&many).unwrap().len(), MOST + 1);
        assert_eq!(lines(&"1\n".repeat(100_000)).unwrap().len(), MOST + 1);
    }
}
