//! The tools that performance engineers know, run on the same target in turn with vmeter:
//! iperf3, httperf, wrk and ab. Their output is read, their CPU is what the kernel counted.

mod command;
mod iperf3;
mod web;

pub use iperf3::{Target, iperf3};
pub use web::{Peer, run};

use serde::{Deserialize, Serialize};

/// One run of one tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The tool: `vmeter`, `iperf3`, `httperf`, `wrk` or `ab`.
    pub tool: String,
    /// Its version, where it tells.
    pub version: Option<String>,
    /// How it was called; of vmeter, what it did.
    pub command: String,
    /// What it got done: bytes or replies.
    pub work: f64,
    /// In so many seconds.
    pub duration_s: f64,
    /// CPU seconds of the generator; of TCP, of both ends.
    pub cpu_s: f64,
    /// Errors that it reported.
    pub errors: u64,
    /// Median response time, where it tells.
    pub p50_s: Option<f64>,
    /// The time that 99 % of its responses took at most, where it tells.
    pub p99_s: Option<f64>,
}

impl Run {
    /// Work in a second.
    #[must_use]
    pub fn per_s(&self) -> Option<f64> {
        (self.duration_s > 0.0).then(|| self.work / self.duration_s)
    }

    /// Work in a second of the generator's CPU.
    #[must_use]
    pub fn per_cpu_s(&self) -> Option<f64> {
        (self.cpu_s > 0.0).then(|| self.work / self.cpu_s)
    }
}
