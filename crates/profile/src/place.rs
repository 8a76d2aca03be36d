//! Where a sample was taken: the terms of the five layers, and one sample with all of it.

use crate::image::ImageId;
use crate::names::NameId;
use model::Nanos;
use serde::Serialize;

/// The mode that a CPU was in, seen from the host: these are never added up unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// Programs of a guest.
    GuestUser,
    /// A guest's kernel.
    GuestKernel,
    /// The hypervisor below Linux (Xen); KVM is part of the host's kernel.
    Hypervisor,
    /// The host's kernel, or Domain-0's.
    HostKernel,
    /// Programs of the host, the VMMs among them.
    HostUser,
    /// The kernel did not tell the mode.
    Unknown,
}

/// What the sampled thread was doing for its VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The host's own business, for no VM.
    Own,
    /// It is a vCPU.
    Vcpu,
    /// Virtual machine monitor work.
    Vmm,
    /// I/O: vhost, netback, I/O threads.
    Io,
}

/// A VM by its number in [`crate::Profile::vm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VmIndex(pub(crate) u16);

impl VmIndex {
    /// The host itself: no VM.
    pub const HOST: Self = Self(0);
}

/// One sample, and where it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The stream that has it.
    pub stream: u16,
    /// Its event, by its number in [`crate::Profile::events`].
    pub event: u16,
    /// The VM that caused it.
    pub vm: VmIndex,
    /// In which mode.
    pub layer: Layer,
    /// What for.
    pub part: Part,
    /// When, by the host's clock.
    pub time: Nanos,
    /// On which CPU of the kernel that runs the process: of a guest's, the vCPU's number.
    pub cpu: u32,
    /// The process, by its kernel's number; `None` where a guest's is not known.
    pub pid: Option<u32>,
    /// The thread.
    pub tid: Option<u32>,
    /// The process's name, for [`crate::Profile::name`].
    pub process: NameId,
    /// The thread's name.
    pub thread: NameId,
    /// The image.
    pub image: ImageId,
    /// The address in the image: see [`crate::Kind`].
    pub address: Option<u64>,
    /// The address as it was sampled.
    pub instruction: u64,
    /// Events since the sample before; nanoseconds of a clock.
    pub period: u64,
    /// The CPU was in its idle thread, and the event goes on while it is idle.
    pub idle: bool,
    /// By the bound of the clocks, no other process could have been there.
    pub certain: bool,
}

impl Layer {
    /// As it is written in tables and files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::GuestUser => "guest user",
            Self::GuestKernel => "guest kernel",
            Self::Hypervisor => "hypervisor",
            Self::HostKernel => "host kernel",
            Self::HostUser => "host user",
            Self::Unknown => "unknown",
        }
    }
}

impl Part {
    /// As it is written in tables and files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Vcpu => "vcpu",
            Self::Vmm => "vmm",
            Self::Io => "io",
        }
    }
}

impl From<model::Part> for Part {
    fn from(part: model::Part) -> Self {
        match part {
            model::Part::Vcpu(_) => Self::Vcpu,
            model::Part::Vmm => Self::Vmm,
            model::Part::Io => Self::Io,
        }
    }
}
