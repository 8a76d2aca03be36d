//! Snapshots in a file: one JSON object a line, written whole or not at all.

use anyhow::{Context, Result, bail};
use model::Snapshot;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// The name and version of the form.
const SCHEMA: &str = "vmeter.snapshot/1";

/// No line of a saved file is longer than this.
const LONGEST: u64 = 256 << 20;

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

/// A file that will appear under its name once it is complete. What is there before stays
/// until then; what cannot be written is known at once, before anything is measured.
#[derive(Debug)]
pub struct Pending {
    path: PathBuf,
    written: Written,
}

#[derive(Debug)]
enum Written {
    /// Renamed to the name at the end.
    Beside(PathBuf, File),
    /// A device or pipe, which a rename would replace.
    Through(File),
}

impl Pending {
    /// Starts the file.
    pub fn create(path: &Path) -> Result<Self> {
        let failed = || format!("cannot write {}", path.display());
        if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
            let file = File::options().write(true).open(path).with_context(failed)?;
            return Ok(Self { path: path.into(), written: Written::Through(file) });
        }
        let name = path.file_name().with_context(failed)?;
        let mut beside = name.to_os_string();
        beside.push(format!(".{}.part", std::process::id()));
        let beside = path.with_file_name(beside);
        let file = File::create(&beside).with_context(failed)?;
        Ok(Self { path: path.into(), written: Written::Beside(beside, file) })
    }

    /// Writes the contents and gives the file its name.
    pub fn finish(mut self, text: &str) -> Result<()> {
        let failed = format!("cannot write {}", self.path.display());
        match &mut self.written {
            Written::Through(file) => file.write_all(text.as_bytes()).context(failed),
            Written::Beside(beside, file) => file
                .write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
                .and_then(|()| fs::rename(beside, &self.path))
                .context(failed),
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Written::Beside(beside, _) = &self.written {
            // Gone already where it was renamed.
            let _ = fs::remove_file(beside);
        }
    }
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
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (mut first, mut last) = (None, None);
    for (number, line) in BufReader::new(std::io::Read::take(file, LONGEST)).lines().enumerate() {
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
        _ => bail!("{} holds no snapshot: was it written by `vmeter cpu --save`?", path.display()),
    }
}

fn parse(line: &str) -> Result<Snapshot> {
    let loaded: Loaded =
        serde_json::from_str(line).context("not a snapshot of `vmeter cpu --save`")?;
    if loaded.schema != SCHEMA {
        bail!("its form is {:?}, this vmeter reads {SCHEMA:?}", loaded.schema);
    }
    Ok(loaded.snapshot)
}
