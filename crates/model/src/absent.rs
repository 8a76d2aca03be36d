//! Unknown is never 0: why a value is not there.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A value, or the reason why there is none.
pub type Reading<T> = Result<T, Absent>;

/// What the reader would need to be allowed to take a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Need {
    /// Root, or the capability that stands for it.
    #[error("root")]
    Root,
    /// CAP_SYS_PTRACE (other users' `/proc/PID/fd`, `/proc/PID/io`), which root has.
    #[error("root or CAP_SYS_PTRACE")]
    Ptrace,
}

/// Why a value is unknown. `Display` gives the reason in one short sentence, fit for a column
/// of a report; what came from outside in it is *not* escaped (see [`crate::escape`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Absent {
    /// The system refused the reading.
    #[error("not permitted: {what} needs {need}")]
    NotPermitted {
        /// What was to be read (a path, a hypercall).
        what: Cow<'static, str>,
        /// What would be needed.
        need: Need,
    },
    /// This platform, kernel or setting has no such counter.
    #[error("not provided: {0}")]
    NotProvided(Cow<'static, str>),
    /// The question makes no sense here (the VMM time of a container, say).
    #[error("not applicable: {0}")]
    NotApplicable(Cow<'static, str>),
    /// Something that was expected is not there.
    #[error("not found: {0}")]
    NotFound(Cow<'static, str>),
    /// What was read could not be understood.
    #[error("malformed: {0}")]
    Malformed(Cow<'static, str>),
    /// The reading failed.
    #[error("failed: {0}")]
    Failed(Cow<'static, str>),
    /// The counter was reset or went backwards between the two readings.
    #[error("went backwards: {from} then {to}")]
    WentBackwards {
        /// The earlier reading.
        from: u64,
        /// The later, smaller reading.
        to: u64,
    },
    /// The VM, vCPU, thread or device appeared inside the interval.
    #[error("appeared inside the interval")]
    Appeared,
    /// The VM, vCPU, thread or device ended inside the interval.
    #[error("ended inside the interval")]
    Ended,
    /// Only the guest itself can tell, and no agent in it does.
    #[error("not reported: no agent runs in the guest")]
    NotReported,
}

impl Absent {
    /// The absence that an I/O error on `what` means, `need` being what permission takes.
    #[must_use]
    pub fn from_io(what: &str, need: Need, error: &std::io::Error) -> Self {
        let what = what.to_owned();
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                Self::NotPermitted { what: Cow::Owned(what), need }
            }
            std::io::ErrorKind::NotFound => Self::NotFound(Cow::Owned(what)),
            _ => Self::Failed(Cow::Owned(format!("{what}: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_reads_as_a_sentence() {
        let refused = Absent::NotPermitted { what: "/proc/1/io".into(), need: Need::Ptrace };
        assert_eq!(refused.to_string(), "not permitted: /proc/1/io needs root or CAP_SYS_PTRACE");
        assert_eq!(
            Absent::WentBackwards { from: 5, to: 3 }.to_string(),
            "went backwards: 5 then 3"
        );
    }
}
