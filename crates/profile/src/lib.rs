//! Where the events happened: clock alignment, merging hosts and guests, symbols, tables and
//! formats.
//!
//! Samples of every kernel's stream are given the VM that caused them, the layer, process, image
//! and address ([`Profile::read`]); what is equal is added up; only then addresses get names
//! ([`symbols::Symbols::find`], [`Named::new`]), and tables, differences and files are made.

pub mod clock;
mod column;
pub mod diff;
pub mod formats;
mod guest;
mod image;
mod known;
mod label;
mod named;
mod names;
mod place;
mod profile;
mod records;
mod report;
mod space;
pub mod summary;
pub mod symbols;
pub mod table;
pub mod tree;
mod walk;
mod words;

pub use image::{ImageId, Kind};
pub use known::EventName;
pub use named::{Named, Row};
pub use names::NameId;
pub use place::{Layer, Part, Placed, VmIndex};
pub use profile::{Count, Key, Options, Profile};
pub use records::{Records, in_memory};
pub use report::{StreamEvent, StreamReport};
pub use space::Dropped;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod profile_tests;
