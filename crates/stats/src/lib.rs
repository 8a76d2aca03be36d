//! Statistics of repeated measurements: what a figure's points and bands are made of. Pure.
//!
//! No sample is dropped by its value. An interval that the samples cannot give is `None`, never
//! one of no width.

mod blocks;
mod bootstrap;
mod fieller;
mod mean;
mod outlier;
mod random;
mod steady;

pub use blocks::order;
pub use bootstrap::log_ratio;
pub use fieller::ratio;
pub use mean::{Summary, mean, median};
pub use outlier::far;
pub use steady::{Trend, trend};

use serde::{Deserialize, Serialize};

/// An estimate with its confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The confidence that the interval was made for, such as 0.95.
    pub confidence: f64,
    /// Samples that it rests on; of two groups, those of the smaller.
    pub samples: usize,
}

impl Estimate {
    /// Whether a value lies in the interval.
    #[must_use]
    pub fn covers(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// The interval cut to the values from `low` to `high` that the quantity can have at all.
    ///
    /// It covers the truth as often as before, as the truth is one of these values. The estimate
    /// itself stays, and stays in the interval.
    #[must_use]
    pub fn within(self, low: f64, high: f64) -> Self {
        let (low, high) = (low.min(self.value), high.max(self.value));
        Self { low: self.low.max(low), high: self.high.min(high), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_ends_where_the_quantity_does() {
        // Three runs of 10, 12 and 111 % of a CPU.
        let wide = mean(&[10.0, 12.0, 111.0], 0.95).unwrap();
        assert!(wide.low < -98.0 && wide.high > 187.0, "{wide:?}");
        let cut = wide.within(0.0, 100.0);
        assert_eq!((cut.low, cut.high), (0.0, 100.0));
        assert_eq!(cut.value, wide.value);
        let narrow = mean(&[10.0, 11.0, 12.0], 0.95).unwrap();
        assert_eq!(narrow.within(0.0, 100.0), narrow);
        // A measured value is kept, whatever the quantity can be.
        let over = mean(&[101.0, 102.0, 103.0], 0.95).unwrap().within(0.0, 100.0);
        assert_eq!((over.value, over.high), (102.0, 102.0));
    }
}
