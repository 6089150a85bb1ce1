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

/// How often delays of which length occurred, to within 1 %: it takes the same room however many there are, so that
/// counting never holds up what is measured.
#[derive(Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: Duration,
}

/// Each power of two of nanoseconds is divided into so many parts, as a power of two.
const PARTS: u32 = 7;

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            counts: vec![0; place(u64::MAX) + 1],
            total: 0,
            max: Duration::ZERO,
        }
    }
}

impl Histogram {
    /// Counts a delay.
    pub fn add(&mut self, delay: Duration) {
        let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        self.counts[place(nanos)] += 1;
        self.total += 1;
        self.max = self.max.max(delay);
    }

    /// Of all delays; `None` if there are none.
    pub fn latency(&self) -> Option<Latency> {
        let micros = |share| Some(self.at(share)? as f64 / 1e3);
        Some(Latency {
            p50_us: micros(0.5)?,
            p99_us: micros(0.99)?,
            p999_us: micros(0.999)?,
            max_us: self.max.as_secs_f64() * 1e6,
        })
    }

    /// The shortest delay in nanoseconds that at least `share` of all do not exceed.
    fn at(&self, share: f64) -> Option<u64> {
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let place = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(shortest(place))
    }
}

/// Where a delay is counted: by its leading bits.
fn place(nanos: u64) -> usize {
    let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(PARTS + 1);
    ((shift as usize) << PARTS) + (nanos >> shift) as usize
}

/// The shortest delay that is counted at a place.
fn shortest(place: usize) -> u64 {
    let shift = (place >> PARTS).saturating_sub(1);
    ((place - (shift << PARTS)) as u64) << shift
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
    fn percentiles_are_delays_that_occurred_to_within_one_percent() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.latency(), None);
        for micros in (1..=10_000).rev() {
            histogram.add(Duration::from_micros(micros));
        }
        let latency = histogram.latency().unwrap();
        let near = |value: f64, wanted: f64| (value / wanted - 1.0).abs() < 0.01;
        assert!(near(latency.p50_us, 5_000.0), "{latency}");
        assert!(near(latency.p99_us, 9_900.0), "{latency}");
        assert!(near(latency.p999_us, 9_990.0), "{latency}");
        assert_eq!(latency.max_us, 10_000.0);
    }

    #[test]
    fn every_delay_has_a_place_whose_shortest_delay_is_near_it() {
        let powers = (0..64).map(|bit| 1_u64 << bit);
        for nanos in powers.flat_map(|power| [power - 1, power, power + power / 3]) {
            let shortest = shortest(place(nanos));
            assert!(
                shortest <= nanos && nanos - shortest <= nanos >> PARTS,
                "{nanos}"
            );
        }
        assert!(place(u64::MAX) < Histogram::default().counts.len());
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0]), Some(2.5));
        assert_eq!(median(&mut []), None);
    }
}
