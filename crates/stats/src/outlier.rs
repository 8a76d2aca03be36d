//! Samples far from the others of their group: to be looked at, not to be dropped.

use crate::median;

/// Makes the median distance an estimate of the standard deviation of normal samples.
const NORMAL: f64 = 0.6745;
/// Limits of the modified z-score for groups of 3 to 9 samples: one in ten groups of normal
/// samples has a larger one (simulated, 20 000 groups of each size; the test repeats it).
const LIMITS: [f64; 7] = [10.7, 4.7, 5.4, 4.2, 4.4, 3.9, 4.0];
/// The limit of larger groups (Iglewicz and Hoaglin, 1993: 3.5).
const LIMIT: f64 = 3.6;

/// Which samples lie far from the others: those whose modified z-score, 0.6745 × distance from
/// the median by the median of all distances, is over the limit for a group of this size.
///
/// What is not farther from the median than `least`, a part of it such as 0.2, does not matter
/// and is never far. Of fewer than three samples nobody can say which one is off: none is far.
#[must_use]
pub fn far(samples: &[f64], least: f64) -> Vec<bool> {
    let nothing = || vec![false; samples.len()];
    let finite = samples.iter().all(|sample| sample.is_finite());
    let Some(middle) = median(samples).filter(|_| finite && samples.len() >= 3) else {
        return nothing();
    };
    let distances: Vec<f64> = samples.iter().map(|sample| (sample - middle).abs()).collect();
    let Some(spread) = median(&distances) else { return nothing() };
    let limit = LIMITS.get(samples.len() - 3).copied().unwrap_or(LIMIT);
    let is_far =
        |distance: &f64| *distance > least * middle.abs() && NORMAL * *distance > limit * spread;
    distances.iter().map(is_far).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Normal;

    #[test]
    fn a_disturbed_sample_is_far_and_its_neighbours_are_not() {
        assert_eq!(far(&[10.0, 111.0, 12.0], 0.2), [false, true, false]);
        assert_eq!(far(&[10.0, 111.0, 14.0], 0.2), [false, true, false]);
        // Two of five do not hide each other.
        assert_eq!(far(&[10.0, 111.0, 12.0, 115.0, 11.0], 0.2), [false, true, false, true, false]);
        assert_eq!(far(&[10.0, 10.0, 10.0, 3.0], 0.2), [false, false, false, true]);
    }

    #[test]
    fn what_does_not_matter_or_cannot_be_told_is_not_far() {
        assert_eq!(far(&[10.0, 10.0, 10.0, 11.0], 0.2), [false; 4], "by less than a fifth");
        assert_eq!(far(&[10.0, 111.0], 0.2), [false; 2]);
        assert_eq!(far(&[1.0, f64::NAN, 100.0], 0.2), [false; 3]);
        assert_eq!(far(&[], 0.2), Vec::<bool>::new());
    }

    #[test]
    fn one_in_ten_groups_of_normal_samples_has_a_far_one() {
        let mut normal = Normal::new(4);
        for size in [3, 4, 5, 6, 7, 8, 9, 10, 20] {
            let groups = 4000;
            let alarms = (0..groups).filter(|_| {
                let group: Vec<f64> = (0..size).map(|_| normal.next(10.0, 1.0)).collect();
                far(&group, 0.0).contains(&true)
            });
            let part = alarms.count() as f64 / f64::from(groups);
            assert!((0.07..0.135).contains(&part), "{part} of groups of {size}");
        }
    }
}
