//! Statistics of repeated measurements: what a figure's points and bands are made of. Pure.
//!
//! No sample is dropped by its value. An interval that the samples cannot give is `None`, never
//! one of no width.

mod blocks;
mod bootstrap;
mod fieller;
mod mean;
mod random;
mod steady;

pub use blocks::order;
pub use bootstrap::log_ratio;
pub use fieller::ratio;
pub use mean::{Summary, mean, median};
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
}
