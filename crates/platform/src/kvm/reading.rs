//! One VM's counters, read at every refresh.

use super::devices::{Nics, Tap};
use super::examine::{Found, Thread, status_line};
use super::exits::{Exits, Statistics};
use super::threads::{Role, Vmm};
use super::waiting::Waiting;
use crate::host::{
    Kept, NetDevices, ProcessStat, Task, ThreadFiles, Tree, fields, lines, parse_number,
    parse_resident, process_clock, text,
};
use crate::source::Want;
use model::{
    Absent, Affinity, Backend, Bytes, CpuTicks, Disk, DiskCounters, Duty, Nanos, Need, Platform,
    Reading, State, TaskId, Vcpu, Vm, VmId, Window,
};
use std::collections::BTreeMap;

/// The memory of a VM whose `stat` shows no change is read again at every so-manieth refresh.
const MEMORY_EVERY: u32 = 8;

/// What all VMs' readings need.
pub(super) struct Around<'a> {
    pub tree: &'a Tree,
    /// When the table of processes was read.
    pub table: Window,
    pub devices: &'a NetDevices,
    pub tick: Nanos,
    pub page: u64,
    pub want: Want,
}

/// A VM that is known, with its last readings. What cannot have changed is not read again:
/// where the process's clock stands still, none of its threads has run.
#[derive(Debug)]
pub(super) struct Machine {
    pub task: TaskId,
    pub found: Found,
    nics: Nics,
    statistics: Statistics,
    threads: Vec<Counted>,
    io: Kept,
    statm: Kept,
    last: Option<Last>,
    refreshes: u32,
    /// Whether the threads that do neither I/O nor run a vCPU were asked for last time.
    pub expanded: bool,
    /// A thread that should be there was not: its threads are to be listed again.
    pub outdated: bool,
}

/// A thread with its last readings.
#[derive(Debug)]
struct Counted {
    thread: Thread,
    files: ThreadFiles,
    state: State,
    run: Reading<Nanos>,
    wait: Reading<Nanos>,
    ticks: Reading<CpuTicks>,
    /// `run` when `ticks` was read.
    ticks_at: Nanos,
    waiting: Waiting,
}

/// Readings of the process.
#[derive(Debug)]
struct Last {
    cpu: Nanos,
    /// Of its vCPUs, read just before.
    vcpus: Option<Nanos>,
    /// Roughly, from `stat`: where it has changed, `memory` has.
    resident: u64,
    memory: Reading<Bytes>,
    disks: Reading<Vec<Disk>>,
    exits: Exits,
}

impl Machine {
    pub(super) fn new(tree: &Tree, task: TaskId, mut found: Found) -> Self {
        let nics = Nics::find(task.pid, &found.files);
        let statistics = match found.platform {
            Platform::Tcg => Statistics::emulated(),
            _ => Statistics::find(tree, |tid| found.threads.iter().any(|it| it.id.pid == tid)),
        };
        let mut threads: Vec<Counted> = found.threads.drain(..).map(Counted::new).collect();
        threads.sort_by_key(|counted| match counted.thread.role {
            Role::Vcpu(number) => (0, number),
            Role::AllVcpus => (0, 0),
            Role::Io => (1, counted.thread.id.pid),
            Role::Vmm => (2, counted.thread.id.pid),
        });
        Self {
            task,
            found,
            nics,
            statistics,
            threads,
            io: Kept::default(),
            statm: Kept::default(),
            last: None,
            refreshes: 0,
            expanded: false,
            outdated: false,
        }
    }

    /// Gives the VM's network devices to it where no other VM has them.
    pub(super) fn claim(&mut self, owners: &mut BTreeMap<Tap, u32>) {
        self.nics.claim(self.task.pid, owners);
    }

    /// Takes over what was read of the threads before this examination.
    pub(super) fn adopt(&mut self, mut before: Self) {
        self.expanded = before.expanded;
        for counted in &mut self.threads {
            let is_it = |old: &&mut Counted| old.thread == counted.thread;
            if let Some(old) = before.threads.iter_mut().find(is_it) {
                std::mem::swap(counted, old);
            }
        }
        (self.io, self.statm) = (before.io, before.statm);
    }

    /// The threads as they were found at the last examination.
    pub(super) fn known(&self) -> Vec<Thread> {
        self.threads.iter().map(|counted| counted.thread.clone()).collect()
    }

    pub(super) fn has_thread(&self, tid: u32) -> bool {
        self.threads.iter().any(|counted| counted.thread.id.pid == tid)
    }

    /// Whether its device processes are children of the VMM (crosvm).
    pub(super) fn forks_devices(&self) -> bool {
        self.found.vmm == Vmm::Crosvm
    }

    /// Reads the VM; `None` where its process has ended.
    pub(super) fn read(
        &mut self,
        around: &Around<'_>,
        task: &Task,
        buffer: &mut Vec<u8>,
    ) -> Option<Vm> {
        let (tree, pid) = (around.tree, self.task.pid);
        // The table has just read the process's clock.
        let still = self.last.as_ref().is_some_and(|last| last.cpu == task.cpu);
        let (mut cpu, mut window) = (task.cpu, around.table);
        let start = tree.now();
        self.read_threads(around, |role| role.is_vcpu(), still, buffer);
        let before = self.last.as_ref().map(|last| (last.cpu, last.vcpus));
        let vcpus = self.vcpu_time();
        if !still {
            cpu = process_clock(tree, pid, task.cpu, buffer)?;
        }
        // Where the vCPUs have used all that the process has, no other thread has run.
        let alone = tree.is_live()
            && before.zip(vcpus).is_some_and(|((process, before), now)| {
                before.is_some_and(|before| now.checked_sub(before) == cpu.checked_sub(process))
            });
        self.read_threads(around, |role| !role.is_vcpu(), still || alone, buffer);
        if !still {
            if !alone {
                // After its threads', so that the process's time is never less than theirs.
                cpu = process_clock(tree, pid, task.cpu, buffer)?;
            }
            window = Window { start, end: tree.now() };
        }
        self.read_process(around, task, (cpu, vcpus), still, buffer);
        let last = self.last.as_ref()?;
        let nics = self.nics.read(tree, around.devices);
        let lost = |nic: &model::Nic| matches!(nic.counters, Err(Absent::NotFound(_)));
        self.outdated |= nics.as_ref().is_ok_and(|nics| nics.iter().any(lost));
        let vcpus = self.vcpus(around, buffer);
        let backends = self.backends(around.want);
        self.expanded = around.want.vcpus;
        Some(Vm {
            id: VmId::Process(self.task),
            name: self.found.name.clone(),
            platform: self.found.platform,
            state: self.state(task, still, tree.now()),
            window,
            cpu: Ok(cpu),
            vcpu_count: self.vcpu_count(),
            vcpus,
            backends,
            memory: last.memory.clone(),
            memory_limit: Err(Absent::NotProvided("a VMM's process has no limit".into())),
            nics,
            disks: last.disks.clone(),
            exits: last.exits.0.clone(),
            halt_poll: last.exits.1.clone(),
            cpupool: Err(Absent::NotApplicable("only Xen has cpupools".into())),
            inside: Err(Absent::NotReported),
        })
    }

    /// Reads the threads of some roles; `still`: none of them has run since the last reading.
    fn read_threads(
        &mut self,
        around: &Around<'_>,
        is_one: impl Fn(Role) -> bool,
        still: bool,
        buffer: &mut Vec<u8>,
    ) {
        let pid = self.task.pid;
        for counted in self.threads.iter_mut().filter(|it| is_one(it.thread.role)) {
            let needed = counted.thread.role != Role::Vmm || around.want.vcpus;
            if needed && (!still || counted.run.is_err()) {
                self.outdated |= !counted.read(around, pid, buffer);
            } else if still {
                counted.stand(around.tree, pid, buffer);
            }
        }
    }

    /// The time of all vCPUs; `None` where one's is unknown.
    fn vcpu_time(&self) -> Option<Nanos> {
        self.vcpu_threads().map(|it| it.run.as_ref().ok().copied()).sum()
    }

    /// Memory, disk and exits of the whole process.
    fn read_process(
        &mut self,
        around: &Around<'_>,
        task: &Task,
        (cpu, vcpus): (Nanos, Option<Nanos>),
        still: bool,
        buffer: &mut Vec<u8>,
    ) {
        let (tree, pid) = (around.tree, self.task.pid);
        let old = self.last.take();
        // What was refused once is refused again, until the next examination.
        let refused = |disks: &Reading<_>| matches!(disks, Err(Absent::NotPermitted { .. }));
        // The host may take memory from a guest that sleeps, but it does so slowly.
        self.refreshes = self.refreshes.wrapping_add(1);
        let turn = self.refreshes.wrapping_add(pid).is_multiple_of(MEMORY_EVERY);
        self.last = Some(match old {
            Some(old) => Last {
                cpu,
                vcpus,
                memory: if turn || old.resident != task.resident {
                    memory(around, pid, &mut self.statm, buffer)
                } else {
                    old.memory
                },
                disks: if still || refused(&old.disks) {
                    old.disks
                } else {
                    disks(tree, pid, &mut self.io, buffer)
                },
                exits: if still { old.exits } else { self.statistics.read(tree, buffer) },
                resident: task.resident,
            },
            None => Last {
                cpu,
                vcpus,
                memory: memory(around, pid, &mut self.statm, buffer),
                disks: disks(tree, pid, &mut self.io, buffer),
                exits: self.statistics.read(tree, buffer),
                resident: task.resident,
            },
        });
    }

    /// Running where a vCPU is; paused where the process or each vCPU was stopped.
    fn state(&self, task: &Task, still: bool, now: Nanos) -> State {
        let halts_in_vmm = self.found.halts_in_vmm;
        let mut vcpus = self.vcpu_threads().peekable();
        if vcpus.peek().is_some() && vcpus.all(|it| it.waiting.is_stopped(now, halts_in_vmm)) {
            return State::Paused;
        }
        let states: Vec<State> = self.vcpu_threads().map(|counted| counted.state).collect();
        if !states.is_empty() && states.iter().all(|state| *state == State::Paused) {
            return State::Paused;
        }
        match task.state {
            b'T' | b't' => State::Paused,
            b'Z' | b'X' => State::Dying,
            _ if still => State::Blocked,
            b'R' if states.is_empty() => State::Running,
            _ if states.contains(&State::Running) => State::Running,
            _ => State::Blocked,
        }
    }

    fn vcpu_threads(&self) -> impl Iterator<Item = &Counted> {
        self.threads.iter().filter(|counted| counted.thread.role.is_vcpu())
    }

    fn vcpu_count(&self) -> Reading<u32> {
        let threads = self.vcpu_threads().filter(|it| matches!(it.thread.role, Role::Vcpu(_)));
        match u32::try_from(threads.count()) {
            Ok(count) if count > 0 => Ok(count),
            _ => self.found.asked_vcpus.ok_or_else(no_vcpus),
        }
    }

    fn vcpus(&self, around: &Around<'_>, buffer: &mut Vec<u8>) -> Reading<Vec<Vcpu>> {
        let vcpus: Vec<_> = self.vcpu_threads().map(|it| self.vcpu(it, around, buffer)).collect();
        if vcpus.is_empty() { Err(no_vcpus()) } else { Ok(vcpus) }
    }

    fn vcpu(&self, counted: &Counted, around: &Around<'_>, buffer: &mut Vec<u8>) -> Vcpu {
        Vcpu {
            id: if let Role::Vcpu(number) = counted.thread.role { number } else { 0 },
            state: counted.state,
            task: Some(counted.thread.id),
            cpu: counted.run.clone(),
            guest: match self.found.platform {
                Platform::Tcg => Err(Absent::NotApplicable(
                    "the thread of an emulated vCPU runs both the guest and the emulator".into(),
                )),
                Platform::Other => Err(Absent::NotProvided(
                    "the VM's accelerator is unknown, and so is the time in the guest".into(),
                )),
                _ => counted.ticks.clone(),
            },
            ready: counted.wait.clone(),
            affinity: if around.want.placement {
                affinity(around.tree, self.task.pid, counted.thread.id.pid, buffer)
            } else {
                Err(Absent::NotProvided("not requested".into()))
            },
        }
    }

    fn backends(&self, want: Want) -> Vec<Backend> {
        let backends = self.threads.iter().filter_map(|counted| {
            let duty = match counted.thread.role {
                Role::Io => Duty::Io,
                Role::Vmm if want.vcpus => Duty::Vmm,
                _ => return None,
            };
            // One that has ended is no part of the VM any more; its time stays in the process's.
            let cpu = Ok(*counted.run.as_ref().ok()?);
            // Its time up to now is no increase since the last reading, which left it out.
            let first = duty == Duty::Vmm && !self.expanded;
            let cpu = if first { Err(Absent::Appeared) } else { cpu };
            let Thread { id, name, .. } = counted.thread.clone();
            Some(Backend { id, name, duty, inside: true, cpu })
        });
        backends.collect()
    }
}

impl Counted {
    fn new(thread: Thread) -> Self {
        let unread = || Absent::NotProvided("not requested".into());
        let (run, wait) = (Err(unread()), Err(unread()));
        let ticks = Err(unread());
        let (ticks_at, waiting) = (Nanos::ZERO, Waiting::default());
        let files = ThreadFiles::default();
        Self { thread, files, state: State::Unknown, run, wait, ticks, ticks_at, waiting }
    }

    /// Reads the thread's times; false where the thread has ended.
    fn read(&mut self, around: &Around<'_>, pid: u32, buffer: &mut Vec<u8>) -> bool {
        let tid = self.thread.id.pid;
        let times = self.files.times(around.tree, pid, tid, around.tick, buffer);
        let Some((run, wait)) = times else { return self.ended() };
        // Until a thread has run for another clock tick its tick counters tell nothing new.
        let ran = run.saturating_sub(self.ticks_at);
        if self.thread.role.is_vcpu() && (self.ticks.is_err() || ran >= around.tick) {
            let bytes = self.files.stat(around.tree, pid, tid, buffer);
            let Some(stat) = bytes.and_then(ProcessStat::parse) else { return self.ended() };
            if stat.start != self.thread.id.start {
                return self.ended();
            }
            self.state = match stat.state {
                b'R' => State::Running,
                b'T' | b't' => State::Paused,
                _ => State::Blocked,
            };
            self.ticks_at = run;
            let (user, total) = (stat.user, stat.user.saturating_add(stat.system));
            self.ticks = stat
                .guest
                .map(|guest| CpuTicks { guest, user, total })
                .ok_or(Absent::NotProvided("this kernel does not count guest time".into()));
        } else if self.thread.role.is_vcpu() {
            self.state = State::Blocked;
        }
        if self.run == Ok(run) && self.thread.role.is_vcpu() {
            self.waiting.stood(around.tree, pid, tid, buffer);
        } else {
            self.waiting.ran(around.tree.now());
        }
        (self.run, self.wait) = (Ok(run), wait);
        true
    }

    /// Takes note that it has not run since the last reading.
    fn stand(&mut self, tree: &Tree, pid: u32, buffer: &mut Vec<u8>) {
        if self.state == State::Running {
            self.state = State::Blocked;
        }
        if self.thread.role.is_vcpu() {
            self.waiting.stood(tree, pid, self.thread.id.pid, buffer);
        }
    }

    fn ended(&mut self) -> bool {
        self.state = State::Ended;
        self.run = Err(Absent::Ended);
        self.wait = Err(Absent::Ended);
        self.ticks = Err(Absent::Ended);
        false
    }
}

fn no_vcpus() -> Absent {
    Absent::NotProvided(
        "the VMM does not name its threads: start QEMU with -name NAME,debug-threads=on".into(),
    )
}

fn memory(around: &Around<'_>, pid: u32, statm: &mut Kept, buffer: &mut Vec<u8>) -> Reading<Bytes> {
    let path = || format!("/proc/{pid}/statm");
    match statm.read(around.tree, path, buffer) {
        Ok(bytes) => parse_resident(bytes, around.page).ok_or(Absent::Malformed(path().into())),
        Err(error) => Err(Absent::from_io(&path(), Need::Root, &error)),
    }
}

/// Bytes that the process caused to be read from and written to disks.
fn disks(tree: &Tree, pid: u32, io: &mut Kept, buffer: &mut Vec<u8>) -> Reading<Vec<Disk>> {
    let path = || format!("/proc/{pid}/io");
    let bytes = io.read(tree, path, buffer);
    let bytes = bytes.map_err(|error| Absent::from_io(&path(), Need::Ptrace, &error))?;
    let value = |key: &[u8]| {
        parse_io(bytes, key).map(Bytes).ok_or(Absent::Malformed("/proc/PID/io".into()))
    };
    let requests = || Absent::NotProvided("the kernel counts only the bytes of a process".into());
    let counters = DiskCounters {
        reads: Err(requests()),
        writes: Err(requests()),
        read_bytes: value(b"read_bytes:"),
        write_bytes: value(b"write_bytes:"),
    };
    Ok(vec![Disk { name: "process".to_owned(), driver: 0, counters }])
}

/// A line of /proc/PID/io: `read_bytes: 4096`.
fn parse_io(bytes: &[u8], key: &[u8]) -> Option<u64> {
    lines(bytes).find_map(|line| {
        let mut words = fields(line);
        (words.next()? == key).then(|| parse_number(words.next()?))?
    })
}

fn affinity(tree: &Tree, pid: u32, tid: u32, buffer: &mut Vec<u8>) -> Reading<Affinity> {
    let path = format!("/proc/{pid}/task/{tid}/status");
    let bytes = tree.read(&path, buffer);
    let bytes = bytes.map_err(|error| Absent::from_io(&path, Need::Root, &error))?;
    let list = status_line(bytes, b"Cpus_allowed_list:").ok_or(Absent::Malformed(path.into()))?;
    Ok(Affinity(text(list)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostile::survives;

    const IO: &[u8] = b"rchar: 3\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 1\n";

    #[test]
    fn bytes_of_disks_stand_in_io() {
        assert_eq!(parse_io(IO, b"read_bytes:"), Some(4096));
        assert_eq!(parse_io(IO, b"write_bytes:"), Some(8192));
        assert_eq!(parse_io(b"", b"write_bytes:"), None);
    }

    #[test]
    fn hostile_input() {
        survives(IO, |bytes| {
            let _ = parse_io(bytes, b"write_bytes:");
        });
    }
}
