//! The statistics of table 5.1.

use super::files;
use serde::{Deserialize, Serialize};

/// A set's statistics; sizes in KB of 1024 bytes, the total in MB of 1024 KB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Number of files.
    pub files: usize,
    /// Sum of sizes, MB.
    pub total_mb: f64,
    /// Smallest, KB.
    pub smallest_kb: f64,
    /// Largest, KB.
    pub largest_kb: f64,
    /// Mean, KB.
    pub mean_kb: f64,
    /// Standard deviation by mean.
    pub coefficient_of_variation: f64,
    /// A quarter of the files is smaller, KB.
    pub first_quartile_kb: f64,
    /// Half of the files is smaller, KB.
    pub median_kb: f64,
    /// Three quarters of the files are smaller, KB.
    pub third_quartile_kb: f64,
}

/// The dissertation's figures. Its median cannot come from this set, whose middle files have 9
/// and 10 KB.
pub const TABLE_5_1: Statistics = Statistics {
    files: 2196,
    total_mb: 297.0,
    smallest_kb: 0.0,
    largest_kb: 900.0,
    mean_kb: 138.87,
    coefficient_of_variation: 1.77,
    first_quartile_kb: 1.0,
    median_kb: 20.0,
    third_quartile_kb: 100.0,
};

impl Statistics {
    /// Of the set with so many directories (at least one).
    #[must_use]
    pub fn of(dirs: usize) -> Self {
        let mut sizes: Vec<f64> =
            files(dirs.max(1)).map(|file| file.bytes() as f64 / 1024.0).collect();
        sizes.sort_by(f64::total_cmp);
        let count = sizes.len() as f64;
        let total: f64 = sizes.iter().sum();
        let mean = total / count;
        let variance = sizes.iter().map(|size| (size - mean).powi(2)).sum::<f64>() / count;
        // The smallest size that has at least this part of the files below it.
        let quantile = |part: f64| sizes[(count * part) as usize];
        Self {
            files: sizes.len(),
            total_mb: total / 1024.0,
            smallest_kb: sizes[0],
            largest_kb: sizes[sizes.len() - 1],
            mean_kb: mean,
            coefficient_of_variation: variance.sqrt() / mean,
            first_quartile_kb: quantile(0.25),
            median_kb: quantile(0.5),
            third_quartile_kb: quantile(0.75),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_one_directories_are_table_5_1() {
        let found = Statistics::of(61);
        assert_eq!(found.files, TABLE_5_1.files);
        assert_eq!(found.total_mb.floor(), TABLE_5_1.total_mb);
        assert_eq!(found.smallest_kb.floor(), TABLE_5_1.smallest_kb);
        assert_eq!(found.largest_kb, TABLE_5_1.largest_kb);
        assert!((found.mean_kb - TABLE_5_1.mean_kb).abs() < 0.01, "{found:?}");
        assert!((found.coefficient_of_variation - 1.77).abs() < 0.005, "{found:?}");
        assert_eq!(found.first_quartile_kb, TABLE_5_1.first_quartile_kb);
        assert_eq!(found.third_quartile_kb, TABLE_5_1.third_quartile_kb);
        assert_eq!(found.median_kb, 10.0, "the published 20 KB is not this set's");
    }
}
