//! `vmeter bench serve`: a static server.

use super::watch::{Line, watch};
use crate::interrupt::interruptible;
use anyhow::Result;
use clap::Args;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;
use workload::serve::Server;

/// `vmeter bench serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Directory to serve
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Address to listen on; port 0 selects a free port and prints it
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: String,
    /// Number of threads [default: one per CPU]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// Runs the subcommand.
pub fn run(args: &ServeArgs) -> Result<ExitCode> {
    let server = Server::bind(&args.dir, &args.listen)?;
    let control = interruptible()?;
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    writeln!(io::stderr(), "serving at http://{}/; stop with Ctrl-C", server.address()?)?;
    let line = Line { what: "serve", unit: "requests", length: None, total: None };
    watch(&line, &control, || server.run(args.threads.unwrap_or(cpus), &control))?;
    let counts = server.counts();
    writeln!(
        io::stderr(),
        "{} served, {} refused, {} bytes of bodies",
        counts.served.load(Relaxed),
        counts.refused.load(Relaxed),
        counts.bytes.load(Relaxed)
    )?;
    Ok(ExitCode::SUCCESS)
}
