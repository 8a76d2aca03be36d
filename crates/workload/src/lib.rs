//! The loads of the case study (chapter 5): a TCP stream of one packet a write, web requests at
//! a rate that does not wait for the server, and a CPU load with a compiler's footprint.
//!
//! A workload is a plan (what to do), a run (threads and epoll, no printing) and an outcome that
//! serializes to the JSON that docs/bench.md describes. The one who runs it shares a [`Control`]
//! with it: to end it early, and to see how far it is.

pub mod address;
mod affinity;
pub mod clock;
mod control;
pub mod cpu;
mod environment;
mod error;
pub mod fileset;
mod latency;
pub mod peers;
mod seconds;
pub mod serve;
mod socket;
pub mod tcp;
mod usage;
mod verdict;
pub mod web;

pub use control::{Control, Progress};
pub use environment::{Environment, Feature, Offloads};
pub use error::Error;
pub use latency::{Latency, Percentiles};
pub use usage::CpuTime;
pub use verdict::Verdict;
