//! From stored runs to what a page shows.

use crate::figure::{Failure, Machine, Report, Runs, SCHEMA};
use crate::figures::{Rows, findings};
use crate::measures::Measures;
use crate::plan::{FigureKind, Load, Place, Plan};
use crate::record::{Ending, Record};
use crate::remarks::remarks;
use crate::schedule::schedule;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use workload::Environment;

/// Everything that a study shows, from its plan and its stored attempts.
#[must_use]
pub fn report(plan: &Plan, records: &[Record]) -> Report {
    let (with, repeated) = attempts_that_count(measures(records));
    let measured: Vec<&Record> = with.iter().map(|(record, _)| *record).collect();
    let mut invalid = Invalid::new();
    let (mut figures, mut sentences) = (Vec::new(), Vec::new());
    let all: Vec<Rows<'_>> = (0..plan.workloads.len())
        .map(|workload| {
            let (rows, bad) = Rows::of(plan, workload, &with);
            invalid.extend(bad);
            rows
        })
        .collect();
    for figure in &plan.figures {
        let rows = &all[figure.workload];
        figures.extend(figure.kind.draw(rows));
        if matches!(figure.kind, FigureKind::Ratio | FigureKind::Fig610) {
            for sentence in findings(rows) {
                if !sentences.contains(&sentence) {
                    sentences.push(sentence);
                }
            }
        }
    }
    let failures = failed(records, &measured);
    let remarks = remarks(plan, &with);
    let planned = schedule(plan).len();
    let valid = measured.len() - invalid.len();
    Report {
        schema: SCHEMA.to_owned(),
        id: plan.id.clone(),
        title: plan.title.clone(),
        question: plan.question.clone(),
        findings: sentences,
        vmeter: env!("CARGO_PKG_VERSION").to_owned(),
        measured: period(&measured),
        runs: Runs {
            planned,
            valid,
            invalid: invalid.len(),
            again: repeated.len(),
            failed: failures.len(),
        },
        figures,
        method: method(plan),
        machines: machines(&measured),
        changes: changes(&measured),
        warnings: [
            remarks.sentences,
            slow(plan, &with),
            not_valid(&invalid, "not valid and in no figure"),
            not_valid(&repeated, "measured again, as they were not valid at first"),
            warnings(plan, &measured, planned, &remarks.told),
        ]
        .concat(),
        remarks: remarks.runs,
        failures,
    }
}

/// What each attempt measured, where it did; on all CPUs, as there may be thousands.
fn measures(records: &[Record]) -> Vec<(&Record, Measures)> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = records.len().div_ceil(threads).max(1);
    let of = |record| Some((record, Measures::of(record)?));
    std::thread::scope(|scope| {
        let parts: Vec<_> = records
            .chunks(share)
            .map(|part| scope.spawn(move || part.iter().filter_map(of).collect::<Vec<_>>()))
            .collect();
        parts.into_iter().flat_map(|part| part.join().unwrap_or_default()).collect()
    })
}

/// Runs, each with the reason why it, or an attempt at it, says of itself that it is not valid.
type Invalid = Vec<(usize, String)>;

/// The attempt of each run that figures are made of: the first that is valid, else the first; and
/// the runs of which it is a later one.
fn attempts_that_count(all: Vec<(&Record, Measures)>) -> (Vec<(&Record, Measures)>, Invalid) {
    let (mut counts, mut repeated) = (BTreeMap::new(), Vec::new());
    for (record, found) in all {
        match counts.entry(record.number) {
            Entry::Vacant(place) => _ = place.insert((record, found)),
            Entry::Occupied(mut place) => {
                if let (Some(why), None) = (&place.get().1.invalid, &found.invalid) {
                    repeated.push((record.number, why.clone()));
                    place.insert((record, found));
                }
            }
        }
    }
    (counts.into_values().collect(), repeated)
}

/// Runs that were tried and have no result, with their last reason.
fn failed(records: &[Record], measured: &[&Record]) -> Vec<Failure> {
    let good: BTreeSet<usize> = measured.iter().map(|record| record.number).collect();
    let mut last = BTreeMap::new();
    for record in records.iter().filter(|record| !good.contains(&record.number)) {
        if let Ending::Failed(reason) = &record.ending {
            let machine = record.machine.clone().unwrap_or_default();
            let what = format!("{machine}: {}", record.load.describe());
            last.insert(
                record.number,
                Failure { run: record.number, what, reason: reason.clone() },
            );
        }
    }
    last.into_values().collect()
}

fn period(measured: &[&Record]) -> Option<(String, String)> {
    let begins = measured.iter().map(|record| record.began_unix_s);
    let ends = measured.iter().map(|record| record.began_unix_s + record.took_s);
    let text = |seconds: f64| {
        let whole = jiff::Timestamp::from_second(seconds as i64).ok()?;
        Some(whole.to_string())
    };
    Some((text(begins.reduce(f64::min)?)?, text(ends.reduce(f64::max)?)?))
}

fn method(plan: &Plan) -> Vec<String> {
    let mut text = vec![
        format!(
            "Every point was measured {} times. The runs were interleaved: each block has every \
             point of every machine once, in an order drawn from seed {}, so that a drift of the \
             machines falls on all alike.",
            plan.repetitions, plan.seed
        ),
        "CPU time is the difference of cumulative counters of the host, read at the start and at \
         the end of the load's window, after its warm-up: on Xen the hypervisor's per-domain run \
         time and per-CPU idle time, on Linux the kernel's idle time and each thread's run time. \
         The agent's own time is taken off."
            .to_owned(),
        "Packets and replies are counted by the load, and their rate is taken over the time \
         between the two readings. Intervals are of 95 % confidence: Student's for means, \
         Fieller's and a bootstrap of the blocks' log-ratios for ratios. They end at 0 and, for CPU \
         utilisations, at all CPUs of the host, as no true value is beyond. No run was dropped by \
         its value; runs far from the others of their point (modified z-score) are listed. A run \
         that is not valid by its own account (its load was late, or did not end) is measured \
         again, twice at most, and its first valid attempt counts."
            .to_owned(),
    ];
    if plan.needs_lab() {
        let clock = match plan.lab.clock {
            lab::Clock::Instructions => {
                "by the instruction clock: an executed instruction is one nanosecond, so that CPU \
                 seconds are instructions and no cache, no pipeline and no hardware cost of a VM \
                 exit is in them. Ratios between machines are of instructions"
            }
            lab::Clock::Host => {
                "by the host's clock: times are those of emulation, and what else the host does is \
                 in them"
            }
        };
        text.push(format!(
            "The lab's machines are emulated by QEMU with {} CPUs each, {clock}. The load comes \
             from a second machine over an emulated network. For absolute numbers run the same \
             plan on hardware.",
            plan.lab.cpus
        ));
    }
    text
}

fn machines(measured: &[&Record]) -> Vec<Machine> {
    let mut found: BTreeMap<String, &Environment> = BTreeMap::new();
    let mut servers: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for record in measured {
        let Some((name, data)) = record.machine.as_ref().zip(record.data()) else { continue };
        for (role, environment) in &data.environments {
            found.entry(format!("{name}, {role}")).or_insert(environment);
        }
        for (role, version) in &data.servers {
            servers.entry(format!("{name}, {role}")).or_default().insert(version);
        }
    }
    let all = found.into_iter().map(|(name, here)| {
        let mut facts = facts(here);
        let versions = servers.remove(&name).unwrap_or_default();
        facts.extend(versions.into_iter().map(|one| ("web server".to_owned(), one.to_owned())));
        Machine { name, facts }
    });
    all.collect()
}

fn facts(here: &Environment) -> Vec<(String, String)> {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
    vec![
        ("kernel".to_owned(), format!("Linux {} {}", here.kernel, here.machine)),
        ("processor".to_owned(), text(&here.cpu)),
        ("CPUs".to_owned(), here.cpus.to_string()),
        ("clock source".to_owned(), text(&here.clock_source)),
        ("below it".to_owned(), text(&here.accelerator)),
        ("vmeter".to_owned(), here.vmeter.clone()),
    ]
}

/// What was set, once for each machine's configuration.
fn changes(measured: &[&Record]) -> Vec<String> {
    let mut all = BTreeSet::new();
    for record in measured {
        let Some((name, data)) = record.machine.as_ref().zip(record.data()) else { continue };
        for change in &data.changes {
            all.insert(match record.configuration.as_str() {
                "" => format!("{name}: {change}"),
                configuration => format!("{name}, {configuration}: {change}"),
            });
        }
    }
    all.into_iter().collect()
}

/// The part of the host's time that a machine of the instruction clock may take to be emulated.
const EMULATED: f64 = 0.5;

/// Machines that the emulator could not run as fast as the load came: their events were handled
/// in batches, and each cost less.
fn slow(plan: &Plan, measured: &[(&Record, Measures)]) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (record, measures) in measured {
        let machine = record.machine.as_ref().and_then(|name| plan.machine(name));
        let counted = machine.is_some_and(|machine| {
            matches!(machine.place, Place::Lab { clock: lab::Clock::Instructions, .. })
        });
        let networked = matches!(record.load, Load::Tcp { .. } | Load::Web { .. });
        let times = measures.interval_s;
        let Some((own, hosts)) = times.zip(record.data().and_then(|data| data.window_s)) else {
            continue;
        };
        if counted && networked && own < (1.0 - EMULATED) * hosts {
            *counts.entry(record.machine.as_deref().unwrap_or_default()).or_default() += 1;
        }
    }
    let text = |(name, count): (&str, usize)| {
        format!(
            "{name}: in {count} runs the emulator was busy for more than half of the time: what \
             came meanwhile was handled in batches, and cost less. Take lower rates, or a machine \
             with nothing else to do."
        )
    };
    counts.into_iter().map(text).collect()
}

/// How many runs there are for each reason.
fn not_valid(runs: &[(usize, String)], what: &str) -> Vec<String> {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, reason) in runs {
        *reasons.entry(reason).or_default() += 1;
    }
    let text = |(reason, count)| format!("{count} runs are {what}: {reason}.");
    reasons.into_iter().map(text).collect()
}

/// Warnings of the study and of its runs, but for those that are `told` elsewhere.
fn warnings(
    plan: &Plan,
    measured: &[&Record],
    planned: usize,
    told: &BTreeSet<String>,
) -> Vec<String> {
    let mut all = Vec::new();
    if measured.len() < planned {
        let left = planned - measured.len();
        all.push(format!("{left} of {planned} runs are not measured yet: resume the study."));
    }
    let mut said: BTreeMap<String, usize> = BTreeMap::new();
    for record in measured {
        let Some((name, data)) = record.machine.as_ref().zip(record.data()) else { continue };
        for warning in data.warnings.iter().filter(|warning| !told.contains(*warning)) {
            // Numbers differ from run to run.
            let kind = warning.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
            *said.entry(format!("{name}: …{kind}")).or_default() += 1;
        }
    }
    all.extend(said.into_iter().map(|(warning, count)| format!("{warning} ({count} runs).")));
    if plan.repetitions < 5 {
        all.push(format!(
            "Only {} repetitions: intervals are wide; 5 or more are for results to be relied on.",
            plan.repetitions
        ));
    }
    let emulated = |machine: &crate::plan::Machine| matches!(machine.place, Place::Lab { .. });
    if plan.machines.iter().any(emulated) {
        all.push(
            "Measured on emulated machines: caches and the cost of VM exits in hardware are \
             missing."
                .to_owned(),
        );
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn the_first_valid_attempt_at_a_run_counts() {
        let (_place, store, mut records) = samples::study();
        let good = records[0].clone();
        samples::invalidate(&mut records[0]);
        let plan = store.plan().unwrap();
        let first = report(&plan, &records);
        assert_eq!((first.runs.valid, first.runs.invalid, first.runs.again), (1, 1, 0));
        let said = |report: &Report, what: &str| report.warnings.iter().any(|w| w.contains(what));
        assert!(said(&first, samples::INVALID), "{:?}", first.warnings);

        records.push(Record { attempt: 2, ..good.clone() });
        let again = report(&plan, &records);
        assert_eq!((again.runs.valid, again.runs.invalid, again.runs.again), (2, 0, 1));
        assert!(said(&again, "measured again"), "{:?}", again.warnings);
        // What comes after it changes nothing.
        let mut later = Record { attempt: 3, ..good };
        samples::invalidate(&mut later);
        records.push(later);
        assert_eq!(report(&plan, &records), again);
    }
}
