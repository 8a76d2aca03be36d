//! What is run in which order: every point of every load on every machine, in random blocks.

use crate::plan::{CpuPlace, Load, Machine, Plan};

/// One thing that is measured again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Treatment {
    /// An index of [`Plan::machines`]; `None` where no machine is needed.
    pub machine: Option<usize>,
    /// An index of the machine's configurations.
    pub configuration: usize,
    /// An index of [`Plan::workloads`].
    pub workload: usize,
    /// An index of the workload's points.
    pub point: usize,
}

/// One run of the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Its place in the order, from 1.
    pub number: usize,
    /// Its block, from 1.
    pub block: usize,
    /// What is measured.
    pub treatment: Treatment,
}

/// All runs, in order; the same for the same plan.
///
/// A block has every treatment once, in an order drawn from the plan's seed, so that native and
/// VM runs lie next to each other and a drift of the machines falls on all alike.
#[must_use]
pub fn schedule(plan: &Plan) -> Vec<Run> {
    let (repeated, once): (Vec<_>, Vec<_>) =
        treatments(plan).into_iter().partition(|treatment| treatment.machine.is_some());
    let blocks = stats::order(repeated.len(), plan.repetitions, plan.seed);
    let blocks = blocks.into_iter().map(|block| block.into_iter().map(|at| repeated[at]));
    let runs = blocks.enumerate().flat_map(|(block, all)| all.map(move |one| (block + 1, one)));
    // What does not vary from run to run is run once.
    let first = once.into_iter().map(|one| (1, one));
    let all = first.chain(runs).enumerate();
    all.map(|(at, (block, treatment))| Run { number: at + 1, block, treatment }).collect()
}

fn treatments(plan: &Plan) -> Vec<Treatment> {
    let mut all = Vec::new();
    for (workload, load) in plan.workloads.iter().enumerate() {
        for (point, what) in load.points.iter().enumerate() {
            if matches!(what, Load::Fileset { .. }) {
                all.push(Treatment { machine: None, configuration: 0, workload, point });
                continue;
            }
            for (at, machine) in plan.machines.iter().enumerate() {
                if makes_no_difference(what, machine, &load.points) {
                    continue;
                }
                all.extend((0..machine.configurations.len()).map(|configuration| Treatment {
                    machine: Some(at),
                    configuration,
                    workload,
                    point,
                }));
            }
        }
    }
    all
}

/// Without guests, programs in one guest and in several are the same.
fn makes_no_difference(load: &Load, machine: &Machine, points: &[Load]) -> bool {
    let Load::Cpu { place: CpuPlace::DifferentGuests, .. } = load else { return false };
    let mut same = load.clone();
    if let Load::Cpu { place, .. } = &mut same {
        *place = CpuPlace::SameGuest;
    }
    machine.place.is_native() && points.contains(&same)
}

/// What a treatment is, for people.
#[must_use]
pub fn describe(plan: &Plan, treatment: Treatment) -> String {
    let load = plan.workloads[treatment.workload].points[treatment.point].describe();
    let Some(machine) = treatment.machine.map(|at| &plan.machines[at]) else { return load };
    match machine.configurations[treatment.configuration].name.as_str() {
        "" => format!("{}: {load}", machine.name),
        configuration => format!("{}, {configuration}: {load}", machine.name),
    }
}
