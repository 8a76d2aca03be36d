//! Operating-system-level virtualization: containers and services, as control groups.

mod counters;
mod groups;
mod hierarchy;
mod name;
mod pods;
mod rows;

pub use groups::Groups;
pub use rows::{GroupPattern, GroupRows};
