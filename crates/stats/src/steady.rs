//! Whether a series is steady: no trend that chance would not explain (Mann, 1945; Kendall).

use crate::median;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

/// Mann and Kendall's test of a trend.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// Kendall's τ, −1 to 1: how much the series rises.
    pub tau: f64,
    /// The probability of as much of a trend by chance.
    pub p: f64,
    /// Sen's slope: the median increase from one value to the next.
    pub slope: f64,
}

impl Trend {
    /// Whether the series is steady: the trend may be chance (p above `significance`), or all that
    /// it makes over the series is below `negligible` of its median.
    #[must_use]
    pub fn is_steady(&self, values: &[f64], significance: f64, negligible: f64) -> bool {
        let whole = self.slope.abs() * values.len() as f64;
        self.p > significance || median(values).is_some_and(|m| whole < negligible * m.abs())
    }
}

/// The trend of a series; `None` of fewer than four values, or where one is not finite.
#[must_use]
pub fn trend(values: &[f64]) -> Option<Trend> {
    let count = values.len();
    if count < 4 || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mut rises = 0.0;
    let mut slopes = Vec::with_capacity(count * (count - 1) / 2);
    for (at, later) in values.iter().enumerate() {
        for (before, earlier) in values[..at].iter().enumerate() {
            let difference = later - earlier;
            rises += if difference == 0.0 { 0.0 } else { difference.signum() };
            slopes.push(difference / (at - before) as f64);
        }
    }
    let pairs = slopes.len() as f64;
    let n = count as f64;
    // Equal values take variance away.
    let tied: f64 = ties(values).map(|t| t * (t - 1.0) * (2.0 * t + 5.0)).sum();
    let variance = (n * (n - 1.0) * (2.0 * n + 5.0) - tied) / 18.0;
    let p = if variance > 0.0 && rises != 0.0 {
        let z = (rises.abs() - 1.0) / variance.sqrt();
        2.0 * (1.0 - Normal::standard().cdf(z))
    } else {
        1.0
    };
    Some(Trend { tau: rises / pairs, p: p.min(1.0), slope: median(&slopes)? })
}

/// Sizes of the groups of equal values.
fn ties(values: &[f64]) -> impl Iterator<Item = f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.chunk_by(|a, b| a == b).map(|group| group.len() as f64).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Normal as Noise;

    #[test]
    fn a_rise_is_seen_and_noise_is_not() {
        let mut noise = Noise::new(4);
        let rising: Vec<f64> =
            (0..30).map(|i| 100.0 + f64::from(i) + noise.next(0.0, 2.0)).collect();
        let found = trend(&rising).unwrap();
        assert!(found.tau > 0.5 && found.p < 0.001 && (found.slope - 1.0).abs() < 0.3, "{found:?}");
        assert!(!found.is_steady(&rising, 0.05, 0.01));
        let alarms = (0..1000).filter(|_| {
            let flat: Vec<f64> = (0..20).map(|_| noise.next(100.0, 5.0)).collect();
            trend(&flat).unwrap().p < 0.05
        });
        let alarms = alarms.count();
        assert!((20..80).contains(&alarms), "{alarms} of 1000 at 5 %");
    }

    #[test]
    fn a_trend_that_does_not_matter_is_steady() {
        let values: Vec<f64> = (0..50).map(|i| 1000.0 + 0.001 * f64::from(i)).collect();
        let found = trend(&values).unwrap();
        assert!(found.p < 0.001 && found.is_steady(&values, 0.05, 0.01));
        assert_eq!(trend(&[1.0, 2.0, 3.0]), None);
        assert_eq!(trend(&[1.0; 10]).unwrap().p, 1.0);
    }
}
