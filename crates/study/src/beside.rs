//! What else used the CPU in a run's window: programs and VMs that are no part of its load.

use crate::measures::busy_cpus;
use crate::plan::Load;
use crate::record::{Counters, Data};
use account::Usage;
use model::{Nanos, Platform, Process, Snapshot, TaskId};
use std::collections::{HashMap, HashSet};
use std::fmt;

/// What used less of one CPU disturbs nothing.
const LEAST_CPUS: f64 = 0.01;
/// What used a smaller part of the machine's busy time does not matter to a figure.
const LEAST_PART: f64 = 0.05;

/// What the host is called among the machines; a plan may not call a guest so.
const HOST: &str = "host";

/// A program or VM that ran beside a load.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Beside {
    /// The machine that it ran on: [`HOST`], or a guest's name.
    pub machine: String,
    /// What it is.
    pub what: What,
    /// CPUs that it used in the window.
    pub cpus: f64,
}

/// What ran beside a load. Names are as the machine reported them, not escaped.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    /// A process that was there at the window's end.
    Process {
        /// Its name (comm).
        name: String,
        /// Its process ID.
        pid: u32,
    },
    /// Processes that ended in the window, by the process that waited for them.
    Ended {
        /// That process's name.
        parent: String,
    },
    /// A VM that the load does not go to.
    Vm(String),
}

impl What {
    /// Its name alone, the same from run to run.
    pub fn name(&self) -> String {
        match self {
            Self::Process { name, .. } => name.clone(),
            Self::Ended { parent } => format!("children of {parent}"),
            Self::Vm(name) => format!("VM {name}"),
        }
    }
}

impl fmt::Display for Beside {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = if self.machine == HOST { "the host" } else { &self.machine };
        let cpus = self.cpus;
        match &self.what {
            What::Process { name, pid } => {
                write!(formatter, "{name} (PID {pid}) used {cpus:.2} CPUs of {machine}")
            }
            What::Ended { parent } => {
                write!(formatter, "ended children of {parent} used {cpus:.2} CPUs of {machine}")
            }
            What::Vm(name) => write!(formatter, "VM {name} used {cpus:.2} CPUs of {machine}"),
        }?;
        formatter.write_str(" beside the load")
    }
}

/// What ran beside a load on the host and in its guests, the largest first. `at_work` are the
/// guests that the load runs in or goes to.
pub(crate) fn beside(load: &Load, at_work: &[String], data: &Data) -> Vec<Beside> {
    let host = data.host.iter().map(|counters| (HOST, counters));
    let guests = data.targets.iter().map(|(name, counters)| (name.as_str(), counters));
    let mut all = Vec::new();
    for (machine, counters) in host.chain(guests) {
        let Ok(usage) = account::usage(&counters.begin, &counters.end) else { continue };
        let interval = usage.interval.0 as f64;
        let mut found: Vec<(What, f64)> = processes(load, &usage);
        found.extend(ended(load, counters));
        found.extend(vms(at_work, &usage));
        // Without the whole's time its hundredth of a CPU decides.
        let least = busy_cpus(&usage).unwrap_or(0.0) * LEAST_PART;
        all.extend(found.into_iter().filter_map(|(what, time)| {
            let cpus = time / interval;
            let machine = machine.to_owned();
            (cpus >= LEAST_CPUS.max(least)).then_some(Beside { machine, what, cpus })
        }));
    }
    all.sort_by(|a, b| b.cpus.total_cmp(&a.cpus));
    all
}

/// Whether a process of this name is the agent, what it starts for a load, or the web server.
fn is_the_loads(load: &Load, name: &str) -> bool {
    let server: &[&str] = match load {
        Load::Web { server: workload::serve::Software::Nginx, .. } => &["nginx"],
        Load::Web { server: workload::serve::Software::Apache, .. } => &["apache2", "httpd"],
        _ => &[],
    };
    name.starts_with("vmeter") || server.contains(&name)
}

/// Processes that serve no VM, with their nanoseconds.
fn processes(load: &Load, usage: &Usage) -> Vec<(What, f64)> {
    let all = usage.drivers.iter().flat_map(|driver| &driver.processes);
    let others = all.filter(|process| !is_the_loads(load, &process.name));
    let known = others.filter_map(|process| Some((process, process.cpu.as_ref().ok()?)));
    known
        .map(|(process, time)| {
            let (name, pid) = (process.name.clone(), process.id.pid);
            (What::Process { name, pid }, time.0 as f64)
        })
        .collect()
}

/// Processes that ended: the increase of what their parents hold of their children's time, less all
/// that was known of processes at the start which are gone, as nobody can tell whose they were.
fn ended(load: &Load, counters: &Counters) -> Vec<(What, f64)> {
    let (old, new) = (all_processes(&counters.begin), all_processes(&counters.end));
    let left: HashSet<_> = new.iter().map(|process| process.id).collect();
    let gone = old.iter().filter(|process| !process.kernel && !left.contains(&process.id));
    let gone: u64 = gone.map(|process| process.cpu.0 + process.children.0).sum();
    let before: HashMap<TaskId, Nanos> =
        old.iter().map(|process| (process.id, process.children)).collect();
    let parents = new.iter().filter(|process| !is_the_loads(load, &process.name));
    parents
        .filter_map(|process| {
            let start = before.get(&process.id).copied().unwrap_or(Nanos::ZERO);
            let grown = process.children.saturating_sub(start);
            let time = grown.0.checked_sub(gone).filter(|time| *time > 0)?;
            Some((What::Ended { parent: process.name.clone() }, time as f64))
        })
        .collect()
}

fn all_processes(snapshot: &Snapshot) -> Vec<&Process> {
    let tasks = snapshot.drivers.iter().filter_map(|driver| driver.tasks.as_ref().ok());
    tasks.flat_map(|tasks| &tasks.processes).collect()
}

/// VMs that the load does not go to. Where not all that it goes to are among the host's VMs by
/// their names nobody can tell which ones these are.
fn vms(at_work: &[String], usage: &Usage) -> Vec<(What, f64)> {
    let known = |name: &String| usage.vms.iter().any(|vm| vm.name == *name);
    if !at_work.iter().all(known) {
        return Vec::new();
    }
    // A control group's time is that of its processes, which are named one by one.
    let others = usage.vms.iter().filter(|vm| vm.platform != Platform::Cgroup);
    others
        .filter(|vm| !at_work.contains(&vm.name))
        .filter_map(|vm| Some((What::Vm(vm.name.clone()), vm.cpu.total.as_ref().ok()?.0 as f64)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    /// The process of a snapshot that is called so.
    fn called<'a>(snapshot: &'a mut Snapshot, name: &str) -> &'a mut Process {
        let tasks = snapshot.drivers[0].tasks.as_mut().unwrap();
        tasks.processes.iter_mut().find(|process| process.name == name).unwrap()
    }

    fn seconds(counters: &Counters) -> f64 {
        account::usage(&counters.begin, &counters.end).unwrap().interval.0 as f64 / 1e9
    }

    #[test]
    fn runs_in_the_lab_have_nothing_beside_them() {
        let (_place, _store, records) = samples::study();
        for record in &records {
            let at_work: Vec<String> = record.data().unwrap().targets.keys().cloned().collect();
            let found = beside(&record.load, &at_work, record.data().unwrap());
            assert_eq!(found, [], "{:?}", record.machine);
        }
    }

    #[test]
    fn a_process_that_computes_is_named_with_its_cpus() {
        let (_place, _store, mut records) = samples::study();
        let load = records[0].load.clone();
        let data = samples::data(&mut records[0]);
        let counters = data.host.as_mut().unwrap();
        let (window, idle) = (seconds(counters), counters.end.host.idle.clone().unwrap());
        let used = Nanos((0.9 * window * 1e9) as u64);
        counters.end.host.idle = Ok(idle.saturating_sub(used));
        let other = called(&mut counters.end, "control.sh");
        other.cpu += used;
        let pid = other.id.pid;
        let found = beside(&load, &[], data);
        assert_eq!(found.len(), 1, "{found:?}");
        let name = "control.sh".to_owned();
        assert_eq!(
            (&found[0].what, found[0].machine.as_str()),
            (&What::Process { name, pid }, HOST)
        );
        assert!((found[0].cpus - 0.9).abs() < 0.01, "{found:?}");
        let text = format!("control.sh (PID {pid}) used 0.90 CPUs of the host beside the load");
        assert_eq!(found[0].to_string(), text);
    }

    #[test]
    fn processes_that_ended_are_named_by_their_parent_and_the_loads_own_are_not() {
        let (_place, _store, mut records) = samples::study();
        let load = records[0].load.clone();
        let data = samples::data(&mut records[0]);
        let counters = data.host.as_mut().unwrap();
        let used = Nanos((0.5 * seconds(counters) * 1e9) as u64);
        called(&mut counters.end, "control.sh").children += used;
        called(&mut counters.end, "vmeter").children += used;
        let found = beside(&load, &[], data);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].what, What::Ended { parent: "control.sh".to_owned() });
        assert!((found[0].cpus - 0.5).abs() < 0.01, "{found:?}");
        // What a process that is gone had used before the window was used before it.
        let counters = data.host.as_mut().unwrap();
        let mut gone = called(&mut counters.begin, "control.sh").clone();
        gone.id = TaskId { pid: 99_999, start: 1 };
        gone.cpu = used;
        counters.begin.drivers[0].tasks.as_mut().unwrap().processes.push(gone);
        assert_eq!(beside(&load, &[], data), []);
    }

    #[test]
    fn a_vm_beside_the_load_is_named_where_the_others_are_known() {
        let (_place, _store, mut records) = samples::study();
        let load = records[1].load.clone();
        let data = samples::data(&mut records[1]);
        let of = |at_work: &[&str], data: &Data| {
            let at_work: Vec<String> = at_work.iter().map(|&name| name.to_owned()).collect();
            beside(&load, &at_work, data)
        };
        // On a machine that should be native.
        let found = of(&[], data);
        assert!(
            matches!(&found[..], [Beside { what: What::Vm(name), .. }] if name == "g1"),
            "{found:?}"
        );
        assert_eq!(of(&["g1"], data), []);
        assert_eq!(of(&["another name"], data), [], "nobody can tell");
    }
}
