//! The valid runs of one workload, by what was varied.

use crate::figure::{Measured, Missing};
use crate::measures::Measures;
use crate::plan::{Clock, Load, Plan};
use crate::record::{Record, Sampled};
use std::collections::{BTreeMap, BTreeSet};

/// A valid run.
#[derive(Debug, Clone)]
pub struct Row<'a> {
    /// Index of the machine; `None` where none was needed.
    pub machine: Option<usize>,
    /// Index of its configuration.
    pub configuration: usize,
    /// The block.
    pub block: usize,
    /// The load's point.
    pub point: usize,
    /// What it measured.
    pub measures: &'a Measures,
    /// What the load itself said.
    pub outcomes: &'a [serde_json::Value],
    /// What was sampled, by whose it is.
    pub samples: Option<&'a BTreeMap<String, Sampled>>,
}

/// All valid runs of a workload.
#[derive(Debug, Clone)]
pub struct Rows<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Index of the workload.
    pub workload: usize,
    /// The runs.
    pub rows: Vec<Row<'a>>,
}

/// Of all intervals of a report.
pub const CONFIDENCE: f64 = 0.95;

impl<'a> Rows<'a> {
    /// The valid runs of a workload among all records, and those that say of themselves that
    /// they are not, with the reason.
    #[must_use]
    pub fn of(
        plan: &'a Plan,
        workload: usize,
        records: &'a [(&Record, Measures)],
    ) -> (Self, Vec<(usize, String)>) {
        let load = &plan.workloads[workload];
        let (mut rows, mut invalid) = (Vec::new(), Vec::new());
        let own = records.iter().filter(|(record, _)| record.workload == load.name);
        for (record, measures) in own {
            if let Some(reason) = &measures.invalid {
                invalid.push((record.number, reason.clone()));
                continue;
            }
            let Some(point) = load.points.iter().position(|point| *point == record.load) else {
                continue;
            };
            let named = |name: &String| plan.machines.iter().position(|m| m.name == *name);
            let machine = record.machine.as_ref().and_then(named);
            let configuration = machine.and_then(|at| {
                let all = &plan.machines[at].configurations;
                all.iter().position(|one| one.name == record.configuration)
            });
            rows.push(Row {
                machine,
                configuration: configuration.unwrap_or(0),
                block: record.block,
                point,
                measures,
                samples: record.data().map(|data| &data.samples),
                outcomes: record.data().map(|data| data.outcomes.as_slice()).unwrap_or_default(),
            });
        }
        (Self { plan, workload, rows }, invalid)
    }

    /// The points of the load.
    #[must_use]
    pub fn points(&self) -> &'a [Load] {
        &self.plan.workloads[self.workload].points
    }

    /// The runs of a machine's configuration at a point.
    pub fn at(
        &self,
        machine: usize,
        configuration: usize,
        point: usize,
    ) -> impl Iterator<Item = &Row<'a>> {
        self.rows.iter().filter(move |row| {
            (row.machine, row.configuration, row.point) == (Some(machine), configuration, point)
        })
    }

    /// A quantity of all runs at a point, with its block.
    pub fn values(
        &self,
        (machine, configuration, point): (usize, usize, usize),
        quantity: impl Fn(&Measures) -> Option<f64>,
    ) -> Vec<(usize, f64)> {
        self.at(machine, configuration, point)
            .filter_map(|row| Some((row.block, quantity(row.measures)?)))
            .collect()
    }

    /// The host's CPUs at a point, in percent of one: more cannot be busy. `None` where no run says
    /// how many there are.
    pub fn all_cpus(&self, at: (usize, usize, usize)) -> Option<f64> {
        let cpus = self.values(at, |measures| measures.cpus.map(f64::from));
        cpus.into_iter().map(|(_, cpus)| cpus * 100.0).reduce(f64::max)
    }

    /// The machines without guests.
    pub fn native_ones(&self) -> impl Iterator<Item = usize> + '_ {
        let all = self.plan.machines.iter().enumerate();
        all.filter(|(_, machine)| machine.place.is_native()).map(|(at, _)| at)
    }

    /// The machines that are compared with another one.
    pub fn compared_ones(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.plan.machines.len()).filter(|&at| self.plan.baseline(at).is_some())
    }

    /// The machines with guests.
    pub fn virtual_ones(&self) -> impl Iterator<Item = usize> + '_ {
        let all = self.plan.machines.iter().enumerate();
        all.filter(|(_, machine)| !machine.place.is_native()).map(|(at, _)| at)
    }

    /// The clocks of the machines that have runs.
    pub fn clocks(&self) -> BTreeSet<Clock> {
        let machines = self.rows.iter().filter_map(|row| row.machine);
        machines.map(|at| self.plan.machines[at].place.clock()).collect()
    }

    /// The runs of machines of one clock.
    #[must_use]
    pub fn of_clock(&self, clock: Clock) -> Self {
        let fits = |row: &Row<'_>| {
            row.machine.is_some_and(|at| self.plan.machines[at].place.clock() == clock)
        };
        let rows = self.rows.iter().filter(|row| fits(row)).cloned().collect();
        Self { plan: self.plan, workload: self.workload, rows }
    }

    /// Machines, of one clock where it is given, with valid runs none of which knows the host's CPU
    /// time.
    pub fn without_cpu(&self, clock: Option<Clock>) -> Vec<Missing> {
        let mut missing = Vec::new();
        for (at, machine) in self.plan.machines.iter().enumerate() {
            let fits = clock.is_none_or(|clock| machine.place.clock() == clock);
            let own: Vec<&Row<'_>> =
                self.rows.iter().filter(|row| fits && row.machine == Some(at)).collect();
            let why = own.iter().find_map(|row| row.measures.no_total.clone());
            if let Some(reason) = why.filter(|_| own.iter().all(|r| r.measures.total.is_none())) {
                let what = format!("CPU of {}", super::shown(self.plan, at, 0));
                missing.push(Missing { what, reason });
            }
        }
        missing
    }

    /// Machines, of one clock where it is given, that have no valid run.
    pub fn missing(&self, clock: Option<Clock>) -> Vec<Missing> {
        let mut missing = Vec::new();
        let all = self.plan.machines.iter().enumerate();
        for (at, machine) in all.filter(|(_, m)| clock.is_none_or(|clock| m.place.clock() == clock))
        {
            if self.rows.iter().any(|row| row.machine.is_some())
                && !self.rows.iter().any(|row| row.machine == Some(at))
            {
                let what = format!("all of {}", machine.name);
                let reason = "it has no valid run".to_owned();
                missing.push(Missing { what, reason });
            }
        }
        missing
    }
}

/// The mean with its interval, which ends at 0, as no quantity of a run is below it, and at
/// `most`, where there is one; `None` of no values.
pub fn mean(values: &[(usize, f64)], most: Option<f64>) -> Option<Measured> {
    let values: Vec<f64> = values.iter().map(|(_, value)| *value).collect();
    let summary = stats::Summary::of(&values)?;
    Some(match stats::mean(&values, CONFIDENCE) {
        Some(estimate) => estimate.within(0.0, most.unwrap_or(f64::INFINITY)).into(),
        None => Measured { value: summary.mean, interval: None, samples: summary.count },
    })
}
