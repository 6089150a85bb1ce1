//! `If-Match` and `If-None-Match`: conditions on the write that a topic's state comes from (RFC 9110, 13.1).
//!
//! The entity tag of a state is the cursor of its write in quotes. A tag of any other form is well formed all the same:
//! it is nobody's, and matches nothing.

use crate::{
    http::problem::Problem,
    message::{Epoch, Position},
    routing::condition::{Condition, Writes},
};
use axum::http::{HeaderMap, HeaderName, header};

/// The condition in the headers of a request.
pub fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    if !headers.contains_key(header::IF_MATCH) && !headers.contains_key(header::IF_NONE_MATCH) {
        return Ok(Condition::default());
    }
    Ok(Condition {
        // a weak tag is never the same as anything here, for If-None-Match its weakness does not count
        is: writes(headers, header::IF_MATCH, false)?,
        is_not: writes(headers, header::IF_NONE_MATCH, true)?,
    })
}

/// The entity tag of a state that was written at `position`.
pub fn tag(position: Position) -> String {
    format!("\"{position}\"")
}

fn writes(
    headers: &HeaderMap,
    name: HeaderName,
    takes_weak: bool,
) -> Result<Option<Writes>, Problem> {
    let malformed =
        || Problem::parameter(name.as_str(), "written \"<ETag>\", a list of those, or *");
    let (mut found, mut any, mut tags) = (false, false, 0);
    let mut positions = Vec::new();
    for value in headers.get_all(&name) {
        found = true;
        let mut rest = value.to_str().map_err(|_| malformed())?.trim();
        if rest == "*" {
            any = true;
            continue;
        }
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix(',') {
                // empty elements of lists are passed over (RFC 9110, 5.6.1.2)
                rest = after.trim_start();
                continue;
            }
            let strong = rest.strip_prefix("W/");
            let is_weak = strong.is_some();
            let quoted = strong.unwrap_or(rest).strip_prefix('"');
            let (tag, after) = quoted
                .and_then(|text| text.split_once('"'))
                .ok_or_else(malformed)?;
            tags += 1;
            if takes_weak || !is_weak {
                positions.extend(position(tag));
            }
            rest = after.trim_start();
            if !rest.is_empty() && !rest.starts_with(',') {
                return Err(malformed());
            }
        }
    }
    match (any, tags) {
        (false, 0) if !found => Ok(None),
        (true, 0) => Ok(Some(Writes::Any)),
        (false, 1..) => Ok(Some(Writes::These(positions))),
        _ => Err(malformed()),
    }
}

/// The position whose cursor is `text`, if it is one.
fn position(text: &str) -> Option<Position> {
    let (epoch, offset) = text.split_once('-')?;
    let position = Position {
        epoch: Epoch(epoch.as_bytes().try_into().ok()?),
        offset: offset.parse().ok()?,
    };
    // one spelling only: neither signs nor leading zeros
    (position.to_string() == text).then_some(position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn read(values: &[&'static str]) -> Result<Condition, Problem> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, HeaderValue::from_static(value));
            headers.append(header::IF_NONE_MATCH, HeaderValue::from_static(value));
        }
        condition(&headers)
    }

    fn at(offset: u64) -> Position {
        Position {
            epoch: Epoch(*b"k7q2m9xa"),
            offset,
        }
    }

    #[test]
    fn tags_are_compared_strongly_to_match_and_weakly_not_to() {
        let these =
            |offsets: &[u64]| Some(Writes::These(offsets.iter().copied().map(at).collect()));
        let table: [(&[&str], _, _); 9] = [
            (&[], None, None),
            (&["*"], Some(Writes::Any), Some(Writes::Any)),
            (&["\"k7q2m9xa-1\""], these(&[1]), these(&[1])),
            (&["W/\"k7q2m9xa-1\""], these(&[]), these(&[1])),
            (
                &["\"x\", W/\"k7q2m9xa-1\" ,\"k7q2m9xa-2\""],
                these(&[2]),
                these(&[1, 2]),
            ),
            (
                &["\"k7q2m9xa-1\"", "\"k7q2m9xa-2\""],
                these(&[1, 2]),
                these(&[1, 2]),
            ),
            (&[",, \"a,b\" , \"k7q2m9xa-7\","], these(&[7]), these(&[7])),
            (&["\"k7q2m9xa-01\""], these(&[]), these(&[])),
            (&["\"\""], these(&[]), these(&[])),
        ];
        for (values, is, is_not) in table {
            let read = read(values).unwrap();
            assert_eq!((read.is, read.is_not), (is, is_not), "{values:?}");
        }
    }

    #[test]
    fn a_condition_that_is_not_understood_is_refused_never_ignored() {
        for value in [
            "",
            ",",
            "k7q2m9xa-1",
            "\"open",
            "\"a\" \"b\"",
            "*, \"a\"",
            "w/\"a\"",
            "W/",
            "\"a\"x",
        ] {
            assert!(read(&[value]).is_err(), "{value:?}");
        }
        assert!(read(&["*", "\"a\""]).is_err());
    }

    #[test]
    fn the_tag_of_a_write_is_its_cursor() {
        assert_eq!(tag(at(10_482)), "\"k7q2m9xa-10482\"");
        assert_eq!(
            position("k7q2m9xa-18446744073709551615"),
            Some(at(u64::MAX))
        );
        for text in [
            "",
            "-",
            "k7q2m9xa-",
            "k7q2m9x-1",
            "k7q2m9xa-+1",
            "k7q2m9xa-1-2",
        ] {
            assert_eq!(position(text), None, "{text}");
        }
    }
}
