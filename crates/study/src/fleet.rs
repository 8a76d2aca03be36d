//! The machines of a study: booted or found, each with the agents on it.

use crate::plan::{Machine, Place, Plan};
use crate::symbols::Files;
use agent::{Deadline, Handle, Keys, PATIENCE, Security, Stream};
use lab::{AgentFiles, Cache, Spec, Testbed};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use workload::Environment;

/// What a study needs to reach its machines.
#[derive(Debug, Clone)]
pub struct Means {
    /// The static program that runs in lab machines.
    pub program: PathBuf,
    /// The key of lab machines' agents.
    pub lab_key: PathBuf,
    /// The key of agents that a plan names no key for.
    pub key: Option<PathBuf>,
    /// When agents must have answered: soon after the study is asked to end.
    pub deadline: Deadline,
}

/// Why a machine cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// A lab machine that cannot be booted.
    #[error("machine {machine}: {why}")]
    Lab {
        /// Which.
        machine: String,
        /// Why.
        why: lab::LabError,
    },
    /// An agent that does not answer as it should.
    #[error("machine {machine}: agent of {who} at {address}: {why}")]
    Agent {
        /// Which machine.
        machine: String,
        /// Whose agent.
        who: String,
        /// Where.
        address: String,
        /// Why.
        why: agent::Error,
    },
    /// It is not what the plan needs.
    #[error("machine {machine}: {problem}")]
    Unfit {
        /// Which.
        machine: String,
        /// What is missing, and what would do.
        problem: String,
    },
}

impl FleetError {
    /// Whether it is an emulated machine's mishap, which may go well another time.
    #[must_use]
    pub fn is_mishap(&self, place: &Place) -> bool {
        match self {
            Self::Lab { why, .. } => why.is_mishap(),
            Self::Agent { .. } => matches!(place, Place::Lab { .. }),
            Self::Unfit { .. } => false,
        }
    }
}

/// An agent, connected when it is needed.
pub struct Peer {
    /// Whose it is: `host`, `client`, a guest's name.
    pub who: String,
    address: String,
    security: Security,
    deadline: Deadline,
    handle: Option<Handle<Stream>>,
}

impl Peer {
    fn new(who: &str, address: String, security: &Security, deadline: &Deadline) -> Self {
        let security = security.of_agent(&[who, &address]);
        let deadline = deadline.clone();
        Self { who: who.to_owned(), address, security, deadline, handle: None }
    }

    /// The connection to it, which is made if need be.
    ///
    /// # Errors
    /// Where it cannot be reached, has another key or another version.
    pub fn handle(&mut self) -> Result<&mut Handle<Stream>, agent::Error> {
        if self.handle.is_none() {
            self.handle = Some(self.another()?);
        }
        self.handle.as_mut().ok_or(agent::Error::Unexpected)
    }

    /// A connection of its own, beside the one for all else.
    ///
    /// # Errors
    /// As [`Self::handle`].
    pub fn another(&self) -> Result<Handle<Stream>, agent::Error> {
        Handle::reach(&self.address, PATIENCE, &self.security, &self.deadline)
    }

    /// Gives up the connection; what it began ends, what it set is set back.
    pub fn forget(&mut self) {
        self.handle = None;
    }
}

/// What an agent answered when it was asked who it is.
#[derive(Debug)]
pub struct Answer {
    /// What it is of: `host`, `client`, a guest's name.
    pub who: String,
    /// Its address.
    pub address: String,
    /// Its machine; or why it is of no use to the plan.
    pub machine: Result<Environment, String>,
}

/// Where a load goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The agent there: an index of [`Station::guests`], or the host's own.
    pub guest: Option<usize>,
    /// Its address for loads.
    pub address: IpAddr,
}

/// A machine under test with all its agents.
pub struct Station {
    /// The machine's name in the plan.
    pub name: String,
    /// The host's agent, or the native machine's.
    pub host: Peer,
    /// The load maker's agent.
    pub client: Option<Peer>,
    /// The guests' agents.
    pub guests: Vec<Peer>,
    /// Where loads go to.
    pub targets: Vec<Target>,
    /// What names functions on its machines.
    pub(crate) files: Files,
    /// Alive as long as this is.
    _testbed: Option<Testbed>,
}

/// How long a lab machine may take to boot: three attempts.
const BOOT: Duration = Duration::from_secs(390);
/// And each of its guests: under the instruction clock some twenty seconds, on a busy host more.
const GUEST: Duration = Duration::from_secs(3 * 45);

impl Station {
    /// Boots the machine, or finds it.
    ///
    /// # Errors
    /// Where a lab machine does not come up, or a key cannot be read.
    pub fn open(
        plan: &Plan,
        machine: &Machine,
        means: &Means,
        progress: &mut dyn lab::Progress,
    ) -> Result<Self, FleetError> {
        match &machine.place {
            Place::Agents { key, host, client, addresses, guests } => {
                let key = key.as_deref().or(means.key.as_deref());
                let security = security(machine, key, host)?;
                let peer =
                    |who: &str, at: &str| Peer::new(who, at.to_owned(), &security, &means.deadline);
                let own = addresses.iter().map(|&address| Target { guest: None, address });
                let theirs = guests.iter().enumerate();
                let theirs =
                    theirs.map(|(at, guest)| Target { guest: Some(at), address: guest.address });
                Ok(Self {
                    name: machine.name.clone(),
                    host: peer("host", host),
                    client: client.as_ref().map(|at| peer("client", at)),
                    targets: if guests.is_empty() { own.collect() } else { theirs.collect() },
                    guests: guests.iter().map(|guest| peer(&guest.name, &guest.agent)).collect(),
                    files: Files::default(),
                    _testbed: None,
                })
            }
            Place::Lab { kind, clock, guests, vcpus } => {
                let (program, key) = (means.program.clone(), means.lab_key.clone());
                let agent = Some(AgentFiles { program, key });
                let spec = plan.lab.spec(*kind, *clock, *guests, *vcpus);
                let spec = Spec { agent, boot_limit: BOOT + GUEST * spec.guests, ..spec };
                Self::boot(plan, machine, &spec, means, progress)
            }
        }
    }

    fn boot(
        plan: &Plan,
        machine: &Machine,
        spec: &Spec,
        means: &Means,
        progress: &mut dyn lab::Progress,
    ) -> Result<Self, FleetError> {
        let failed = |why| FleetError::Lab { machine: machine.name.clone(), why };
        let cache = Cache::open().map_err(failed)?;
        let bed = Testbed::boot(spec, plan.lab.networks, &cache, progress).map_err(failed)?;
        let security = security(machine, Some(&means.lab_key), "")?;
        let server = &bed.spec;
        let peer = |who: &str, machine: &lab::Machine, guest: u32| {
            let address = machine.agent(guest).map_or_else(String::new, |at| at.to_string());
            Peer::new(who, address, &security, &means.deadline)
        };
        let targets = if spec.guests == 0 {
            let networks = 0..plan.lab.networks;
            let own = networks.map(|network| server.address_on(network, 0));
            own.map(|address| Target { guest: None, address: address.into() }).collect()
        } else {
            let guests = (1..=spec.guests).filter_map(|guest| server.data_address(guest));
            let all = guests.enumerate();
            all.map(|(at, (_, address))| Target { guest: Some(at), address: address.into() })
                .collect()
        };
        Ok(Self {
            name: machine.name.clone(),
            host: peer("host", &bed.server, 0),
            client: bed.client.as_ref().map(|client| peer("client", client, 0)),
            guests: (1..=spec.guests).map(|n| peer(&format!("g{n}"), &bed.server, n)).collect(),
            targets,
            files: Files::default(),
            _testbed: Some(bed),
        })
    }

    /// All agents.
    pub fn peers(&mut self) -> impl Iterator<Item = &mut Peer> {
        [&mut self.host].into_iter().chain(&mut self.client).chain(&mut self.guests)
    }

    /// The agents of the host and of the first guests.
    pub fn host_and_guests(&mut self, guests: usize) -> impl Iterator<Item = &mut Peer> {
        [&mut self.host].into_iter().chain(self.guests.iter_mut().take(guests))
    }

    /// The agent of a target.
    pub fn target(&mut self, target: Target) -> &mut Peer {
        match target.guest.and_then(|at| self.guests.get_mut(at)) {
            Some(guest) => guest,
            None => &mut self.host,
        }
    }

    /// Gives up all connections: what they began ends, what they set is set back.
    pub fn forget(&mut self) {
        self.peers().for_each(Peer::forget);
    }

    /// Whether a machine's key can be read, or it needs none, before anything is connected.
    ///
    /// # Errors
    /// Why the key is of no use; that one is needed.
    pub fn access(machine: &Machine, means: &Means) -> Result<(), FleetError> {
        let Place::Agents { key, .. } = &machine.place else { return Ok(()) };
        let key = key.as_deref().or(means.key.as_deref());
        let mut agents = machine.place.agents();
        agents.try_for_each(|(_, address)| security(machine, key, address).map(|_| ()))
    }

    /// Asks every agent who it is.
    pub fn answers(&mut self, machine: &Machine) -> Vec<Answer> {
        let one = |peer: &mut Peer| Answer {
            who: peer.who.clone(),
            address: peer.address.clone(),
            machine: answer(peer, machine).map_err(|error| match error {
                FleetError::Agent { why, .. } => why.to_string(),
                FleetError::Unfit { problem, .. } => problem,
                FleetError::Lab { .. } => error.to_string(),
            }),
        };
        self.peers().map(one).collect()
    }

    /// Asks every agent who it is, and whether the machine is fit for the plan.
    ///
    /// # Errors
    /// The first agent that does not answer, or what the machine lacks.
    pub fn check(&mut self, machine: &Machine) -> Result<(), FleetError> {
        self.peers().try_for_each(|peer| answer(peer, machine).map(|_| ()))
    }
}

/// Asks an agent who it is, and whether its machine is fit for the plan.
fn answer(peer: &mut Peer, machine: &Machine) -> Result<Environment, FleetError> {
    let name = machine.name.clone();
    let (who, address) = (peer.who.clone(), peer.address.clone());
    let lost = |why| FleetError::Agent { machine: name.clone(), who, address, why };
    let handle = match peer.handle() {
        Ok(handle) => handle,
        Err(why) => return Err(lost(why)),
    };
    let (environment, unreadable) =
        (handle.hello().environment.clone(), handle.hello().unreadable.clone());
    let offset = match handle.offset() {
        Ok(offset) => offset,
        Err(why) => return Err(lost(why)),
    };
    let unfit = |problem: String| FleetError::Unfit { machine: name.clone(), problem };
    let (cpus, needs) = (environment.cpus, machine.needs_cpus);
    if peer.who == "host" && cpus < needs {
        return Err(unfit(format!("it has {cpus} CPUs, but the plan needs {needs}")));
    }
    if let Some(why) = unreadable.filter(|_| peer.who == "host") {
        return Err(unfit(format!("its counters cannot be read: {why}")));
    }
    if offset.bound > MOST_APART {
        let bound = offset.bound / 1_000_000;
        return Err(unfit(format!(
            "cannot align the clock of {}: an answer takes at least {bound} ms",
            peer.who
        )));
    }
    Ok(environment)
}

/// An agent whose answers take longer than twice this cannot be told when to read, in ns.
const MOST_APART: u64 = 500_000_000;

/// What keeps others out of the talk with agents at such an address: a key, or the place itself.
fn security(machine: &Machine, key: Option<&Path>, address: &str) -> Result<Security, FleetError> {
    let unfit = |problem: String| FleetError::Unfit { machine: machine.name.clone(), problem };
    if let Some(key) = key {
        return Ok(Security::Keys(Keys::read(key).map_err(|error| unfit(error.to_string()))?));
    }
    let is_loopback = address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback());
    if address.contains('/') || address.starts_with("vsock:") || is_loopback {
        return Ok(Security::Transport);
    }
    Err(unfit(format!(
        "its agent at {address} requires a key: add `key = \"FILE\"` to the plan, or use --key"
    )))
}
