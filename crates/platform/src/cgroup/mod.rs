//! Operating-system-level virtualization: containers and services, as control groups.

mod counters;
mod groups;
mod hierarchy;
mod name;

pub use groups::Groups;
