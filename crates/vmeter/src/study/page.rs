//! `vmeter study report`: what is stored as a page, tables or data.

use super::{Format, ReportArgs};
use crate::failure::Refused;
use crate::pending::Pending;
use ::study::{Plan, Record, Store, export, report};
use anyhow::Result;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) fn make(args: &ReportArgs) -> Result<ExitCode> {
    if args.format == Format::Parquet && args.output.is_some() {
        let text = "--format parquet writes two files to the study's directory: omit --output";
        return Err(Refused(text.to_owned()).into());
    }
    let store = Store::open(&args.dir.dir)?;
    let (plan, records) = (store.plan()?, store.records()?);
    let found = || report(&plan, &records);
    let text = match args.format {
        Format::Html => {
            let path = write_html(&store, &plan, &records, args.output.as_deref())?;
            writeln!(io::stdout(), "{}", path.display())?;
            return Ok(ExitCode::SUCCESS);
        }
        Format::Parquet => {
            for path in export(&store, &plan.id, &records)? {
                writeln!(io::stdout(), "{}", path.display())?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        Format::Markdown => ::study_report::markdown(&found()),
        Format::Csv => ::study_report::csv_all(&found()),
        Format::Json => ::study_report::json(&found()),
    };
    match &args.output {
        Some(path) => Pending::create(path)?.finish(&text)?,
        None => io::stdout().write_all(text.as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the page and the dataset into the study's folder, and says where the page is.
pub(super) fn write_all(store: &Store, plan: &Plan) -> Result<PathBuf> {
    let records = store.records()?;
    let path = write_html(store, plan, &records, None)?;
    export(store, &plan.id, &records)?;
    Ok(path)
}

/// Writes the page, into the study's folder unless told otherwise.
fn write_html(
    store: &Store,
    plan: &Plan,
    records: &[Record],
    path: Option<&Path>,
) -> Result<PathBuf> {
    let path = path.map_or_else(|| store.root().join("report.html"), Path::to_owned);
    Pending::create(&path)?.finish(&::study_report::html(&report(plan, records)))?;
    Ok(path)
}
