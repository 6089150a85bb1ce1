//! Where a reader of messages says he left off: `since`, `last`, `Last-Event-ID`.
//!
//! Whatever somebody presents as a cursor is answered with a stream: an error would make a browser give up for good.

use crate::{
    broker::resume::Start,
    http::{
        problem::{Kind, Problem},
        query::Query,
    },
    message::Millis,
    mqtt::topic::TopicFilter,
};
use std::time::Duration;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Most messages that `last` asks for.
pub const MOST: usize = 1000;

/// Whether retained messages come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Retained {
    /// When a reader knows nothing of the state, and after a gap.
    #[default]
    Auto,
    /// Also when he goes on where he was.
    Always,
    /// Not even then.
    Never,
}

/// As they are spelled.
pub const RETAINED: &[(&str, Retained)] = &[
    ("auto", Retained::Auto),
    ("always", Retained::Always),
    ("never", Retained::Never),
];

impl Retained {
    /// Whether they come before anything else.
    pub fn opens(self, is_fresh: bool) -> bool {
        match self {
            Retained::Auto => is_fresh,
            Retained::Always => true,
            Retained::Never => false,
        }
    }
}

/// Reads `since` and `last`.
pub fn start(query: &mut Query<'_>, now: Millis) -> Result<Start, Problem> {
    let since = query.text("since")?;
    let last = query.number("last", 1..=MOST)?;
    match (since, last) {
        (Some(_), Some(_)) => Err(Problem::parameter("last", "not together with since")),
        (None, Some(last)) => Ok(Start::Last(last)),
        (None, None) => Ok(Start::Now),
        (Some(since), None) => Ok(parse(&since, now)),
    }
}

/// A shared subscription begins now, as it has no place in the log.
pub fn refuse_shared(filters: &[TopicFilter], start: Start) -> Result<(), Problem> {
    if start == Start::Now || filters.iter().all(|filter| filter.share().is_none()) {
        return Ok(());
    }
    let detail =
        "a message of a shared subscription goes to one of its members: leave since and last out";
    Err(Problem::new(Kind::SharedSubCursor, detail))
}

/// `now`, `earliest`, a duration back from `now`, a time, or a cursor; anything else is a cursor that nobody gave.
pub fn parse(text: &str, now: Millis) -> Start {
    match text {
        "now" => Start::Now,
        "earliest" => Start::Earliest,
        _ => match ago(text).map(|ago| Millis(now.0.saturating_sub(ago.as_millis() as u64))) {
            Some(time) => Start::Since(time),
            None => match time_of(text) {
                Some(time) if time > now => Start::Now,
                Some(time) => Start::Since(time),
                None => Start::After(text.parse().ok()),
            },
        },
    }
}

fn ago(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return None,
    };
    let digits = &text[..text.len() - 1];
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let count: u32 = digits.parse().ok().filter(|_| is_number)?;
    Some(Duration::from_secs(u64::from(count) * seconds))
}

/// RFC 3339.
pub fn time_of(text: &str) -> Option<Millis> {
    // an unencoded plus sign arrives as a space
    let time = OffsetDateTime::parse(&text.replace(' ', "+"), &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000)
        .ok()
        .map(Millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Epoch, Position};

    const NOW: Millis = Millis(1_795_363_500_123);

    #[test]
    fn every_spelling_is_understood_and_nothing_is_an_error() {
        let at = |offset| Position {
            epoch: Epoch(*b"k7q2m9xa"),
            offset,
        };
        for (text, start) in [
            ("now", Start::Now),
            ("earliest", Start::Earliest),
            ("45s", Start::Since(Millis(NOW.0 - 45_000))),
            ("10m", Start::Since(Millis(NOW.0 - 600_000))),
            ("2h", Start::Since(Millis(NOW.0 - 7_200_000))),
            ("4294967295d", Start::Since(Millis(0))),
            (
                "2026-11-22T16:05:00.123Z",
                Start::Since(Millis(1_795_363_500_123)),
            ),
            (
                "2026-11-22T17:05:00+01:00",
                Start::Since(Millis(1_795_363_500_000)),
            ),
            ("2999-01-01T00:00:00Z", Start::Now),
            ("k7q2m9xa-10482", Start::After(Some(at(10_482)))),
            (
                "k7q2m9xa-18446744073709551615",
                Start::After(Some(at(u64::MAX))),
            ),
            ("k7q2m9xa-18446744073709551616", Start::After(None)),
            ("k7q2m9xa-+1", Start::After(None)),
            ("K7Q2M9XA-1", Start::After(None)),
            ("k7q2m9x\u{e4}-1", Start::After(None)),
            ("-5m", Start::After(None)),
            ("\u{e4}", Start::After(None)),
            ("", Start::After(None)),
            ("yesterday", Start::After(None)),
        ] {
            assert_eq!(parse(text, NOW), start, "{text}");
        }
        assert_eq!(parse(&"9".repeat(10_000), NOW), Start::After(None));
    }
}
