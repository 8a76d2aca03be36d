//! The dataset in columns: every attempt with its quantities, and every raw counter, as two
//! Parquet files that other programs read (docs/dataset.md).
//!
//! They are made from the stored runs, which stay the source of truth, and may be deleted.

mod counters;
mod runs;

use crate::record::Record;
use crate::store::{Store, StoreError};
use std::path::PathBuf;
use table::ParquetError;

/// One row for each attempt.
const RUNS: &str = "runs.parquet";
/// One row for each raw counter of each reading.
const COUNTERS: &str = "counters.parquet";
/// The version of both files' columns, in their metadata.
const SCHEMA: &str = "vmeter.dataset/1";

/// What the files' metadata has, of a study of this plan.
fn notes(plan: &str) -> [(&str, &str); 2] {
    [("schema", SCHEMA), ("plan", plan)]
}

/// Writes `runs.parquet` and `counters.parquet` into the study's folder and says where they are.
/// `plan` is the plan's name, for their metadata. Files that are there stay until the new ones
/// are whole.
///
/// # Errors
/// Where the folder cannot be written.
pub fn export(store: &Store, plan: &str, records: &[Record]) -> Result<[PathBuf; 2], StoreError> {
    Ok([
        put(store, RUNS, runs::write(plan, records))?,
        put(store, COUNTERS, counters::write(plan, records))?,
    ])
}

fn put(
    store: &Store,
    name: &str,
    made: Result<Vec<u8>, ParquetError>,
) -> Result<PathBuf, StoreError> {
    let path = store.root().join(name);
    let bytes = made.map_err(|error| StoreError::Wrong {
        path: path.clone(),
        problem: format!("cannot convert the stored runs: {error}"),
    })?;
    store.replace(name, &bytes)?;
    Ok(path)
}

#[cfg(test)]
mod tests;
