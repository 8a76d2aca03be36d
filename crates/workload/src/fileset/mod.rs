//! The SPECweb99-like static set of table 5.1: its files, its statistics, and the order in which
//! a load asks for them.
//!
//! A directory has 36 files, 4 classes × 9: `dir00000/class1_7` is the eighth file of class 1,
//! 8 × 1 KB. (Nahum, Deconstructing SPECweb99, 2002.)

mod sequence;
mod statistics;
mod write;

pub use sequence::Sequence;
pub use statistics::{Statistics, TABLE_5_1};
pub use write::{Manifest, check, write};

/// Classes of files.
pub const CLASSES: usize = 4;
/// Files of a class in a directory.
pub const FILES: usize = 9;
/// Directories that reproduce table 5.1.
pub const DIRS_OF_TABLE_5_1: usize = 61;
/// The most directories that five digits can name.
pub const MOST_DIRS: usize = 100_000;

/// One file of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct File {
    /// Its directory, from 0.
    pub dir: usize,
    /// Its class, 0 to 3.
    pub class: usize,
    /// Its number in the class, 0 to 8.
    pub number: usize,
}

impl File {
    /// Bytes: (number + 1) × {0.1, 1, 10, 100} KB, a KB being 1024 bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        (self.number as u64 + 1) * 1024 * 10_u64.pow(self.class as u32) / 10
    }

    /// Path below the set's directory.
    #[must_use]
    pub fn path(self) -> String {
        format!("dir{:05}/class{}_{}", self.dir, self.class, self.number)
    }
}

/// All files of a set, in order of their paths.
pub fn files(dirs: usize) -> impl Iterator<Item = File> {
    (0..dirs).flat_map(|dir| {
        (0..CLASSES)
            .flat_map(move |class| (0..FILES).map(move |number| File { dir, class, number }))
    })
}
