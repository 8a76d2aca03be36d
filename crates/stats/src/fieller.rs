//! Fieller's interval of a ratio of means (E. C. Fieller, 1954).

use crate::mean::quantile;
use crate::{Estimate, Summary};

/// The ratio of the mean of `numerator` to that of `denominator`, two independent groups of
/// samples, with Fieller's interval.
///
/// The variances may differ: degrees of freedom are Welch and Satterthwaite's for the ratio that
/// was found. `None` where a group has fewer than two samples, or where the denominator's mean
/// cannot be told from 0, so that no bounded interval exists.
#[must_use]
pub fn ratio(numerator: &[f64], denominator: &[f64], confidence: f64) -> Option<Estimate> {
    let (above, below) = (Summary::of(numerator)?, Summary::of(denominator)?);
    let (above_error, below_error) = (above.variance_of_mean()?, below.variance_of_mean()?);
    let value = above.mean / below.mean;
    let t = quantile(confidence, degrees(value, &above, &below)?)?;
    // The ends are the roots of (ā − ρ b̄)² = t² (s²ₐ + ρ² s²_b) in ρ.
    let a = below.mean.powi(2) - t * t * below_error;
    let b = above.mean * below.mean;
    let c = above.mean.powi(2) - t * t * above_error;
    let discriminant = b * b - a * c;
    if a <= 0.0 || discriminant < 0.0 {
        return None;
    }
    let half = discriminant.sqrt();
    Some(Estimate {
        value,
        low: (b - half) / a,
        high: (b + half) / a,
        confidence,
        samples: above.count.min(below.count),
    })
}

/// Welch and Satterthwaite's degrees of freedom of ā − ρ b̄; those of both groups together where
/// neither varies.
fn degrees(ratio: f64, above: &Summary, below: &Summary) -> Option<f64> {
    let (one, other) = (above.variance_of_mean()?, ratio.powi(2) * below.variance_of_mean()?);
    let (n, m) = ((above.count - 1) as f64, (below.count - 1) as f64);
    let sum = one + other;
    if sum == 0.0 { Some(n + m) } else { Some(sum * sum / (one * one / n + other * other / m)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Normal;

    #[test]
    fn the_ends_solve_fiellers_equation() {
        let (a, b) = ([30.0, 33.0, 31.5, 29.0, 32.0], [10.0, 9.5, 10.5, 11.0, 9.0]);
        let found = ratio(&a, &b, 0.95).unwrap();
        assert!((found.value - 3.11).abs() < 1e-9);
        let (above, below) = (Summary::of(&a).unwrap(), Summary::of(&b).unwrap());
        let t = quantile(0.95, degrees(found.value, &above, &below).unwrap()).unwrap();
        for end in [found.low, found.high] {
            let distance = (above.mean - end * below.mean).powi(2);
            let error =
                above.variance_of_mean().unwrap() + end.powi(2) * below.variance_of_mean().unwrap();
            assert!((distance - t * t * error).abs() < 1e-6 * distance);
        }
        assert!(found.low < found.value && found.value < found.high);
    }

    #[test]
    fn a_denominator_near_zero_has_no_interval() {
        assert_eq!(ratio(&[1.0, 1.1], &[1.0, -1.0], 0.95), None);
        assert_eq!(ratio(&[1.0], &[1.0, 2.0], 0.95), None);
    }

    #[test]
    fn samples_that_do_not_vary_have_the_exact_ratio() {
        let found = ratio(&[6.0; 3], &[2.0; 3], 0.95).unwrap();
        assert_eq!((found.low, found.value, found.high), (3.0, 3.0, 3.0));
    }

    /// The interval holds the true ratio in 95 of 100 studies, as it says.
    #[test]
    fn it_covers_the_truth_as_often_as_it_says() {
        let mut normal = Normal::new(1);
        let studies = 4000;
        let covered = (0..studies).filter(|_| {
            let a: Vec<f64> = (0..6).map(|_| normal.next(3.0, 0.3)).collect();
            let b: Vec<f64> = (0..6).map(|_| normal.next(1.0, 0.05)).collect();
            ratio(&a, &b, 0.95).is_some_and(|found| found.covers(3.0))
        });
        let part = covered.count() as f64 / f64::from(studies);
        assert!((part - 0.95).abs() < 0.012, "{part}");
    }
}
