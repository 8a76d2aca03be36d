//! A whole study: machines up, runs in their order, each kept as soon as it is over.

use crate::error::RunError;
use crate::fleet::{FleetError, Means, Station};
use crate::measures::Measures;
use crate::plan::{Load, Plan};
use crate::record::{Data, Ending, Record};
use crate::run::Conduct;
use crate::schedule::{self, Run};
use crate::store::{Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Attempts at a run in one go. Where it failed, a study that is resumed has as many again; one that
/// is not valid by its own account as often is taken for what the machine can do.
const ATTEMPTS: usize = 3;

/// Is told how a study gets on.
pub trait Watch: lab::Progress {
    /// A run begins: its place among those that are left, and what it is.
    fn begins(&mut self, done: usize, of: usize, what: &str);
    /// A run is over: how long it took, and what is amiss with it where it failed or says of itself
    /// that it is not valid.
    fn ended(&mut self, seconds: f64, amiss: Option<&str>);
    /// Something that the operator should know.
    fn says(&mut self, line: &str);
}

/// Why a study cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// Its folder.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A machine.
    #[error(transparent)]
    Fleet(#[from] FleetError),
}

/// How a study came to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finish {
    /// Runs that have a result.
    pub measured: usize,
    /// Runs without one.
    pub left: usize,
    /// It was asked to end.
    pub stopped: bool,
}

/// Runs what is not yet measured of a plan.
pub struct Study<'a> {
    /// What to measure.
    pub plan: &'a Plan,
    /// Where it is kept.
    pub store: &'a Store,
    /// What machines are reached with.
    pub means: &'a Means,
    /// These machines only, where some are named.
    pub only: &'a [String],
    /// Ends it.
    pub stop: &'a AtomicBool,
}

/// The machines by their place in the plan; those that did not come up with the reason.
type Stations = BTreeMap<usize, Result<Station, String>>;

/// What is left to do, and what was tried.
#[derive(Debug, Default)]
struct Ledger {
    attempts: BTreeMap<usize, usize>,
    valid: BTreeSet<usize>,
    /// How often a run was measured and said of itself that it is not valid.
    invalid: BTreeMap<usize, usize>,
}

impl Study<'_> {
    /// Runs until all is measured, or as often as makes sense; `before` is what the folder holds.
    ///
    /// # Errors
    /// Where the folder cannot be written, or a machine does not come up. What is kept is kept.
    pub fn run(&self, before: &[Record], watch: &mut dyn Watch) -> Result<Finish, StudyError> {
        let mut ledger = Ledger::of(before);
        let all = schedule::schedule(self.plan);
        let wanted: Vec<Run> =
            all.iter().copied().filter(|run| self.wants(run.treatment.machine)).collect();
        let mut stations = Stations::new();
        for attempt in 0..ATTEMPTS {
            stations.retain(|_, station| station.is_ok());
            let left: Vec<Run> =
                wanted.iter().copied().filter(|run| ledger.wants(run.number)).collect();
            if left.is_empty() || self.stopped() {
                break;
            }
            if attempt > 0 {
                watch.says(&format!("{} runs failed or are invalid: retrying them", left.len()));
            }
            for (done, run) in left.iter().enumerate() {
                if self.stopped() {
                    break;
                }
                self.open(run, &mut stations, watch)?;
                self.one(run, (done, left.len()), &mut stations, &mut ledger, watch)?;
            }
        }
        let left = all.iter().filter(|run| ledger.lacks(run.number)).count();
        Ok(Finish { measured: all.len() - left, left, stopped: self.stopped() })
    }

    fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// Whether runs of a machine, or (`None`) those that need none, are to be measured.
    fn wants(&self, machine: Option<usize>) -> bool {
        let name = machine.map(|at| &self.plan.machines[at].name);
        self.only.is_empty() || name.is_some_and(|name| self.only.contains(name))
    }

    /// Has the machine of a run up; at the first run, all that the study needs.
    fn open(
        &self,
        run: &Run,
        stations: &mut Stations,
        watch: &mut dyn Watch,
    ) -> Result<(), StudyError> {
        let Some(needed) = run.treatment.machine else { return Ok(()) };
        let first = stations.is_empty();
        for (at, machine) in self.plan.machines.iter().enumerate() {
            let wanted = self.wants(Some(at)) && (first || at == needed);
            if stations.contains_key(&at) || !wanted {
                continue;
            }
            tracing::debug!(machine = ?machine.name, first, "opening a machine");
            let opened = Station::open(self.plan, machine, self.means, watch)
                .and_then(|mut station| station.check(machine).map(|()| station));
            stations.insert(
                at,
                match opened {
                    Ok(station) => Ok(station),
                    // Emulated machines hang now and then; the others can be measured.
                    Err(error) if error.is_mishap(&machine.place) => {
                        tracing::warn!(machine = ?machine.name, "skipping its runs in this pass");
                        watch.says(&error.to_string());
                        Err(error.to_string())
                    }
                    Err(error) => return Err(error.into()),
                },
            );
        }
        Ok(())
    }

    /// One attempt at a run.
    fn one(
        &self,
        run: &Run,
        (done, of): (usize, usize),
        stations: &mut Stations,
        ledger: &mut Ledger,
        watch: &mut dyn Watch,
    ) -> Result<(), StudyError> {
        let plan = self.plan;
        let what = schedule::describe(plan, run.treatment);
        watch.begins(done, of, &what);
        let (began, from) = (SystemTime::now(), Instant::now());
        let workload = &plan.workloads[run.treatment.workload];
        let load = &workload.points[run.treatment.point];
        let outcome = match run.treatment.machine.and_then(|at| stations.get_mut(&at)) {
            None => local(load),
            Some(Err(why)) => Err(RunError::Machine(why.clone())),
            Some(Ok(station)) => Conduct {
                station,
                configuration: self.configuration(run),
                workload,
                load,
                seed: plan.seed.wrapping_add(run.block as u64),
                settle: plan.settle,
                stop: self.stop,
            }
            .run(),
        };
        let ending = match outcome {
            Ok(data) => Ending::Measured(Box::new(data)),
            // Nothing was wrong with it: it is run when the study goes on.
            Err(RunError::Stopped) => return Ok(()),
            Err(error) => {
                self.recover(run, &error, stations, watch);
                Ending::Failed(error.to_string())
            }
        };
        let machine = run.treatment.machine.map(|at| plan.machines[at].name.clone());
        let record = Record {
            number: run.number,
            block: run.block,
            attempt: ledger.next(run.number),
            machine,
            configuration: self.configuration(run).name.clone(),
            workload: workload.name.clone(),
            load: load.clone(),
            began_unix_s: began.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
            took_s: from.elapsed().as_secs_f64(),
            ending,
        };
        self.store.keep(&record)?;
        for warning in record.data().map(|data| data.warnings.as_slice()).unwrap_or_default() {
            watch.says(&format!("run {}: {warning}", run.number));
        }
        let invalid = ledger.note(&record);
        tracing::debug!(
            run = run.number,
            attempt = record.attempt,
            valid = ledger.valid.contains(&run.number),
            ?invalid,
            "run stored"
        );
        let amiss = match &record.ending {
            Ending::Failed(why) => Some(format!("failed: {why}")),
            Ending::Measured(_) => invalid.map(|why| format!("invalid: {why}")),
        };
        watch.ended(record.took_s, amiss.as_deref());
        Ok(())
    }

    fn configuration(&self, run: &Run) -> &crate::plan::Configuration {
        static NONE: crate::plan::Configuration =
            crate::plan::Configuration { name: String::new(), set: Vec::new() };
        let machine = run.treatment.machine.map(|at| &self.plan.machines[at]);
        machine.map_or(&NONE, |machine| &machine.configurations[run.treatment.configuration])
    }

    /// After a failed run nothing of it may go on, and a lab machine that is gone is booted anew.
    fn recover(&self, run: &Run, error: &RunError, stations: &mut Stations, watch: &mut dyn Watch) {
        let Some(at) = run.treatment.machine else { return };
        let Some(Ok(station)) = stations.get_mut(&at) else { return };
        station.forget();
        if error.is_loss() && station.check(&self.plan.machines[at]).is_err() {
            tracing::info!(machine = ?station.name, error = ?error.to_string(), "machine lost: opening it again");
            watch.says(&format!("connection to {} lost: {error}", station.name));
            stations.remove(&at);
        }
    }
}

/// What needs no machine.
fn local(load: &Load) -> Result<Data, RunError> {
    let Load::Fileset { dirs } = load else { return Ok(Data::default()) };
    let statistics = workload::fileset::Statistics::of(*dirs);
    let value = serde_json::to_value(statistics)
        .map_err(|error| RunError::Load { who: "fileset".to_owned(), why: error.to_string() })?;
    Ok(Data { outcomes: vec![value], ..Data::default() })
}

impl Ledger {
    fn of(records: &[Record]) -> Self {
        let mut ledger = Self::default();
        for record in records {
            ledger.note(record);
        }
        ledger
    }

    /// Takes note of an attempt; why it says of itself that it is not valid, where it does.
    fn note(&mut self, record: &Record) -> Option<String> {
        let attempts = self.attempts.entry(record.number).or_default();
        *attempts = record.attempt.max(*attempts);
        let invalid = Measures::of(record)?.invalid;
        if invalid.is_some() {
            *self.invalid.entry(record.number).or_default() += 1;
        } else {
            self.valid.insert(record.number);
        }
        invalid
    }

    fn next(&self, number: usize) -> usize {
        self.attempts.get(&number).map_or(1, |last| last + 1)
    }

    /// Whether a run has no result.
    fn lacks(&self, number: usize) -> bool {
        !self.valid.contains(&number) && !self.invalid.contains_key(&number)
    }

    /// Whether a run is to be measured, or measured again.
    fn wants(&self, number: usize) -> bool {
        let invalid = self.invalid.get(&number).copied().unwrap_or_default();
        !self.valid.contains(&number) && invalid < ATTEMPTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn a_run_that_is_not_valid_is_measured_again_but_not_for_ever() {
        let (_place, _store, records) = samples::study();
        let mut bad = records[0].clone();
        samples::invalidate(&mut bad);
        let mut ledger = Ledger::default();
        for attempt in 1..=ATTEMPTS {
            assert!(ledger.wants(bad.number), "attempt {attempt}");
            bad.attempt = ledger.next(bad.number);
            assert_eq!(ledger.note(&bad).as_deref(), Some(samples::INVALID));
            assert!(!ledger.lacks(bad.number), "it has a result");
        }
        assert!(!ledger.wants(bad.number));
        assert_eq!(ledger.next(bad.number), ATTEMPTS + 1);
        // What failed is wanted as long as it has no result.
        let mut failed = records[1].clone();
        failed.ending = Ending::Failed("the agent was lost".to_owned());
        for _ in 0..=ATTEMPTS {
            ledger.note(&failed);
            assert!(ledger.wants(failed.number) && ledger.lacks(failed.number));
        }
        ledger.note(&records[1]);
        assert!(!ledger.wants(failed.number));
    }
}
