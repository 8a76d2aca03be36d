//! Operating-system-level virtualization: containers and services, as control groups.

mod counters;
mod groups;
mod hierarchy;
mod name;
mod pods;
mod rows;
mod total;
mod vms;

pub use groups::Groups;
pub use rows::{GroupPattern, GroupRows};
pub use total::Total;
