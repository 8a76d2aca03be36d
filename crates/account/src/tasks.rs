//! What the driver domain did for itself, and the threads that do its interrupt work.

use crate::pair::Before;
use crate::usage::BackendUsage;
use model::{Duty, Nanos, Process, Snapshot, TaskId, Tasks, VmId};
use std::collections::{HashMap, HashSet};

/// How many of the own processes are shown.
const SHOWN: usize = 10;

/// CPU time of a driver domain's tasks in the interval, not yet brought to T.
#[derive(Debug, Default)]
pub struct TaskUsage {
    /// Processes that serve no VM.
    pub own: Nanos,
    /// ksoftirqd and threaded NAPI.
    pub softirq: Nanos,
    /// Processes that ended inside the interval, as far as a parent waited for them.
    pub ended: Nanos,
    /// The largest own processes.
    pub largest: Vec<BackendUsage>,
}

/// Equation 4.5 over every process of the driver domain.
///
/// A process that ends hands its CPU time to the parent that waits for it (cutime, cstime), so
/// the time of short-lived processes is the increase of what parents hold of their children,
/// less what was already known of those that have gone. Without it a build's many small
/// processes would look like interrupt work and be charged to the VMs.
pub fn usage(
    from: &Snapshot,
    old: &Tasks,
    new: &Tasks,
    before: &Before,
    vms: &HashSet<TaskId>,
) -> TaskUsage {
    let known: HashMap<TaskId, &Process> = old.processes.iter().map(|p| (p.id, p)).collect();
    let mut sum = TaskUsage::default();
    let (mut inherited, mut seen) = (0_u64, HashSet::new());
    for process in &new.processes {
        seen.insert(process.id);
        let start = before.time(process.id).unwrap_or(process.cpu);
        let cpu = process.cpu.saturating_sub(start);
        let children = known.get(&process.id).map_or(Nanos::ZERO, |p| p.children);
        inherited += process.children.saturating_sub(children).0;
        match process.duty {
            Duty::SoftIrq => sum.softirq += cpu,
            _ => {
                sum.own += cpu;
                keep(&mut sum.largest, process, cpu);
            }
        }
    }
    sum.ended = Nanos(inherited).saturating_sub(gone(from, old, &seen, vms));
    sum.largest.sort_by_key(|p| std::cmp::Reverse(p.cpu.clone().unwrap_or_default()));
    sum.largest.truncate(SHOWN);
    sum
}

fn keep(largest: &mut Vec<BackendUsage>, process: &Process, cpu: Nanos) {
    if cpu == Nanos::ZERO {
        return;
    }
    largest.push(BackendUsage {
        id: process.id,
        name: process.name.clone(),
        duty: process.duty,
        cpu: Ok(cpu),
    });
}

/// What was known, at the start, of user processes that are no longer there. Kernel threads
/// are nobody's waited-for children and hand their time to no one.
fn gone(from: &Snapshot, old: &Tasks, seen: &HashSet<TaskId>, vms: &HashSet<TaskId>) -> Nanos {
    let processes = old
        .processes
        .iter()
        .filter(|p| !p.kernel && !seen.contains(&p.id) && !vms.contains(&p.id))
        .map(|p| p.cpu + p.children)
        .sum::<Nanos>();
    let machines = from
        .vms
        .iter()
        .filter(
            |vm| matches!(vm.id, VmId::Process(id) if !vms.contains(&id) && !seen.contains(&id)),
        )
        .filter_map(|vm| vm.cpu.as_ref().ok().copied())
        .sum::<Nanos>();
    processes + machines
}
