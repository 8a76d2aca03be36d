//! What shows that a perf.data is damaged. It has no checksums: a changed address is not seen, but
//! records that no kernel writes are.

use crate::error::Cause;
use model::{Nanos, Record, What};

/// PID_MAX_LIMIT (include/linux/threads.h).
const MAX_PID: u32 = 1 << 22;
/// The thread of what was not in any.
const NO_PID: u32 = u32::MAX;
/// The CPU of what does not tell it.
const NO_CPU: u32 = u32::MAX;
/// Types of records that kernels write (those to come included), and that perf adds
/// (PERF_RECORD_USER_TYPE_START and on; tools/lib/perf/include/perf/event.h).
const KERNEL_KINDS: std::ops::Range<u32> = 1..32;
const PERF_KINDS: std::ops::Range<u32> = 64..96;

/// Sees what is not plausible; of each kind the first, as one change can spoil all that follows.
#[derive(Debug)]
pub(super) struct Doubts {
    cpus: Option<u32>,
    seen: Vec<Cause>,
}

impl Doubts {
    /// Of a machine with so many CPUs.
    pub(super) fn new(cpus: Option<u32>) -> Self {
        Self { cpus, seen: Vec::new() }
    }

    /// What is wrong with a record, if nothing like it was wrong before. All records before
    /// `settled` were read already.
    pub(super) fn about(&mut self, record: &Record, settled: Nanos) -> Option<Cause> {
        let is_thread = |pid: u32| pid < MAX_PID || pid == NO_PID;
        let (pid, tid) = match &record.what {
            What::Sample(sample) => (sample.pid, sample.tid),
            What::Map(map) => (map.pid, map.tid),
            What::Name { pid, tid, .. }
            | What::Fork { pid, tid, .. }
            | What::Exit { pid, tid }
            | What::Switch { pid, tid } => (*pid, *tid),
            What::Lost { .. } | What::Throttle { .. } => (0, 0),
        };
        // What perf writes of processes that were there before has no time and no CPU.
        let is_measured = matches!(record.what, What::Sample(_));
        let cause = if !is_thread(pid) || !is_thread(tid) {
            Cause::Thread
        } else if is_measured
            && self.cpus.is_some_and(|cpus| record.cpu >= cpus && record.cpu != NO_CPU)
        {
            Cause::Cpu
        } else if is_measured && record.time < settled {
            Cause::Order
        } else {
            return None;
        };
        self.first(cause)
    }

    /// What is wrong with a record of this type.
    pub(super) fn about_kind(&mut self, kind: u32) -> Option<Cause> {
        let is_known = KERNEL_KINDS.contains(&kind) || PERF_KINDS.contains(&kind);
        if is_known { None } else { self.first(Cause::Kind) }
    }

    fn first(&mut self, cause: Cause) -> Option<Cause> {
        let is_new = !self.seen.contains(&cause);
        if is_new {
            self.seen.push(cause);
        }
        is_new.then_some(cause)
    }
}
