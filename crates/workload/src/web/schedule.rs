//! When arrivals are due: fixed before the run, whatever happens in it.

use super::plan::Arrivals;
use crate::clock::Instant;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// One thread's arrivals.
#[derive(Debug)]
pub struct Schedule {
    start: Instant,
    end: Instant,
    /// Nanoseconds from the start to the next arrival.
    next: f64,
    step: f64,
    /// For even spacing the arrivals are counted, so that no error adds up.
    count: u64,
    offset: f64,
    random: Option<ChaCha8Rng>,
}

impl Schedule {
    /// Thread `thread`'s part of `rate` arrivals a second, from `start` to before `end`.
    pub fn new(
        arrivals: Arrivals,
        rate: f64,
        (thread, threads): (usize, usize),
        seed: u64,
        (start, end): (Instant, Instant),
    ) -> Self {
        let step = 1e9 * threads as f64 / rate;
        let offset = 1e9 / rate * thread as f64;
        let mut schedule = Self { start, end, next: offset, step, count: 0, offset, random: None };
        if arrivals == Arrivals::Poisson {
            // The sum of the threads' Poisson processes is one of the whole rate.
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            random.set_stream(thread as u64 + 1);
            schedule.random = Some(random);
            schedule.next = 0.0;
            schedule.advance();
        }
        schedule
    }

    /// When the next arrival is due; `None` after the last.
    pub fn due(&self) -> Option<Instant> {
        let due = self.start + self.next as u64;
        (due < self.end).then_some(due)
    }

    /// Goes on to the arrival after.
    pub fn advance(&mut self) {
        self.count += 1;
        self.next = match &mut self.random {
            None => self.offset + self.count as f64 * self.step,
            Some(random) => {
                // From over 0 to 1: its logarithm is finite.
                let uniform = ((random.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
                self.next - self.step * uniform.ln()
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SECOND;

    fn all(arrivals: Arrivals, threads: usize, seed: u64) -> Vec<u64> {
        let mut times: Vec<u64> = (0..threads)
            .flat_map(|thread| {
                let window = (1000, 1000 + 10 * SECOND);
                let mut one = Schedule::new(arrivals, 3000.0, (thread, threads), seed, window);
                std::iter::from_fn(move || {
                    let due = one.due()?;
                    one.advance();
                    Some(due)
                })
            })
            .collect();
        times.sort_unstable();
        times
    }

    #[test]
    fn even_arrivals_are_even_over_all_threads() {
        for threads in [1, 3] {
            let times = all(Arrivals::Constant, threads, 1);
            assert_eq!(times.len(), 30_000);
            assert!(times.windows(2).all(|pair| (pair[1] - pair[0]).abs_diff(333_333) <= 1));
        }
    }

    #[test]
    fn poisson_arrivals_have_exponential_gaps_and_can_be_replayed() {
        for threads in [1, 3] {
            let times = all(Arrivals::Poisson, threads, 1);
            let gaps: Vec<f64> = times.windows(2).map(|p| (p[1] - p[0]) as f64).collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let variance =
                gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
            // 30,000 of them: the count within 4 standard deviations, the variation near 1.
            assert!(times.len().abs_diff(30_000) < 700, "{}", times.len());
            assert!((variance.sqrt() / mean - 1.0).abs() < 0.05);
            assert_eq!(times, all(Arrivals::Poisson, threads, 1));
            assert_ne!(times, all(Arrivals::Poisson, threads, 2));
        }
    }
}
