//! `vmeter bench cpu`: arguments and the text of the result.

use super::watch::{Line, watch};
use super::{Output, OutputArgs, measured, show, status};
use crate::args::bytes;
use crate::interrupt::interruptible;
use anyhow::Result;
use clap::Args;
use model::Cpus;
use std::fmt::{self, Write as _};
use std::process::ExitCode;
use workload::Verdict;
use workload::cpu::{self, InstanceOutcome, Outcome, Placement, Plan};

/// `vmeter bench cpu`.
#[derive(Debug, Args)]
pub struct CpuArgs {
    /// Number of instances that run at the same time
    #[arg(long, value_name = "N", default_value_t = 1)]
    instances: usize,
    /// Run all instances on one CPU, the last of those allowed
    #[arg(long, conflicts_with = "cpus")]
    same_cpu: bool,
    /// CPUs to assign to instances in round-robin order: 0,2-3
    #[arg(long, value_name = "LIST", value_parser = cpu_list)]
    cpus: Option<Cpus>,
    /// Passes over the code by each instance, about 100 million instructions each [default: 400]
    #[arg(long, value_name = "N", conflicts_with = "program")]
    passes: Option<u64>,
    /// Size of the generated code [default: 8M]
    #[arg(long, value_name = "BYTES", value_parser = bytes, conflicts_with = "program")]
    text: Option<u64>,
    /// Size of the data that the code accesses [default: 16M]
    #[arg(long, value_name = "BYTES", value_parser = bytes, conflicts_with = "program")]
    data: Option<u64>,
    /// Seed for code, data and order of calls
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "program")]
    seed: u64,
    /// Run a shell command in each instance instead; $VMETER_INSTANCE is its number, from 0
    #[arg(long, value_name = "COMMAND")]
    program: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// `vmeter bench instance`: no arguments; its parent talks to it.
#[derive(Debug, Args)]
pub struct InstanceArgs {}

fn cpu_list(text: &str) -> Result<Cpus, String> {
    Cpus::parse(text).ok_or_else(|| {
        format!(
            "invalid list of CPUs `{}`: expected CPU numbers such as 0,2-3",
            model::escape(text)
        )
    })
}

/// Becomes an instance of its parent's load.
pub fn instance(_: &InstanceArgs) -> Result<ExitCode> {
    // The parent was told what went wrong, and tells it.
    Ok(if cpu::instance().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the subcommand.
pub fn run(args: &CpuArgs) -> Result<ExitCode> {
    let default = Plan::default();
    let plan = Plan {
        text: args.text.unwrap_or(default.text),
        data: args.data.unwrap_or(default.data),
        seed: args.seed,
        passes: args.passes.unwrap_or(default.passes),
        instances: args.instances,
        placement: match (&args.cpus, args.same_cpu) {
            (Some(cpus), _) => Placement::Cpus(cpus.iter().map(|cpu| cpu as usize).collect()),
            (None, true) => Placement::SameCpu,
            (None, false) => Placement::Free,
        },
        linger: false,
        program: args.program.clone(),
        child: super::instance_arguments(),
    };
    plan.check()?;
    let output = Output::open(&args.output)?;
    let control = interruptible()?;
    let unit = if plan.program.is_some() { "runs" } else { "passes" };
    let line = Line { what: "cpu", unit, length: None, total: Some(plan.units()) };
    let found = measured(watch(&line, &control, || cpu::run(&plan, &control)), &control)?;
    output.deliver(&text(&found), &found)?;
    let failed = found.instances.iter().any(|instance| instance.error.is_some());
    let broken = failed || found.partial;
    Ok(status(&control, if broken { Verdict::Broken } else { Verdict::Good }))
}

/// The result as people read it.
fn text(found: &Outcome) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = body(&mut text, found);
    text
}

fn body(out: &mut String, found: &Outcome) -> fmt::Result {
    let work = &found.work;
    if let Some(program) = &work.program {
        writeln!(out, "CPU load: {}", model::shorten(&model::escape(program), 68))?;
    } else {
        let size = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), show::bytes);
        writeln!(
            out,
            "CPU load: {} passes, seed {}\n  {} functions in {} of text, {} of data",
            whole(work.passes),
            whole(work.seed),
            whole(work.functions),
            size(work.text_bytes),
            size(work.data_bytes)
        )?;
    }
    if found.partial {
        writeln!(out, "  (ended early)")?;
    }
    writeln!(out, "\n  instance  CPU   done   seconds       CPU s    waited  switches   more")?;
    for one in &found.instances {
        writeln!(out, "{}", row(one))?;
    }
    if let Some(seconds) = found.seconds {
        writeln!(out, "\n  all              {seconds:>13.3}{:>12.3}", found.cpu_seconds())?;
    }
    Ok(())
}

fn row(one: &InstanceOutcome) -> String {
    let seconds = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
    let cpu = one.cpu_s.map(workload::CpuTime::total);
    let waited = one.seconds.zip(cpu).map(|(wall, cpu)| (wall - cpu).max(0.0));
    let switches = one.voluntary_switches.zip(one.involuntary_switches).map(|(a, b)| a + b);
    let error = one.error.as_deref().map_or_else(String::new, |error| {
        format!("\n    failed: {}", model::escape(error.trim_end()))
    });
    format!(
        "  {:<9}{:>4}{:>7}{:>10}{:>12}{:>10}{:>10}{:>7}{error}",
        one.index,
        one.cpu.map_or("any".to_owned(), |cpu| cpu.to_string()),
        one.done,
        seconds(one.seconds),
        seconds(cpu),
        seconds(waited),
        whole(switches),
        whole(one.extra)
    )
}

fn whole(value: Option<u64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_understood() {
        assert_eq!(cpu_list("0,2-3").unwrap().to_string(), "0,2-3");
        for wrong in ["", "a", "3-1", "1,", "-1", "0-99999999"] {
            assert!(cpu_list(wrong).is_err(), "{wrong}");
        }
    }
}
