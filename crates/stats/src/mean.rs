//! Means and medians of independent samples.

use crate::Estimate;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Mean and spread of samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// How many.
    pub count: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Unbiased variance; `None` of a single sample.
    pub variance: Option<f64>,
}

impl Summary {
    /// Of samples; `None` where there are none, or one is not finite.
    #[must_use]
    pub fn of(samples: &[f64]) -> Option<Self> {
        if samples.is_empty() || samples.iter().any(|sample| !sample.is_finite()) {
            return None;
        }
        let count = samples.len() as f64;
        let mean = samples.iter().sum::<f64>() / count;
        let squares: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
        let variance = (samples.len() > 1).then(|| squares / (count - 1.0));
        Some(Self { count: samples.len(), mean, variance })
    }

    /// Variance of the mean.
    #[must_use]
    pub fn variance_of_mean(&self) -> Option<f64> {
        self.variance.map(|variance| variance / self.count as f64)
    }
}

/// The mean with Student's interval; `None` of fewer than two samples.
#[must_use]
pub fn mean(samples: &[f64], confidence: f64) -> Option<Estimate> {
    let summary = Summary::of(samples)?;
    let half =
        quantile(confidence, (summary.count - 1) as f64)? * summary.variance_of_mean()?.sqrt();
    Some(Estimate {
        value: summary.mean,
        low: summary.mean - half,
        high: summary.mean + half,
        confidence,
        samples: summary.count,
    })
}

/// The median; `None` of no samples.
#[must_use]
pub fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 { upper } else { f64::midpoint(sorted[middle - 1], upper) })
}

/// Student's two-sided quantile; `None` where confidence is not within 0 and 1, or no degree of
/// freedom is left.
pub fn quantile(confidence: f64, degrees: f64) -> Option<f64> {
    if !(confidence > 0.0 && confidence < 1.0) {
        return None;
    }
    let distribution = StudentsT::new(0.0, 1.0, degrees).ok()?;
    Some(distribution.inverse_cdf(0.5 + confidence / 2.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_students() {
        // Five samples: t(0.975, 4) = 2.776; their standard deviation is √2.5.
        let found = mean(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.95).unwrap();
        assert_eq!(found.value, 3.0);
        assert!((found.high - 3.0 - 2.776_445 * (2.5_f64 / 5.0).sqrt()).abs() < 1e-5);
        assert!((found.value - found.low - (found.high - found.value)).abs() < 1e-12);
        assert_eq!(mean(&[1.0], 0.95), None);
        assert_eq!(mean(&[], 0.95), None);
        assert_eq!(mean(&[1.0, f64::NAN], 0.95), None);
        assert_eq!(mean(&[1.0, 2.0], 1.0), None);
    }
}
