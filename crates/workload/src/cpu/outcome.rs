//! What a CPU load took: the JSON `vmeter.bench.cpu/1`.

use crate::{CpuTime, Environment};
use serde::{Deserialize, Serialize};

/// The schema of [`Outcome`].
pub const SCHEMA: &str = "vmeter.bench.cpu/1";

/// How long n instances took for the same work each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// [`SCHEMA`].
    pub schema: String,
    /// Whether it was ended before all instances had done their work.
    pub partial: bool,
    /// The work of each instance.
    pub work: Work,
    /// The instances, by index.
    pub instances: Vec<InstanceOutcome>,
    /// From the barrier to the last counted finish; `None` where there is none.
    pub seconds: Option<f64>,
    /// Where it ran.
    pub environment: Environment,
}

/// The fixed work of an instance: one run of a program, or passes over generated code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Bytes of generated code; `None` for a program, as are the next five.
    pub text_bytes: Option<u64>,
    /// Bytes of data.
    pub data_bytes: Option<u64>,
    /// What both were drawn from.
    pub seed: Option<u64>,
    /// Passes counted.
    pub passes: Option<u64>,
    /// Functions generated; `None` too where it ended before they were.
    pub functions: Option<u64>,
    /// Calls from outside in a pass; each leads to more inside.
    pub calls_per_pass: Option<u64>,
    /// The command that was run.
    pub program: Option<String>,
}

/// What one instance took. Times are `None` where it did not finish its work.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct InstanceOutcome {
    /// Its number, from 0.
    pub index: usize,
    /// The CPU that it was bound to.
    pub cpu: Option<usize>,
    /// Passes or runs of its work that are done: all of them, unless it ended early or failed.
    pub done: u64,
    /// From the barrier to the end of its work.
    pub seconds: Option<f64>,
    /// Its CPU time for the work. `seconds` less this is time it waited; the growth of this
    /// over one instance alone is what the instances cost each other in caches.
    pub cpu_s: Option<CpuTime>,
    /// Passes or runs finished after its work, while others still worked.
    pub extra: Option<u64>,
    /// A digest of all that was executed, in hexadecimal; the same for the same work.
    pub checksum: Option<String>,
    /// Context switches during the work because it waited.
    pub voluntary_switches: Option<u64>,
    /// Context switches during the work because others were let run.
    pub involuntary_switches: Option<u64>,
    /// Why it has no times, where that was not because of an early end.
    pub error: Option<String>,
}

impl Outcome {
    /// CPU seconds of all instances that finished their work.
    #[must_use]
    pub fn cpu_seconds(&self) -> f64 {
        self.instances.iter().filter_map(|one| one.cpu_s).map(CpuTime::total).sum()
    }
}
