//! What can go wrong in the lab, said so that the reader knows what to do next. A cause is not
//! repeated in the text: it is the error's source.

use files::FileError;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// Why a testbed could not be built, booted or used.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The spec asks for something that cannot be.
    #[error("{problem}")]
    Spec {
        /// What cannot be and what may be.
        problem: String,
    },
    /// A file operation failed.
    #[error(transparent)]
    Io(#[from] FileError),
    /// A program of the host could not be started.
    #[error("cannot start {program}, which is in the {package}")]
    Program {
        /// The program's name.
        program: String,
        /// The package that brings it.
        package: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A program of the host failed.
    #[error("{program} failed ({status}):\n{output}")]
    Failed {
        /// The program's name.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it printed.
        output: String,
    },
    /// No package mirror is known.
    #[error(
        "no Debian mirror found in this machine's apt configuration: set VMETER_LAB_MIRROR to the \
         address of one"
    )]
    NoMirror,
    /// A package arrived damaged.
    #[error("{} does not have the SHA-256 sum of the package index; delete it and try again",
        path.display())]
    Checksum {
        /// The damaged file.
        path: PathBuf,
    },
    /// The packages do not hold what the lab needs.
    #[error("{what} not found in the packages of {suite}")]
    Missing {
        /// The file or pattern looked for.
        what: String,
        /// The suite of the packages.
        suite: String,
    },
    /// A file from a package cannot be read as what it should be.
    #[error("{}: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The machine came up but something in it failed.
    #[error("the machine could not start its guests; its console ends:\n{console}")]
    Boot {
        /// The console's last lines.
        console: String,
    },
    /// The machine did not become ready in time.
    #[error("the machine was not ready after {} s; its console ends:\n{console}", limit.as_secs())]
    BootLimit {
        /// The limit that was reached.
        limit: Duration,
        /// The console's last lines.
        console: String,
    },
    /// The agents in a machine and its guests did not start.
    #[error("the agents in the machine did not start: {problem}")]
    Agents {
        /// What they said.
        problem: String,
    },
    /// QEMU's monitor did not do what it was asked to.
    #[error("{problem}")]
    Monitor {
        /// What, and why.
        problem: String,
    },
    /// A command did not end in time.
    #[error("the command timed out after {} s; the console ends:\n{console}", limit.as_secs())]
    CommandLimit {
        /// The limit that was reached.
        limit: Duration,
        /// The console's last lines.
        console: String,
    },
    /// The emulator ended by itself.
    #[error("the machine stopped by itself; QEMU said:\n{emulator}\nits console ends:\n{console}")]
    Stopped {
        /// What QEMU printed.
        emulator: String,
        /// The console's last lines.
        console: String,
    },
    /// A guest of the machine crashed and booted again by itself.
    #[error("guest {guest} reset itself; its console ends:\n{console}")]
    GuestReset {
        /// Its name.
        guest: String,
        /// Its console's last lines.
        console: String,
    },
    /// The command's output could not be passed on.
    #[error("cannot write the command's output")]
    Output(#[source] io::Error),
}

/// What Linux says when a CPU of its machine does not go on any more.
const HUNG: [&str; 2] = ["BUG: soft lockup", "rcu_preempt kthread starved"];

impl LabError {
    /// Whether the emulated machine hung or crashed: nothing that the caller did wrong, and
    /// another boot may well succeed.
    pub fn is_mishap(&self) -> bool {
        match self {
            Self::Boot { .. }
            | Self::BootLimit { .. }
            | Self::Stopped { .. }
            | Self::GuestReset { .. } => true,
            Self::CommandLimit { console, .. } => HUNG.iter().any(|sign| console.contains(sign)),
            _ => false,
        }
    }

    /// A malformed file.
    pub(crate) fn format(path: &Path, problem: impl Into<String>) -> LabError {
        LabError::Format { path: path.to_owned(), problem: problem.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As an emulated KVM host's console ended, and one that was only slow.
    #[test]
    fn a_machine_whose_kernel_hangs_is_a_mishap() {
        let ended = |console: &str| LabError::CommandLimit {
            limit: Duration::from_secs(300),
            console: console.to_owned(),
        };
        let hung =
            "[  224.749536] watchdog: BUG: soft lockup - CPU#1 stuck for 23s! [khugepaged:36]";
        assert!(ended(hung).is_mishap());
        let starved = "rcu: rcu_preempt kthread starved for 10734 jiffies! g3765 f0x0 ->cpu=1";
        assert!(ended(starved).is_mishap());
        assert!(!ended("[   12.000000] Freeing unused kernel image").is_mishap());
    }
}
