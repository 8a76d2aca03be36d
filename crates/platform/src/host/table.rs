//! The processes of this Linux, kept up to date at little cost.

use super::clock;
use super::kept::Kept;
use super::process::{ProcessStat, process_clock, ticks};
use super::tree::Tree;
use model::{Duty, Nanos, Process, TaskId, Window};
use std::collections::HashMap;
use std::io;

/// One process (not thread).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its number and start.
    pub id: TaskId,
    /// Its name (comm), raw.
    pub name: String,
    /// A kernel thread.
    pub kernel: bool,
    /// Its parent's pid.
    pub parent: u32,
    /// The state's letter of proc(5).
    pub state: u8,
    /// How many threads it has.
    pub threads: u32,
    /// Resident memory in pages when it last ran; on machines with many CPUs only roughly.
    pub resident: u64,
    /// CPU time of all its threads, those that have ended included.
    pub cpu: Nanos,
    /// CPU time of its waited-for children, to the clock tick.
    pub children: Nanos,
}

impl Task {
    /// The process as a row of the driver domain, [`Duty::SoftIrq`] for the kernel threads
    /// that do interrupt work, [`Duty::Own`] for all others; `member_of` as [`Process::member_of`].
    #[must_use]
    pub fn row(&self, member_of: Option<u32>) -> Process {
        Process {
            id: self.id,
            name: self.name.clone(),
            duty: self.duty(),
            kernel: self.kernel,
            cpu: self.cpu,
            children: self.children,
            member_of,
        }
    }

    fn duty(&self) -> Duty {
        let interrupt_work = ["ksoftirqd/", "napi/"].iter().any(|it| self.name.starts_with(it));
        if self.kernel && interrupt_work { Duty::SoftIrq } else { Duty::Own }
    }
}

/// All processes, sorted by pid. One clock is read for each at every refresh, and one `stat`
/// file for each that has run since the last one; a process that vanishes meanwhile is left out.
#[derive(Debug, Default)]
pub struct TaskTable {
    tasks: Vec<Task>,
    window: Window,
    /// A clock tick (1 / USER_HZ).
    tick: Nanos,
    pids: Vec<u32>,
    former: Vec<Task>,
    /// The `stat` files of processes that run again and again, by pid.
    stats: HashMap<u32, Kept>,
    buffer: Vec<u8>,
}

impl TaskTable {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads every process.
    ///
    /// # Errors
    /// Where /proc itself cannot be listed.
    pub fn refresh(&mut self, tree: &Tree) -> io::Result<()> {
        self.tick = tick(tree);
        let start = tree.now();
        tree.list_numbers("/proc", &mut self.pids)?;
        std::mem::swap(&mut self.tasks, &mut self.former);
        self.tasks.clear();
        let mut former = self.former.drain(..).peekable();
        for &pid in &self.pids {
            while former.next_if(|task| task.id.pid < pid).is_some() {}
            let old = former.next_if(|task| task.id.pid == pid);
            let task = read(tree, pid, old, self.tick, &mut self.stats, &mut self.buffer);
            self.tasks.extend(task);
        }
        drop(former);
        if self.stats.len() > self.tasks.len() {
            let tasks = &self.tasks;
            self.stats.retain(|pid, _| tasks.binary_search_by_key(pid, |it| it.id.pid).is_ok());
        }
        self.window = Window { start, end: tree.now() };
        Ok(())
    }

    /// When the CPU times were read.
    #[must_use]
    pub fn window(&self) -> Window {
        self.window
    }

    /// The processes, by pid.
    #[must_use]
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// The process with that pid.
    #[must_use]
    pub fn get(&self, pid: u32) -> Option<&Task> {
        let at = self.tasks.binary_search_by_key(&pid, |task| task.id.pid).ok()?;
        self.tasks.get(at)
    }

    /// Whether processes are hidden from this one: it is in a PID namespace of its own, where there
    /// are no kernel threads, or `/proc` is mounted with hidepid, which hides other users'.
    /// A saved tree holds what its reader could see.
    #[must_use]
    pub fn is_partial(&self, tree: &Tree) -> bool {
        // kthreadd, the parent of all kernel threads, is always process 2.
        tree.is_live() && !self.get(2).is_some_and(|task| task.kernel)
    }

    /// The process with that pid and start.
    #[must_use]
    pub fn find(&self, id: TaskId) -> Option<&Task> {
        self.get(id.pid).filter(|task| task.id == id)
    }

    /// A clock tick (1 / USER_HZ).
    #[must_use]
    pub fn tick(&self) -> Nanos {
        self.tick
    }
}

/// A clock tick: of this system, or 10 ms in a saved tree (USER_HZ is 100 on x86).
pub(super) fn tick(tree: &Tree) -> Nanos {
    let rate = if tree.is_live() { rustix::param::clock_ticks_per_second() } else { 100 };
    Nanos(1_000_000_000 / rate.max(1))
}

/// Reads one process. The name's memory is taken over from its former row.
fn read(
    tree: &Tree,
    pid: u32,
    old: Option<Task>,
    tick: Nanos,
    stats: &mut HashMap<u32, Kept>,
    buffer: &mut Vec<u8>,
) -> Option<Task> {
    // A process whose clock stands still has not run: it has neither started or ended a thread,
    // nor stopped or renamed itself. A reused pid would have to show the same nanoseconds.
    let clock = if tree.is_live() && old.is_some() { clock::of_process(pid) } else { None };
    let old = match old {
        Some(old) if clock == Some(old.cpu) => return Some(old),
        old => old,
    };
    let stat = ProcessStat::parse(stat_file(tree, pid, old.is_some(), stats, buffer)?)?;
    let id = TaskId { pid, start: stat.start };
    // The process that was here before is here after it, too: the time is of no other.
    let clock = clock.filter(|_| old.as_ref().is_some_and(|old| old.id == id));
    let name = match old {
        Some(old) if old.name.as_bytes() == stat.comm => old.name,
        _ => String::from_utf8_lossy(stat.comm).into_owned(),
    };
    let mut task = Task {
        id,
        name,
        kernel: stat.kernel,
        parent: stat.parent,
        state: stat.state,
        threads: stat.threads,
        resident: stat.resident,
        cpu: Nanos::ZERO,
        children: ticks(stat.children, tick),
    };
    let by_ticks = ticks(stat.user.saturating_add(stat.system), tick);
    // The clock goes last: were the pid reused in between, the former process's time would
    // seem to go backwards, which is seen, rather than the new one's be too large, which is not.
    task.cpu = match clock {
        Some(clock) => clock,
        None => process_clock(tree, pid, by_ticks, buffer)?,
    };
    Some(task)
}

/// Maximum number of processes whose `stat` is kept open: the rest of the budget is for VMs.
const MAX_STATS: usize = 4096;

/// The `stat` file of a process. Of one that was there before it is kept.
fn stat_file<'b>(
    tree: &Tree,
    pid: u32,
    is_known: bool,
    stats: &mut HashMap<u32, Kept>,
    buffer: &'b mut Vec<u8>,
) -> Option<&'b [u8]> {
    let path = || format!("/proc/{pid}/stat");
    if is_known && (stats.len() < MAX_STATS || stats.contains_key(&pid)) {
        let kept = stats.entry(pid).or_default();
        if kept.read(tree, path, buffer).is_ok() {
            return Some(buffer);
        }
        // It has exited. If its pid is another's now, that one is read.
        stats.remove(&pid);
    }
    tree.read_line(&path(), buffer).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn this_process_is_in_the_table_and_its_time_grows() {
        let tree = Tree::open(Path::new("/")).unwrap();
        let mut table = TaskTable::new();
        table.refresh(&tree).unwrap();
        let before = table.get(std::process::id()).unwrap().clone();
        let mut sum = 0_u64;
        (0..3_000_000_u64).for_each(|i| sum = std::hint::black_box(sum ^ i));
        table.refresh(&tree).unwrap();
        let after = table.find(before.id).unwrap();
        assert!(after.cpu > before.cpu, "{after:?}");
        assert!(!after.kernel && after.threads >= 1 && after.parent > 0);
        assert!(table.tasks().iter().any(|task| task.kernel && task.duty() == Duty::SoftIrq));
    }
}
