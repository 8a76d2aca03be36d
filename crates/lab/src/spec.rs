//! What to boot, as the caller says it.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::LabError;

/// Which virtualization the emulated machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Xen with a PV dom0 and PV guests on netback.
    Xen,
    /// Linux with kvm-amd (or kvm-intel) and QEMU guests on vhost-net.
    Kvm,
    /// Plain Linux: the same machine and kernel without virtualization.
    Native,
}

impl Kind {
    /// The name used in image keys and by the machine's scripts.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Xen => "xen",
            Kind::Kvm => "kvm",
            Kind::Native => "native",
        }
    }
}

/// What makes time pass inside the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Clock {
    /// The host's clock: fast and noisy.
    Host,
    /// One nanosecond per emulated instruction: repeatable and slow. Idle time passes at once; with
    /// a client outside, or an agent inside, it passes as the host's does, so that the machine's
    /// timers do not run out while others work.
    Instructions,
}

/// What runs the machine's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Accel {
    /// KVM where a probe shows that it runs ordinary guests, else TCG.
    Auto,
    /// QEMU's emulation, on any host.
    Tcg,
    /// The host's KVM, unprobed.
    Kvm,
}

/// A TCP stream from outside into one guest's sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receive {
    /// The guest, from 1; 0 is the machine itself (native only).
    pub guest: u32,
    /// The pace, in bytes of payload per second of the host's clock.
    pub bytes_per_second: u64,
}

impl Receive {
    /// The pace when none is given: 4 Mbit/s.
    pub const DEFAULT_RATE: u64 = 500_000;
}

/// The agents that run in a machine and in its guests, on [`AGENT_PORT`] of each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentFiles {
    /// The static program.
    pub program: PathBuf,
    /// The key that it is given.
    pub key: PathBuf,
}

/// Where sinks listen inside.
pub(crate) const SINK_PORT: u16 = 5001;
/// Where agents listen inside.
pub const AGENT_PORT: u16 = 5203;

/// Which end of its data networks a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// The machine under test.
    Server,
    /// The one outside that makes its load.
    Client,
}

/// A machine: what to build and how to boot it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Which virtualization.
    pub kind: Kind,
    /// How many guests, named g1, g2, … (none on [`Kind::Native`]).
    pub guests: u32,
    /// CPUs of the emulated machine.
    pub cpus: u32,
    /// vCPUs of each guest.
    pub vcpus: u32,
    /// The Debian suite of the software under test.
    pub suite: String,
    /// What makes time pass inside.
    pub clock: Clock,
    /// What runs the machine.
    pub accel: Accel,
    /// Whether guests' interfaces join a bridge; otherwise they are routed.
    pub bridge: bool,
    /// Files copied to /root of the machine, which is first on its PATH; the mode is kept.
    pub put: Vec<PathBuf>,
    /// Streams that run from readiness to shutdown.
    pub receive: Vec<Receive>,
    /// Network cards for data, eth1 and on, each joined to another machine's at a unix socket of
    /// this path, where the client listens. Guests are dealt to them in turn and get an eth1.
    pub wires: Vec<PathBuf>,
    /// Which end of the wires it is.
    pub role: Role,
    /// The agents that run in it.
    pub agent: Option<AgentFiles>,
    /// Whether it is booted anew, in place of being restored as it was when it had booted before.
    pub fresh: bool,
    /// How long the boot may take, in the host's time.
    pub boot_limit: Duration,
    /// How long one command may take, in the host's time; `None` is for ever.
    pub command_limit: Option<Duration>,
}

/// More guests than this have no address in the machine's network.
pub const MOST_GUESTS: u32 = 100;
/// A PC has no interrupt lines for more cards.
pub const MOST_WIRES: usize = 2;

impl Spec {
    /// A spec with the defaults: bookworm, two guests of one vCPU, the host's clock, two CPUs but
    /// for Xen. Under emulation and the host's clock the clocks of Xen's CPUs drift apart by
    /// parts of a millisecond, and Xen loses so much CPU time at each move from one to another.
    pub fn new(kind: Kind) -> Self {
        Spec {
            kind,
            guests: if kind == Kind::Native { 0 } else { 2 },
            cpus: if kind == Kind::Xen { 1 } else { 2 },
            vcpus: 1,
            suite: "bookworm".to_owned(),
            clock: Clock::Host,
            accel: Accel::Auto,
            bridge: true,
            put: Vec::new(),
            receive: Vec::new(),
            wires: Vec::new(),
            role: Role::Server,
            agent: None,
            fresh: false,
            boot_limit: Duration::from_secs(360),
            command_limit: None,
        }
    }

    /// Checks what can be checked before anything is downloaded.
    ///
    /// # Errors
    /// [`LabError::Spec`] names the field that cannot be and what it may be.
    pub fn check(&self) -> Result<(), LabError> {
        let problem = if self.kind == Kind::Native && self.guests != 0 {
            "a native machine has no guests: use 0 guests, or kind xen or kvm".to_owned()
        } else if self.guests > MOST_GUESTS {
            format!("invalid number of guests {}: expected at most {MOST_GUESTS}", self.guests)
        } else if self.cpus == 0 || self.vcpus == 0 {
            "invalid number of CPUs 0: expected at least 1".to_owned()
        } else if self.clock == Clock::Instructions && self.accel == Accel::Kvm {
            "the instruction clock exists only under emulation: use accel tcg or auto".to_owned()
        } else if self.wires.len() > MOST_WIRES {
            format!(
                "invalid number of data networks {}: expected at most {MOST_WIRES}",
                self.wires.len()
            )
        } else if self.role == Role::Client && self.kind != Kind::Native {
            "a client is a native machine".to_owned()
        } else if self.suite.is_empty()
            || !self.suite.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
        {
            format!("invalid suite `{}`: expected bookworm or trixie", self.suite.escape_debug())
        } else if let Some(receive) = self.receive.iter().find(|r| !self.has_sink(r.guest)) {
            format!("invalid guest {} to receive: the machine has {}", receive.guest, self.guests)
        } else {
            return Ok(());
        };
        Err(LabError::Spec { problem })
    }

    /// Whether idle time passes as the host's does under the instruction clock, for those who talk
    /// to the machine from outside and have the host's patience.
    pub(crate) fn idle_time_passes(&self) -> bool {
        !self.wires.is_empty() || self.agent.is_some()
    }

    /// Whether a guest of this number (0: the machine itself) takes TCP streams.
    pub(crate) fn has_sink(&self, guest: u32) -> bool {
        if self.kind == Kind::Native { guest == 0 } else { (1..=self.guests).contains(&guest) }
    }

    /// The numbers of all that take TCP streams.
    pub(crate) fn sinks(&self) -> Vec<u32> {
        (0..=self.guests).filter(|&guest| self.has_sink(guest)).collect()
    }

    /// The numbers of all that an agent runs in: 0 is the machine itself.
    pub(crate) fn agents(&self) -> std::ops::RangeInclusive<u32> {
        0..=self.guests
    }

    /// The address on the control network of the machine (0) or a guest.
    pub(crate) fn control_address(number: u32) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 2, Self::last_number(Role::Server, number))
    }

    /// The address on its data network of the machine (0) or a guest, and the network's number
    /// from 0; a guest has one network, the machine and its client may have more.
    ///
    /// `None` where there is no data network.
    #[must_use]
    pub fn data_address(&self, number: u32) -> Option<(usize, Ipv4Addr)> {
        let network = (number.saturating_sub(1) as usize).checked_rem(self.wires.len())?;
        Some((network, self.address_on(network, number)))
    }

    /// The address of the machine (0) or a guest on a data network.
    #[must_use]
    pub fn address_on(&self, network: usize, number: u32) -> Ipv4Addr {
        let third = u8::try_from(network + 1).unwrap_or(u8::MAX);
        Ipv4Addr::new(10, 1, third, Self::last_number(self.role, number))
    }

    fn last_number(role: Role, number: u32) -> u8 {
        match (role, number) {
            (Role::Client, _) => 1,
            (Role::Server, 0) => 15,
            (Role::Server, guest) => u8::try_from(100 + guest).unwrap_or(u8::MAX),
        }
    }

    /// Memory of each guest, in MiB: as the dissertation's. Its root file system, with two web
    /// servers and the agent, is in it twice while it is unpacked.
    pub(crate) fn guest_memory(&self) -> u32 {
        256
    }

    /// Memory of dom0 or the host's own share, in MiB.
    pub(crate) fn host_memory(&self) -> u32 {
        1024
    }

    /// Memory of the emulated machine, in MiB.
    pub(crate) fn machine_memory(&self) -> u32 {
        let hypervisor = if self.kind == Kind::Xen { 256 } else { 0 };
        self.host_memory() + hypervisor + self.guests * (self.guest_memory() + 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_specs_are_named() {
        let mut spec = Spec::new(Kind::Xen);
        spec.check().unwrap();
        spec.receive = vec![Receive { guest: 3, bytes_per_second: 1 }];
        assert!(spec.check().unwrap_err().to_string().contains("invalid guest 3"));
        let mut spec = Spec::new(Kind::Native);
        spec.receive = vec![Receive { guest: 0, bytes_per_second: 1 }];
        spec.check().unwrap();
        spec.guests = 1;
        assert!(spec.check().is_err());
        let mut spec = Spec::new(Kind::Kvm);
        spec.suite = "../etc".to_owned();
        assert!(spec.check().is_err());
    }

    #[test]
    fn sinks_are_the_guests_or_the_machine() {
        assert_eq!(Spec::new(Kind::Xen).sinks(), [1, 2]);
        assert_eq!(Spec::new(Kind::Native).sinks(), [0]);
    }
}
