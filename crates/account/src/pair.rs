//! Two readings of the same thing, matched.

use model::{Absent, Nanos, Reading, Snapshot, TaskId, Tasks, VmId, Window, increase};
use std::collections::HashMap;

/// Brings an increase that was read over one window's interval to the common interval T.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// T.
    pub interval: Nanos,
}

impl Scale {
    /// `time`, used between `from` and `to`, as it would be over T.
    ///
    /// The windows' intervals differ by what reading takes, some parts in a thousand; a larger
    /// difference means that the two were not read together, and nothing is scaled.
    pub fn to_interval(self, time: Nanos, from: Window, to: Window) -> Nanos {
        let Some(own) = from.interval_to(to) else { return time };
        let factor = self.interval.seconds() / own.seconds();
        if (0.5..2.0).contains(&factor) {
            Nanos((time.0 as f64 * factor).round() as u64)
        } else {
            time
        }
    }
}

/// The two snapshots, and what every row needs to know of them.
pub struct Span<'a> {
    /// The interval's start.
    pub from: &'a Snapshot,
    /// Its end.
    pub to: &'a Snapshot,
    /// Brings times to T.
    pub scale: Scale,
    /// The tasks at the start.
    pub before: Before<'a>,
}

impl Span<'_> {
    /// CPUs × T: more than any task can have used that was born inside.
    pub fn capacity(&self) -> Nanos {
        Nanos(self.scale.interval.0.saturating_mul(u64::from(self.to.host.cpus.max(1))))
    }
}

/// Equation 4.5 for a CPU time, brought to T.
pub fn busy(
    scale: Scale,
    from: (&Reading<Nanos>, Window),
    to: (&Reading<Nanos>, Window),
) -> Reading<Nanos> {
    increase(from.0, to.0).map(|time| scale.to_interval(time, from.1, to.1))
}

/// What is known of tasks at the interval's start: the CPU time of each, whatever it did then.
///
/// A VM's process that was some other process's at the start (QEMU before it opened `/dev/kvm`)
/// is found here, and one that is a VM's no more; a task that is not here was born inside the
/// interval.
pub struct Before<'a> {
    threads: HashMap<TaskId, &'a Reading<Nanos>>,
    processes: HashMap<TaskId, Start<'a>>,
}

/// A process at the interval's start.
#[derive(Debug, Clone)]
pub struct Start<'a> {
    /// Its CPU time.
    pub cpu: Reading<Nanos>,
    /// The VM that it was, served, or was a member of.
    pub of: Option<&'a VmId>,
}

impl<'a> Before<'a> {
    /// Collects every task of a snapshot.
    pub fn of(snapshot: &'a Snapshot) -> Self {
        let backends =
            snapshot.vms.iter().flat_map(|vm| vm.backends.iter().map(move |it| (vm, it)));
        let threads = backends.clone().map(|(_, backend)| (backend.id, &backend.cpu)).collect();
        let mut processes: HashMap<TaskId, Start<'a>> = backends
            .filter(|(_, backend)| !backend.inside)
            .map(|(vm, it)| (it.id, Start { cpu: it.cpu.clone(), of: Some(&vm.id) }))
            .collect();
        for vm in &snapshot.vms {
            if let VmId::Process(id) = vm.id {
                processes.insert(id, Start { cpu: vm.cpu.clone(), of: Some(&vm.id) });
            }
        }
        for process in tasks(snapshot).flat_map(|tasks| &tasks.processes) {
            let group = process.member_of.and_then(|place| snapshot.vms.get(place as usize));
            let start = Start { cpu: Ok(process.cpu), of: group.map(|group| &group.id) };
            processes.insert(process.id, start);
        }
        Self { threads, processes }
    }

    /// The process as it was at the start, where the start's listing held it.
    pub fn process(&self, id: TaskId) -> Option<&Start<'a>> {
        self.processes.get(&id)
    }

    /// The task's CPU time at the start; zero, for a known birth inside the interval, where
    /// the start's listing did not hold it.
    pub fn time(&self, id: TaskId) -> Reading<Nanos> {
        match (self.threads.get(&id), self.processes.get(&id)) {
            (Some(time), _) => (*time).clone(),
            (None, Some(start)) => start.cpu.clone(),
            (None, None) => Ok(Nanos::ZERO),
        }
    }

    /// Whether the start's listing held the task.
    pub fn knew(&self, id: TaskId) -> bool {
        self.threads.contains_key(&id) || self.processes.contains_key(&id)
    }
}

/// What the driver domains that could be looked into ran.
fn tasks(snapshot: &Snapshot) -> impl Iterator<Item = &Tasks> {
    snapshot.drivers.iter().filter_map(|driver| driver.tasks.as_ref().ok())
}

/// The increase of every part that is in both, of those born inside (whole), summed; the first
/// absence where one part is unknown. `key` tells the parts apart.
pub fn matched<'a, T, K: PartialEq>(
    from: &'a [T],
    to: &'a [T],
    born_inside: bool,
    key: impl Fn(&T) -> K,
) -> Reading<Vec<(Option<&'a T>, &'a T)>> {
    if from.iter().any(|old| !to.iter().any(|new| key(new) == key(old))) {
        return Err(Absent::Ended);
    }
    to.iter()
        .map(|new| match from.iter().find(|old| key(old) == key(new)) {
            Some(old) => Ok((Some(old), new)),
            None if born_inside => Ok((None, new)),
            None => Err(Absent::Appeared),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_increase_is_scaled_to_the_common_interval() {
        let at = |ns| Window { start: Nanos(ns), end: Nanos(ns) };
        let scale = Scale { interval: Nanos(1_000) };
        assert_eq!(scale.to_interval(Nanos(505), at(0), at(1_010)), Nanos(500));
        assert_eq!(scale.to_interval(Nanos(505), at(0), at(9_000)), Nanos(505));
    }

    #[test]
    fn a_part_that_vanished_leaves_the_sum_unknown() {
        let key = |n: &u32| *n;
        assert_eq!(matched(&[1, 2], &[1], false, key), Err(Absent::Ended));
        assert_eq!(matched(&[1], &[1, 2], false, key), Err(Absent::Appeared));
        assert_eq!(matched(&[], &[2], true, key), Ok(vec![(None, &2)]));
    }
}
