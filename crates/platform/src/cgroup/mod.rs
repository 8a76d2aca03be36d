//! Operating-system-level virtualization: containers and services, as control groups.

mod counters;
mod groups;
mod hierarchy;
mod name;
mod total;

pub use groups::Groups;
pub use total::Total;
