//! What a plan would do, before it is run: how long it takes, and what of it is for nothing.

use crate::plan::{FigureKind, Load, Place, Plan};
use crate::run::{BETWEEN, WATCH};
use crate::schedule::schedule;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a plan would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// Runs in all.
    pub runs: usize,
    /// How long the runs take at least whose loads say how long they last: warm-up, window, and
    /// what lies between two runs. Machines that have to be booted, or to become idle, take more.
    pub least: Duration,
    /// Runs of programs, which take as long as the machine needs for them.
    pub open_ended: usize,
    /// What is measured and not shown, cannot be compared, or is probably a mistake.
    pub remarks: Vec<String>,
}

impl Preview {
    /// Of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let all = schedule(plan);
        let (mut least, mut open_ended) = (Duration::ZERO, 0);
        for run in &all {
            let workload = &plan.workloads[run.treatment.workload];
            match workload.points[run.treatment.point] {
                Load::Tcp { .. } | Load::Web { .. } => {
                    least += WATCH + workload.warmup + workload.window + BETWEEN;
                }
                Load::Cpu { .. } => {
                    least += WATCH;
                    open_ended += 1;
                }
                Load::Fileset { .. } => {}
            }
        }
        let remarks = [unused(plan), incomparable(plan), same_agents(plan)].concat();
        Self { runs: all.len(), least, open_ended, remarks }
    }
}

/// Workloads that no figure shows.
fn unused(plan: &Plan) -> Vec<String> {
    let shown = |at: usize| plan.figures.iter().any(|figure| figure.workload == at);
    let all = plan.workloads.iter().enumerate().filter(|(at, _)| !shown(*at));
    let runs = |at: usize| schedule(plan).iter().filter(|r| r.treatment.workload == at).count();
    all.map(|(at, workload)| {
        format!(
            "workload `{}` is not in any figure: its {} runs are measured and stored, but not shown",
            workload.name.escape_debug(),
            runs(at)
        )
    })
    .collect()
}

/// Machines that a figure of comparisons leaves out.
fn incomparable(plan: &Plan) -> Vec<String> {
    let compares =
        |kind| matches!(kind, FigureKind::Ratio | FigureKind::Fig610 | FigureKind::Fig611);
    if !plan.figures.iter().any(|figure| compares(figure.kind)) {
        return Vec::new();
    }
    let baselines: Vec<Option<usize>> =
        (0..plan.machines.len()).map(|at| plan.baseline(at)).collect();
    let alone = |at: &usize| baselines[*at].is_none() && !baselines.contains(&Some(*at));
    let all = (0..plan.machines.len()).filter(alone);
    all.map(|at| {
        format!(
            "machine `{}` is not compared: no baseline has the same clock",
            plan.machines[at].name.escape_debug()
        )
    })
    .collect()
}

/// Agents of one machine that have the same address.
fn same_agents(plan: &Plan) -> Vec<String> {
    let mut remarks = Vec::new();
    for machine in &plan.machines {
        let mut known: BTreeMap<&str, String> = BTreeMap::new();
        for (who, address) in machine.place.agents() {
            if let Some(other) = known.insert(address, who.clone()) {
                let name = machine.name.escape_debug();
                remarks.push(format!(
                    "machine `{name}`: {other} and {who} use the same agent, {}",
                    address.escape_debug()
                ));
            }
        }
    }
    remarks
}

impl Place {
    /// The agents that a plan names, each with what it is of: `host`, `client`, a guest's name.
    pub fn agents(&self) -> impl Iterator<Item = (String, &str)> {
        let (host, client, guests) = match self {
            Self::Lab { .. } => (None, None, &[][..]),
            Self::Agents { host, client, guests, .. } => {
                (Some(host.as_str()), client.as_deref(), guests.as_slice())
            }
        };
        let own = [("host", host), ("client", client)].into_iter();
        let own = own.filter_map(|(who, address)| Some((who.to_owned(), address?)));
        own.chain(guests.iter().map(|guest| (guest.name.clone(), guest.agent.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Preview {
        Preview::of(&Plan::parse(text, "x").unwrap())
    }

    #[test]
    fn the_duration_is_that_of_all_windows_and_what_lies_between() {
        let quick = of(crate::PLANS[0].text);
        // Four machines four times: two rates of 6.5 s, one of 5.5 s, two numbers of programs.
        assert_eq!((quick.runs, quick.open_ended), (16 * 5, 16 * 2));
        let windows = 16.0 * (2.0 * 6.5 + 5.5);
        let between = quick.least.as_secs_f64() - windows;
        assert!((16.0..100.0).contains(&between), "{quick:?}");
        assert_eq!(quick.remarks, Vec::<String>::new());
    }

    #[test]
    fn what_is_for_nothing_is_said() {
        let quick = crate::PLANS[0].text;
        let without =
            quick.replacen("[[figures]]\nid = \"fig-6.10\"\nworkload = \"compute\"\n", "", 1);
        let remarks = of(&without).remarks;
        let [unused] = &remarks[..] else { panic!("{remarks:?}") };
        assert!(
            unused.starts_with("workload `compute` is not in any figure: its 32 runs"),
            "{unused}"
        );
        let alone = quick.replacen(
            "name = \"native-host\"\nlab = { kind = \"native\", clock = \"host\" }",
            "name = \"other\"\nlab = { kind = \"native\" }",
            1,
        );
        let remarks = of(&alone).remarks;
        assert!(remarks[0].starts_with("machine `other` is not compared"), "{remarks:?}");
        assert!(remarks[1].starts_with("machine `kvm` is not compared"), "{remarks:?}");
    }

    #[test]
    fn an_agent_that_stands_twice_is_said() {
        let text = r#"schema = "vmeter.plan/1"
id = "twice"
title = "Twice"
[[machines]]
name = "kvm"
[machines.agents]
host = "10.0.0.1:5203"
client = "10.0.0.9:5203"
guests = [{ name = "g1", agent = "10.0.0.1:5203", address = "10.1.0.1" }]
[[workloads]]
name = "receive"
kind = "tcp"
rate = "1000/s"
[[figures]]
id = "fig-6.5"
"#;
        let remarks = of(text).remarks;
        assert_eq!(remarks, ["machine `kvm`: host and g1 use the same agent, 10.0.0.1:5203"]);
    }
}
