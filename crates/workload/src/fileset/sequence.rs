//! The order of requests: SPECweb99's distributions, from a seed.

use super::{CLASSES, FILES, File};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Parts of the requests that each class gets.
pub const CLASS_SHARES: [f64; CLASSES] = [0.35, 0.50, 0.14, 0.01];
/// Files of a class from the most to the least wanted, with Zipf's weights 1, 1/2, 1/3, …
pub const FILE_ORDER: [usize; FILES] = [4, 3, 5, 2, 6, 1, 7, 8, 0];

/// An endless sequence of files: the same for the same seed and number of directories.
#[derive(Debug, Clone)]
pub struct Sequence {
    random: ChaCha8Rng,
    classes: Vec<f64>,
    dirs: Vec<f64>,
    files: Vec<f64>,
}

impl Sequence {
    /// Over a set of `dirs` directories; with none it has nothing to draw and ends at once.
    #[must_use]
    pub fn new(dirs: usize, seed: u64) -> Self {
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            classes: cumulative(CLASS_SHARES.iter().copied()),
            dirs: cumulative(zipf(dirs)),
            files: cumulative(zipf(FILES)),
        }
    }

    /// Probability of each file, for tests and for the mean reply.
    #[must_use]
    pub fn probability(dirs: usize, file: File) -> f64 {
        let weight = |rank: usize, of: usize| 1.0 / rank as f64 / zipf(of).sum::<f64>();
        let rank = FILE_ORDER.iter().position(|number| *number == file.number).unwrap_or(FILES);
        CLASS_SHARES[file.class] * weight(file.dir + 1, dirs) * weight(rank + 1, FILES)
    }

    fn draw(random: &mut ChaCha8Rng, cumulative: &[f64]) -> Option<usize> {
        // 53 random bits: a number from 0 to under 1, the same on every machine.
        let point = (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let last = cumulative.last()?;
        let place = cumulative.partition_point(|sum| *sum <= point * last);
        Some(place.min(cumulative.len() - 1))
    }
}

impl Iterator for Sequence {
    type Item = File;

    fn next(&mut self) -> Option<File> {
        let class = Self::draw(&mut self.random, &self.classes)?;
        let dir = Self::draw(&mut self.random, &self.dirs)?;
        let number = FILE_ORDER[Self::draw(&mut self.random, &self.files)?];
        Some(File { dir, class, number })
    }
}

fn zipf(of: usize) -> impl Iterator<Item = f64> {
    (1..=of).map(|rank| 1.0 / rank as f64)
}

fn cumulative(weights: impl Iterator<Item = f64>) -> Vec<f64> {
    weights
        .scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// χ² over cells (observed, expected) with the normal approximation of its 99.9 % point.
    fn fits(cells: &[(f64, f64)]) -> bool {
        let chi2: f64 = cells.iter().map(|(seen, wanted)| (seen - wanted).powi(2) / wanted).sum();
        let degrees = cells.len() as f64 - 1.0;
        // Wilson and Hilferty's cube.
        let limit =
            degrees * (1.0 - 2.0 / (9.0 * degrees) + 3.09 * (2.0 / (9.0 * degrees)).sqrt()).powi(3);
        chi2 < limit
    }

    fn cells<K: Ord>(
        drawn: &[File],
        key: impl Fn(&File) -> K,
        all: impl Iterator<Item = File>,
        dirs: usize,
    ) -> Vec<(f64, f64)> {
        let mut cells: BTreeMap<K, (f64, f64)> = BTreeMap::new();
        for file in all {
            cells.entry(key(&file)).or_default().1 +=
                drawn.len() as f64 * Sequence::probability(dirs, file);
        }
        for file in drawn {
            cells.entry(key(file)).or_default().0 += 1.0;
        }
        cells.into_values().collect()
    }

    #[test]
    fn classes_directories_and_files_are_drawn_as_specweb99_does() {
        for (dirs, seed) in [(61, 1), (61, 2), (7, 3)] {
            let drawn: Vec<File> = Sequence::new(dirs, seed).take(200_000).collect();
            let all = || super::super::files(dirs);
            assert!(fits(&cells(&drawn, |file| file.class, all(), dirs)));
            assert!(fits(&cells(&drawn, |file| file.dir, all(), dirs)));
            assert!(fits(&cells(&drawn, |file| file.number, all(), dirs)));
            assert!(fits(&cells(&drawn, |file| (file.class, file.number), all(), dirs)));
            let uniform: Vec<(f64, f64)> = cells(&drawn, |file| file.dir, all(), dirs)
                .into_iter()
                .map(|(seen, _)| (seen, drawn.len() as f64 / dirs as f64))
                .collect();
            assert!(!fits(&uniform), "the test can fail");
        }
    }

    #[test]
    fn a_sequence_can_be_replayed() {
        let first = |seed| Sequence::new(61, seed).take(5).map(File::path).collect::<Vec<_>>();
        assert_eq!(first(7), first(7));
        assert_ne!(first(7), first(8));
        assert_eq!(
            first(1),
            [
                "dir00000/class1_5",
                "dir00001/class0_2",
                "dir00000/class1_7",
                "dir00004/class1_5",
                "dir00001/class0_3"
            ],
            "the sequence of a seed never changes, so that a study can be repeated"
        );
        assert_eq!(Sequence::new(0, 1).next(), None);
    }

    #[test]
    fn the_mean_reply_is_the_published_one() {
        let mean: f64 = super::super::files(61)
            .map(|file| Sequence::probability(61, file) * file.bytes() as f64)
            .sum();
        assert_eq!(mean.floor(), 14_726.0, "{mean}");
    }
}
