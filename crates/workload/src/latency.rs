//! Distributions of times.

use crate::clock::length;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The longest time that is told apart: an hour.
const LONGEST: u64 = 3_600_000_000_000;

/// A histogram of times from a nanosecond to an hour, to three digits.
#[derive(Debug, Clone)]
pub struct Latency {
    histogram: Histogram<u64>,
}

/// What of a distribution is reported, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Times recorded; where it is 0 the others mean nothing.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Shortest.
    pub min: f64,
    /// Median.
    pub p50: f64,
    /// 90 % are at most this.
    pub p90: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
    /// Longest.
    pub max: f64,
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

impl Latency {
    /// An empty distribution.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the bounds are constants that the crate accepts")]
    pub fn new() -> Self {
        Self { histogram: Histogram::new_with_bounds(1, LONGEST, 3).expect("bounds") }
    }

    /// Adds one time in nanoseconds; one of over an hour counts as an hour.
    pub fn record_nanos(&mut self, nanos: u64) {
        self.histogram.saturating_record(nanos);
    }

    /// Adds all times of another.
    pub fn merge(&mut self, other: &Self) {
        // Both have the same bounds, so nothing can be out of range.
        let _ = self.histogram.add(&other.histogram);
    }

    /// Times recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// How many took longer than `time`, to the histogram's resolution.
    #[must_use]
    pub fn over(&self, time: Duration) -> u64 {
        self.count() - self.histogram.count_between(0, length(time))
    }

    /// The figures that are reported.
    #[must_use]
    pub fn percentiles(&self) -> Percentiles {
        let at = |quantile| self.histogram.value_at_quantile(quantile) as f64 / 1e9;
        if self.histogram.is_empty() {
            return Percentiles::default();
        }
        Percentiles {
            count: self.histogram.len(),
            mean: self.histogram.mean() / 1e9,
            min: self.histogram.min() as f64 / 1e9,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.histogram.max() as f64 / 1e9,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_times_recorded() {
        let mut half = Latency::new();
        let mut other = Latency::new();
        for ms in 1..=500 {
            half.record_nanos(ms * 1_000_000);
            other.record_nanos((ms + 500) * 1_000_000);
        }
        half.merge(&other);
        let found = half.percentiles();
        assert_eq!(found.count, 1000);
        for (value, wanted) in
            [(found.p50, 0.5), (found.p90, 0.9), (found.p99, 0.99), (found.p999, 0.999)]
        {
            assert!((value - wanted).abs() < 0.002, "{value} for {wanted}");
        }
        assert!((found.max - 1.0).abs() < 0.001 && (found.min - 0.001).abs() < 1e-5);
        assert_eq!(half.over(Duration::from_millis(900)), 100);
        assert_eq!(Latency::new().percentiles(), Percentiles::default());
    }
}
