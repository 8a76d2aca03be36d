//! The Linux that vmeter runs in: the host, or the driver domain on Xen.
//!
//! Everything is read below a [`Tree`], live or saved. What comes from outside is bytes: the
//! parsers are pure, take any input and answer `None` for what they cannot understand.

mod clock;
mod devices;
mod idle;
mod irqtime;
mod kept;
mod linux;
mod load;
mod process;
mod stat;
mod table;
mod text;
mod tree;

pub use devices::{LinkCounters, NetDevices};
pub(crate) use idle::run_everywhere;
pub(crate) use kept::Kept;
pub use linux::Linux;
pub(crate) use linux::parse_resident;
pub(crate) use load::physical_disks;
pub(crate) use process::ThreadFiles;
pub use process::{ProcessStat, ThreadTimes, process_clock, process_start};
pub use stat::inside;
pub use table::{Task, TaskTable};
pub use text::{Lines, Words, fields, lines, number, parse_number, text};
pub use tree::Tree;
pub(crate) use tree::read_again;
