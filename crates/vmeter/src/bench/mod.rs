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

/// What the exit status of a run says, for `--help`; docs/bench.md has it in full.
const EXIT_STATUS: &str = "\
Exit status:
  0    The run measured what was asked for
  1    Error: the other end was lost, the result could not be written, a program of `cpu` failed
  2    Refused: invalid arguments, or a load that cannot run here
  3    The target failed: no request had a reply with a status below 400 (web)
  4    Invalid: this end was the limit (web: INVALID; tcp: a rate or one packet per write not kept)
  130  Ctrl-C or TERM ended it; the result so far is printed";

/// `vmeter bench`.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_STATUS)]
pub struct BenchArgs {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// TCP packets at a rate, between two machines that both run vmeter
    ///
    /// Start `vmeter bench tcp recv` at one end, then `vmeter bench tcp send` at the other. The
    /// result has both ends' packets, ACKs, CPU and service demand.
    #[command(after_long_help = EXIT_STATUS)]
    Tcp(tcp::TcpArgs),
    /// HTTP requests at a rate that does not wait for the server
    ///
    /// An open loop: requests are sent when they are due, whether or not the server has answered
    /// those before, and the response time counts from that moment. Errors have httperf's names.
    /// A run in which this generator itself was the limit is INVALID, with the reason.
    #[command(after_long_help = EXIT_STATUS)]
    Web(web::WebArgs),
    /// Programs with a compiler's footprint that share CPUs
    ///
    /// An instance is a process with machine code of its own, generated from the seed: thousands
    /// of functions with the cache footprint of a compiler, called in a seeded order. All start
    /// together; one that is done goes on, uncounted, until all are. With --program an instance
    /// is a run of a command, such as a build, under the same rules.
    #[command(after_long_help = EXIT_STATUS)]
    Cpu(cpu::CpuArgs),
    /// One instance of the CPU load, for its parent
    #[command(hide = true)]
    Instance(cpu::InstanceArgs),
    /// Writes the SPECweb99-like file set of the web load
    ///
    /// Each directory has 36 files, 4 classes × 9, of (n+1) × 0.1, 1, 10 and 100 KB: 5 MB. The
    /// contents come from the seed. 61 directories are the dissertation's set.
    Fileset(fileset::FilesetArgs),
    /// Serves a folder over HTTP, for tests and for hosts without a web server
    ///
    /// GET and HEAD of the files below DIR, sent by the kernel (sendfile), over connections that
    /// are kept alive. No directory listings, nothing outside DIR, no encryption.
    Serve(serve::ServeArgs),
    /// Runs iperf3, httperf, wrk or ab on the same target in turn with vmeter
    ///
    /// Each round runs every tool once, every other round in the reverse order. Ratios are
    /// vmeter's figure by the peer's, in the same round: over 1 vmeter does more.
    #[command(after_long_help = EXIT_STATUS)]
    Compare(compare::CompareArgs),
}

/// Where a result goes.
#[derive(Debug, Args)]
struct OutputArgs {
    /// Also writes the result to FILE as JSON (docs/bench.md); - prints only that
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
