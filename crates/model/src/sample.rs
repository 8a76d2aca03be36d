//! What sampling sees (section 4.2.2): samples, the events that give them names, and where a
//! stream of both comes from.

use crate::{Nanos, Reading};
use serde::{Deserialize, Serialize};

/// One thing that a kernel's perf said, in the order of its clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When, by the stream's own CLOCK_MONOTONIC_RAW.
    pub time: Nanos,
    /// On which CPU of that kernel; `u32::MAX` where it is not told (a perf.data without CPUs).
    pub cpu: u32,
    /// What.
    pub what: What,
}

/// What a [`Record`] says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// An event's counter ran over its period.
    Sample(Sample),
    /// A thread maps executable memory. Boxed: maps are rare, and samples move often.
    Map(Box<Map>),
    /// A thread has a new name.
    Name {
        /// Its process.
        pid: u32,
        /// The thread.
        tid: u32,
        /// The name (comm), raw.
        name: Vec<u8>,
        /// By execve: what was mapped before is gone.
        exec: bool,
    },
    /// A thread was born.
    Fork {
        /// Its process.
        pid: u32,
        /// The thread.
        tid: u32,
        /// The process that made it.
        parent: u32,
    },
    /// A thread ended.
    Exit {
        /// Its process.
        pid: u32,
        /// The thread.
        tid: u32,
    },
    /// The CPU goes on with another thread (PERF_RECORD_SWITCH_CPU_WIDE, out): 0 is idle.
    Switch {
        /// The next thread's process.
        pid: u32,
        /// The next thread.
        tid: u32,
    },
    /// Records were lost for want of room.
    Lost {
        /// How many.
        count: u64,
    },
    /// The kernel throttled an event on this CPU, or let it go on.
    Throttle {
        /// Throttled; else it goes on.
        on: bool,
    },
}

/// A sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Which of the stream's events ([`Stream::events`]).
    pub event: u16,
    /// The process: of guest modes, the VMM's.
    pub pid: u32,
    /// The thread: of guest modes, the vCPU's.
    pub tid: u32,
    /// Where it was executing.
    pub address: u64,
    /// In which mode.
    pub mode: Mode,
    /// Events since the sample before: nanoseconds for `cpu-clock`, occurrences for others.
    pub period: u64,
}

/// The mode of a CPU as the kernel that sampled saw it (PERF_RECORD_MISC_CPUMODE_MASK).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Not told.
    Unknown,
    /// This kernel.
    Kernel,
    /// Its processes.
    User,
    /// A hypervisor below it.
    Hypervisor,
    /// The kernel of a guest of its.
    GuestKernel,
    /// A process of a guest of its.
    GuestUser,
}

/// Executable memory of a process, or of the kernel (`pid` is `u32::MAX`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Map {
    /// The process.
    pub pid: u32,
    /// The thread that mapped it.
    pub tid: u32,
    /// Its first address.
    pub start: u64,
    /// Bytes.
    pub length: u64,
    /// Where in the file it begins.
    pub offset: u64,
    /// The file's build id, where the kernel told it.
    pub build_id: Option<BuildId>,
    /// The file, `[vdso]`, `//anon` and the like, raw.
    pub path: Vec<u8>,
}

/// A program's or library's own mark (NT_GNU_BUILD_ID), at most 20 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BuildId(pub Vec<u8>);

/// A stream of records: one kernel's, the host's or a guest's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    /// `host`, or the VM's name, raw.
    pub name: String,
    /// Whose kernel it is.
    pub role: Role,
    /// Its events, in the order of [`Sample::event`]; none where only names are sent.
    pub events: Vec<Event>,
    /// Online CPUs of that kernel.
    pub cpus: u32,
    /// Threads that serve one VM alone, where this is a host's stream: what is sampled in them
    /// is that VM's.
    pub serving: Vec<Serving>,
    /// How its clock goes by the host's, oldest first; empty for the host's own.
    pub clock: Vec<ClockSegment>,
    /// Of a guest whose agent was lost: when it was heard last, by the host's clock. What its VM
    /// did later is not in this stream; where the agent came back, another of its name begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Nanos>,
    /// Its kernel's symbols (/proc/kallsyms), where they were given: a file of the recording.
    pub kallsyms: Reading<String>,
    /// What should be known before this is believed: an agent lost, a mode given up, and when.
    pub notes: Vec<String>,
}

/// Whose kernel a stream comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The host's, or Domain-0's.
    Host,
    /// A guest's, that sends names only: the host samples it (mode A).
    NamesOnly,
    /// A guest's, that samples itself (mode B).
    SamplesItself,
    /// A guest's that sends nothing (passive): this stream has no records.
    Passive,
}

/// An event, as it was asked for and as it was really counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The word that was asked for: `cycles`, `llc-misses`, `r01c2`.
    pub asked: String,
    /// What was counted: the same, or `cpu-clock` where there are no counters.
    pub counted: String,
    /// perf_event_attr.type.
    pub kind: u32,
    /// perf_event_attr.config.
    pub config: u64,
    /// Events, or nanoseconds of `cpu-clock`, for each sample; 0 where it varies (a frequency was
    /// asked for, in a perf.data): samples carry their own.
    pub period: u64,
    /// Whether the unit is nanoseconds.
    pub is_time: bool,
    /// The part of the time in which it was counted, where several events took turns: 1 is all.
    pub share: Reading<f64>,
}

/// A host's thread that serves one VM alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serving {
    /// The thread; or the process, where all of its threads do.
    pub tid: u32,
    /// The VM's name, raw.
    pub vm: String,
    /// What it does for it.
    pub part: Part,
}

/// What a thread does for its VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// It is this vCPU.
    Vcpu(u32),
    /// Virtual machine monitor work.
    Vmm,
    /// I/O: vhost, netback, I/O threads.
    Io,
}

/// A part of a recording in which a guest's clock goes evenly by the host's:
/// host = guest − `offset` − `drift` × (guest − `from`), within `bound`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClockSegment {
    /// The guest's clock from which on it holds; a step of the guest's clock begins another.
    pub from: Nanos,
    /// The guest's clock less the host's at `from`, in nanoseconds.
    pub offset: i64,
    /// Nanoseconds that the guest's clock gains for each of its own.
    pub drift: f64,
    /// No alignment is off by more than so much, in nanoseconds.
    pub bound: u64,
}

impl ClockSegment {
    /// The host's time at a time of the guest's; `None` before the host's clock began.
    #[must_use]
    pub fn host(&self, guest: Nanos) -> Option<Nanos> {
        let since = guest.0 as f64 - self.from.0 as f64;
        // A damaged recording may say anything of the drift.
        let gained = (self.drift * since).round() as i128;
        let off = i128::from(self.offset).saturating_add(gained);
        u64::try_from(i128::from(guest.0).saturating_sub(off)).ok().map(Nanos)
    }
}

/// A reading of the clock by which samples are stamped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// CLOCK_MONOTONIC_RAW.
    pub time: Nanos,
    /// The CPU's time stamp counter before and after; none where a CPU has none.
    pub counter: Option<(u64, u64)>,
}

/// A reading of a guest's clock between two of the host's, made by asking it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pinged {
    /// The host's before it asked.
    pub sent: Stamp,
    /// The guest's, when it took the question.
    pub guest: Stamp,
    /// The host's when it had the answer.
    pub received: Stamp,
}

impl Pinged {
    /// Whether the CPUs' counters were read with the clocks.
    #[must_use]
    pub fn has_counters(&self) -> bool {
        [self.sent, self.guest, self.received].iter().all(|stamp| stamp.counter.is_some())
    }
}

/// How a guest's time stamp counter goes by the host's:
/// guest = (host × `ratio` ÷ 2^`fraction`) + `offset`, modulo 2^64 (Linux, arch/x86/kvm/debugfs.c:
/// `tsc-offset`, `tsc-scaling-ratio`, `tsc-scaling-ratio-frac-bits`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TscOffset {
    /// In counts of the guest's.
    pub offset: i64,
    /// Counts of the guest's for 2^`fraction` of the host's.
    pub ratio: u64,
    /// Bits of `ratio` behind the point.
    pub fraction: u32,
}

impl TscOffset {
    /// The host's counter at a guest's, which may be one count later; none of a ratio of 0, or
    /// where the host's would be no counter.
    #[must_use]
    pub fn host(&self, guest: u64) -> Option<u64> {
        let scaled = u128::from(guest.wrapping_sub(self.offset.cast_unsigned()));
        let count = scaled.checked_shl(self.fraction)?.checked_div(u128::from(self.ratio))?;
        u64::try_from(count).ok()
    }
}

impl BuildId {
    /// In hexadecimal digits, as tools write it.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_clock_is_brought_to_the_host_clock() {
        let segment =
            ClockSegment { from: Nanos(1_000_000), offset: 400_000, drift: 1e-3, bound: 50 };
        assert_eq!(segment.host(Nanos(1_000_000)), Some(Nanos(600_000)));
        assert_eq!(segment.host(Nanos(2_000_000)), Some(Nanos(1_599_000)));
        let ahead = ClockSegment { offset: 2_000_000, ..segment };
        assert_eq!(ahead.host(Nanos(1_000_000)), None);
        let mad = ClockSegment { drift: f64::INFINITY, ..segment };
        assert_eq!(mad.host(Nanos(2_000_000)), None);
    }

    #[test]
    fn a_guest_counter_is_brought_to_the_host_counter() {
        let plain = TscOffset { offset: -5000, ratio: 1 << 32, fraction: 32 };
        assert_eq!(plain.host(1000), Some(6000));
        let ahead = TscOffset { offset: 400, ..plain };
        assert_eq!(ahead.host(1000), Some(600));
        let slow = TscOffset { ratio: 1 << 31, ..ahead };
        assert_eq!(slow.host(1000), Some(1200));
        assert_eq!(TscOffset { ratio: 0, ..plain }.host(1000), None);
        assert_eq!(TscOffset { fraction: 200, ..plain }.host(1000), None);
    }

    #[test]
    fn a_build_id_is_written_as_tools_do() {
        assert_eq!(BuildId(vec![0xde, 0xad, 0x01]).hex(), "dead01");
    }
}
