//! Jitter: many clients that began together must not come back together.

use std::{ops::Range, time::Duration};

/// A duration from `range`, to the millisecond; its start if it is empty.
pub fn between(range: Range<Duration>) -> Duration {
    let (from, to) = (range.start.as_millis() as u64, range.end.as_millis() as u64);
    let span = to.saturating_sub(from).max(1);
    // without randomness there is merely no jitter
    Duration::from_millis(from + getrandom::u64().unwrap_or_default() % span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_in_its_range() {
        let (from, to) = (Duration::from_millis(10), Duration::from_millis(13));
        for _ in 0..100 {
            assert!((from..to).contains(&between(from..to)));
        }
        assert_eq!(between(to..from), to);
    }
}
