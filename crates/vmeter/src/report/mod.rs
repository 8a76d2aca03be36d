//! `vmeter report`: where the events of a recording happened, as tables and files.

mod browse;
mod input;

use crate::failure::{Refused, not_found};
use crate::pending::Pending;
use anyhow::{Context, Result};
use browse::{App, Subject};
use clap::{Args, ValueEnum};
use input::Input;
use profile::formats;
use profile::symbols::Symbols;
use profile::table::{Choice, Column, Sort, tables};
use profile::tree::trees;
use profile::{Named, Options, Profile, summary};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// `vmeter report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Recording of `vmeter record`, or a perf.data file
    #[arg(value_name = "DIR")]
    input: PathBuf,
    /// Compare with the recording or perf.data file DIR
    #[arg(long, value_name = "DIR")]
    diff: Option<PathBuf>,
    /// Browse the report on the terminal, with the columns of --by as levels; `?` shows the keys
    #[arg(long, conflicts_with_all = ["diff", "format", "output", "limit"])]
    browse: bool,
    /// Columns to group samples by: vm, layer, part, process, image, symbol
    ///
    /// [default: vm,layer,process,image,symbol; with --browse vm,process,image,symbol]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    by: Vec<Column>,
    /// Report only this VM; `host` stands for the host
    ///
    /// Can be given several times.
    #[arg(long, value_name = "NAME")]
    vm: Vec<String>,
    /// Report only this event
    ///
    /// Can be given several times.
    #[arg(long, value_name = "EVENT")]
    event: Vec<String>,
    /// Sort order of rows
    #[arg(long, value_enum, default_value_t)]
    sort: Order,
    /// Maximum number of rows of a table; 0 means all
    #[arg(long, value_name = "N", default_value_t = 40)]
    limit: usize,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Write to FILE instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Show the full paths of images
    #[arg(long)]
    full_paths: bool,
    /// Show the processes of one name separately, with their PIDs
    #[arg(long)]
    pids: bool,
    /// Include samples of idle CPUs
    #[arg(long)]
    idle: bool,
    /// Clock rate of the CPUs, to convert cycles to busy time: 2.8e9
    #[arg(long, value_name = "HERTZ")]
    hertz: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Order {
    /// Most samples first
    #[default]
    Samples,
    /// Most events first
    Events,
    /// By name
    Names,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Tables like those of opreport, and the busy time of each VM
    #[default]
    Table,
    /// The rows of the tables
    Csv,
    /// The full report (vmeter.profile/1)
    Json,
    /// One line per stack, with the VM at its base, for flame graph tools
    Folded,
    /// Flame graph, with the VM at its base
    Svg,
    /// Profile for pprof
    Pprof,
    /// Profile for the Firefox Profiler
    Firefox,
    /// One line per sample, like perf script
    Script,
    /// All samples as a Parquet file; requires --output
    Parquet,
}

impl ReportArgs {
    fn choice(&self, view: Vec<String>) -> Choice {
        let sort = match self.sort {
            Order::Samples => Sort::Samples,
            Order::Events => Sort::Events,
            Order::Names => Sort::Names,
        };
        let vms = if self.vm.is_empty() { view } else { self.vm.clone() };
        let (by, events) = (self.by(), self.event.clone());
        Choice { by, sort, vms, events, idle: self.idle, full_paths: self.full_paths }
    }

    /// The columns, or the browser's levels.
    fn by(&self) -> Vec<Column> {
        match (self.by.is_empty(), self.browse) {
            (false, _) => self.by.clone(),
            (true, true) => vec![Column::Vm, Column::Process, Column::Image, Column::Symbol],
            (true, false) => Choice::default().by,
        }
    }

    fn options(&self) -> Options {
        Options { by_pid: self.pids }
    }
}

/// Runs the subcommand.
///
/// # Errors
/// No such recording, one of another version, names that it has not, a full disk.
pub fn run(args: &ReportArgs) -> Result<ExitCode> {
    if args.browse {
        browse::check_terminal()?;
    }
    let input = Input::open(&args.input)?;
    if args.format == Format::Parquet {
        let Some(path) = &args.output else {
            return Err(Refused("--format parquet requires --output FILE".to_owned()).into());
        };
        warn(&input.export(path)?);
        return Ok(ExitCode::SUCCESS);
    }
    let (profile, damages) = input.profile(args.options())?;
    warn(&damages);
    let choice = args.choice(input.view());
    check(&choice, &profile)?;
    let symbols = Symbols::find(&profile, &mut input.files());
    if args.browse {
        return browse(args, &choice, &Named::new(&profile, &symbols), &damages);
    }
    let Some(path) = &args.output else {
        let mut out = BufWriter::new(io::stdout().lock());
        write(args, &input, &choice, &profile, &symbols, &mut out)?;
        out.flush().context("the output")?;
        return Ok(ExitCode::SUCCESS);
    };
    let mut pending = Pending::create(path)?;
    let mut out = BufWriter::new(pending.file()?);
    write(args, &input, &choice, &profile, &symbols, &mut out)?;
    out.flush().with_context(|| path.display().to_string())?;
    drop(out);
    pending.place()?;
    Ok(ExitCode::SUCCESS)
}

fn browse(
    args: &ReportArgs,
    choice: &Choice,
    named: &Named<'_>,
    damages: &[String],
) -> Result<ExitCode> {
    let trees = trees(named, choice, args.hertz);
    let subject = Subject::new(&args.input, named, &trees, damages);
    let app = App::new(subject, trees, choice.sort);
    browse::run(app.ok_or_else(|| Refused("the recording has no samples".to_owned()))?)
}

/// What of a recording could not be read. Where nobody reads this, the rest is still right.
fn warn(damages: &[String]) {
    for damage in damages {
        let _ = writeln!(io::stderr(), "vmeter: {}", model::escape(damage));
    }
}

/// What is not there is said, rather than an empty table shown.
fn check(choice: &Choice, profile: &Profile) -> Result<()> {
    let vms = profile.vms();
    if let Some(wrong) = choice.vms.iter().find(|vm| !vms.contains(vm)) {
        return Err(Refused(not_found("VM", wrong, vms, "the recording has no VM")).into());
    }
    let has = |name: &String| {
        profile.events().iter().any(|event| *name == event.asked || *name == event.counted)
    };
    if let Some(wrong) = choice.events.iter().find(|event| !has(event)) {
        let all: Vec<&str> = profile.events().iter().map(|e| e.counted.as_str()).collect();
        return Err(Refused(not_found("event", wrong, &all, "the recording has no event")).into());
    }
    Ok(())
}

fn write(
    args: &ReportArgs,
    input: &Input,
    choice: &Choice,
    profile: &Profile,
    symbols: &Symbols,
    out: &mut dyn Write,
) -> Result<()> {
    match args.format {
        Format::Script => {
            let mut script = formats::Script::new(profile, symbols, out);
            let mut failed = Ok(());
            input.replay(&mut |placed| {
                if failed.is_ok() {
                    failed = script.sample(placed);
                }
            })?;
            return Ok(failed?);
        }
        Format::Firefox => {
            let event = one_event(choice, profile)?;
            let mut made = formats::Firefox::new(profile, symbols, event, input.began());
            input.replay(&mut |placed| made.sample(placed))?;
            return Ok(made.finish(out)?);
        }
        _ => {}
    }
    let named = Named::new(profile, symbols);
    if let Some(other) = &args.diff {
        return differ(args, &named, other, choice, out);
    }
    match args.format {
        Format::Table => table(args, &named, choice, &input.counters(), out),
        Format::Csv => Ok(formats::csv(&named, choice, out)?),
        Format::Json => Ok(formats::json(&named, choice, args.hertz, &input.counters(), out)?),
        Format::Folded => Ok(formats::folded(&named, choice, one_event(choice, profile)?, out)?),
        Format::Svg => Ok(formats::flame_graph(&named, choice, one_event(choice, profile)?, out)?),
        Format::Pprof => Ok(formats::pprof(&named, choice, one_event(choice, profile)?, out)?),
        // Made before, from the samples themselves.
        Format::Firefox | Format::Script | Format::Parquet => Ok(()),
    }
}

/// The first event that was chosen: these formats are of one.
fn one_event(choice: &Choice, profile: &Profile) -> Result<u16> {
    let found = choice.chosen_events(profile).next();
    found.ok_or_else(|| Refused("the recording has no samples".to_owned()).into())
}

/// Images that are named for each reason why functions have no names.
const MAX_IMAGES_PER_REASON: usize = 5;

fn rows(limit: usize) -> usize {
    if limit == 0 { usize::MAX } else { limit }
}

fn table(
    args: &ReportArgs,
    named: &Named<'_>,
    choice: &Choice,
    counters: &summary::Counters,
    out: &mut dyn Write,
) -> Result<()> {
    for table in tables(named, choice) {
        table.write(rows(args.limit), out)?;
        table.write_notes(MAX_IMAGES_PER_REASON, out)?;
        writeln!(out)?;
    }
    summary::write_busy(named, &summary::busy(named, args.hertz, counters), out)?;
    writeln!(out)?;
    Ok(summary::write_streams(named, out)?)
}

fn differ(
    args: &ReportArgs,
    named: &Named<'_>,
    other: &std::path::Path,
    choice: &Choice,
    out: &mut dyn Write,
) -> Result<()> {
    let input = Input::open(other)?;
    let (profile, _) = input.profile(args.options())?;
    let symbols = Symbols::find(&profile, &mut input.files());
    let second = Named::new(&profile, &symbols);
    // Native and VM are never of one name: each is compared whole, unless VMs were named.
    for diff in profile::diff::diff(named, &second, choice) {
        diff.write(rows(args.limit), out)?;
        writeln!(out)?;
    }
    Ok(())
}
