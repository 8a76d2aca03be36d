//! The vocabulary of vmeter: units, identifiers, readings, snapshots and samples. No I/O.
//!
//! A [`Snapshot`] holds raw counters as they were read; everything else (rates, shares,
//! utilisations) is derived from two snapshots by the `account` crate.

mod absent;
mod counter;
mod cpus;
mod fields;
mod id;
mod interrupts;
pub mod quantity;
mod sample;
mod snapshot;
mod text;
mod units;
mod window;

pub use absent::{Absent, Need, Reading};
pub use counter::increase;
pub use cpus::Cpus;
pub use fields::{u16_at, u32_at, u64_at};
pub use id::{Platform, TaskId, VmId};
pub use interrupts::{Interrupt, Interrupts};
pub use sample::{
    BuildId, ClockSegment, Event, Map, Mode, Part, Pinged, Record, Role, Sample, Serving, Stamp,
    Stream, TscOffset, What,
};
pub use snapshot::{
    Affinity, Backend, CpuTicks, Disk, DiskCounters, Driver, Duty, Host, Inside, LoadKinds, Nic,
    NicCounters, OwnOperations, Process, SelfUse, Snapshot, State, Tasks, Vcpu, Vm,
};
pub use text::{csv_text, escape, shorten, vm_name};
pub use units::{Bytes, Nanos, Operations};
pub use window::{Moment, Window};
