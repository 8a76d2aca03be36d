//! Seeded draws in whole numbers only, so that they are the same on every machine.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// A source of draws.
#[derive(Debug)]
pub(super) struct Draw {
    rng: ChaCha8Rng,
}

impl Draw {
    /// The draws of a seed; `stream` keeps those of different purposes apart.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self { rng }
    }

    pub(super) fn bits(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// From 0 to `count` − 1; 0 for none.
    pub(super) fn below(&mut self, count: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(count)) >> 64) as u64
    }

    /// From `first` to `last`, both included.
    pub(super) fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    /// True in `in_256` of 256 cases.
    pub(super) fn chance(&mut self, in_256: u64) -> bool {
        self.below(256) < in_256
    }

    /// One of the choices, as often as its weight says.
    pub(super) fn weighted<T: Copy>(&mut self, choices: &[(u64, T)]) -> Option<T> {
        let mut at = self.below(choices.iter().map(|(weight, _)| weight).sum());
        choices
            .iter()
            .find(|(weight, _)| {
                let found = at < *weight;
                at = at.wrapping_sub(*weight);
                found
            })
            .map(|(_, choice)| *choice)
    }
}

/// Popularity after Zipf: rank r is drawn about as often as r^−s says, in steps of octaves.
#[derive(Debug)]
pub(super) struct Zipf {
    count: u64,
    /// Summed weights of the ranks below 2^k.
    sums: Vec<u64>,
}

impl Zipf {
    /// Of `count` ranks; each octave (twice as many ranks as the one before) is drawn
    /// `tail` / 16 times as often as that. 16 is s = 1, more is less skewed.
    pub(super) fn new(count: u64, tail: u64) -> Self {
        let mut weight = 1 << 24;
        let mut sum = 0;
        let sums = (0..=count.max(1).ilog2())
            .map(|_| {
                sum += weight;
                weight = weight * tail / 16;
                sum
            })
            .collect();
        Self { count: count.max(1), sums }
    }

    /// A rank from 0 to `count` − 1, the popular first.
    pub(super) fn rank(&self, draw: &mut Draw) -> u64 {
        let total = self.sums.last().copied().unwrap_or(1);
        let at = draw.below(total);
        let octave = self.sums.partition_point(|sum| *sum <= at);
        let first = (1_u64 << octave) - 1;
        first + draw.below((1 << octave).min(self.count - first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ranks_are_drawn_most_and_all_can_be() {
        let mut draw = Draw::new(1, 0);
        for count in [1, 2, 3, 100, 127, 128] {
            let zipf = Zipf::new(count, 15);
            let mut drawn = vec![0; count as usize];
            for _ in 0..100 * count {
                drawn[zipf.rank(&mut draw) as usize] += 1;
            }
            assert!(drawn.iter().all(|times| *times > 0), "{drawn:?}");
            assert!(drawn.iter().all(|times| *times <= drawn[0] * 2), "{drawn:?}");
        }
    }

    #[test]
    fn choices_come_as_often_as_they_weigh() {
        let mut draw = Draw::new(1, 0);
        let drawn = (0..1000).filter_map(|_| draw.weighted(&[(1, 'a'), (3, 'b'), (0, 'c')]));
        let count = drawn.filter(|choice| *choice == 'a').count();
        assert!((200..300).contains(&count), "{count}");
        assert!((0..1000).all(|_| (5..=7).contains(&draw.between(5, 7))));
    }
}
