//! Snapshots in a file: one JSON object a line, written whole or not at all.

use anyhow::{Context, Result, bail};
use model::Snapshot;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// The name and version of the form.
const SCHEMA: &str = "vmeter.snapshot/1";

/// Bytes of a saved file that are read: two moments of some thousand VMs have 20 MB.
const LONGEST: u64 = 64 << 20;

#[derive(Serialize)]
struct Line<'a> {
    schema: &'a str,
    snapshot: &'a Snapshot,
}

#[derive(Deserialize)]
struct Loaded {
    schema: String,
    snapshot: Snapshot,
}

/// The snapshots as lines.
pub fn lines(snapshots: &[&Snapshot]) -> Result<String> {
    let mut text = String::new();
    for snapshot in snapshots {
        text.push_str(&serde_json::to_string(&Line { schema: SCHEMA, snapshot })?);
        text.push('\n');
    }
    Ok(text)
}

/// The first and the last snapshot of a file.
pub fn load(path: &Path) -> Result<(Snapshot, Snapshot)> {
    let file = files::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    read(file, path)
}

/// The first and the last snapshot of such lines; `path` names them in errors.
pub fn read(lines: impl Read, path: &Path) -> Result<(Snapshot, Snapshot)> {
    let (mut first, mut last) = (None, None);
    for (number, line) in BufReader::new(lines.take(LONGEST)).lines().enumerate() {
        let line = line.with_context(|| format!("cannot read {}", path.display()))?;
        let snapshot =
            parse(&line).with_context(|| format!("{}, line {}", path.display(), number + 1))?;
        if first.is_none() {
            first = Some(snapshot.clone());
        }
        last = Some(snapshot);
    }
    match (first, last) {
        (Some(first), Some(last)) => Ok((first, last)),
        _ => bail!(
            "{} has no snapshot: expected a file written by `vmeter cpu --save`",
            path.display()
        ),
    }
}

fn parse(line: &str) -> Result<Snapshot> {
    let loaded: Loaded =
        serde_json::from_str(line).context("expected a snapshot written by `vmeter cpu --save`")?;
    if loaded.schema != SCHEMA {
        bail!("unsupported version {:?}: expected {SCHEMA:?}", loaded.schema);
    }
    Ok(loaded.snapshot)
}
