//! Seeded draws.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Numbers that are the same for the same seed on every machine.
#[derive(Debug)]
pub struct Draw {
    random: ChaCha8Rng,
}

impl Draw {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// A number from 0 to below `count`, which is not 0.
    pub fn below(&mut self, count: usize) -> usize {
        // The product's upper half; its bias is under 2⁻⁴⁰ for what is counted here.
        ((u128::from(self.random.next_u64()) * count as u128) >> 64) as usize
    }

    /// A number from 0 to below 1.
    #[cfg(test)]
    pub fn unit(&mut self) -> f64 {
        (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Shuffles (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// Normal samples, for tests of coverage.
#[cfg(test)]
pub struct Normal(Draw);

#[cfg(test)]
impl Normal {
    pub fn new(seed: u64) -> Self {
        Self(Draw::new(seed))
    }

    pub fn next(&mut self, mean: f64, deviation: f64) -> f64 {
        let (u, v) = (1.0 - self.0.unit(), self.0.unit());
        mean + deviation * (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}
