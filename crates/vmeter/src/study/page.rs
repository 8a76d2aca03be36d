//! `vmeter study report`: what is stored as a page, tables or data.

use super::{Format, ReportArgs};
use ::study::{Store, report};
use anyhow::{Context, Result};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) fn make(args: &ReportArgs) -> Result<ExitCode> {
    let store = Store::open(&args.dir.dir)?;
    if args.format == Format::Html {
        let path = write_html(&store, args.output.as_deref())?;
        writeln!(io::stdout(), "{}", path.display())?;
        return Ok(ExitCode::SUCCESS);
    }
    let found = report(&store.plan()?, &store.records()?);
    let text = match args.format {
        Format::Html => ::report::html(&found),
        Format::Markdown => ::report::markdown(&found),
        Format::Csv => ::report::csv_all(&found),
        Format::Json => ::report::json(&found),
    };
    match &args.output {
        Some(path) => replace(path, &text)?,
        None => io::stdout().write_all(text.as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the page, into the study's folder unless told otherwise.
pub(super) fn write_html(store: &Store, path: Option<&Path>) -> Result<PathBuf> {
    let found = report(&store.plan()?, &store.records()?);
    let path = path.map_or_else(|| store.root().join("report.html"), Path::to_owned);
    replace(&path, &::report::html(&found))?;
    Ok(path)
}

/// The old page stays until the new one is whole.
fn replace(path: &Path, text: &str) -> Result<()> {
    let part = path.with_extension("part");
    let write = || fs::write(&part, text).and_then(|()| fs::rename(&part, path));
    write()
        .inspect_err(|_| {
            let _ = fs::remove_file(&part);
        })
        .with_context(|| format!("cannot write {}", path.display()))
}
