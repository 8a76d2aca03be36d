//! `vmeter cpu`: busy time, cumulative or across two moments (Xencpu's heir, section 4.2.1).

mod command;
pub mod moments;
mod print;

use crate::args::{GroupArgs, ReadArgs};
use crate::failure::{self, Refused};
use crate::pending::Pending;
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use model::{Snapshot, escape};
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
    /// Report only the VM with this name or id
    #[arg(long, value_name = "NAME")]
    vm: Option<String>,
    /// Report only the vCPU with this number (cumulative times only)
    #[arg(long, value_name = "N", conflicts_with_all = ["command", "from", "to"])]
    vcpu: Option<u32>,
    /// Save the reading (with COMMAND: both readings) to FILE, for --from and --to
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Report the interval from the first reading in FILE
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    from: Option<PathBuf>,
    /// End of the interval: the last reading in FILE [default: now]
    #[arg(long, value_name = "FILE", requires = "from")]
    to: Option<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Write the report to FILE [default: standard output, with COMMAND standard error]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Command to measure; its exit status is returned even if the report cannot be written
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Table
    Table,
    /// One JSON object
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
            (Some(vm), None) => {
                format!("VM `{}` not found: run `vmeter cpu` to list VMs", escape(vm))
            }
            (vm, Some(n)) => format!(
                "vCPU {n} not found in {}",
                vm.as_deref().map_or("any VM".to_owned(), escape)
            ),
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
    let usage = account::usage(from, to).context("cannot compare the two readings")?;
    let report = print::Report::of(&usage, args.vm.as_deref(), ran.map(|ran| ran.cpu_s));
    if let (Some(vm), true) = (&args.vm, report.has_no_vm()) {
        return Err(Refused(format!("VM `{}` not found in the interval", escape(vm))).into());
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
