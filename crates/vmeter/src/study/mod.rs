//! `vmeter study`: the case study in one command.

mod check;
mod page;
mod watch;

use crate::failure::Refused;
use crate::interrupt::{deadline, interruptible};
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
    /// Runs the measurements of a plan, or resumes them
    ///
    /// Boots lab machines when they are needed and interleaves native and VM runs in random
    /// blocks. Each run is stored as soon as it ends. To resume a study that was interrupted, by
    /// Ctrl-C or otherwise, run the same command again.
    Run(RunArgs),
    /// Checks a plan and reports its runs, their duration, and errors
    ///
    /// Reads key files; connects to agents only with --agents. Exits with status 1 if a key is
    /// invalid or an agent does not answer.
    Check(check::CheckArgs),
    /// Lists the built-in plans
    List,
    /// Shows the progress of a study
    Status(DirArgs),
    /// Generates the page, tables or data of a study from its stored runs
    Report(ReportArgs),
}

/// A plan.
#[derive(Debug, Args)]
struct PlanArgs {
    /// Plan file, or the name of a built-in plan (`vmeter study list`)
    #[arg(value_name = "PLAN")]
    plan: String,
}

/// Measures what a plan asks for.
#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Directory of the study; created if it does not exist
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Measure only on this machine; other runs are left for later
    ///
    /// Can be given several times.
    #[arg(long, value_name = "NAME")]
    machine: Vec<String>,
    /// Key file for agents without a key in the plan
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Statically linked vmeter to run in lab machines [default: this program]
    #[arg(long, value_name = "FILE", env = "VMETER_STATIC", hide_env_values = true)]
    program: Option<PathBuf>,
}

/// A study's folder.
#[derive(Debug, Args)]
struct DirArgs {
    /// Directory of the study
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Makes the study's page.
#[derive(Debug, Args)]
struct ReportArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Output file [default: DIR/report.html for html, else standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Page in a single file, which works offline
    #[default]
    Html,
    /// Markdown tables
    Markdown,
    /// The data of all figures
    Csv,
    /// The full report
    Json,
    /// DIR/runs.parquet and DIR/counters.parquet: all attempts and raw counters
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
        format!("plan `{}` not found: not a built-in plan (`vmeter study list`)", args.plan)
    })?;
    Ok(Plan::parse(&text, &args.plan)?)
}

fn measure(args: &RunArgs) -> Result<ExitCode> {
    let plan = plan(&args.plan)?;
    for name in &args.machine {
        if plan.machine(name).is_none() {
            let known: Vec<&str> = plan.machines.iter().map(|m| m.name.as_str()).collect();
            let text = format!(
                "machine `{name}` not found in the plan: expected one of {}",
                known.join(", ")
            );
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
        writeln!(out, "Run the same command again to resume.")?;
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
        None => std::env::current_exe().context("cannot find the executable of this program")?,
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
    Ok(Means { program, lab_key, key: args.key.clone(), deadline: deadline() })
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
