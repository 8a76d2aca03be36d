//! Xen's control interface in bytes: which version a release speaks, how its structures lie.
//!
//! Everything here is a pure function of bytes that Xen (or a file) gave; none can panic.
//! Sources: `xen/include/public/{sysctl,domctl}.h` of Xen 4.13 to 4.22 (MIT), x86-64.

use model::{Cpus, u16_at, u32_at, u64_at};
use std::fmt;

/// Bytes in a page of memory, Xen's unit for it.
pub(crate) const PAGE: u64 = 4096;
/// A domain without any vCPU has this as its highest vCPU (`XEN_INVALID_MAX_VCPU_ID`).
const NO_VCPU: u32 = u32::MAX;
/// The domain ids from here on are no domains of their own (`DOMID_FIRST_RESERVED`).
pub(crate) const FIRST_RESERVED: u16 = 0x7ff0;
/// The most vCPUs that are asked for one by one; Xen's own limits are 512 (PV: 8192).
pub(crate) const MOST_VCPUS: u32 = 1024;
/// Bytes of an affinity bitmap: 8192 CPUs.
pub(crate) const BITMAP_LEN: usize = 1024;
/// `SHUTDOWN_crash` of `sched.h`.
const SHUTDOWN_CRASH: u32 = 3;

/// The interface versions that go into every sysctl and domctl; Xen refuses any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) sysctl: u32,
    pub(crate) domctl: u32,
}

/// The oldest and newest release that this program was written for.
pub(crate) const KNOWN: (Release, Release) =
    (Release { major: 4, minor: 13 }, Release { major: 4, minor: 22 });

/// The interface of each release from 4.13 on (`XEN_{SYSCTL,DOMCTL}_INTERFACE_VERSION`).
const INTERFACES: [Interface; 10] = [
    Interface { sysctl: 0x12, domctl: 0x12 },
    Interface { sysctl: 0x13, domctl: 0x12 },
    Interface { sysctl: 0x13, domctl: 0x13 },
    Interface { sysctl: 0x14, domctl: 0x14 },
    Interface { sysctl: 0x15, domctl: 0x15 },
    Interface { sysctl: 0x15, domctl: 0x16 },
    Interface { sysctl: 0x15, domctl: 0x17 },
    Interface { sysctl: 0x15, domctl: 0x17 },
    Interface { sysctl: 0x16, domctl: 0x17 },
    Interface { sysctl: 0x16, domctl: 0x18 },
];

/// A release of Xen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Release {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Release {
    /// Whether its structures are known.
    pub(crate) fn is_known(self) -> bool {
        (KNOWN.0..=KNOWN.1).contains(&self)
    }

    /// The interface that it speaks, or that its nearest known neighbour does.
    pub(crate) fn interface(self) -> Interface {
        let nearest = self.clamp(KNOWN.0, KNOWN.1);
        let row = nearest.minor.saturating_sub(KNOWN.0.minor) as usize;
        INTERFACES.get(row).copied().unwrap_or(INTERFACES[INTERFACES.len() - 1])
    }

    /// Bytes of one `xen_domctl_getdomaininfo`: 4.16 added `gpaddr_bits` and its padding.
    pub(crate) fn stride(self) -> usize {
        if (self.major, self.minor) >= (4, 16) { 112 } else { 104 }
    }
}

/// Versions to try in turn where `first` was refused: its neighbours, the nearest first and
/// the newer before the older, since an unknown Xen is most often a newer one.
pub(crate) fn neighbours(first: u32) -> impl Iterator<Item = u32> {
    (1..=8).flat_map(move |step| [first + step, first.saturating_sub(step)])
}

/// What Xen answered cannot be what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Xen's answer to {0} cannot be understood")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// One domain, from `xen_domctl_getdomaininfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DomainInfo {
    pub(crate) id: u16,
    flags: u32,
    /// Pages that it holds.
    pub(crate) pages: u64,
    max_pages: u64,
    /// Time that its vCPUs have run, Σ over them, in ns.
    pub(crate) cpu: u64,
    pub(crate) online_vcpus: u32,
    max_vcpu: u32,
    pub(crate) handle: [u8; 16],
    pub(crate) cpupool: u32,
}

impl DomainInfo {
    /// The fields of one entry; `None` where the bytes are too few.
    pub(crate) fn decode(entry: &[u8]) -> Option<Self> {
        Some(Self {
            id: u16_at(entry, 0)?,
            flags: u32_at(entry, 4)?,
            pages: u64_at(entry, 8)?,
            max_pages: u64_at(entry, 16)?,
            cpu: u64_at(entry, 56)?,
            online_vcpus: u32_at(entry, 64)?,
            max_vcpu: u32_at(entry, 68)?,
            handle: entry.get(76..92)?.try_into().ok()?,
            cpupool: u32_at(entry, 92)?,
        })
    }

    /// How many vCPUs can be asked for, online or not.
    pub(crate) fn vcpus(&self) -> u32 {
        if self.max_vcpu == NO_VCPU { 0 } else { self.max_vcpu.saturating_add(1) }
    }

    /// Pages that it may hold at most; `None` where there is no limit (dom0's default).
    pub(crate) fn page_limit(&self) -> Option<u64> {
        // "No limit" is all ones, in 32 bits (Domain-0 is born with it) or in 64.
        (self.max_pages < u64::from(u32::MAX)).then_some(self.max_pages)
    }

    /// What it is doing. The order matters: a dying domain is shut down as well.
    pub(crate) fn state(&self) -> model::State {
        let has = |bit: u32| self.flags & (1 << bit) != 0;
        if has(0) {
            model::State::Dying
        } else if has(2) && self.flags >> 16 & 0xff == SHUTDOWN_CRASH {
            model::State::Crashed
        } else if has(2) {
            model::State::Shutdown
        } else if has(3) {
            model::State::Paused
        } else if has(4) && !has(5) {
            model::State::Blocked
        } else {
            model::State::Running
        }
    }
}

/// Appends the entries of a `getdomaininfolist` answer to `into`; gives how many there were.
/// `head` is the operation's own structure, `data` the buffer that Xen filled.
pub(crate) fn domains(
    head: &[u8],
    data: &[u8],
    stride: usize,
    into: &mut Vec<DomainInfo>,
) -> Result<usize, Malformed> {
    let malformed = Malformed("getdomaininfolist");
    let count = u32_at(head, 16).ok_or(malformed)? as usize;
    let filled = count.checked_mul(stride).and_then(|end| data.get(..end)).ok_or(malformed)?;
    if stride == 0 {
        return Err(malformed);
    }
    for entry in filled.chunks_exact(stride) {
        let domain = DomainInfo::decode(entry).ok_or(malformed)?;
        // Xen walks its list in the order of the ids: anything else is a wrong layout.
        if into.last().is_some_and(|last| last.id >= domain.id) || domain.id >= FIRST_RESERVED {
            return Err(malformed);
        }
        into.push(domain);
    }
    Ok(count)
}

/// Idle time of the physical CPUs, Σ over them, in ns, and how many CPUs are online: Xen
/// tells 0 for a CPU that is not. From `getcpuinfo`.
pub(crate) fn idle(head: &[u8], data: &[u8]) -> Result<(u64, u32), Malformed> {
    let malformed = Malformed("getcpuinfo");
    let count = u32_at(head, 16).ok_or(malformed)? as usize;
    let filled = count.checked_mul(8).and_then(|end| data.get(..end)).ok_or(malformed)?;
    let mut sum = 0_u64;
    let mut online = 0;
    for cpu in filled.chunks_exact(8) {
        let idle = u64_at(cpu, 0).ok_or(malformed)?;
        sum = sum.saturating_add(idle);
        online += u32::from(idle > 0);
    }
    Ok((sum, online))
}

/// Xen's own clock, in ns since the asking domain's vCPU 0 was made: the time that it has spent
/// in its four states together. From `vcpu_runstate_info`.
pub(crate) fn clock(info: &[u8]) -> Option<model::Nanos> {
    [16, 24, 32, 40].into_iter().map(|at| u64_at(info, at).map(model::Nanos)).sum()
}

/// The physical machine, from `xen_sysctl_physinfo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Physical {
    /// CPUs that are online.
    pub(crate) cpus: u32,
    /// The highest number that a CPU may have.
    pub(crate) max_cpu: u32,
    pub(crate) pages: u64,
    pub(crate) free_pages: u64,
}

impl Physical {
    /// The fields. From sysctl 0x15 (4.17) on, `arch_capabilities` stands before the pages.
    pub(crate) fn decode(head: &[u8], sysctl: u32) -> Result<Self, Malformed> {
        let pages = if sysctl >= 0x15 { 40 } else { 32 };
        let fields = || {
            Some(Self {
                cpus: u32_at(head, 8)?,
                max_cpu: u32_at(head, 12)?,
                pages: u64_at(head, pages)?,
                free_pages: u64_at(head, pages + 8)?,
            })
        };
        fields().ok_or(Malformed("physinfo"))
    }
}

/// One vCPU, from `xen_domctl_getvcpuinfo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VcpuInfo {
    pub(crate) state: model::State,
    /// Time that it has run, in ns.
    pub(crate) cpu: u64,
}

impl VcpuInfo {
    /// The fields. A vCPU that is offline counts as paused, as `xl vcpu-list` shows it.
    pub(crate) fn decode(head: &[u8]) -> Result<Self, Malformed> {
        let fields = || {
            let (online, blocked, running) = (*head.get(4)?, *head.get(5)?, *head.get(6)?);
            let state = match (online != 0, blocked != 0, running != 0) {
                (false, _, _) => model::State::Paused,
                (true, true, false) => model::State::Blocked,
                _ => model::State::Running,
            };
            Some(Self { state, cpu: u64_at(head, 8)? })
        };
        fields().ok_or(Malformed("getvcpuinfo"))
    }
}

/// The CPUs in a bitmap, as Linux writes a list (`0-3,8`), none above `max_cpu`.
pub(crate) fn cpu_list(bitmap: &[u8], max_cpu: u32) -> String {
    Cpus::of_bitmap(bitmap, max_cpu).to_string()
}

#[cfg(test)]
#[path = "abi_tests.rs"]
mod tests;
