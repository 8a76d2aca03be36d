//! `vmeter cpu`: busy time, cumulative or across two moments (Xencpu's heir, section 4.2.1).

mod command;
pub mod moments;
mod print;

use crate::args::{GroupArgs, ReadArgs};
use crate::failure::{self, Refused};
use crate::pending::Pending;
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use model::Snapshot;
use platform::{Source, Want};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// `vmeter cpu`.
#[derive(Debug, Args)]
pub struct CpuArgs {
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    groups: GroupArgs,
    /// Only the VM of this name or id
    #[arg(long, value_name = "NAME")]
    vm: Option<String>,
    /// Only the vCPU of this number (cumulative times)
    #[arg(long, value_name = "N", conflicts_with_all = ["command", "from", "to"])]
    vcpu: Option<u32>,
    /// Keeps what was read in FILE (with COMMAND: both moments), for --from and --to
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Reports from the first moment in FILE on …
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    from: Option<PathBuf>,
    /// … to the last moment in FILE; without it, to now
    #[arg(long, value_name = "FILE", requires = "from")]
    to: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Writes the report to FILE; else COMMAND's goes to standard error, others to output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Measures across this command and ends with its exit status, also where the report cannot be
    /// written
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Columns for people.
    Table,
    /// One JSON object.
    Json,
}

/// Runs the subcommand.
pub fn run(args: &CpuArgs) -> Result<ExitCode> {
    let save = args.save.as_deref().map(Pending::create).transpose()?;
    let output = args.output.as_deref().map(Pending::create).transpose()?;
    if let Some(from) = &args.from {
        let from = moments::load(from)?.0;
        let to = match &args.to {
            Some(to) => moments::load(to)?.1,
            None => read(args)?,
        };
        let saved = save.map_or(Ok(()), |save| save.finish(&moments::lines(&[&from, &to])?));
        report(args, &from, &to, output, None, &mut io::stdout())?;
        return saved.map(|()| ExitCode::SUCCESS);
    }
    if args.command.is_empty() {
        return cumulative(args, save, output);
    }
    let mut source = open(args)?;
    let want = Want { vcpus: true, placement: false, exact_idle: false };
    let from = source.read(want)?;
    let ran = command::run(&args.command)?;
    // Its status is this one's, whatever becomes of the report.
    let across = || -> Result<()> {
        let to = source.read(want)?;
        if let Some(save) = save {
            let saved = moments::lines(&[&from, &to]).and_then(|lines| save.finish(&lines));
            saved.unwrap_or_else(|error| failure::say(&error));
        }
        report(args, &from, &to, output, Some(&ran), &mut io::stderr())
    };
    across().unwrap_or_else(|error| failure::say(&error));
    Ok(ran.status)
}

fn open(args: &CpuArgs) -> Result<Box<dyn Source>> {
    Ok(args.read.open_with(&args.groups)?)
}

fn read(args: &CpuArgs) -> Result<Snapshot> {
    Ok(open(args)?.read(Want { vcpus: true, placement: true, exact_idle: false })?)
}

fn cumulative(args: &CpuArgs, save: Option<Pending>, output: Option<Pending>) -> Result<ExitCode> {
    let snapshot = read(args)?;
    let is_saved = save.is_some();
    let saved = save.map_or(Ok(()), |save| save.finish(&moments::lines(&[&snapshot])?));
    let rows = print::cumulative(&snapshot, args.vm.as_deref(), args.vcpu);
    if rows.is_empty() {
        let problem = match (&args.vm, args.vcpu) {
            (None, None) if is_saved => return saved.map(|()| ExitCode::SUCCESS),
            (None, None) => "no VM is running".to_owned(),
            (Some(vm), None) => format!("no VM named {vm:?}: see `vmeter cpu` for those there are"),
            (vm, Some(n)) => format!("no vCPU {n} in {}", vm.as_deref().unwrap_or("any VM")),
        };
        return Err(Refused(problem).into());
    }
    let text = match args.format {
        Format::Table => print::cumulative_table(&rows),
        Format::Json => print::cumulative_json(&snapshot, &rows)?,
    };
    deliver(&text, output, &mut io::stdout())?;
    saved.map(|()| ExitCode::SUCCESS)
}

fn report(
    args: &CpuArgs,
    from: &Snapshot,
    to: &Snapshot,
    output: Option<Pending>,
    ran: Option<&command::Ran>,
    console: &mut dyn Write,
) -> Result<()> {
    let usage = account::usage(from, to).context("cannot compare the two moments")?;
    let report = print::Report::of(&usage, args.vm.as_deref(), ran.map(|ran| ran.cpu_s));
    if let (Some(vm), true) = (&args.vm, report.has_no_vm()) {
        return Err(Refused(format!("no VM named {vm:?} in the interval")).into());
    }
    let text = match args.format {
        Format::Table => report.table(),
        Format::Json => report.json()?,
    };
    deliver(&text, output, console)
}

/// Writes a report to its file; to the console where there is none, or no room for it.
fn deliver(text: &str, output: Option<Pending>, console: &mut dyn Write) -> Result<()> {
    let written = output.map(|file| file.finish(text));
    if let Some(Ok(())) = written {
        return Ok(());
    }
    console.write_all(text.as_bytes())?;
    console.flush()?;
    written.unwrap_or(Ok(()))
}
