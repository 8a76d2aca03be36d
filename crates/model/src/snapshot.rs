//! One moment's raw counters of a host and all its VMs.

use crate::{Absent, Bytes, Moment, Nanos, Operations, Platform, Reading, TaskId, VmId, Window};
use serde::{Deserialize, Serialize};

/// Everything that was read at one moment. Counters are cumulative; none is derived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Calendar time and boot.
    pub moment: Moment,
    /// From the first reading to the last.
    pub window: Window,
    /// The physical machine.
    pub host: Host,
    /// The driver domains (IDDs): Domain-0 and others on Xen, the host's Linux elsewhere.
    pub drivers: Vec<Driver>,
    /// The VMs, in the order of the platform's own numbering.
    pub vms: Vec<Vm>,
    /// What vmeter itself has used.
    pub me: SelfUse,
}

/// The physical machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// When `idle` was read.
    pub window: Window,
    /// The CPUs whose idle time is in `idle`.
    pub cpus: u32,
    /// Idle time, Σ over the CPUs. Xen: `getcpuinfo`; Linux: idle + iowait of `/proc/stat`.
    pub idle: Reading<Nanos>,
    /// How exactly `idle` is known: Xen counts nanoseconds (0), /proc/stat clock ticks.
    #[serde(default)]
    pub idle_step: Nanos,
    /// Idle time of each CPU, where it was asked for exactly (Linux alone).
    #[serde(default = "not_asked")]
    pub idle_each: Reading<Vec<Nanos>>,
    /// Time in which its CPUs wanted to run and the hypervisor below ran others, Σ over the CPUs,
    /// where the host is a VM itself (steal of `/proc/stat`).
    #[serde(default = "unread")]
    pub steal: Reading<Nanos>,
    /// The hypervisor and its version (`Xen 4.17.5`), or the host's kernel (`Linux 6.1.0`).
    pub system: String,
    /// Whether the kernel that runs the drivers accounts interrupt time apart from threads'
    /// (CONFIG_IRQ_TIME_ACCOUNTING); where it does not, interrupts that hit a running thread
    /// are billed to it.
    pub irq_time_accounting: Reading<bool>,
    /// Physical memory.
    pub memory: Reading<Bytes>,
}

/// The absence of what only some snapshots have.
fn not_asked() -> Reading<Vec<Nanos>> {
    Err(Absent::NotProvided("not requested".into()))
}

/// The absence of what snapshots of earlier versions do not have.
fn unread() -> Reading<Nanos> {
    Err(Absent::NotProvided("not read".into()))
}

/// A driver domain (IDD): where the real device drivers run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Driver {
    /// Its number: the Xen domain's, 0 for the host's Linux.
    pub id: u16,
    /// `Domain-0`, `host`, or the driver domain's name, raw (not escaped).
    pub name: String,
    /// When `cpu` was read.
    pub window: Window,
    /// Its CPU time as the hypervisor counts it. A Linux host has no such counter: not
    /// applicable, its time follows from the host's.
    pub cpu: Reading<Nanos>,
    /// Virtual (Xen) or physical (Linux) CPUs that it has.
    pub vcpus: Reading<u32>,
    /// Its vCPUs, where it is a domain; may be left unread where nobody asked for them.
    pub vcpu_rows: Reading<Vec<Vcpu>>,
    /// Its memory.
    pub memory: Reading<Bytes>,
    /// Its processes and kernel threads, but for those that serve a VM alone (these are in
    /// [`Vm::backends`]). Absent for a driver domain that vmeter does not run in.
    pub tasks: Reading<Tasks>,
    /// What its interrupt work was about.
    pub load: Reading<LoadKinds>,
    /// I/O operations that it did for itself.
    pub own: Reading<OwnOperations>,
    /// Time in interrupts and softirqs (irq + softirq of `/proc/stat`), ksoftirqd's not among it:
    /// exact with [`Host::irq_time_accounting`], else as clock ticks meet it, which they do not
    /// where an interrupt wakes an idle CPU.
    #[serde(default = "unread")]
    pub interrupts: Reading<Nanos>,
}

/// The processes of a driver domain, read in one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tasks {
    /// When their CPU times were read.
    pub window: Window,
    /// A row per process (not per thread).
    pub processes: Vec<Process>,
    /// CPU time of *all* tasks of this Linux, those that have ended and those that serve VMs among
    /// them, as its scheduler sums it up. Its increase alone means anything.
    #[serde(default = "unread")]
    pub all: Reading<Nanos>,
    /// Processes are hidden from vmeter: it runs in a PID namespace of its own, or `/proc` is
    /// mounted with hidepid.
    #[serde(default)]
    pub hidden: bool,
}

/// A process or kernel thread that serves no VM alone, or a member of a control group that has a
/// row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Its number and start.
    pub id: TaskId,
    /// Its name (comm), raw.
    pub name: String,
    /// Whose work it does.
    pub duty: Duty,
    /// A kernel thread.
    pub kernel: bool,
    /// CPU time of all its threads, those that have ended included.
    pub cpu: Nanos,
    /// CPU time of its waited-for children (cutime + cstime), to the clock tick.
    pub children: Nanos,
    /// The control group that it is a member of, by its place in [`Snapshot::vms`]: that row has its
    /// time.
    // Never left out: an agent sends snapshots in a form whose fields have no names.
    #[serde(default)]
    pub member_of: Option<u32>,
}

/// What a thread's or process's CPU time is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Duty {
    /// The driver domain's own business.
    Own,
    /// Interrupt work that was handed to a thread: ksoftirqd, threaded NAPI.
    SoftIrq,
    /// Virtual machine monitor work for one VM.
    Vmm,
    /// I/O work for one VM: vhost, netback, blkback, tapdisk, I/O threads.
    Io,
}

/// How often each kind of softirq ran (`/proc/softirqs`, Σ over CPUs), and packets that passed
/// network devices. They say which part of the interrupt work that no thread accounts for was
/// I/O.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LoadKinds {
    /// NET_TX.
    pub net_tx: u64,
    /// NET_RX.
    pub net_rx: u64,
    /// BLOCK and IRQ_POLL.
    pub block: u64,
    /// TIMER and HRTIMER.
    pub timer: u64,
    /// SCHED.
    pub sched: u64,
    /// RCU.
    pub rcu: u64,
    /// HI and TASKLET.
    pub tasklet: u64,
    /// Packets in and out of every network device but loopback (`/proc/net/dev`): one softirq
    /// may handle many.
    pub packets: Operations,
}

/// I/O operations that a driver domain did for its own processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OwnOperations {
    /// IP packets delivered to and sent by its own sockets, loopback's and forwarded ones not
    /// among them (`/proc/net/snmp`, `snmp6`, `dev`).
    pub packets: Operations,
    /// Requests to physical disks (`/proc/diskstats`), VMs' requests among them.
    pub requests: Operations,
}

/// What a VM is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// On a CPU, or wanting one.
    Running,
    /// Waiting for something to do.
    Blocked,
    /// Stopped by the operator.
    Paused,
    /// Shut down, not yet destroyed.
    Shutdown,
    /// Shut down by a crash.
    Crashed,
    /// Being destroyed.
    Dying,
    /// Gone by the end of the interval.
    Ended,
    /// It could not be read.
    Unknown,
}

impl State {
    /// The word for people and for JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Blocked => "blocked",
            Self::Paused => "paused",
            Self::Shutdown => "shutdown",
            Self::Crashed => "crashed",
            Self::Dying => "dying",
            Self::Ended => "ended",
            Self::Unknown => "unknown",
        }
    }
}

/// One VM: a domain, a VMM's process, a control group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vm {
    /// What tells it from every other.
    pub id: VmId,
    /// Its name, raw: guests and users choose it, so escape it before it is shown.
    pub name: String,
    /// Its platform.
    pub platform: Platform,
    /// What it is doing.
    pub state: State,
    /// When its CPU times were read.
    pub window: Window,
    /// CPU time of the VM itself. Xen: Σ of its vCPUs (`cpu_time`); KVM and TCG: the VMM's
    /// process with all its threads, ended ones included; cgroup: usage.
    pub cpu: Reading<Nanos>,
    /// vCPUs that are online.
    pub vcpu_count: Reading<u32>,
    /// Its vCPUs, where each can be read; may be left unread where nobody asked for them.
    pub vcpus: Reading<Vec<Vcpu>>,
    /// The threads and processes that serve it alone, vCPU threads not among them.
    pub backends: Vec<Backend>,
    /// Memory that it holds.
    pub memory: Reading<Bytes>,
    /// Memory that it may hold at most.
    pub memory_limit: Reading<Bytes>,
    /// Its network interfaces.
    pub nics: Reading<Vec<Nic>>,
    /// Its disks.
    pub disks: Reading<Vec<Disk>>,
    /// Exits from the guest to the hypervisor.
    pub exits: Reading<u64>,
    /// Time that its vCPU threads spent polling before they slept, part of their run time.
    pub halt_poll: Reading<Nanos>,
    /// The Xen cpupool that it runs in.
    pub cpupool: Reading<u32>,
    /// What its own kernel counts, where an agent in it was asked.
    #[serde(default = "nobody_asked")]
    pub inside: Reading<Inside>,
}

/// The absence of what only an agent in the guest can tell.
fn nobody_asked() -> Reading<Inside> {
    Err(Absent::NotReported)
}

/// What a guest's kernel counts of its CPUs' time since its boot (the first line of its
/// `/proc/stat`), in steps of a clock tick. User and system are samples of its tick, fit for
/// ratios alone; steal comes from the hypervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inside {
    /// The guest's boot: counters of another one cannot be subtracted.
    pub boot: String,
    /// When it was read, by the guest's CLOCK_MONOTONIC.
    pub window: Window,
    /// In programs: user and nice.
    pub user: Nanos,
    /// In its kernel: system, irq and softirq.
    pub system: Nanos,
    /// Wanting a CPU that the hypervisor gave to others.
    pub steal: Nanos,
}

/// One virtual CPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vcpu {
    /// Its number in the VM.
    pub id: u32,
    /// What it is doing.
    pub state: State,
    /// Its thread, where it has one.
    pub task: Option<TaskId>,
    /// Its busy time. KVM and TCG: the whole run time of its thread.
    pub cpu: Reading<Nanos>,
    /// How much of that was spent executing the guest, as tick counters tell it.
    pub guest: Reading<CpuTicks>,
    /// Time that it was ready to run and waited for a CPU.
    pub ready: Reading<Nanos>,
    /// CPUs that it may run on.
    pub affinity: Reading<Affinity>,
}

/// A thread's time in clock ticks since it started, for ratios.
///
/// The kernel scales `user` and `total` to the thread's exact run time but shows `guest` as its
/// ticks sampled it (kernel/sched/cputime.c), so the two may be far apart in a short interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuTicks {
    /// Executing the guest (field 43, guest_time, of `/proc/PID/stat`), sampled.
    pub guest: u64,
    /// In user mode (field 14, utime), executing the guest included.
    pub user: u64,
    /// In all (utime + stime).
    pub total: u64,
}

/// The CPUs that a vCPU may run on, as Linux writes a list: `0-3,8`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Affinity(pub String);

/// A thread or process of the driver domain or the VMM that serves one VM alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backend {
    /// Its number and start.
    pub id: TaskId,
    /// Its name (comm), raw.
    pub name: String,
    /// [`Duty::Vmm`] or [`Duty::Io`].
    pub duty: Duty,
    /// Whether its time is already in [`Vm::cpu`]: a thread of the VMM's process is, a kernel
    /// thread or a process in dom0 is not.
    pub inside: bool,
    /// Its CPU time.
    pub cpu: Reading<Nanos>,
}

/// One network interface of a VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Nic {
    /// The name of its backend on the host (`vif1.0`, `tap0`), or in the container.
    pub name: String,
    /// The driver domain that serves it ([`Driver::id`]).
    pub driver: u16,
    /// Its traffic.
    pub counters: Reading<NicCounters>,
}

/// Traffic *as the guest sees it*: a backend's transmission is the guest's reception.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NicCounters {
    /// Packets that the guest received.
    pub rx_packets: Operations,
    /// Packets that the guest sent.
    pub tx_packets: Operations,
    /// Bytes that the guest received.
    pub rx_bytes: Bytes,
    /// Bytes that the guest sent.
    pub tx_bytes: Bytes,
}

/// One disk of a VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Disk {
    /// The name of its backend (`vbd-1-51712`), or of what was counted.
    pub name: String,
    /// The driver domain that serves it ([`Driver::id`]).
    pub driver: u16,
    /// Its traffic.
    pub counters: DiskCounters,
}

/// Block requests and bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskCounters {
    /// Read requests.
    pub reads: Reading<Operations>,
    /// Write requests.
    pub writes: Reading<Operations>,
    /// Bytes read.
    pub read_bytes: Reading<Bytes>,
    /// Bytes written.
    pub write_bytes: Reading<Bytes>,
}

/// What vmeter itself has used since it started; of an agent, the thread that reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SelfUse {
    /// CPU time, user and system.
    pub cpu: Nanos,
    /// Resident memory now.
    pub rss: Bytes,
}
