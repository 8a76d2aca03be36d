//! What agent and controller say to each other.

use crate::{Changed, Stage};
use model::{Interrupts, Snapshot};
use serde::{Deserialize, Serialize};
use workload::Environment;

/// Changes with every message that an older end would not understand.
pub const PROTOCOL: u32 = 2;

/// From the controller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Always first: who is there?
    Hello {
        /// The controller's protocol.
        protocol: u32,
    },
    /// What time is it?
    Clock,
    /// Read all counters once.
    Snapshot {
        /// Each vCPU's too.
        vcpus: bool,
    },
    /// Start a workload, which ends with this connection: a [`crate::Work`] as JSON.
    Start {
        /// What to run.
        work: String,
    },
    /// How far is it?
    Stage {
        /// The workload's number.
        job: u32,
    },
    /// End it with what it has.
    Stop {
        /// The workload's number.
        job: u32,
    },
    /// Which CPU takes which interrupt, and may?
    Interrupts,
    /// Set something until this connection ends: a [`crate::Setting`] as JSON.
    Set {
        /// What to set.
        setting: String,
    },
    /// Undo all that was set by this connection.
    Restore,
}

/// From the agent, one for each request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// Who this is.
    Hello(Box<Hello>),
    /// The agent's clock when it took the request, in nanoseconds.
    Clock {
        /// CLOCK_MONOTONIC.
        monotonic: u64,
    },
    /// Everything that was read.
    Snapshot(Box<Snapshot>),
    /// A workload has begun.
    Started {
        /// Its number on this connection.
        job: u32,
        /// Where it listens, where it does.
        address: Option<String>,
    },
    /// How far a workload is.
    Stage(Stage),
    /// The table of interrupts.
    Interrupts(Box<Interrupts>),
    /// It is set.
    Set {
        /// Each thing that it is about, and how that was before.
        was: Vec<Changed>,
    },
    /// All settings are undone but for these.
    Restored {
        /// What could not be undone, and why.
        failed: Vec<String>,
    },
    /// It cannot be done: why. The connection goes on.
    Failed(String),
}

/// Who an agent is and what it can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// Its protocol.
    pub protocol: u32,
    /// Its machine's host name.
    pub host: String,
    /// vmeter's version and the machine.
    pub environment: Environment,
    /// Why it cannot read counters, where it cannot.
    pub unreadable: Option<String>,
}
