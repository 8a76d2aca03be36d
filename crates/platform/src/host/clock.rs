//! The machine's clocks, and the CPU clocks of processes.

use model::Nanos;
use nix::time::{ClockId, clock_gettime};
use rustix::time::{ClockId as Known, Timespec};

/// CLOCK_MONOTONIC.
pub(super) fn monotonic() -> Nanos {
    nanos(rustix::time::clock_gettime(Known::Monotonic))
}

/// Nanoseconds since the Unix epoch.
pub(super) fn calendar() -> Nanos {
    nanos(rustix::time::clock_gettime(Known::Realtime))
}

/// CPU time of this process, all its threads.
pub(super) fn own() -> Nanos {
    nanos(rustix::time::clock_gettime(Known::ProcessCPUTime))
}

/// CPU time of any process, all its threads, ended ones included, exact to the nanosecond. It
/// needs no privilege. `None` where there is no such process.
pub(super) fn of_process(pid: u32) -> Option<Nanos> {
    // MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of the kernel's posix-timers.h.
    let clock = ((!i32::try_from(pid).ok()?) << 3) | 2;
    let time = clock_gettime(ClockId::from_raw(clock)).ok()?;
    let seconds = u64::try_from(time.tv_sec()).ok()?;
    let rest = u64::try_from(time.tv_nsec()).ok()?;
    Some(Nanos(seconds.saturating_mul(1_000_000_000).saturating_add(rest)))
}

fn nanos(time: Timespec) -> Nanos {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let rest = u64::try_from(time.tv_nsec).unwrap_or_default();
    Nanos(seconds.saturating_mul(1_000_000_000).saturating_add(rest))
}
