//! The equations of chapter 4, by their numbers.

use model::{Nanos, Operations};

/// Equation 4.3 (and 4.1, 4.2, whose terms are then zero): `U_i = U_i,vmm + U_i,so + U_i,prog`.
#[must_use]
pub fn layers(vmm: f64, system: f64, programs: f64) -> f64 {
    vmm + system + programs
}

/// Equation 4.4, with the part that could not be attributed: `U = Σ U_i + unattributed`.
#[must_use]
pub fn total(vms: &[f64], unattributed: f64) -> f64 {
    vms.iter().sum::<f64>() + unattributed
}

/// Equation 4.6, `b = B_IDD / N_IDD`: the driver domain's mean CPU time for an operation, in
/// seconds; `None` where there was no operation.
#[must_use]
pub fn mean_operation(idd: Nanos, operations: Operations) -> Option<f64> {
    (operations.0 > 0).then(|| idd.seconds() / operations.0 as f64)
}

/// Equation 4.7, `B_IDD,i = N_i · b`: the driver domain's time that is VM i's.
#[must_use]
pub fn charged(operations: Operations, mean: f64) -> Nanos {
    Nanos::from_seconds(operations.0 as f64 * mean)
}

/// Equation 4.8, `U_i = (B_i + B_IDD,i) / T`, in CPUs (1.0 = one CPU busy all the time);
/// `None` for an empty interval.
#[must_use]
pub fn utilisation(busy: Nanos, idd: Nanos, interval: Nanos) -> Option<f64> {
    (interval.0 > 0).then(|| (busy + idd).seconds() / interval.seconds())
}

/// Equation 4.9, `B_i = s_i · C / F`: busy time from `samples`, one taken each `period` busy
/// cycles, of a CPU of `hertz`; `None` where `hertz` is not above zero.
#[must_use]
pub fn sampled(samples: u64, period: u64, hertz: f64) -> Option<Nanos> {
    (hertz > 0.0).then(|| Nanos::from_seconds(samples as f64 * period as f64 / hertz))
}

/// Each count as a percentage of their sum (table 5.2); all zero where the sum is.
#[must_use]
pub fn percentages(samples: &[u64]) -> Vec<f64> {
    let sum: f64 = samples.iter().map(|&n| n as f64).sum();
    samples.iter().map(|&n| if sum > 0.0 { 100.0 * n as f64 / sum } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn known_answer_1_utilisation_counts_the_driver_domains_work() {
        let u = utilisation(Nanos(30 * SECOND), Nanos(18 * SECOND), Nanos(60 * SECOND));
        assert_eq!(u, Some(0.8));
    }

    #[test]
    fn known_answer_2_busy_time_from_samples() {
        let vm = sampled(1000, 100_000_000, 2e9).unwrap();
        let idd = sampled(500, 100_000_000, 2e9).unwrap();
        assert_eq!((vm, idd), (Nanos(50 * SECOND), Nanos(25 * SECOND)));
        assert_eq!(utilisation(vm, idd, Nanos(100 * SECOND)), Some(0.75));
    }

    #[test]
    fn known_answer_3_the_profile_of_table_5_2() {
        let counts = [10602, 2846, 2126, 1321, 942, 632, 316, 21, 17, 10, 2, 2, 1];
        let published = [
            56.2799, 15.1078, 11.2857, 7.0124, 5.0005, 3.3549, 1.6775, 0.1115, 0.0902, 0.0531,
            0.0106, 0.0106, 0.0053,
        ];
        for (ours, theirs) in percentages(&counts).into_iter().zip(published) {
            assert!((ours - theirs).abs() < 0.00005, "{ours} {theirs}");
        }
    }

    #[test]
    fn charging_by_share_gives_back_the_whole() {
        let mean = mean_operation(Nanos(18 * SECOND), Operations(9000)).unwrap();
        assert_eq!(charged(Operations(3000), mean), Nanos(6 * SECOND));
        assert_eq!(mean_operation(Nanos(SECOND), Operations(0)), None);
    }

    #[test]
    fn utilisations_add_up() {
        assert_eq!(layers(0.0, 0.0, 0.5), 0.5);
        assert_eq!(layers(0.0, 0.25, 0.5), 0.75);
        assert_eq!(layers(0.125, 0.25, 0.5), 0.875);
        assert_eq!(total(&[0.5, 0.25], 0.25), 1.0);
    }
}
