//! The failure of an operation on a file or folder.

use std::io;
use std::path::{Path, PathBuf};

/// What failed, on what, and why: `cannot read runs/1.json: Permission denied (os error 13)`.
///
/// The text has the cause, so the error has no source: a chain of causes prints each once.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}: {cause}", path = path.display())]
pub struct FileError {
    /// What was tried, as a verb.
    pub action: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// What the system reported.
    pub cause: io::Error,
}

impl FileError {
    /// Whether there was no room for it: a full disk, a quota, a limit of a file's size.
    #[must_use]
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        [StorageFull, QuotaExceeded, FileTooLarge].contains(&self.cause.kind())
    }
}

/// For `map_err`: the I/O error with what was tried and on what.
pub fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError + use<> {
    let path = path.to_owned();
    move |cause| FileError { action, path, cause }
}
