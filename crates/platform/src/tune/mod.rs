//! Which CPUs interrupts, vCPUs and the threads that serve a VM run on: read, set and set back.
//!
//! Nothing here outlives its caller's wish: whoever sets gets a [`Placed`] for each thing that was
//! changed and takes it back with it.

mod cpus;
mod interrupts;
mod place;
mod vms;

pub use interrupts::{interrupts, place_interrupts};
pub use place::Placed;
pub use vms::{pin, place_backends};

use crate::host::Tree;

/// Gets everything that is to be set, with its present CPUs, before anything is set: what a program that is
/// killed in between needs to undo it. If it fails, nothing is set.
pub type Before<'a> = &'a mut dyn FnMut(&[Placed]) -> Result<(), String>;

/// Why something was not set. Nothing is changed then, but for [`TuneError::Left`].
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    /// It is no list of CPUs, or of some that are not there.
    #[error("{0}")]
    Cpus(String),
    /// What it is for is not there.
    #[error("{0}")]
    NotFound(String),
    /// The system refused it.
    #[error("{what}: {why}")]
    Refused {
        /// What was to be set.
        what: String,
        /// What the system said.
        why: String,
    },
    /// The system refused it, and to set others back.
    #[error("{why}; and not restored: {left}")]
    Left {
        /// What it refused first.
        why: String,
        /// What stays changed, and why.
        left: String,
    },
    /// The files are those of another machine or another time.
    #[error("a saved tree cannot be changed, only the running system")]
    Saved,
}

/// Refuses where the tree is a saved one.
fn live(tree: &Tree) -> Result<(), TuneError> {
    if tree.is_live() { Ok(()) } else { Err(TuneError::Saved) }
}
