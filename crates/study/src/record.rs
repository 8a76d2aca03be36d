//! What is kept of a run: raw counters, the load's own result, the machines.

use crate::plan::Load;
use model::{Event, Interrupts, Snapshot};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use workload::Environment;

/// One attempt at a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The run's number in the schedule, from 1.
    pub number: usize,
    /// Its block, from 1.
    pub block: usize,
    /// The attempt, from 1.
    pub attempt: usize,
    /// The machine under test; `None` where none was needed.
    pub machine: Option<String>,
    /// Its configuration; empty where there is only one.
    pub configuration: String,
    /// The workload's name.
    pub workload: String,
    /// The point of it.
    pub load: Load,
    /// When it began, in seconds since 1970.
    pub began_unix_s: f64,
    /// How long it took in all.
    pub took_s: f64,
    /// What came of it.
    pub ending: Ending,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// It was measured.
    Measured(Box<Data>),
    /// It was not: why.
    Failed(String),
}

/// Everything that was read in a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Data {
    /// The host's counters at both ends of the window; `None` where no machine was needed.
    pub host: Option<Counters>,
    /// Each target's own counters around it, by the target's name.
    pub targets: BTreeMap<String, Counters>,
    /// Seconds between the two readings by the controller's clock, which is the load's.
    pub window_s: Option<f64>,
    /// CPUs that were busy on the host just before the run.
    pub busy_before: Option<f64>,
    /// The load's own results (docs/bench.md), one for each target.
    pub outcomes: Vec<serde_json::Value>,
    /// The web servers and their versions (`nginx/1.22.1`), by the target's name; nothing where the
    /// load has no web server, or the server reports no version.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub servers: BTreeMap<String, String>,
    /// What the agents sampled during the load, by whose it is: `host`, a guest's name; nothing
    /// where the load says no `sample`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub samples: BTreeMap<String, Sampled>,
    /// The machines that took part, by their role: `host`, `client`, a guest's name.
    pub environments: BTreeMap<String, Environment>,
    /// The host's interrupts and the CPUs that they may go to.
    pub interrupts: Option<Interrupts>,
    /// What was set for this run, and how it was.
    pub changes: Vec<String>,
    /// What to know before believing it.
    pub warnings: Vec<String>,
}

/// What an agent sampled of its own machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampled {
    /// The events, as they were asked for and as they were counted.
    pub events: Vec<Event>,
    /// Samples by function; those of idle CPUs apart.
    pub functions: Vec<Function>,
    /// Records that the kernel lost.
    pub lost: u64,
    /// What was given up, and what is missing.
    pub notes: Vec<String>,
}

/// What a function had of an event; escaped text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// The event, as it was asked for.
    pub event: String,
    /// The process's name.
    pub process: String,
    /// The image's file name, or what it is in brackets.
    pub image: String,
    /// The function; `None` is all that has no name in the image.
    pub symbol: Option<String>,
    /// Samples.
    pub samples: u64,
    /// Events, nanoseconds of clocks: the sum of their periods.
    pub events: u64,
}

/// Two readings of the same counters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// At the window's begin.
    pub begin: Snapshot,
    /// At its end.
    pub end: Snapshot,
}

impl Record {
    /// What was read, where it was measured.
    #[must_use]
    pub fn data(&self) -> Option<&Data> {
        match &self.ending {
            Ending::Measured(data) => Some(data),
            Ending::Failed(_) => None,
        }
    }
}
