//! `vmeter import`: a perf.data as a recording.

use anyhow::{Context, Result};
use clap::Args;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// `vmeter import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// File written by `perf record` or `perf kvm record`
    #[arg(value_name = "PERF.DATA")]
    file: PathBuf,
    /// Directory of the recording; must not exist, or be empty
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
}

/// Runs the subcommand.
///
/// # Errors
/// Not a perf.data file, one that cannot be read, a directory that is not empty, a full disk.
pub fn run(args: &ImportArgs) -> Result<ExitCode> {
    let damages = ::record::import_perf_data(&args.file, &args.output)
        .with_context(|| args.file.display().to_string())?;
    for damage in damages {
        // Where nobody reads it, the recording's notes have it too.
        let _ = writeln!(io::stderr(), "vmeter: {}", model::escape(&damage.to_string()));
    }
    Ok(ExitCode::SUCCESS)
}
