//! `vmeter study check`: what a plan would do, before any machine is touched.

use super::PlanArgs;
use ::agent::Deadline;
use ::study::plan::{Machine, Place};
use ::study::{Means, Plan, Preview, Station};
use anyhow::Result;
use clap::Args;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// What is checked.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Connect to every agent of the plan and report its machine
    #[arg(long)]
    agents: bool,
    /// Key file for agents without a key in the plan
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// What is wrong with the plan.
pub(super) fn run(args: &CheckArgs) -> Result<ExitCode> {
    let plan = super::plan(&args.plan)?;
    let preview = Preview::of(&plan);
    let (key, deadline) = (args.key.clone(), Deadline::default());
    let means = Means { program: PathBuf::new(), lab_key: PathBuf::new(), key, deadline };
    let mut text = contents(&plan);
    let _ =
        writeln!(text, "{} runs in {} blocks, {}", preview.runs, plan.repetitions, time(&preview));
    for remark in &preview.remarks {
        let _ = writeln!(text, "note      {}", model::escape(remark));
    }
    io::stdout().write_all(text.as_bytes())?;
    let mut sound = true;
    for machine in &plan.machines {
        let (text, fine) = access(&plan, machine, &means, args.agents);
        sound &= fine;
        io::stdout().write_all(text.as_bytes())?;
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The plan's machines, workloads and figures.
fn contents(plan: &Plan) -> String {
    let mut text = format!("{}: {}\n", plan.id, plan.title);
    if !plan.takes.is_empty() {
        let _ = writeln!(text, "takes     {}", plan.takes);
    }
    for (at, machine) in plan.machines.iter().enumerate() {
        let names: Vec<&str> = machine.configurations.iter().map(|c| c.name.as_str()).collect();
        let configurations =
            if names.len() > 1 { format!(", {}", names.join(", ")) } else { String::new() };
        let base = plan.baseline(at).map(|base| &plan.machines[base].name);
        let base = base.map_or_else(String::new, |name| format!(", compared with {name}"));
        let guests = counted(machine.place.guests(), "guest");
        let name = &machine.name;
        let _ = writeln!(text, "machine   {name}, {guests}{base}{configurations}");
    }
    for workload in &plan.workloads {
        let points = counted(workload.points.len(), "point");
        let _ = writeln!(text, "workload  {}, {points}", workload.name);
    }
    for figure in &plan.figures {
        let workload = &plan.workloads[figure.workload].name;
        let _ = writeln!(text, "figure    {} of {workload}", figure.kind.id());
    }
    text
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// How long it takes, as far as the plan tells.
fn time(preview: &Preview) -> String {
    let least = format!("at least {}", duration(preview.least));
    match preview.open_ended {
        0 => least,
        count => format!("{least} and what {count} runs of programs take"),
    }
}

fn duration(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..90 => format!("{seconds} s"),
        seconds @ ..5400 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{:.1} h", seconds as f64 / 3600.0),
    }
}

/// What is known of the agents of a machine, and whether they can be used as far as was asked.
fn access(plan: &Plan, machine: &Machine, means: &Means, ask: bool) -> (String, bool) {
    if matches!(machine.place, Place::Lab { .. }) {
        return (String::new(), true);
    }
    if let Err(error) = Station::access(machine, means) {
        return (format!("error     {}\n", model::escape(&error.to_string())), false);
    }
    if !ask {
        return (String::new(), true);
    }
    let mut text = String::new();
    let mut station = match Station::open(plan, machine, means, &mut lab::Quiet) {
        Ok(station) => station,
        Err(error) => {
            return (format!("error     {}\n", model::escape(&error.to_string())), false);
        }
    };
    let answers = station.answers(machine);
    for answer in &answers {
        let place = format!("machine {}, {} at {}", machine.name, answer.who, answer.address);
        let _ = match &answer.machine {
            Ok(here) => {
                let (kernel, cpus, version) = (&here.kernel, here.cpus, &here.vmeter);
                let found = format!("{place}: Linux {kernel}, {cpus} CPUs, vmeter {version}");
                writeln!(text, "agent     {}", model::escape(&found))
            }
            Err(why) => writeln!(text, "error     {}", model::escape(&format!("{place}: {why}"))),
        };
    }
    (text, answers.iter().all(|answer| answer.machine.is_ok()))
}
