//! What the reader of the figures should know about them, and what to do about it.

use super::Column;
use super::figure::{Figure, figure};
use super::fit;
use super::rows::Item;
use account::Usage;
use model::{Absent, Need};
use std::fmt;

/// A conservation error above this is worth a word.
const LARGE_ERROR: f64 = 0.01;

/// A warning.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    /// Values that the system refused to give.
    NotPermitted {
        /// Their columns.
        columns: Vec<Column>,
        /// The VMs that miss them.
        vms: usize,
        /// What it would take.
        need: Need,
    },
    /// Guests' agents that did not answer.
    Silent {
        /// The VM.
        vm: String,
        /// Why.
        reason: Absent,
    },
    /// There is no figure for the host's busy time.
    NoBusyTime(Absent),
    /// Processes are hidden from vmeter.
    Hidden,
    /// Parts and whole cannot be compared.
    NoComparison(Absent),
    /// The conservation error: parts and whole, counted on their own, disagree by this ratio.
    Conservation(f64),
    /// Interrupts are billed to whatever thread they hit.
    InterruptsUncounted,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPermitted { columns, vms, need } => {
                let keys: Vec<&str> = columns.iter().map(|column| column.key()).collect();
                let of = if *vms == 1 { "1 VM" } else { &format!("{vms} VMs") };
                write!(f, "needs {need}: {} of {of}", keys.join(", "))
            }
            Self::Silent { vm, reason } => {
                write!(f, "{}: {}", fit::shown(vm), model::escape(&reason.to_string()))
            }
            Self::NoBusyTime(reason) => {
                write!(f, "the sum cannot be checked, busy time of the host is unknown: {reason}")
            }
            Self::Hidden => f.write_str(
                "not all processes are visible (a PID namespace, or hidepid): what they use is \
                 unattributed",
            ),
            Self::NoComparison(reason) => {
                write!(f, "the counters were read over different intervals: {reason}")
            }
            Self::Conservation(error) => write!(
                f,
                "the counters disagree by {:.1}% of the busy time: use a longer interval",
                100.0 * error.min(9.999)
            ),
            Self::InterruptsUncounted => f.write_str(
                "no IRQ time accounting: interrupts are billed to the threads they interrupt",
            ),
        }
    }
}

/// What there is to say about an interval, the most important first.
pub fn notes(usage: &Usage) -> Vec<Note> {
    let mut notes = Vec::new();
    if let Err(reason) = &usage.host.busy {
        notes.push(Note::NoBusyTime(reason.clone()));
    }
    if usage.host.hidden {
        notes.push(Note::Hidden);
    }
    match &usage.host.conservation_error {
        Ok(error) if *error > LARGE_ERROR => notes.push(Note::Conservation(*error)),
        Err(reason) if usage.host.busy.is_ok() => notes.push(Note::NoComparison(reason.clone())),
        _ => {}
    }
    notes.extend(not_permitted(usage));
    notes.extend(silent(usage));
    if usage.host.irq_time_accounting == Ok(false) {
        notes.push(Note::InterruptsUncounted);
    }
    notes
}

/// What an agent cannot tell fails; without one there is nothing to say.
fn silent(usage: &Usage) -> impl Iterator<Item = Note> {
    usage.vms.iter().filter_map(|vm| match &vm.steal {
        Err(reason @ Absent::Failed(_)) => {
            Some(Note::Silent { vm: vm.name.clone(), reason: reason.clone() })
        }
        _ => None,
    })
}

fn not_permitted(usage: &Usage) -> Option<Note> {
    let mut columns = Vec::new();
    let mut vms = 0;
    let mut most = None;
    for vm in &usage.vms {
        let mut misses = false;
        for column in Column::all().filter(|column| !column.is_text()) {
            let Figure::Absent(reason) = figure(Item::Vm(vm), column, usage) else { continue };
            let Absent::NotPermitted { need, .. } = *reason else { continue };
            misses = true;
            // Root can all that the capability can.
            most = if most == Some(Need::Root) { most } else { Some(need) };
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        vms += usize::from(misses);
    }
    columns.sort();
    most.map(|need| Note::NotPermitted { columns, vms, need })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::fixture;

    #[test]
    fn a_note_names_the_columns_and_the_remedy() {
        let notes: Vec<String> =
            notes(&fixture::unprivileged()).iter().map(ToString::to_string).collect();
        assert_eq!(
            notes,
            [
                "needs root or CAP_SYS_PTRACE: io-shared, rx-packets, tx-packets, rx-bytes, \
                 tx-bytes, read-bytes, write-bytes of 1 VM",
                "no IRQ time accounting: interrupts are billed to the threads they interrupt"
            ]
        );
    }

    #[test]
    fn a_sum_that_is_wrong_is_said() {
        let mut usage = fixture::xen();
        assert_eq!(notes(&usage), []);
        usage.vms[0].steal = Err(Absent::Failed("its agent timed out".into()));
        assert_eq!(notes(&usage)[0].to_string(), "web: failed: its agent timed out");
        usage.vms[0].steal = Err(Absent::NotReported);
        usage.host.conservation_error = Ok(0.025);
        assert_eq!(
            notes(&usage)[0].to_string(),
            "the counters disagree by 2.5% of the busy time: use a longer interval"
        );
        usage.host.hidden = true;
        assert!(notes(&usage)[0].to_string().starts_with("not all processes are visible"));
    }
}
