//! Recordings: append, read, compact, import, export.
//!
//! A recording is a folder (docs/recording.md). While it is made, a [`Writer`] appends what
//! kernels wrote as it is; closing it makes its files compact; a [`Recording`] reads either.

mod block;
mod chunk;
mod column;
mod error;
mod head;
mod import;
mod merge;
mod parquet;
mod perf_data;
mod reader;
mod sorted;
#[cfg(test)]
mod testing;
mod writer;

pub use error::{Cause, Damage, Error};
pub use head::{Entry, Environment, Head, SCHEMA};
pub use import::import_perf_data;
pub use parquet::export_parquet;
pub use reader::{Ahead, Batch, Recording, Records};
pub use writer::{Writer, close};
