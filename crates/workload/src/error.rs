//! Why a workload did not run, or ended before its time.

use std::io;

/// A workload could not be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The plan asks for what cannot be: the caller can change it.
    #[error("{0}")]
    Plan(String),
    /// The other end, or the target, is not what it should be.
    #[error("{0}")]
    Peer(String),
    /// A system call failed; the text says at what.
    #[error("{what}: {cause}")]
    Io {
        /// What was being done, and to what.
        what: String,
        /// What the system said.
        cause: io::Error,
    },
}

impl Error {
    /// For `map_err`: a failed call, and what it was for.
    pub(crate) fn io<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |cause| Self::Io { what, cause: cause.into() }
    }
}
