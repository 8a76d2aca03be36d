//! The one trait that every platform's reader implements, and what can be asked of it.

use model::Snapshot;

/// How much a snapshot should hold beyond every VM's totals. Reading less costs less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Want {
    /// Each vCPU by itself (on Xen one hypercall each).
    pub vcpus: bool,
    /// Configuration that seldom changes: affinity, cpupool, memory limit.
    pub placement: bool,
    /// The host's idle time to the nanosecond, where that needs a look at all its timers.
    pub exact_idle: bool,
}

/// A platform that can be read again and again.
pub trait Source {
    /// Reads every counter once.
    ///
    /// # Errors
    /// Only where nothing useful could be read at all; what is missing in part is absent,
    /// with its reason, in the snapshot.
    fn read(&mut self, want: Want) -> Result<Snapshot, OpenError>;
}

/// Which platform to read (`--platform`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// Xen where there is Xen, else KVM and TCG VMs where there are any, else control groups.
    #[default]
    Auto,
    /// Xen only.
    Xen,
    /// KVM and TCG VMs only.
    Kvm,
    /// Control groups.
    Cgroup,
    /// This Linux alone, without VMs: what a guest or a machine without any can tell of itself.
    Alone,
}

/// Why a platform cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// None of what was looked for is here.
    #[error("no {wanted} found: looked for {looked_for}")]
    NotHere {
        /// `Xen`, `KVM`…
        wanted: &'static str,
        /// The files and processes that would have shown it.
        looked_for: String,
    },
    /// It is here and cannot be used.
    #[error("{what} cannot be used: {why}; {action}")]
    Unusable {
        /// A device, a file, a hypervisor.
        what: String,
        /// What went wrong.
        why: String,
        /// What to do about it.
        action: &'static str,
    },
    /// A version whose interface is neither known nor found by trying.
    #[error("{found} is not supported ({detail}): this vmeter supports {known}: update vmeter")]
    UnknownVersion {
        /// What is here, with its version.
        found: String,
        /// The versions that this program knows.
        known: String,
        /// What did not fit.
        detail: String,
    },
}
