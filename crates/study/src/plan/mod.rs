//! What to measure: machines, loads, what varies, how often, and the figures that it is for.

mod check;
mod kind;
mod loads;
mod read;
pub(crate) mod work;

pub use kind::FigureKind;

use agent::Setting;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;
use workload::serve::Software;

/// A plan that was read and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Its name, such as `fig-6.1`.
    pub id: String,
    /// Its title.
    pub title: String,
    /// What it asks.
    pub question: String,
    /// How long it takes, for who chooses one.
    pub takes: String,
    /// How often each point is measured: so many blocks.
    pub repetitions: usize,
    /// Of the order in each block.
    pub seed: u64,
    /// How long a machine may take to be idle before a run; after that it is measured all the
    /// same, with a warning.
    pub settle: Duration,
    /// How lab machines are booted.
    pub lab: Lab,
    /// The machines that are compared.
    pub machines: Vec<Machine>,
    /// The machine that the others are compared with, an index of `machines`, where the plan names
    /// one.
    pub named_baseline: Option<usize>,
    /// The loads.
    pub workloads: Vec<Workload>,
    /// What is drawn.
    pub figures: Vec<Figure>,
    /// The text that it was read from.
    pub text: String,
}

/// How lab machines are booted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lab {
    /// What makes time pass.
    pub clock: lab::Clock,
    /// CPUs of each machine.
    pub cpus: u32,
    /// Data networks of each machine.
    pub networks: usize,
    /// The Debian suite of the software under test.
    pub suite: String,
}

/// A machine under test.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Where it comes from.
    pub place: Place,
    /// CPUs that it must have at least.
    pub needs_cpus: usize,
    /// Settings that are measured one against the other; one without a name where there is
    /// nothing to compare.
    pub configurations: Vec<Configuration>,
}

/// Settings of a machine that are in force in some of its runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Configuration {
    /// Its name; empty where it is the only one.
    pub name: String,
    /// What is set on the host.
    pub set: Vec<Setting>,
}

/// Where a machine comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Place {
    /// It is booted, and its client.
    Lab {
        /// Which virtualization.
        kind: lab::Kind,
        /// What makes its time pass; machines of different clocks are not compared.
        clock: lab::Clock,
        /// Guests.
        guests: u32,
        /// vCPUs of each.
        vcpus: u32,
    },
    /// It is there, with agents.
    Agents {
        /// The key file of all of them.
        key: Option<std::path::PathBuf>,
        /// The agent of the host, or of the native machine.
        host: String,
        /// The agent of the one that makes the load.
        client: Option<String>,
        /// Where the loads of a native machine go to, one for each network.
        addresses: Vec<IpAddr>,
        /// Its guests, where it has some.
        guests: Vec<Guest>,
    },
}

/// How a machine's time passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Clock {
    /// A lab machine's, by the instructions that it executes.
    Instructions,
    /// A lab machine's, by the clock of the host that emulates it.
    Host,
    /// That of a machine of one's own.
    Hardware,
}

impl Clock {
    /// What it is called in identifiers of figures.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Instructions => "instructions",
            Self::Host => "host",
            Self::Hardware => "hardware",
        }
    }

    /// The machines that go by it, for people.
    #[must_use]
    pub fn machines(self) -> &'static str {
        match self {
            Self::Instructions => "machines by the instruction clock",
            Self::Host => "machines by the host's clock",
            Self::Hardware => "machines with agents of their own",
        }
    }
}

/// A guest with an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// Its name on the host.
    pub name: String,
    /// Its agent.
    pub agent: String,
    /// Where its load goes to.
    pub address: IpAddr,
}

impl Lab {
    /// What to boot for a machine.
    #[must_use]
    pub fn spec(&self, kind: lab::Kind, clock: lab::Clock, guests: u32, vcpus: u32) -> lab::Spec {
        let (cpus, suite) = (self.cpus, self.suite.clone());
        lab::Spec { guests, vcpus, cpus, clock, suite, ..lab::Spec::new(kind) }
    }
}

impl Place {
    /// Guests that there are.
    #[must_use]
    pub fn guests(&self) -> usize {
        match self {
            Self::Lab { guests, .. } => *guests as usize,
            Self::Agents { guests, .. } => guests.len(),
        }
    }

    /// How its time passes: times of machines that differ in it cannot be compared.
    #[must_use]
    pub fn clock(&self) -> Clock {
        match self {
            Self::Lab { clock: lab::Clock::Instructions, .. } => Clock::Instructions,
            Self::Lab { clock: lab::Clock::Host, .. } => Clock::Host,
            Self::Agents { .. } => Clock::Hardware,
        }
    }

    /// The names of its guests on the host.
    #[must_use]
    pub fn guest_names(&self) -> Vec<String> {
        match self {
            Self::Lab { guests, .. } => (1..=*guests).map(|n| format!("g{n}")).collect(),
            Self::Agents { guests, .. } => guests.iter().map(|g| g.name.clone()).collect(),
        }
    }

    /// Whether it is a machine without VMs, the baseline.
    #[must_use]
    pub fn is_native(&self) -> bool {
        self.guests() == 0
    }
}

/// A load with all that varies in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// Its name.
    pub name: String,
    /// Load before the window.
    pub warmup: Duration,
    /// The measured window.
    pub window: Duration,
    /// How many targets get the load at once: guests, or networks of a native machine.
    pub targets: usize,
    /// The loads, by what varies.
    pub points: Vec<Load>,
}

impl Workload {
    /// How many guests, from the first on, have a part in a load of it.
    #[must_use]
    pub fn guests_at_work(&self, load: &Load) -> usize {
        match load {
            Load::Cpu { instances, place: CpuPlace::DifferentGuests, .. } => *instances,
            Load::Cpu { .. } => 1,
            _ => self.targets,
        }
    }
}

/// One point of a load: everything that varies has a value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Load {
    /// TCP from the client to each target, a packet a write.
    Tcp {
        /// Bytes of a write.
        size: u64,
        /// Writes a second.
        rate: f64,
    },
    /// HTTP from the client to a server in each target.
    Web {
        /// New connections, or requests, a second.
        rate: f64,
        /// What the rate counts.
        per: workload::web::Per,
        /// Directories of the file set.
        dirs: usize,
        /// What serves it. Runs that were stored before it could be chosen do not say.
        #[serde(default)]
        server: Software,
        /// What is sampled meanwhile.
        #[serde(default)]
        sample: Events,
    },
    /// Programs that only compute.
    Cpu {
        /// How many at once, all on one CPU.
        instances: usize,
        /// Where, on a machine with guests.
        place: CpuPlace,
        /// Bytes of code.
        text: u64,
        /// Bytes of data.
        data: u64,
        /// Passes of each: the fixed work.
        passes: u64,
        /// What is sampled meanwhile.
        #[serde(default)]
        sample: Events,
    },
    /// The web file set itself: its statistics, no machine.
    Fileset {
        /// Directories.
        dirs: usize,
    },
}

/// Events, each as `NAME` or `NAME:PERIOD`, that the agents sample during a load; mostly none.
pub type Events = Vec<String>;

/// Where instances of the CPU load run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CpuPlace {
    /// All in the first guest.
    SameGuest,
    /// Each in a guest of its own; all guests' vCPUs on one CPU.
    DifferentGuests,
}

impl Load {
    /// A line for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let text = match self {
            Self::Tcp { size, rate } => format!("TCP {size} B, {rate}/s"),
            Self::Web { rate, per, server, .. } => {
                let unit = match per {
                    workload::web::Per::Connection => "connections",
                    workload::web::Per::Request => "requests",
                };
                format!("web by {server}, {rate} {unit}/s")
            }
            Self::Cpu { instances, place: CpuPlace::SameGuest, .. } => {
                format!("CPU, {instances} programs")
            }
            Self::Cpu { instances, .. } => format!("CPU, {instances} programs, a guest each"),
            Self::Fileset { dirs } => format!("file set of {dirs} directories"),
        };
        match self.sample() {
            [] => text,
            events => format!("{text}, sampled by {}", events.join(" and ")),
        }
    }

    /// The events that are sampled meanwhile.
    #[must_use]
    pub fn sample(&self) -> &[String] {
        match self {
            Self::Web { sample, .. } | Self::Cpu { sample, .. } => sample,
            Self::Tcp { .. } | Self::Fileset { .. } => &[],
        }
    }

    /// The same load with other events sampled, where it can have some.
    #[must_use]
    pub fn sampled_by(&self, events: &[String]) -> Self {
        let mut load = self.clone();
        if let Self::Web { sample, .. } | Self::Cpu { sample, .. } = &mut load {
            *sample = events.to_vec();
        }
        load
    }
}

/// A figure of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Which one.
    pub kind: FigureKind,
    /// The load that it shows, an index of [`Plan::workloads`].
    pub workload: usize,
}

/// Why a text is no plan, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct PlanError {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What cannot be, and what could.
    pub problem: String,
}

impl Plan {
    /// Reads and checks a plan; `file` is its name in errors.
    ///
    /// # Errors
    /// The first thing that cannot be, with its line.
    pub fn parse(text: &str, file: &str) -> Result<Self, PlanError> {
        read::plan(text, file)
    }

    /// Whether it needs the lab.
    #[must_use]
    pub fn needs_lab(&self) -> bool {
        self.machines.iter().any(|machine| matches!(machine.place, Place::Lab { .. }))
    }

    /// The machine that another one is compared with. It is the one that the plan names, where both
    /// go by the same clock; else the first without guests that goes by the same clock, for a
    /// machine with guests. `None` where there is none to compare with.
    #[must_use]
    pub fn baseline(&self, machine: usize) -> Option<usize> {
        let own = &self.machines.get(machine)?.place;
        let same_clock = |other: usize| self.machines[other].place.clock() == own.clock();
        if let Some(named) = self.named_baseline.filter(|&named| same_clock(named)) {
            return Some(named).filter(|_| named != machine);
        }
        let native = |other: &usize| self.machines[*other].place.is_native() && same_clock(*other);
        (0..self.machines.len()).find(native).filter(|_| !own.is_native())
    }

    /// A machine by its name.
    #[must_use]
    pub fn machine(&self, name: &str) -> Option<&Machine> {
        self.machines.iter().find(|machine| machine.name == name)
    }
}

#[cfg(test)]
mod tests;
