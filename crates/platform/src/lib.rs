//! Readers of the platforms that VMs run on: Xen, KVM (and QEMU's emulation), control groups,
//! and the Linux host or driver domain below them. Each reads below a root path, so that a
//! saved tree is read by the same code as the live system.

pub mod cgroup;
pub mod host;
pub mod kvm;
mod local;
mod open;
mod source;
pub mod tune;
pub mod xen;

pub use cgroup::{GroupPattern, GroupRows};
pub use open::{open, open_with};
pub use source::{Choice, OpenError, Source, Want};
