//! The monotonic clock in nanoseconds, and waiting for a moment of it.

use nix::time::{ClockId, clock_gettime};
use rustix::thread::clock_nanosleep_absolute;
use rustix::time::Timespec;
use std::num::NonZeroU64;
use std::time::Duration;

/// A moment of CLOCK_MONOTONIC in nanoseconds.
pub type Instant = u64;

/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;

/// Now.
pub fn now() -> Instant {
    read(ClockId::CLOCK_MONOTONIC)
}

/// CPU time of the calling thread so far, in nanoseconds.
pub fn thread_cpu() -> u64 {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// Sleeps until `due`, or a little less where a signal comes.
pub fn sleep_until(due: Instant) {
    // An interrupted sleep is the caller's occasion to look whether to stop.
    let _ = clock_nanosleep_absolute(rustix::time::ClockId::Monotonic, &timespec(due));
}

/// A duration in nanoseconds, up to 584 years.
pub fn length(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds as the kernel takes them.
pub fn timespec(nanos: u64) -> Timespec {
    Timespec { tv_sec: (nanos / SECOND) as i64, tv_nsec: (nanos % SECOND) as _ }
}

/// Lets the calling thread's sleeps end when they are due, not up to 50 µs later.
pub fn wake_on_time() {
    // Where the kernel refuses, lateness shows it.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
}

/// By the C library: rustix's own way to the clock does not survive valgrind.
fn read(clock: ClockId) -> u64 {
    // Neither clock can fail, or be negative.
    clock_gettime(clock).map_or(0, |time| (time.tv_sec() as u64) * SECOND + time.tv_nsec() as u64)
}
