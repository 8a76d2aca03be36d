//! The monotonic clock in nanoseconds, and waiting for a moment of it.

use rustix::thread::clock_nanosleep_absolute;
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::num::NonZeroU64;
use std::time::Duration;

/// A moment of CLOCK_MONOTONIC in nanoseconds.
pub type Instant = u64;

/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;

/// Now.
pub fn now() -> Instant {
    nanos(clock_gettime(ClockId::Monotonic))
}

/// CPU time of the calling thread so far, in nanoseconds.
pub fn thread_cpu() -> u64 {
    nanos(clock_gettime(ClockId::ThreadCPUTime))
}

/// Sleeps until `due`, or a little less where a signal comes.
pub fn sleep_until(due: Instant) {
    // An interrupted sleep is the caller's occasion to look whether to stop.
    let _ = clock_nanosleep_absolute(ClockId::Monotonic, &timespec(due));
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

fn nanos(time: Timespec) -> u64 {
    // Neither clock is ever negative.
    (time.tv_sec as u64) * SECOND + time.tv_nsec as u64
}
