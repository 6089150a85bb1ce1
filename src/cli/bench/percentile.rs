//! Percentiles of delays.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// How long messages took, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half were faster.
    pub p50_us: f64,
    /// 99 of 100 were faster.
    pub p99_us: f64,
    /// 999 of 1,000 were faster.
    pub p999_us: f64,
    /// The slowest.
    pub max_us: f64,
}

impl Latency {
    /// Of all delays of a run; `None` if there are none.
    pub fn of(delays: &mut [Duration]) -> Option<Self> {
        delays.sort_unstable();
        let micros = |share| Some(at(delays, share)?.as_secs_f64() * 1e6);
        Some(Latency {
            p50_us: micros(0.5)?,
            p99_us: micros(0.99)?,
            p999_us: micros(0.999)?,
            max_us: micros(1.0)?,
        })
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "p50 {:.0} µs, p99 {:.0} µs, p99.9 {:.0} µs, max {:.0} µs",
            self.p50_us, self.p99_us, self.p999_us, self.max_us
        )
    }
}

/// The smallest of the sorted values that at least `share` of them do not exceed.
fn at<T: Copy>(sorted: &[T], share: f64) -> Option<T> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// The middle of some numbers; of an even count the mean of both.
pub fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[upper]),
        _ => Some((values[upper - 1] + values[upper]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let sorted: Vec<u32> = (1..=1000).collect();
        assert_eq!(at(&sorted, 0.5), Some(500));
        assert_eq!(at(&sorted, 0.99), Some(990));
        assert_eq!(at(&sorted, 0.999), Some(999));
        assert_eq!(at(&sorted, 1.0), Some(1000));
        assert_eq!(at(&[7], 0.5), Some(7));
        assert_eq!(at::<u32>(&[], 0.5), None);
    }

    #[test]
    fn delays_need_not_be_sorted() {
        let mut delays: Vec<_> = [3, 1, 2].map(Duration::from_micros).into();
        let latency = Latency::of(&mut delays).unwrap();
        assert_eq!((latency.p50_us, latency.max_us), (2.0, 3.0));
        assert_eq!(Latency::of(&mut []), None);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0]), Some(2.5));
        assert_eq!(median(&mut []), None);
    }
}
