//! VMs that are processes: KVM's under any VMM, and QEMU's emulated ones (TCG). No libvirt.

mod command;
mod devices;
mod discovery;
mod examine;
mod exits;
mod helpers;
mod qemu;
mod reading;
mod threads;
mod tsc;
mod tun;
mod waiting;

pub use discovery::{Served, Vms};
pub use tsc::GuestCounter;
