//! CPU time of all tasks of this Linux, those that have ended included.
//!
//! No list of processes has it: one that ends takes its time along, into its parent's if that one
//! waits for it. The scheduler has: version 1's root group (cpuacct) sums up all tasks; version 2
//! sums up those of each group, and leaves kernel threads in the root; where there are no groups,
//! `/proc/schedstat` sums up what each CPU has run, up to the last switch.

use super::counters::{Files, parse_value};
use super::hierarchy::Hierarchy;
use crate::host::{
    ProcessStat, TaskTable, Tree, fields, lines, number, parse_number, run_everywhere,
};
use model::{Absent, Nanos, Need, Reading, TaskId};
use std::collections::HashMap;

const SCHEDSTAT: &str = "/proc/schedstat";

/// Reads the sum; keeps what groups and threads had that are gone.
#[derive(Debug)]
pub struct Total {
    source: Source,
    /// Groups right below the root, by inode.
    groups: Parts<u64>,
    /// Tasks of the root group.
    outside: Parts<TaskId>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum Source {
    Groups(Hierarchy),
    Schedstat,
    None(Absent),
}

impl Total {
    /// Finds who sums up. `interrupts_apart` is [`model::Host::irq_time_accounting`].
    #[must_use]
    pub fn new(tree: &Tree, interrupts_apart: &Reading<bool>) -> Self {
        // It counts a thread's time together with the interrupts that hit it.
        let has_schedstat = *interrupts_apart == Ok(false) && tree.exists(SCHEDSTAT);
        let mut total = Self {
            source: Source::None(nobody()),
            groups: Parts::default(),
            outside: Parts::default(),
            buffer: Vec::new(),
        };
        let hierarchy = Hierarchy::find(tree).filter(|it| is_whole(tree, it));
        match hierarchy {
            Some(hierarchy) if !total.programs_in_root(tree, &hierarchy) => {
                total.source = Source::Groups(hierarchy);
            }
            _ if has_schedstat => total.source = Source::Schedstat,
            _ => {}
        }
        total
    }

    /// Version 2's root group counts nothing for the programs in it. Process 1 may be there: it
    /// does not end.
    fn programs_in_root(&mut self, tree: &Tree, hierarchy: &Hierarchy) -> bool {
        let Hierarchy::Unified { root } = hierarchy else { return false };
        let Ok(members) = tree.read_text(&format!("{root}/cgroup.procs")) else { return true };
        members.lines().filter(|pid| *pid != "1").any(|pid| {
            let stat = tree.read_line(&format!("/proc/{pid}/stat"), &mut self.buffer).ok();
            stat.and_then(ProcessStat::parse).is_some_and(|stat| !stat.kernel)
        })
    }

    /// The sum now; `tasks` have just been read. `cpus` has this Linux, and `stolen` is what was
    /// stolen from them that their threads' times do not hold.
    ///
    /// # Errors
    /// Where nobody sums up.
    pub fn read(
        &mut self,
        tree: &Tree,
        tasks: &TaskTable,
        cpus: u32,
        stolen: Nanos,
    ) -> Reading<Nanos> {
        match &self.source {
            Source::Groups(hierarchy @ Hierarchy::Split { .. }) => {
                Files { tree, hierarchy, path: "" }.cpu(&mut self.buffer)
            }
            Source::Groups(Hierarchy::Unified { root }) => {
                let root = root.clone();
                self.unified(tree, &root, tasks)
            }
            Source::Schedstat => {
                if tree.is_live() {
                    run_everywhere(cpus);
                }
                schedstat(tree, &mut self.buffer).map(|time| time.saturating_sub(stolen))
            }
            Source::None(absent) => Err(absent.clone()),
        }
    }

    fn unified(&mut self, tree: &Tree, root: &str, tasks: &TaskTable) -> Reading<Nanos> {
        let folders =
            tree.folders(root).map_err(|error| Absent::from_io(root, Need::Root, &error))?;
        for folder in folders {
            let Ok(inode) = tree.inode(&format!("{root}/{folder}")) else { continue };
            let stat = tree.read_line(&format!("{root}/{folder}/cpu.stat"), &mut self.buffer);
            // A group that is removed just now keeps what it had.
            let Some(time) = stat.ok().and_then(|stat| parse_value(stat, b"usage_usec")) else {
                continue;
            };
            self.groups.add(inode, Nanos(time.saturating_mul(1000)));
        }
        let members = tree.read(&format!("{root}/cgroup.procs"), &mut self.buffer);
        let members = members.map_err(|error| Absent::from_io(root, Need::Root, &error))?;
        let pids = lines(members).filter_map(number);
        for task in pids.filter_map(|pid| tasks.get(u32::try_from(pid).ok()?)) {
            self.outside.add(task.id, task.cpu);
        }
        Ok(self.groups.sum() + self.outside.sum())
    }
}

fn nobody() -> Absent {
    Absent::NotProvided("neither control groups nor /proc/schedstat count all tasks here".into())
}

/// Whether the mounted root is the root of all groups, and not that of a container's.
fn is_whole(tree: &Tree, hierarchy: &Hierarchy) -> bool {
    match hierarchy {
        // Every group but the root has it.
        Hierarchy::Unified { root } => !tree.exists(&format!("{root}/cgroup.type")),
        // The root alone has it.
        Hierarchy::Split { cpuacct, .. } => tree.exists(&format!("{cpuacct}/release_agent")),
    }
}

/// Counters of parts that come and go, whose sum only grows: what a part had when it was last seen
/// stays.
#[derive(Debug)]
struct Parts<K> {
    alive: HashMap<K, (Nanos, u64)>,
    gone: Nanos,
    turn: u64,
}

impl<K> Default for Parts<K> {
    fn default() -> Self {
        Self { alive: HashMap::new(), gone: Nanos::ZERO, turn: 0 }
    }
}

impl<K: std::hash::Hash + Eq> Parts<K> {
    fn add(&mut self, key: K, time: Nanos) {
        self.alive.insert(key, (time, self.turn));
    }

    /// The sum over those that were added since the last sum, and over those that are gone.
    fn sum(&mut self) -> Nanos {
        let (turn, gone) = (self.turn, &mut self.gone);
        self.alive.retain(|_, (time, seen)| {
            let here = *seen == turn;
            if !here {
                *gone += *time;
            }
            here
        });
        self.turn += 1;
        self.gone + self.alive.values().map(|(time, _)| *time).sum()
    }
}

/// Σ of what the CPUs have run: field 7 of the lines `cpuN …` (kernel/sched/stats.c).
fn schedstat(tree: &Tree, buffer: &mut Vec<u8>) -> Reading<Nanos> {
    let bytes = tree.read(SCHEDSTAT, buffer);
    let bytes = bytes.map_err(|error| Absent::from_io(SCHEDSTAT, Need::Root, &error))?;
    parse_schedstat(bytes).ok_or(Absent::Malformed(SCHEDSTAT.into()))
}

fn parse_schedstat(bytes: &[u8]) -> Option<Nanos> {
    let times = lines(bytes).filter(|line| line.starts_with(b"cpu"));
    let sum = times.map(|line| parse_number(fields(line).nth(7)?).map(Nanos)).sum::<Option<_>>()?;
    (sum > Nanos::ZERO).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostile::survives;
    use std::path::Path;
    use std::process::Command;

    /// Linux 6.1 of the lab with two CPUs.
    const TEXT: &[u8] = b"version 15\ntimestamp 4294914893\n\
        cpu0 0 0 0 0 0 0 3207342890 130243187 3437\ndomain0 3 0 0 0\n\
        cpu1 0 0 0 0 0 0 1207342890 110243187 2437\n";

    #[test]
    fn every_cpus_run_time_is_summed_up() {
        assert_eq!(parse_schedstat(TEXT), Some(Nanos(4_414_685_780)));
        assert_eq!(parse_schedstat(b"version 15\n"), None);
    }

    #[test]
    fn what_is_gone_keeps_what_it_had() {
        let mut parts = Parts::default();
        parts.add('a', Nanos(5));
        parts.add('b', Nanos(7));
        assert_eq!(parts.sum(), Nanos(12));
        parts.add('a', Nanos(6));
        assert_eq!(parts.sum(), Nanos(13));
        assert_eq!(parts.sum(), Nanos(13));
        parts.add('a', Nanos(1));
        assert_eq!(parts.sum(), Nanos(14), "the name is another's now");
    }

    #[test]
    fn a_child_that_nobody_waits_for_is_in_the_sum() {
        let tree = Tree::open(Path::new("/")).unwrap();
        let mut total = Total::new(&tree, &Ok(false));
        let mut tasks = TaskTable::new();
        let mut read = || {
            tasks.refresh(&tree).unwrap();
            total.read(&tree, &tasks, 2, Nanos::ZERO)
        };
        let Ok(before) = read() else {
            assert!(!tree.exists(SCHEDSTAT), "{:?}", read());
            return;
        };
        // Its parent ignores SIGCHLD: the kernel hands its time to no one.
        let spin = "trap '' CHLD; timeout 0.5 sh -c 'while :; do :; done' & exec sleep 0.7";
        assert!(Command::new("sh").args(["-c", spin]).status().unwrap().success());
        let grown = read().unwrap().saturating_sub(before).seconds();
        assert!((0.3..60.0).contains(&grown), "{grown} s");
    }

    #[test]
    fn hostile_input() {
        survives(TEXT, |bytes| {
            let _ = parse_schedstat(bytes);
        });
    }
}
