//! What was used in an interval.

use model::{
    Affinity, Bytes, DiskCounters, Duty, Moment, Nanos, NicCounters, Operations, Platform, Reading,
    State, TaskId, VmId,
};

/// What the host, its driver domains and its VMs used between two snapshots.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// The interval's end.
    pub moment: Moment,
    /// T: wall time.
    pub interval: Nanos,
    /// The whole machine.
    pub host: HostUsage,
    /// The driver domains, Domain-0 or the host's Linux first.
    pub drivers: Vec<DriverUsage>,
    /// The VMs, those that ended inside the interval last.
    pub vms: Vec<VmUsage>,
    /// What measuring cost.
    pub me: SelfUsage,
}

/// The whole machine.
#[derive(Debug, Clone, PartialEq)]
pub struct HostUsage {
    /// Physical CPUs.
    pub cpus: u32,
    /// Busy time, what its CPUs executed: CPUs × T − idle − stolen time, and no less than what
    /// threads were seen to run, as far as the counters' steps allow.
    pub busy: Reading<Nanos>,
    /// How exactly `busy` is known: the step in which idle time is counted.
    pub busy_within: Nanos,
    /// Time in which its CPUs wanted to run and were not let, where the host is a VM itself.
    pub steal: Reading<Nanos>,
    /// The busy time that belongs to no VM and no driver domain's own work.
    pub unattributed: Reading<Nanos>,
    /// By how much the parts exceed the whole, relative to the busy time; on Xen, where it is
    /// larger, how far domains' time + idle time is from CPUs × T, relative to the same.
    pub conservation_error: Reading<f64>,
    /// Processes are hidden from vmeter: what they used is in `unattributed`.
    pub hidden: bool,
    /// The hypervisor or kernel.
    pub system: String,
    /// Whether interrupt time is kept apart from threads' ([`model::Host`]).
    pub irq_time_accounting: Reading<bool>,
    /// Physical memory.
    pub memory: Reading<Bytes>,
}

/// A driver domain (IDD). Its time = direct + shared + own + unattributed.
#[derive(Debug, Clone, PartialEq)]
pub struct DriverUsage {
    /// Its number ([`model::Driver::id`]).
    pub id: u16,
    /// Its name, raw.
    pub name: String,
    /// All its CPU time, B_IDD.
    pub total: Reading<Nanos>,
    /// Threads that serve one VM alone: charged to that VM.
    pub direct: Reading<Nanos>,
    /// Interrupt work charged to VMs by their share of operations (equations 4.6, 4.7).
    pub shared: Reading<Nanos>,
    /// Its own business.
    pub own: Reading<Nanos>,
    /// What is left.
    pub unattributed: Reading<Nanos>,
    /// Its CPUs.
    pub vcpus: Reading<u32>,
    /// Its memory.
    pub memory: Reading<Bytes>,
    /// Its vCPUs, where it is a domain and they were asked for.
    pub vcpu_rows: Vec<VcpuUsage>,
    /// Its own processes that used CPU time, the largest first, at most ten.
    pub processes: Vec<BackendUsage>,
}

/// CPU time of a VM by layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Cpu {
    /// The sum of the parts below that are known; absent where not even the VM's own time is.
    pub total: Reading<Nanos>,
    /// Executing the guest.
    pub guest: Reading<Nanos>,
    /// The virtual machine monitor's work for it.
    pub vmm: Reading<Nanos>,
    /// What `guest` and `vmm` would add up to, where it is known and how it divides is not (a
    /// VMM whose vCPU threads cannot be told from others).
    pub unsplit: Reading<Nanos>,
    /// I/O work by threads that serve it alone.
    pub io_direct: Reading<Nanos>,
    /// Its share of I/O work that no thread accounts for.
    pub io_shared: Reading<Nanos>,
}

/// One VM.
#[derive(Debug, Clone, PartialEq)]
pub struct VmUsage {
    /// What tells it from every other.
    pub id: VmId,
    /// Its name, raw.
    pub name: String,
    /// Its platform.
    pub platform: Platform,
    /// What it is doing; [`State::Ended`] where it is gone.
    pub state: State,
    /// Online vCPUs.
    pub vcpus: Reading<u32>,
    /// Memory that it holds.
    pub memory: Reading<Bytes>,
    /// CPU time by layer.
    pub cpu: Cpu,
    /// Guest kernel time, which only the guest can tell.
    pub guest_system: Reading<Nanos>,
    /// Guest programs' time, which only the guest can tell.
    pub guest_programs: Reading<Nanos>,
    /// Time its vCPUs were ready and waited for a CPU.
    pub ready: Reading<Nanos>,
    /// Time that its kernel says was stolen from it, which only the guest can tell.
    pub steal: Reading<Nanos>,
    /// Network traffic, all interfaces, as the guest sees it.
    pub net: Reading<NicCounters>,
    /// Disk traffic, all disks.
    pub disk: DiskCounters,
    /// Exits from the guest.
    pub exits: Reading<u64>,
    /// Time spent polling before sleeping, part of `cpu.vmm`.
    pub halt_poll: Reading<Nanos>,
    /// The Xen cpupool.
    pub cpupool: Reading<u32>,
    /// Its vCPUs.
    pub vcpu_rows: Vec<VcpuUsage>,
    /// The threads that serve it alone.
    pub backends: Vec<BackendUsage>,
    /// I/O operations by driver domain: the shares that equation 4.7 charges.
    pub operations: Vec<(u16, Reading<Operations>)>,
}

/// One vCPU.
#[derive(Debug, Clone, PartialEq)]
pub struct VcpuUsage {
    /// Its number.
    pub id: u32,
    /// What it is doing.
    pub state: State,
    /// Busy time in the interval (equation 4.5).
    pub cpu: Reading<Nanos>,
    /// The part of it that executed the guest.
    pub guest: Reading<Nanos>,
    /// Time that it waited for a CPU.
    pub ready: Reading<Nanos>,
    /// CPUs that it may run on.
    pub affinity: Reading<Affinity>,
}

/// One thread or process.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendUsage {
    /// Its number and start.
    pub id: TaskId,
    /// Its name, raw.
    pub name: String,
    /// Whose work it does.
    pub duty: Duty,
    /// CPU time in the interval.
    pub cpu: Reading<Nanos>,
}

/// What measuring cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SelfUsage {
    /// vmeter's CPU time in the interval.
    pub cpu: Nanos,
    /// Its memory now.
    pub rss: Bytes,
}
