//! What goes wrong with recordings, where, and what to do.

use files::FileError;
use std::io;
use std::path::{Path, PathBuf};

/// A recording that cannot be written or opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder cannot be read or written.
    #[error(transparent)]
    Io(#[from] FileError),
    /// It is there, and not what it should be.
    #[error("{path}: {problem}", path = path.display())]
    Wrong {
        /// Which.
        path: PathBuf,
        /// What is wrong, and the remedy.
        problem: String,
    },
    /// It is of another version.
    #[error(
        "{path}: unsupported version {theirs}: expected {ours}; use the vmeter that recorded it",
        path = path.display()
    )]
    Version {
        /// Which.
        path: PathBuf,
        /// What it says that it is, escaped.
        theirs: String,
        /// What is read.
        ours: &'static str,
    },
    /// The recording has no such stream.
    #[error("stream {stream} not found: the recording has {count}")]
    NoStream {
        /// Which was asked for.
        stream: usize,
        /// How many there are.
        count: usize,
    },
    /// Rings of such a layout cannot be decoded.
    #[error("cannot decode samples: {0}")]
    Unfit(#[from] sample::Unfit),
    /// A Parquet file cannot be made.
    #[error("cannot write {path} as Parquet: {why}", path = path.display())]
    Parquet {
        /// Which.
        path: PathBuf,
        /// Why.
        why: table::ParquetError,
    },
}

impl Error {
    /// Whether no room is left on the disk. What was written before stays readable.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io(error) if error.is_full())
    }

    pub(crate) fn wrong(path: &Path, problem: impl Into<String>) -> Self {
        Self::Wrong { path: path.to_owned(), problem: problem.into() }
    }
}

/// A part of a recording that cannot be read: the records before it were, and those after it are
/// where a whole chunk follows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: damaged at byte {offset}, after {read} records: {cause}")]
pub struct Damage {
    /// The file, by its name in the recording's folder.
    pub file: String,
    /// Where in the file the chunk or record in question begins.
    pub offset: u64,
    /// How many records of the stream were read before this was come upon.
    pub read: u64,
    /// What is wrong.
    pub cause: Cause,
}

/// What is wrong with a part of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The file ends inside of a chunk: what was being written when the recorder was killed, or
    /// the disk was full.
    #[error("the file is truncated")]
    Cut,
    /// The file ends, and its last chunk does not say so.
    #[error("the end of the file is missing: later records are lost")]
    Endless,
    /// No chunk begins here.
    #[error("invalid chunk header")]
    Chunk,
    /// Its checksum is another.
    #[error("wrong checksum")]
    Checksum,
    /// Its columns make no sense.
    #[error("malformed columns")]
    Columns,
    /// Its ring's bytes are not what a kernel writes.
    #[error("{0}")]
    Ring(sample::Fault),
    /// It is compressed, as perf does with -z.
    #[error("compressed data are not supported: record without -z")]
    Compressed,
    /// Its type is none that a kernel or perf writes.
    #[error("unknown record type: records of this type are skipped")]
    Kind,
    /// Its process or thread cannot be.
    #[error("invalid process or thread id")]
    Thread,
    /// Its CPU is not there.
    #[error("invalid CPU number")]
    Cpu,
    /// Its time is before that of records that came before it.
    #[error("time out of order")]
    Order,
    /// It cannot be read.
    #[error("cannot read: {0}")]
    Io(io::ErrorKind),
}
