//! Whether a vCPU that does not run is stopped by its monitor or waits for its guest's timer.

use crate::host::Tree;
use model::Nanos;

/// An emulated guest's idle kernel wakes at least every 4 s (Linux's softlockup watchdog); one
/// that has not run for longer is stopped.
const EMULATED_STOP: Nanos = Nanos(5_000_000_000);

/// Where a vCPU waits that has not run since the last reading.
///
/// Stopped vCPUs of every VMM wait for a futex in it (QEMU's `stop`, Firecracker's and Cloud
/// Hypervisor's `pause`). Halted ones are in the kernel, in KVM_RUN: a guest that sleeps and one
/// that is stopped differ. Without KVM's interrupt controller, and under TCG, halted vCPUs wait
/// for a futex, too: there only the time without a step tells the two apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Waiting {
    /// When it was seen to have run last.
    since: Option<Nanos>,
    /// Whether it waits for a futex, once that was looked at.
    futex: Option<bool>,
}

impl Waiting {
    /// Takes note that it has run, or cannot be read.
    pub(super) fn ran(&mut self, now: Nanos) {
        *self = Self { since: Some(now), futex: None };
    }

    /// Takes note that it has not run since the last reading. As long as it does not, it waits
    /// where it did: that is looked at once.
    pub(super) fn stood(&mut self, tree: &Tree, pid: u32, tid: u32, buffer: &mut Vec<u8>) {
        if self.futex.is_none() {
            let channel = tree.read_line(&format!("/proc/{pid}/task/{tid}/wchan"), buffer);
            self.futex = Some(channel.is_ok_and(is_futex));
        }
    }

    /// Whether the monitor has stopped it. `halts_in_vmm`: a halted one does not wait in KVM.
    pub(super) fn is_stopped(&self, now: Nanos, halts_in_vmm: bool) -> bool {
        let long = || self.since.is_some_and(|since| now >= since + EMULATED_STOP);
        self.futex == Some(true) && (!halts_in_vmm || long())
    }
}

/// `futex_wait_queue_me`, `futex_wait_queue`, `futex_do_wait`: Linux has renamed it twice. `0`
/// is a thread that runs, or may not be looked at.
fn is_futex(channel: &[u8]) -> bool {
    channel.starts_with(b"futex_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_halted_vcpu_is_not_a_stopped_one() {
        let place = tempfile::tempdir().unwrap();
        let thread = place.path().join("proc/7/task/8");
        std::fs::create_dir_all(&thread).unwrap();
        let tree = Tree::open(place.path()).unwrap();
        let waiting = |channel: &str| {
            std::fs::write(thread.join("wchan"), channel).unwrap();
            let mut waiting = Waiting::default();
            waiting.ran(Nanos(0));
            assert!(!waiting.is_stopped(Nanos(10_000_000_000), false), "not yet looked at");
            waiting.stood(&tree, 7, 8, &mut Vec::new());
            waiting
        };
        let (soon, late) = (Nanos(1_000_000_000), Nanos(5_000_000_000));
        for (channel, stopped) in [("futex_do_wait", true), ("kvm_vcpu_block", false), ("0", false)]
        {
            assert_eq!(waiting(channel).is_stopped(soon, false), stopped, "{channel}");
            assert!(!waiting(channel).is_stopped(soon, true), "{channel}");
            assert_eq!(waiting(channel).is_stopped(late, true), stopped, "{channel}");
        }
    }
}
