//! An open-loop HTTP/1.1 generator (chapter 5's web load): requests are sent when they are due,
//! whether or not the server has answered those before.
//!
//! Each thread has its own epoll, schedule, connections and histograms; nothing is shared while
//! it runs. What is late is told apart: the generator's lateness, and the server's answer.

mod classes;
mod connection;
mod gather;
mod outcome;
mod plan;
mod reply;
mod requests;
mod run;
mod schedule;
mod tally;
mod target;
mod worker;

pub use classes::Errors;
pub use outcome::{Outcome, Second};
pub use plan::{Arrivals, Load, Per, Plan};
pub use run::run;
pub(crate) use target::Target;

#[cfg(test)]
mod tests;
