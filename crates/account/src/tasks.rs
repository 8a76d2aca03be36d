//! What the driver domain did for itself, and the threads that do its interrupt work.

use crate::pair::{Span, Start, busy};
use crate::usage::BackendUsage;
use model::{Duty, Nanos, Process, TaskId, Tasks, VmId};
use std::collections::{HashMap, HashSet};

/// How many of the own processes are shown.
const SHOWN: usize = 10;

/// CPU time of a driver domain's tasks in the interval, brought to T.
#[derive(Debug, Default)]
pub struct TaskUsage<'a> {
    /// Processes that serve no VM.
    pub own: Nanos,
    /// ksoftirqd and threaded NAPI.
    pub softirq: Nanos,
    /// Processes that ended inside the interval, as far as a parent waited for them.
    pub waited: Nanos,
    /// All tasks, VMs' and ended ones among them, where the scheduler sums them up.
    pub all: Option<Nanos>,
    /// What processes used that were, served or were a member of a VM at the start and are, serve
    /// and are a member of none at the end.
    pub left: Vec<(&'a VmId, Nanos)>,
    /// Processes are hidden from vmeter.
    pub hidden: bool,
    /// The largest own processes.
    pub largest: Vec<BackendUsage>,
}

/// Equation 4.5 over every process of the driver domain.
///
/// A process that ends hands its CPU time to the parent that waits for it (cutime, cstime), so
/// the time of short-lived processes is the increase of what parents hold of their children,
/// less what was already known of those that have gone. Where the scheduler sums up all tasks
/// ([`Tasks::all`]) that is exact, whoever waits or not.
pub fn usage<'a>(span: &Span<'a>, old: &Tasks, new: &Tasks) -> TaskUsage<'a> {
    let all = busy(span.scale, (&old.all, old.window), (&new.all, new.window)).ok();
    let hidden = old.hidden || new.hidden;
    let mut sum = TaskUsage { all, hidden, ..TaskUsage::default() };
    // A member's time is in its group's counter.
    for process in new.processes.iter().filter(|process| process.member_of.is_none()) {
        let (cpu, was) = used(span, process);
        let cpu = span.scale.to_interval(cpu, old.window, new.window);
        match (was, process.duty) {
            (Some(vm), _) => sum.left.push((vm, cpu)),
            (None, Duty::SoftIrq) => sum.softirq += cpu,
            (None, _) => {
                sum.own += cpu;
                keep(&mut sum.largest, process, cpu);
            }
        }
    }
    if sum.all.is_none() {
        sum.waited = span.scale.to_interval(waited(span, old, new), old.window, new.window);
    }
    sum.largest.sort_by_key(|p| std::cmp::Reverse(p.cpu.clone().unwrap_or_default()));
    sum.largest.truncate(SHOWN);
    sum
}

/// What the process used, and the VM whose it was at the start. Nothing is known of one whose time
/// has no start and is more than an interval holds.
fn used<'a>(span: &Span<'a>, process: &Process) -> (Nanos, Option<&'a VmId>) {
    match span.before.process(process.id) {
        Some(Start { cpu: Ok(start), of }) => (process.cpu.saturating_sub(*start), *of),
        Some(Start { cpu: Err(_), of }) => (Nanos::ZERO, *of),
        None if process.cpu > span.capacity() => (Nanos::ZERO, None),
        None => (process.cpu, None),
    }
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

/// The increase of what parents hold of their children, less what was known, at the start, of those
/// that are gone. Kernel threads are nobody's waited-for children and hand their time to no one.
fn waited(span: &Span, old: &Tasks, new: &Tasks) -> Nanos {
    let known: HashMap<TaskId, &Process> = old.processes.iter().map(|p| (p.id, p)).collect();
    let handed = new.processes.iter().map(|process| {
        let before = known.get(&process.id).map_or(Nanos::ZERO, |p| p.children);
        process.children.saturating_sub(before)
    });
    let mut here: HashSet<TaskId> = new.processes.iter().map(|process| process.id).collect();
    for vm in &span.to.vms {
        here.extend(vm.backends.iter().map(|backend| backend.id));
        if let VmId::Process(id) = vm.id {
            here.insert(id);
        }
    }
    let missing = |id: TaskId| !here.contains(&id);
    let processes = old.processes.iter().filter(|p| !p.kernel && missing(p.id));
    let machines = span.from.vms.iter().filter_map(|vm| match (&vm.id, &vm.cpu) {
        (VmId::Process(id), Ok(cpu)) if missing(*id) => Some(*cpu),
        _ => None,
    });
    let gone = processes.map(|p| p.cpu + p.children).sum::<Nanos>() + machines.sum();
    handed.sum::<Nanos>().saturating_sub(gone)
}
