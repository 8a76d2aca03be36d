//! Runs that count and are to be looked at: disturbed, warned of, or far from the others of their
//! point. They are shown and kept, never dropped.

use crate::beside::{Beside, beside};
use crate::figure::Remark;
use crate::measures::Measures;
use crate::plan::{Load, Plan};
use crate::record::Record;
use std::collections::{BTreeMap, BTreeSet};

/// What becomes of such runs.
const KEPT: &str = "They count like all others; “Runs to look at” lists them.";
/// A value that differs by less than this part from the others' median is not far from them.
const LEAST: f64 = 0.2;

/// What is to be looked at in all runs.
pub(crate) struct Remarks {
    /// By run; runs without anything are not among them.
    pub runs: Vec<Remark>,
    /// What to know of them all, in sentences.
    pub sentences: Vec<String>,
    /// Warnings that are in these sentences.
    pub told: BTreeSet<String>,
}

/// Collects what is to be looked at in the runs that count.
pub(crate) fn remarks(plan: &Plan, measured: &[(&Record, Measures)]) -> Remarks {
    let valid: Vec<&(&Record, Measures)> =
        measured.iter().filter(|(_, found)| found.invalid.is_none()).collect();
    let far = far(&valid);
    let (mut runs, mut others, mut told) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (record, _) in &valid {
        let Some(data) = record.data() else { continue };
        let ran = beside(&record.load, &at_work(plan, record), data);
        let mut reasons: Vec<String> = ran.iter().map(ToString::to_string).collect();
        told.extend(reasons.iter().cloned());
        reasons.extend(data.warnings.iter().filter(|w| !told.contains(*w)).cloned());
        reasons.extend(far.get(&record.number).cloned());
        if !ran.is_empty() {
            others.push(ran);
        }
        if !reasons.is_empty() {
            let what = what(record);
            runs.push(Remark { run: record.number, block: record.block, what, reasons });
        }
    }
    let mut sentences = Vec::new();
    sentences.extend(disturbed(&others));
    if !far.is_empty() {
        sentences
            .push(format!("Far from the others of their point: {}. {KEPT}", counted(far.len())));
    }
    Remarks { runs, sentences, told }
}

fn what(record: &Record) -> String {
    let machine = record.machine.clone().unwrap_or_default();
    match record.configuration.as_str() {
        "" => format!("{machine}: {}", record.load.describe()),
        name => format!("{machine}, {name}: {}", record.load.describe()),
    }
}

fn counted(count: usize) -> String {
    if count == 1 { "1 run".to_owned() } else { format!("{count} runs") }
}

/// The guests that a run's load ran in or went to.
fn at_work(plan: &Plan, record: &Record) -> Vec<String> {
    let machine = record.machine.as_ref().and_then(|name| plan.machine(name));
    let workload = plan.workloads.iter().find(|workload| workload.name == record.workload);
    let Some((machine, workload)) = machine.zip(workload) else { return Vec::new() };
    let count = workload.guests_at_work(&record.load);
    machine.place.guest_names().into_iter().take(count).collect()
}

/// What ran beside loads, by name, with the most that it used.
fn disturbed(runs: &[Vec<Beside>]) -> Option<String> {
    let mut most: BTreeMap<String, f64> = BTreeMap::new();
    for other in runs.iter().flatten() {
        let cpus = most.entry(other.what.name()).or_default();
        *cpus = cpus.max(other.cpus);
    }
    let mut all: Vec<(String, f64)> = most.into_iter().collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    let names: Vec<String> =
        all.iter().map(|(name, cpus)| format!("{name} (up to {cpus:.2} CPUs)")).collect();
    (!names.is_empty()).then(|| {
        format!(
            "Other programs ran beside the load in {}: {}. {KEPT}",
            counted(runs.len()),
            names.join(", ")
        )
    })
}

/// A point of a machine's configuration: all that its runs have in common.
type Point<'a> = (&'a Option<String>, &'a str, &'a str, String);

/// Runs far from the others of their point, with the reason.
fn far(valid: &[&(&Record, Measures)]) -> BTreeMap<usize, String> {
    let mut points: BTreeMap<Point<'_>, Vec<(usize, f64)>> = BTreeMap::new();
    for (record, found) in valid {
        let Some(value) = quantity(&record.load, found) else { continue };
        let point = (
            &record.machine,
            record.configuration.as_str(),
            record.workload.as_str(),
            format!("{:?}", record.load),
        );
        points.entry(point).or_default().push((record.number, value));
    }
    let mut all = BTreeMap::new();
    for (point, runs) in points {
        let values: Vec<f64> = runs.iter().map(|(_, value)| *value).collect();
        let is_far = stats::far(&values, LEAST);
        let near = || values.iter().zip(&is_far).filter(|(_, far)| !**far).map(|(value, _)| *value);
        let (low, high) = (near().fold(f64::INFINITY, f64::min), near().fold(0.0, f64::max));
        for ((number, value), _) in runs.iter().zip(&is_far).filter(|(_, far)| **far) {
            let unit = if point.3.starts_with("Cpu") { "s" } else { "% CPU" };
            let (value, low, high) = (short(*value), short(low), short(high));
            all.insert(
                *number,
                format!(
                    "it took {value} {unit}, the other runs of this point {low} to {high} {unit}"
                ),
            );
        }
    }
    all
}

/// What runs of a load are compared by: seconds of the programs, or the host's CPU in percent.
fn quantity(load: &Load, found: &Measures) -> Option<f64> {
    match load {
        Load::Cpu { .. } => found.seconds,
        Load::Fileset { .. } => None,
        Load::Tcp { .. } | Load::Web { .. } => Some(found.total? * 100.0),
    }
}

/// Three digits.
fn short(value: f64) -> String {
    let places = if value.abs() >= 100.0 {
        0
    } else if value.abs() >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;
    use model::Nanos;

    /// Five runs of the same point, of which a program disturbed the third.
    fn disturbed_study() -> (tempfile::TempDir, Plan, Vec<Record>) {
        let (place, store, records) = samples::study();
        let mut all: Vec<Record> =
            (1..=5).map(|block| Record { number: block, block, ..records[0].clone() }).collect();
        for record in &mut all {
            record.load = store.plan().unwrap().workloads[0].points[0].clone();
        }
        let counters = samples::data(&mut all[2]).host.as_mut().unwrap();
        let usage = account::usage(&counters.begin, &counters.end).unwrap();
        let used = Nanos((usage.interval.0 as f64 * 0.9) as u64);
        counters.end.host.idle = Ok(counters.end.host.idle.clone().unwrap().saturating_sub(used));
        let tasks = counters.end.drivers[0].tasks.as_mut().unwrap();
        tasks.processes.iter_mut().find(|p| p.name == "control.sh").unwrap().cpu += used;
        (place, store.plan().unwrap(), all)
    }

    #[test]
    fn a_disturbed_run_counts_and_is_shown_with_its_disturber() {
        let (_place, plan, records) = disturbed_study();
        let report = crate::report(&plan, &records);
        assert_eq!((report.runs.valid, report.runs.invalid), (5, 0));
        let [only] = &report.remarks[..] else { panic!("{:?}", report.remarks) };
        assert_eq!((only.run, only.block), (3, 3));
        assert!(only.reasons[0].starts_with("control.sh (PID "), "{only:?}");
        assert!(
            only.reasons[0].ends_with("used 0.90 CPUs of the host beside the load"),
            "{only:?}"
        );
        assert!(only.reasons[1].contains("% CPU, the other runs of this point "), "{only:?}");
        let said = |what: &str| report.warnings.iter().any(|warning| warning.contains(what));
        assert!(said("ran beside the load in 1 run: control.sh (up to 0.90 CPUs)"));
        assert!(said("Far from the others of their point: 1 run."), "{:?}", report.warnings);
    }

    #[test]
    fn a_warning_that_was_stored_is_not_said_twice() {
        let (_place, plan, mut records) = disturbed_study();
        let before = crate::report(&plan, &records);
        let stored = before.remarks[0].reasons[0].clone();
        samples::data(&mut records[2]).warnings = vec![stored];
        assert_eq!(crate::report(&plan, &records), before);
        samples::data(&mut records[2]).warnings.push("0.50 CPUs were busy".to_owned());
        let report = crate::report(&plan, &records);
        assert!(report.remarks[0].reasons.contains(&"0.50 CPUs were busy".to_owned()));
    }

    #[test]
    fn no_interval_of_a_cpu_goes_below_0_or_beyond_all_cpus() {
        let (_place, plan, records) = disturbed_study();
        let report = crate::report(&plan, &records[..3]);
        let cpu = report.figures.iter().find(|figure| figure.id.starts_with("fig-6.1")).unwrap();
        let crate::figure::Drawing::Lines { lines, .. } = &cpu.drawing else { panic!("{cpu:?}") };
        let point = &lines[0].points[0].y;
        let (low, high) = point.interval.unwrap();
        assert_eq!(low, 0.0, "{point:?}");
        assert!(high <= 200.0 && high > point.value && point.value > 30.0, "{point:?}");
    }
}
