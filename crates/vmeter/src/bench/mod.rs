//! `vmeter bench`: the loads of the case study, and what goes with them.

mod compare;
mod cpu;
mod fileset;
mod serve;
mod show;
mod tcp;
mod watch;
mod web;

use crate::failure::{INTERRUPTED, Interrupted};
use crate::pending::Pending;
use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Serialize;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use workload::{Control, Verdict};

/// The exit statuses of a run, for `--help`; docs/bench.md describes them in full.
const EXIT_STATUS: &str = "\
Exit status:
  0    Success: the requested load was measured
  1    Error: lost connection, result not written, or failed program (cpu)
  2    Refused: invalid arguments, or a load that cannot run here
  3    Target failed: no reply with a status below 400 (web)
  4    Invalid: generator too slow (web), rate or one-per-write not kept (tcp)
  130  Interrupted by Ctrl-C or TERM; the result so far is printed";

/// `vmeter bench`.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_STATUS)]
pub struct BenchArgs {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// Sends TCP packets at a constant rate between two machines that run vmeter
    ///
    /// Start `vmeter bench tcp recv` on one machine, then `vmeter bench tcp send` on the other. The
    /// result has packets, ACKs, CPU time and service demand of both ends.
    #[command(after_long_help = EXIT_STATUS)]
    Tcp(tcp::TcpArgs),
    /// Sends HTTP requests at a constant rate that does not depend on the server
    ///
    /// This is an open loop: each request is sent when it is due, even if earlier requests are
    /// unanswered, and response time is measured from that time. Errors have the names that httperf
    /// uses. A run that was limited by this generator is reported as INVALID, with the reason.
    #[command(after_long_help = EXIT_STATUS)]
    Web(web::WebArgs),
    /// Runs programs with the cache footprint of a compiler that share CPUs
    ///
    /// Each instance is a process that generates its own machine code from the seed: thousands of
    /// functions with the cache footprint of a compiler, called in a random order. All instances
    /// start together; one that has finished continues, without being measured, until all have.
    /// With --program, each instance runs a command, such as a build, under the same rules.
    #[command(after_long_help = EXIT_STATUS)]
    Cpu(cpu::CpuArgs),
    /// Runs one instance of the CPU workload for its parent process
    #[command(hide = true)]
    Instance(cpu::InstanceArgs),
    /// Writes the SPECweb99-like file set of the web workload
    ///
    /// Each directory has 36 files (5 MB): 4 classes of 9 files of (n+1) × 0.1, 1, 10 and 100 KB.
    /// The contents are generated from the seed. The dissertation's set has 61 directories.
    Fileset(fileset::FilesetArgs),
    /// Serves a directory over HTTP, for tests and for hosts without a web server
    ///
    /// Answers GET and HEAD for the files below DIR with sendfile(2), over persistent connections.
    /// Does not list directories, follow links out of DIR, or encrypt.
    Serve(serve::ServeArgs),
    /// Compares vmeter with iperf3, httperf, wrk or ab on the same target
    ///
    /// Each round runs every tool once, every other round in the reverse order. A ratio is the
    /// result of vmeter divided by that of the other tool in the same round.
    #[command(after_long_help = EXIT_STATUS)]
    Compare(compare::CompareArgs),
}

/// Where a result goes.
#[derive(Debug, Args)]
struct OutputArgs {
    /// Also write the result to FILE as JSON (docs/bench.md); `-` prints only the JSON
    #[arg(long, value_name = "FILE", display_order = 100)]
    json: Option<PathBuf>,
}

/// The exit status of a run of which nothing went well.
const FAILED: u8 = 3;
/// The exit status of a run whose figures are not those of the load that was asked for.
const INVALID: u8 = 4;

/// How this program is made an instance of the CPU load.
pub fn instance_arguments() -> Vec<String> {
    ["bench", "instance"].map(str::to_owned).to_vec()
}

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

/// The exit status of a run ([`EXIT_STATUS`]).
fn status(control: &Control, verdict: Verdict) -> ExitCode {
    if control.stopped() {
        return ExitCode::from(INTERRUPTED);
    }
    match verdict {
        Verdict::Good => ExitCode::SUCCESS,
        Verdict::Failed => ExitCode::from(FAILED),
        Verdict::Invalid => ExitCode::from(INVALID),
        Verdict::Broken => ExitCode::FAILURE,
    }
}

/// What a load gave; an error after Ctrl-C or TERM is that it was ended.
fn measured<T>(result: Result<T, workload::Error>, control: &Control) -> Result<T> {
    result.map_err(|error| {
        if control.stopped() { Interrupted(error.to_string()).into() } else { error.into() }
    })
}
