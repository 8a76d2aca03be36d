//! TCP streams at a fixed packet rate, one packet a write if wanted (chapter 5's network load).
//!
//! One end sends and drives: it warms up, drains, asks the other end for a mark, sends for the
//! measured window, drains again and asks for a second mark. What each end counts between the
//! two marks are therefore the same packets, to the last acknowledgement.

mod device;
mod drive;
mod follow;
mod join;
mod outcome;
mod pace;
mod plan;
mod server;
mod stage;
mod wire;

#[cfg(test)]
mod attack_tests;

pub use join::send;
pub use outcome::{Cpu, Demand, Device, End, OnePerWrite, Outcome, Second, SpunCpu, Totals};
pub use plan::{Pace, Packets, Plan, UNPACED_CONGESTION};
pub use server::Server;
