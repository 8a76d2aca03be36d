//! Why samples cannot be had.

use std::io;

/// Why samples cannot be had, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A word that names no event.
    #[error(
        "invalid event `{0}`: expected cycles, instructions, cache-misses, llc-misses, l2-misses, \
         dtlb-misses, branch-misses, cpu-clock, task-clock, page-faults, context-switches, a raw \
         code (r01c2) or an event of /sys/bus/event_source/devices (cpu/event=0x3c/)"
    )]
    NoEvent(String),
    /// A period that this kernel would not keep.
    #[error("invalid period {period} of {event}: expected at least {least} on this kernel")]
    Period {
        /// The event.
        event: String,
        /// What was asked for.
        period: u64,
        /// What works.
        least: u64,
    },
    /// The kernel refuses.
    #[error(
        "not permitted to sample {what}: run as root, give the program CAP_PERFMON, or set \
         kernel.perf_event_paranoid to {needed} (it is {paranoid})"
    )]
    NotPermitted {
        /// All CPUs, a process.
        what: &'static str,
        /// The sysctl that would do.
        needed: i32,
        /// What it is; `unknown` where it cannot be read.
        paranoid: String,
    },
    /// The process is not there.
    #[error("process {0} not found: it may have exited")]
    NoProcess(u32),
    /// Each event of each CPU is an open file.
    #[error("too many open files: raise the limit (ulimit -n)")]
    Files,
    /// The event cannot be counted here, and nothing can in its place.
    #[error("cannot open {event}: {source}")]
    Open {
        /// The event.
        event: String,
        /// Why.
        source: io::Error,
    },
    /// A ring cannot be mapped or read.
    #[error(
        "cannot map the ring of CPU {cpu}: {source} (kernel.perf_event_mlock_kb limits rings' memory)"
    )]
    Ring {
        /// The CPU.
        cpu: u32,
        /// Why.
        source: io::Error,
    },
    /// No CPU to sample on.
    #[error("no online CPU found in /sys/devices/system/cpu")]
    NoCpu,
}
