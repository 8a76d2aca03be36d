//! Who is who.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The kind of virtual environment that a VM lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// A Xen domain.
    Xen,
    /// A VM whose vCPUs run by KVM.
    Kvm,
    /// A QEMU VM whose vCPUs are emulated (TCG).
    Tcg,
    /// A VM whose vCPUs run by an accelerator that vmeter does not know (MSHV, say), or by one
    /// that could not be found out.
    Other,
    /// A container or slice: a control group.
    Cgroup,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Xen => "xen",
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
            Self::Other => "other",
            Self::Cgroup => "cgroup",
        })
    }
}

/// A process or thread of Linux: the number alone is reused, so its start time goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TaskId {
    /// The process's or thread's number.
    pub pid: u32,
    /// Its start, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start: u64,
}

/// What tells one VM from every other, also from a later one with the same name or number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VmId {
    /// A Xen domain: its number, and the handle (UUID) of `getdomaininfo`.
    Domain {
        /// Domain number.
        id: u16,
        /// The UUID, in its 16 bytes.
        handle: [u8; 16],
    },
    /// The process of a VMM.
    Process(TaskId),
    /// The path of a control group below the hierarchy's root, with its inode number.
    Cgroup {
        /// `/system.slice/nginx.service`, say.
        path: String,
        /// The inode of its folder: a group made again under the same path has another.
        inode: u64,
    },
}

impl fmt::Display for VmId {
    /// The domain's number, the VMM's pid, the control group's path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain { id, .. } => write!(f, "{id}"),
            Self::Process(task) => write!(f, "{}", task.pid),
            Self::Cgroup { path, .. } => f.write_str(path),
        }
    }
}
