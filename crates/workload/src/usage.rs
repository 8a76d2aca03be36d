//! What a workload costs its own side: CPU time of threads and processes.

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;
use serde::{Deserialize, Serialize};
use std::ops::{Add, AddAssign, Sub};

/// CPU time in seconds, user and system.
///
/// Linux keeps the sum exactly and splits it by samples of its tick, unless the kernel accounts
/// at every entry (`CONFIG_VIRT_CPU_ACCOUNTING_GEN`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CpuTime {
    /// Seconds in user space, spinning included.
    pub user: f64,
    /// Seconds in the kernel.
    pub system: f64,
}

impl CpuTime {
    /// Of the calling thread, so far.
    #[must_use]
    pub fn of_thread() -> Self {
        Self::read(UsageWho::RUSAGE_THREAD)
    }

    /// Of the children that were waited for, so far.
    #[must_use]
    pub fn of_children() -> Self {
        Self::read(UsageWho::RUSAGE_CHILDREN)
    }

    /// User and system together.
    #[must_use]
    pub fn total(self) -> f64 {
        self.user + self.system
    }

    fn read(who: UsageWho) -> Self {
        // It fails only for a `who` that the kernel does not know; these are as old as Linux 2.6.
        getrusage(who).map_or_else(|_| Self::default(), |used| Self::from(&used))
    }
}

impl From<&Usage> for CpuTime {
    fn from(used: &Usage) -> Self {
        let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        Self { user: seconds(used.user_time()), system: seconds(used.system_time()) }
    }
}

impl Add for CpuTime {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { user: self.user + other.user, system: self.system + other.system }
    }
}

impl AddAssign for CpuTime {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for CpuTime {
    type Output = Self;
    /// The increase; the split by samples may step back by a tick, which is no time.
    fn sub(self, earlier: Self) -> Self {
        Self {
            user: (self.user - earlier.user).max(0.0),
            system: (self.system - earlier.system).max(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_costs_time_of_this_thread() {
        let before = CpuTime::of_thread();
        let mut sum = 0_u64;
        while (CpuTime::of_thread() - before).total() < 0.02 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        let other = std::thread::spawn(CpuTime::of_thread).join().unwrap();
        assert!(other.total() < 0.02, "a new thread has its own: {other:?}");
    }
}
