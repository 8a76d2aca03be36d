//! `vmeter bench`: the loads of the case study, and what goes with them.

mod compare;
mod cpu;
mod fileset;
mod serve;
mod show;
mod tcp;
mod watch;
mod web;

use crate::pending::Pending;
use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Serialize;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// `vmeter bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// TCP packets at a rate, between two machines that both run vmeter
    Tcp(tcp::TcpArgs),
    /// HTTP requests at a rate that does not wait for the server
    Web(web::WebArgs),
    /// Programs with a compiler's footprint that share CPUs
    Cpu(cpu::CpuArgs),
    /// One instance of the CPU load, for its parent
    #[command(hide = true)]
    Instance(cpu::InstanceArgs),
    /// Writes the SPECweb99-like file set of the web load
    Fileset(fileset::FilesetArgs),
    /// Serves a folder over HTTP, for tests and for hosts without a web server
    Serve(serve::ServeArgs),
    /// Runs iperf3, httperf, wrk or ab on the same target in turn with vmeter
    Compare(compare::CompareArgs),
}

/// Where a result goes.
#[derive(Debug, Args)]
struct OutputArgs {
    /// Also writes the result to FILE as JSON (docs/bench.md); - prints only that
    #[arg(long, value_name = "FILE", display_order = 100)]
    json: Option<PathBuf>,
}

/// The exit status of a run that Ctrl-C ended, as a shell gives it.
const INTERRUPTED: u8 = 130;

/// Runs the subcommand.
pub fn run(args: BenchArgs) -> Result<ExitCode> {
    match args.command {
        BenchCommand::Tcp(args) => tcp::run(&args),
        BenchCommand::Web(args) => web::run(&args),
        BenchCommand::Cpu(args) => cpu::run(&args),
        BenchCommand::Instance(args) => cpu::instance(&args),
        BenchCommand::Fileset(args) => fileset::run(&args),
        BenchCommand::Serve(args) => serve::run(&args),
        BenchCommand::Compare(args) => compare::run(&args),
    }
}

/// A result on its way out: where it goes is opened before anything is measured.
struct Output {
    only_json: bool,
    file: Option<Pending>,
}

impl Output {
    fn open(args: &OutputArgs) -> Result<Self> {
        match &args.json {
            Some(path) if path.as_os_str() == "-" => Ok(Self { only_json: true, file: None }),
            path => {
                let file = path.as_deref().map(Pending::create).transpose()?;
                Ok(Self { only_json: false, file })
            }
        }
    }

    /// Prints the text for people, and writes the JSON where it was asked for.
    fn deliver(self, text: &str, result: &impl Serialize) -> Result<()> {
        let mut console = io::stdout().lock();
        if self.only_json {
            console.write_all(json(result)?.as_bytes())?;
        } else {
            // The text first: where the disk is full, the result is not lost.
            console.write_all(text.as_bytes())?;
        }
        console.flush()?;
        match self.file {
            Some(file) => file.finish(&json(result)?),
            None => Ok(()),
        }
    }
}

fn json(result: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string_pretty(result)? + "\n")
}

/// 130 where Ctrl-C ended the run.
fn status(interrupted: bool) -> ExitCode {
    if interrupted { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS }
}
