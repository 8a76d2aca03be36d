//! What /proc tells of a process and of its threads.

use super::clock;
use super::kept::Kept;
use super::text::{fields, number, parse_number};
use super::tree::Tree;
use model::{Absent, Nanos, Reading};
use std::path::Path;

/// The kernel's flag for its own threads, in field 9 of `/proc/PID/stat`.
const PF_KTHREAD: u64 = 0x0020_0000;

/// Fields of `/proc/PID/stat` or `/proc/PID/task/TID/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessStat<'a> {
    /// The name, which may hold any byte but NUL.
    pub comm: &'a [u8],
    /// The state's letter: R, S, D, T, t, Z, I, …
    pub state: u8,
    /// The parent's pid.
    pub parent: u32,
    /// A thread of the kernel.
    pub kernel: bool,
    /// User time, guest time in it, in clock ticks.
    pub user: u64,
    /// System time, in clock ticks.
    pub system: u64,
    /// User and system time of waited-for children, in clock ticks.
    pub children: u64,
    /// How many threads its process has.
    pub threads: u32,
    /// Its start, in clock ticks since boot.
    pub start: u64,
    /// Resident memory in pages; on machines with many CPUs only roughly.
    pub resident: u64,
    /// Time spent executing a guest, in clock ticks (field 43; not on kernels before 2.6.24).
    pub guest: Option<u64>,
}

impl<'a> ProcessStat<'a> {
    /// Takes a `stat` file apart. The name stands in parentheses and may hold parentheses and
    /// line ends itself, so the fields are counted from the *last* `)`.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let open = bytes.iter().position(|byte| *byte == b'(')?;
        let close = bytes.iter().rposition(|byte| *byte == b')')?;
        let comm = bytes.get(open + 1..close)?;
        let mut rest = fields(bytes.get(close + 1..)?);
        // `nth` counts from the field after the last one taken; the numbers are proc(5)'s.
        let state = *rest.next()?.first()?; // 3
        let parent = u32::try_from(parse_number(rest.next()?)?).ok()?; // 4
        let flags = parse_number(rest.nth(4)?)?; // 9
        let user = parse_number(rest.nth(4)?)?; // 14
        let system = parse_number(rest.next()?)?; // 15
        // The two are signed in the kernel's eyes.
        let children = parse_number(rest.next()?).unwrap_or(0); // 16
        let children = children.saturating_add(parse_number(rest.next()?).unwrap_or(0)); // 17
        let threads = u32::try_from(parse_number(rest.nth(2)?)?).ok()?; // 20
        let start = parse_number(rest.nth(1)?)?; // 22
        let resident = parse_number(rest.nth(1)?)?; // 24
        let guest = rest.nth(18).and_then(parse_number); // 43
        let kernel = flags & PF_KTHREAD != 0;
        Some(Self {
            comm,
            state,
            parent,
            kernel,
            user,
            system,
            children,
            threads,
            start,
            resident,
            guest,
        })
    }
}

/// A thread's times from `schedstat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadTimes {
    /// Time on a CPU.
    pub run: Nanos,
    /// Time ready to run, waiting for a CPU.
    pub wait: Nanos,
}

impl ThreadTimes {
    /// Takes a `schedstat` file apart: run ns, wait ns, slices.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut words = fields(bytes);
        let run = Nanos(parse_number(words.next()?)?);
        Some(Self { run, wait: Nanos(parse_number(words.next()?)?) })
    }
}

/// The files of a thread that are read again and again.
#[derive(Debug, Default)]
pub(crate) struct ThreadFiles {
    schedstat: Kept,
    stat: Kept,
}

impl ThreadFiles {
    /// Times of the thread: exact ones from schedstat, on a kernel without SCHED_INFO those of
    /// `stat`, to the clock tick, and no waiting time. `None` where the thread has exited.
    pub(crate) fn times(
        &mut self,
        tree: &Tree,
        pid: u32,
        tid: u32,
        tick: Nanos,
        buffer: &mut Vec<u8>,
    ) -> Option<(Nanos, Reading<Nanos>)> {
        let path = || format!("/proc/{pid}/task/{tid}/schedstat");
        let read = self.schedstat.read(tree, path, buffer);
        if let Some(times) = read.ok().and_then(ThreadTimes::parse) {
            return Some((times.run, Ok(times.wait)));
        }
        let stat = ProcessStat::parse(self.stat(tree, pid, tid, buffer)?)?;
        let absent = Absent::NotProvided("this kernel has no /proc/PID/schedstat".into());
        Some((ticks(stat.user.saturating_add(stat.system), tick), Err(absent)))
    }

    /// The thread's `stat` file; `None` where it has exited.
    pub(crate) fn stat<'b>(
        &mut self,
        tree: &Tree,
        pid: u32,
        tid: u32,
        buffer: &'b mut Vec<u8>,
    ) -> Option<&'b [u8]> {
        self.stat.read(tree, || format!("/proc/{pid}/task/{tid}/stat"), buffer).ok()
    }
}

/// When a process or thread of the running system started, in clock ticks since boot: with its number that
/// identifies it. `None` where there is none.
#[must_use]
pub fn process_start(pid: u32) -> Option<u64> {
    let mut buffer = Vec::new();
    let tree = Tree::open(Path::new("/")).ok()?;
    let stat = tree.read_line(&format!("/proc/{pid}/stat"), &mut buffer).ok()?;
    Some(ProcessStat::parse(stat)?.start)
}

/// CPU time of a process, ended threads included where the system is live. `None` where it is
/// gone. In a saved tree it is the sum over the saved threads, else what `stat` says.
#[must_use]
pub fn process_clock(tree: &Tree, pid: u32, stat: Nanos, buffer: &mut Vec<u8>) -> Option<Nanos> {
    if tree.is_live() {
        return clock::of_process(pid);
    }
    let mut threads = Vec::new();
    if tree.list_numbers(&format!("/proc/{pid}/task"), &mut threads).is_err() {
        return Some(stat);
    }
    let times = threads.iter().map(|tid| {
        let path = format!("/proc/{pid}/task/{tid}/schedstat");
        tree.read_line(&path, buffer).ok().and_then(number).map(Nanos)
    });
    let sum: Option<Nanos> = times.sum();
    Some(sum.filter(|_| !threads.is_empty()).unwrap_or(stat))
}

/// Clock ticks as time.
pub(crate) fn ticks(count: u64, tick: Nanos) -> Nanos {
    Nanos(count.saturating_mul(tick.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostile::survives;
    use std::path::Path;

    const STAT: &[u8] = b"4242 (a) b\n(c)) S 1 2 2 0 -1 4194368 99 0 0 0 12 34 5 6 20 0 7 0 \
        105531 3133440 393 18446744073709551615 94506214477824 94506214497705 140727458454080 0 0 \
        0 0 0 0 0 0 0 17 0 0 0 0 8 0 94506214513712 94506214515328 94506728513536 0 0 0 0 0\n";

    #[test]
    fn a_name_may_hold_anything() {
        let stat = ProcessStat::parse(STAT).unwrap();
        assert_eq!(stat.comm, b"a) b\n(c)");
        assert_eq!((stat.state, stat.parent, stat.kernel), (b'S', 1, false));
        assert_eq!((stat.user, stat.system, stat.children), (12, 34, 11));
        assert_eq!((stat.threads, stat.start), (7, 105_531));
        assert_eq!(stat.guest, Some(8));
    }

    #[test]
    fn schedstat_holds_run_and_wait() {
        let times = ThreadTimes::parse(b"62098 46898 2\n").unwrap();
        assert_eq!((times.run, times.wait), (Nanos(62_098), Nanos(46_898)));
    }

    #[test]
    fn the_process_clock_of_another_process_is_read() {
        let tree = Tree::open(Path::new("/")).unwrap();
        assert!(process_clock(&tree, 1, Nanos(0), &mut Vec::new()).unwrap() > Nanos(0));
        assert_eq!(process_clock(&tree, 0x3fff_fffe, Nanos(0), &mut Vec::new()), None);
    }

    #[test]
    fn hostile_input() {
        survives(STAT, |bytes| {
            let _ = ProcessStat::parse(bytes);
        });
        survives(b"62098 46898 2\n", |bytes| {
            let _ = ThreadTimes::parse(bytes);
        });
    }
}
