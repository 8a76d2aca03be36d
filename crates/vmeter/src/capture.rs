//! `vmeter capture`: saves what vmeter reads, to be read again elsewhere with `--root`.

use anyhow::{Context, Result};
use clap::Args;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

/// `vmeter capture`.
#[derive(Debug, Args)]
pub struct CaptureArgs {
    /// Directory to save to; must not exist, or be empty
    dir: PathBuf,

    /// Time between the two readings that are saved
    #[arg(long, short = 'd', value_name = "TIME", default_value = "1s",
          value_parser = crate::args::interval)]
    interval: Duration,
}

/// Saves two moments as a series, so that a rate can be computed from them.
pub fn run(args: &CaptureArgs) -> Result<ExitCode> {
    let dir = args.dir.display();
    files::make_folders(&args.dir).with_context(|| format!("cannot create {dir}"))?;
    let mut there = fs::read_dir(&args.dir).with_context(|| format!("cannot read {dir}"))?;
    if there.next().is_some() {
        let reason = format!("{dir} is not empty: use a new directory");
        return Err(crate::failure::Refused(reason).into());
    }
    platform::xen::capture(&args.dir.join("at-0"))?;
    thread::sleep(args.interval);
    platform::xen::capture(&args.dir.join("at-1"))?;
    Ok(ExitCode::SUCCESS)
}
