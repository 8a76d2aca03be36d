//! The few questions that vmeter asks Xen, and who can answer them: the running hypervisor
//! ([`super::privcmd`]) or a record of its answers ([`super::transcript`]).

use super::abi::{Interface, Malformed, Release};
use crate::host::Tree;
use model::{Absent, Need};
use std::io;

/// One question to Xen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// sysctl 3, `physinfo`: the physical machine.
    Physical,
    /// sysctl 8, `getcpuinfo`: idle time of each physical CPU.
    Idle,
    /// sysctl 6, `getdomaininfolist`: domains from number `first` on.
    Domains {
        /// The lowest number wanted.
        first: u16,
    },
    /// vcpu_op 4, `get_runstate_info` of the caller's own vCPU 0: how long it has been in each
    /// state. Together that is Xen's own clock, by which it counts all CPU time.
    Clock,
    /// domctl 14, `getvcpuinfo`.
    Vcpu {
        /// The vCPU's domain.
        domain: u16,
        /// Its number there.
        vcpu: u32,
    },
    /// domctl 25, `getvcpuaffinity`: the hard affinity, as a bitmap.
    Affinity {
        /// The vCPU's domain.
        domain: u16,
        /// Its number there.
        vcpu: u32,
    },
    /// domctl 9, `setvcpuaffinity`: the hard affinity, by the bitmap in the buffer.
    SetAffinity {
        /// The vCPU's domain.
        domain: u16,
        /// Its number there.
        vcpu: u32,
    },
}

impl Call {
    /// Where an operation's own structure starts in the request, behind its number and the
    /// interface version (`xen_sysctl`), and the domain (`xen_domctl`).
    pub(crate) fn head_at(self) -> usize {
        match self {
            Self::Clock => 0,
            _ if self.is_domctl() => 16,
            _ => 8,
        }
    }

    /// Bytes of the operation's own structure that hold an answer.
    pub(crate) fn head_len(self) -> usize {
        match self {
            Self::Physical => 112,
            Self::Idle | Self::Domains { .. } | Self::Vcpu { .. } => 24,
            Self::Affinity { .. } | Self::SetAffinity { .. } => 40,
            Self::Clock => 48,
        }
    }

    /// Whether it is a domctl.
    pub(crate) fn is_domctl(self) -> bool {
        matches!(self, Self::Vcpu { .. } | Self::Affinity { .. } | Self::SetAffinity { .. })
    }

    /// The name that Xen's headers give it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Physical => "physinfo",
            Self::Idle => "getcpuinfo",
            Self::Clock => "get_runstate_info",
            Self::Domains { .. } => "getdomaininfolist",
            Self::Vcpu { .. } => "getvcpuinfo",
            Self::Affinity { .. } => "getvcpuaffinity",
            Self::SetAffinity { .. } => "setvcpuaffinity",
        }
    }
}

/// What Xen answered: the operation's own structure, and the buffer that it filled (which may
/// be longer than what it wrote).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer<'a> {
    pub(crate) head: &'a [u8],
    pub(crate) data: &'a [u8],
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The interface version is not the one that this Xen speaks (EACCES; a security policy
    /// gives the same number).
    #[error("{0}: Xen has a different version of this interface, or its security policy denies it")]
    OtherVersion(&'static str),
    /// There is no such domain or vCPU, or none any more.
    #[error("{0}: no such domain or vCPU")]
    Gone(&'static str),
    /// The record holds no answer to this question.
    #[error("{0}: not in the record")]
    NotRecorded(&'static str),
    /// Xen or the kernel refused it.
    #[error("{name}: {error}")]
    Refused { name: &'static str, error: io::Error },
    /// The answer makes no sense.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl CallError {
    /// The absence that it means for a reading.
    pub(crate) fn absent(&self) -> Absent {
        match self {
            Self::Gone(_) => Absent::Ended,
            Self::NotRecorded(name) => Absent::NotFound(format!("{name} in the record").into()),
            Self::Malformed(why) => Absent::Malformed(why.to_string().into()),
            Self::Refused { name, error } if error.kind() == io::ErrorKind::PermissionDenied => {
                Absent::NotPermitted { what: (*name).into(), need: Need::Root }
            }
            Self::OtherVersion(_) | Self::Refused { .. } => Absent::Failed(self.to_string().into()),
        }
    }
}

/// Something that answers for Xen.
pub(crate) trait Hypervisor: Send {
    /// Asks one question in the interface version that was last set.
    fn ask(&mut self, call: Call) -> Result<Answer<'_>, CallError>;

    /// Sets the interface version of the questions to come.
    fn speak(&mut self, interface: Interface, stride: usize);

    /// Bytes of one entry of the domain list, as Xen itself writes it: vendors' releases and
    /// future ones may differ from what the version tells.
    fn measure_stride(&mut self) -> Result<usize, CallError>;

    /// Sets a vCPU's hard affinity, a bit for each CPU.
    fn set_affinity(&mut self, domain: u16, vcpu: u32, _bitmap: &[u8]) -> Result<(), CallError> {
        // A record cannot be changed.
        Err(CallError::NotRecorded(Call::SetAffinity { domain, vcpu }.name()))
    }

    /// Goes on with the answers of the moment that `tree` is at, where they are recorded.
    fn move_to(&mut self, _tree: &Tree) {}
}

/// What was found out about the Xen that is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) interface: Interface,
    pub(crate) stride: usize,
    /// It is a release, an interface and a layout that this program was written for.
    pub(crate) known: bool,
}

/// Finds the interface version and the layout: those of the release first, then, where Xen
/// refuses them, their neighbours.
pub(crate) fn negotiate(xen: &mut dyn Hypervisor, release: Release) -> Result<Dialect, CallError> {
    let told = release.interface();
    let mut interface = told;
    xen.speak(interface, release.stride());
    interface.sysctl =
        settle(xen, interface, Call::Physical, |sysctl| Interface { sysctl, ..told })?.sysctl;
    // Domain-0 always exists and has a vCPU 0.
    let probe = Call::Vcpu { domain: 0, vcpu: 0 };
    let sysctl = interface.sysctl;
    interface = settle(xen, interface, probe, |domctl| Interface { sysctl, domctl })?;
    let stride = xen.measure_stride()?;
    xen.speak(interface, stride);
    let known = release.is_known() && interface == told && stride == release.stride();
    Ok(Dialect { interface, stride, known })
}

/// The first interface, among `first` and its neighbours, in which `probe` is answered.
fn settle(
    xen: &mut dyn Hypervisor,
    first: Interface,
    probe: Call,
    with: impl Fn(u32) -> Interface,
) -> Result<Interface, CallError> {
    let told = if probe.is_domctl() { first.domctl } else { first.sysctl };
    for version in std::iter::once(told).chain(super::abi::neighbours(told)) {
        let interface = with(version);
        xen.speak(interface, 0);
        match xen.ask(probe) {
            Err(CallError::OtherVersion(_)) => {}
            // A record may lack the probe, and a failure of another kind is no refusal.
            Ok(_) | Err(CallError::NotRecorded(_) | CallError::Gone(_)) => return Ok(interface),
            Err(other) => return Err(other),
        }
    }
    Err(CallError::OtherVersion(probe.name()))
}

/// Lists every domain, in as many calls as the answers' buffer makes needful.
pub(crate) fn list_domains(
    xen: &mut dyn Hypervisor,
    stride: usize,
    into: &mut Vec<super::abi::DomainInfo>,
) -> Result<(), CallError> {
    into.clear();
    let mut first = 0;
    loop {
        let answer = xen.ask(Call::Domains { first })?;
        let room = answer.data.len().checked_div(stride).unwrap_or(0);
        let count = super::abi::domains(answer.head, answer.data, stride, into)?;
        // A list shorter than the buffer is complete. The next one starts behind the last
        // number, not at the count: numbers have gaps.
        match into.last() {
            Some(last) if count > 0 && count >= room => first = last.id + 1,
            _ => return Ok(()),
        }
    }
}
