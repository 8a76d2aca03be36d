//! `vmeter study`: the case study in one command.

mod check;
mod page;
mod watch;

use crate::failure::Refused;
use crate::interrupt::interruptible;
use ::study::{Means, PLANS, Plan, Store, Study};
use agent::{Key, Role};
use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Bytes of a plan.
const MAX_PLAN: usize = 1 << 20;

/// `vmeter study`.
#[derive(Debug, Args)]
pub struct StudyArgs {
    #[command(subcommand)]
    command: StudyCommand,
}

#[derive(Debug, Subcommand)]
enum StudyCommand {
    /// Measures what a plan asks for; goes on where it was left
    ///
    /// Lab machines are booted as they are needed; native and VM runs are interleaved in random
    /// blocks. Every run is kept as soon as it is over: a study that was interrupted, by Ctrl-C
    /// or by anything else, is resumed by the same command.
    Run(RunArgs),
    /// Reads a plan and reports what it would do, how long that takes, and what is wrong with it
    ///
    /// Key files are read; agents are asked only with --agents. Ends with status 1 where a key is
    /// of no use or an agent does not answer.
    Check(check::CheckArgs),
    /// Lists the plans that come with vmeter
    List,
    /// Says how far a study is
    Status(DirArgs),
    /// Makes the study's page, tables or data from what is stored
    Report(ReportArgs),
}

/// A plan.
#[derive(Debug, Args)]
struct PlanArgs {
    /// A plan's file, or the name of one that comes with vmeter (`vmeter study list`)
    #[arg(value_name = "PLAN")]
    plan: String,
}

/// Measures what a plan asks for.
#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Where the study is kept; made if it is not there
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Runs of this machine only; the others are measured another time
    #[arg(long, value_name = "NAME")]
    machine: Vec<String>,
    /// The key of agents that the plan names no key for
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The static vmeter that runs in lab machines; this one unless told
    #[arg(long, value_name = "FILE", env = "VMETER_STATIC")]
    program: Option<PathBuf>,
}

/// A study's folder.
#[derive(Debug, Args)]
struct DirArgs {
    /// The study's folder
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Makes the study's page.
#[derive(Debug, Args)]
struct ReportArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// What to make
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Where to: DIR/report.html for a page, standard output for tables and JSON
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One file that works offline
    #[default]
    Html,
    /// Tables for a text
    Markdown,
    /// Every figure's numbers
    Csv,
    /// Everything
    Json,
    /// DIR/runs.parquet and DIR/counters.parquet: every attempt, every raw counter
    Parquet,
}

/// Runs the subcommand.
///
/// # Errors
/// What is wrong with the plan, the folder or a machine.
pub fn run(args: StudyArgs) -> Result<ExitCode> {
    match args.command {
        StudyCommand::Run(args) => measure(&args),
        StudyCommand::Check(args) => check::run(&args),
        StudyCommand::List => list(),
        StudyCommand::Status(args) => status(&args.dir),
        StudyCommand::Report(args) => page::make(&args),
    }
}

/// A plan by its name, or from its file.
fn plan(args: &PlanArgs) -> Result<Plan> {
    if let Some(listed) = PLANS.iter().find(|listed| listed.name == args.plan) {
        return Ok(Plan::parse(listed.text, &format!("plan {}", listed.name))?);
    }
    let path = Path::new(&args.plan);
    let text = files::read_text(path, MAX_PLAN).with_context(|| {
        format!("{} is no plan of vmeter's (`vmeter study list`), and as a file", args.plan)
    })?;
    Ok(Plan::parse(&text, &args.plan)?)
}

fn measure(args: &RunArgs) -> Result<ExitCode> {
    let plan = plan(&args.plan)?;
    for name in &args.machine {
        if plan.machine(name).is_none() {
            let known: Vec<&str> = plan.machines.iter().map(|m| m.name.as_str()).collect();
            let text = format!("the plan has no machine {name}: {}", known.join(", "));
            return Err(Refused(text).into());
        }
    }
    let store = Store::create(&args.output, &plan)?;
    // What is damaged is said before any machine is touched.
    let before = store.records()?;
    let means = means(args, &plan)?;
    let stop = interruptible()?.stop_flag();
    let mut watch = watch::Shown::new(&plan, &store, &before);
    let study =
        Study { plan: &plan, store: &store, means: &means, only: &args.machine, stop: &stop };
    let finish = study.run(&before, &mut watch)?;
    drop(watch);
    let path = page::write_all(&store, &plan)?;
    let mut out = io::stdout();
    writeln!(out, "{} runs measured, {} left: {}", finish.measured, finish.left, path.display())?;
    if finish.stopped {
        writeln!(out, "The same command goes on.")?;
        return Ok(ExitCode::from(130));
    }
    Ok(if finish.left == 0 || !args.machine.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The program and the key for lab machines.
fn means(args: &RunArgs, plan: &Plan) -> Result<Means> {
    let program = match &args.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().context("where this program is")?,
    };
    if plan.needs_lab() && !lab::is_static(&program) {
        let text = format!(
            "{} is linked dynamically and cannot run in lab machines: build one with `make \
             static`, and give it with --program or $VMETER_STATIC",
            program.display()
        );
        return Err(Refused(text).into());
    }
    let lab_key = args.output.join("key");
    if plan.needs_lab() && !lab_key.exists() {
        Key::create(&lab_key, Role::Configure, None, false)?;
    }
    Ok(Means { program, lab_key, key: args.key.clone() })
}

fn list() -> Result<ExitCode> {
    let mut text = String::new();
    for listed in PLANS {
        let plan = Plan::parse(listed.text, listed.name)?;
        let _ = writeln!(text, "{:<10} {}", listed.name, plan.title);
        let _ = writeln!(text, "{:<10} {}", "", plan.takes);
    }
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn status(dir: &Path) -> Result<ExitCode> {
    let store = Store::open(dir)?;
    let plan = store.plan()?;
    let records = store.records()?;
    let report = ::study::report(&plan, &records);
    let runs = report.runs;
    let mut text = format!("{}: {}\n", plan.id, plan.title);
    let _ = writeln!(
        text,
        "{} of {} runs are valid, {} not valid, {} failed",
        runs.valid, runs.planned, runs.invalid, runs.failed
    );
    if let Some((from, to)) = &report.measured {
        let _ = writeln!(text, "measured from {from} to {to}");
    }
    for failure in &report.failures {
        let reason = model::escape(&failure.reason);
        let _ = writeln!(text, "run {} ({}): {reason}", failure.run, failure.what);
    }
    for remark in &report.remarks {
        let reasons = model::escape(&remark.reasons.join("; "));
        let _ = writeln!(text, "run {} ({}): {reasons}", remark.run, remark.what);
    }
    for warning in &report.warnings {
        let _ = writeln!(text, "{}", model::escape(warning));
    }
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
