//! The bootstrap of log-ratios: for ratios whose samples are skewed, or paired in blocks.

use crate::Estimate;
use crate::random::Draw;

/// Geometric mean of `pairs`' ratios (first by second) with the percentile interval of so many
/// resamples, which are drawn from the seed.
///
/// A pair is what was measured next to each other, in one block. `None` of fewer than two pairs,
/// or where a value is not over 0.
#[must_use]
pub fn log_ratio(
    pairs: &[(f64, f64)],
    confidence: f64,
    resamples: usize,
    seed: u64,
) -> Option<Estimate> {
    let positive = |value: f64| value > 0.0 && value.is_finite();
    let valid = pairs.iter().all(|(first, second)| positive(*first) && positive(*second));
    if pairs.len() < 2 || !valid || resamples == 0 || !(confidence > 0.0 && confidence < 1.0) {
        return None;
    }
    let logs: Vec<f64> = pairs.iter().map(|(first, second)| (first / second).ln()).collect();
    let count = logs.len() as f64;
    let mut draw = Draw::new(seed);
    let mut means: Vec<f64> = (0..resamples)
        .map(|_| logs.iter().map(|_| logs[draw.below(logs.len())]).sum::<f64>() / count)
        .collect();
    means.sort_by(f64::total_cmp);
    let at = |part: f64| means[((resamples - 1) as f64 * part).round() as usize].exp();
    let tail = (1.0 - confidence) / 2.0;
    Some(Estimate {
        value: (logs.iter().sum::<f64>() / count).exp(),
        low: at(tail),
        high: at(1.0 - tail),
        confidence,
        samples: pairs.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Normal;

    #[test]
    fn a_ratio_and_its_inverse_agree() {
        let pairs = [(30.0, 10.0), (33.0, 9.0), (28.0, 11.0), (31.0, 10.5), (29.0, 9.5)];
        let found = log_ratio(&pairs, 0.95, 2000, 7).unwrap();
        let turned: Vec<(f64, f64)> = pairs.iter().map(|(a, b)| (*b, *a)).collect();
        let inverse = log_ratio(&turned, 0.95, 2000, 7).unwrap();
        assert!((found.value * inverse.value - 1.0).abs() < 1e-12);
        assert!((found.low * inverse.high - 1.0).abs() < 1e-12);
        assert!(found.low < found.value && found.value < found.high);
        assert_eq!(log_ratio(&pairs, 0.95, 2000, 7).unwrap(), found, "repeatable");
        assert_eq!(log_ratio(&pairs[..1], 0.95, 2000, 7), None);
        assert_eq!(log_ratio(&[(1.0, 0.0), (1.0, 1.0)], 0.95, 2000, 7), None);
    }

    #[test]
    fn it_covers_the_truth_nearly_as_often_as_it_says() {
        let mut normal = Normal::new(2);
        let studies = 600;
        let covered = (0..studies).filter(|study| {
            let pairs: Vec<(f64, f64)> =
                (0..15).map(|_| (3.0 * normal.next(0.0, 0.2).exp(), 1.0)).collect();
            log_ratio(&pairs, 0.95, 600, *study).unwrap().covers(3.0)
        });
        let part = covered.count() as f64 / studies as f64;
        // The percentile bootstrap of fifteen samples is a little narrow.
        assert!((0.88..=0.98).contains(&part), "{part}");
    }
}
