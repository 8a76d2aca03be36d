//! `vmeter bench web`: arguments and the text of the result.

use super::watch::{Line, watch};
use super::{Output, OutputArgs, measured, show, status};
use crate::args::{duration, rate};
use crate::failure::Refused;
use crate::interrupt::interruptible;
use anyhow::Result;
use clap::{Args, ValueEnum};
use model::quantity;
use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use workload::web::{self, Arrivals, Errors, Load, Outcome, Per, Plan};

/// `vmeter bench web`.
#[derive(Debug, Args)]
pub struct WebArgs {
    #[command(flatten)]
    load: WebLoad,
    /// Exit with status 3 if more than PERCENT of the requests failed: no reply, or a status of 400
    /// or above [default: if all failed]
    #[arg(long, value_name = "PERCENT", value_parser = quantity::percentage)]
    fail_above: Option<f64>,
    #[command(flatten)]
    output: OutputArgs,
}

/// What to ask for, and when: common to runs and to comparisons.
#[derive(Debug, Args)]
pub struct WebLoad {
    /// http://[USER:PASSWORD@]HOST[:PORT]/PATH; with --fileset, the URL of the set's directory
    #[arg(value_name = "URL")]
    url: String,
    /// Total rate of connections or requests of all threads, per second
    #[arg(long, value_name = "N", value_parser = rate, required_unless_present = "closed")]
    rate: Option<f64>,
    /// Unit of the rate
    #[arg(long, value_enum, default_value_t = PerName::Connection)]
    per: PerName,
    /// Requests on each connection, one at a time, with `--per connection`
    #[arg(long, value_name = "N", default_value_t = 1)]
    calls: u32,
    /// Distribution of arrivals
    #[arg(long, value_enum, default_value_t = ArrivalsName::Constant)]
    arrivals: ArrivalsName,
    /// Closed loop: each connection sends the next request when the reply has arrived
    #[arg(long, conflicts_with_all = ["rate", "arrivals", "calls", "per"])]
    closed: bool,
    /// Maximum number of open connections [default: 10000; with --closed 64, always open]
    #[arg(long, value_name = "N")]
    max_connections: Option<usize>,
    /// Time limit for each request, from the time when it is due
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    timeout: Duration,
    /// Duration of the measured interval
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// Duration of load before the measured interval
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = duration)]
    warmup: Duration,
    /// Number of generator threads, each on its own CPU
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Request the files of the set in DIR (see `vmeter bench fileset`) below URL
    #[arg(long, value_name = "DIR")]
    fileset: Option<PathBuf>,
    /// Seed for the order of files and Poisson arrivals
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PerName {
    /// New connections, like httperf
    Connection,
    /// Requests over persistent connections
    Request,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ArrivalsName {
    /// Constant gaps
    Constant,
    /// Exponentially distributed gaps
    Poisson,
}

/// Connections in an open loop: as many as a stalled server may need.
const MAX_OPEN_LOOP_CONNECTIONS: usize = 10_000;
/// Connections of a closed loop.
const CLOSED_LOOP_CONNECTIONS: usize = 64;

impl WebLoad {
    /// What is to be run.
    ///
    /// # Errors
    /// Values that cannot be.
    pub fn plan(&self) -> Result<Plan> {
        let load = match (self.closed, self.rate) {
            (true, _) => Load::Closed,
            (false, Some(rate)) => Load::Open {
                rate,
                per: match self.per {
                    PerName::Connection => Per::Connection,
                    PerName::Request => Per::Request,
                },
                arrivals: match self.arrivals {
                    ArrivalsName::Constant => Arrivals::Constant,
                    ArrivalsName::Poisson => Arrivals::Poisson,
                },
            },
            (false, None) => {
                return Err(Refused("missing load: give --rate N or --closed".into()).into());
            }
        };
        let most = if self.closed { CLOSED_LOOP_CONNECTIONS } else { MAX_OPEN_LOOP_CONNECTIONS };
        let plan = Plan {
            url: self.url.clone(),
            load,
            calls: self.calls,
            max_connections: self.max_connections.unwrap_or(most.max(self.threads)),
            timeout: self.timeout,
            duration: self.duration,
            warmup: self.warmup,
            threads: self.threads,
            fileset: self.fileset.clone(),
            seed: self.seed,
        };
        plan.check()?;
        Ok(plan)
    }
}

/// Runs the subcommand.
pub fn run(args: &WebArgs) -> Result<ExitCode> {
    let plan = args.load.plan()?;
    let output = Output::open(&args.output)?;
    let control = interruptible()?;
    let length = Some(plan.warmup + plan.duration);
    let line = Line { what: "web", unit: "replies", length, total: None };
    let found = measured(watch(&line, &control, || web::run(&plan, &control)), &control)?;
    output.deliver(&text(&found), &found)?;
    Ok(status(&control, found.verdict(args.fail_above)))
}

/// The result as people read it.
fn text(found: &Outcome) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = body(&mut text, found);
    text
}

fn body(out: &mut String, found: &Outcome) -> fmt::Result {
    let plan = &found.plan;
    writeln!(out, "Web {}", model::escape(&plan.url))?;
    writeln!(
        out,
        "  {}, {:.2} s{}{}",
        load(plan),
        found.duration_s,
        found.address.map_or_else(String::new, |address| format!(", to {address}")),
        if found.partial { " (ended early)" } else { "" }
    )?;
    if let Some(set) = &plan.fileset {
        writeln!(out, "  file set {}, seed {}", model::escape(&set.to_string_lossy()), plan.seed)?;
    }
    let per_second =
        |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}/s"));
    let statuses: Vec<String> =
        found.status.iter().map(|(status, count)| format!("{status}: {count}")).collect();
    writeln!(out, "\n  requests   {:<10}{}", found.requests, per_second(found.requests_per_s))?;
    writeln!(
        out,
        "  replies    {:<10}{:<14}{}",
        found.replies,
        per_second(found.replies_per_s),
        statuses.join(", ")
    )?;
    writeln!(out, "  errors     {:<10}{}", found.errors.total, errors(&found.errors))?;
    if found.unsent + found.unfinished > 0 {
        writeln!(out, "  never sent {:<10}unfinished {}", found.unsent, found.unfinished)?;
    }
    writeln!(
        out,
        "  connections {} opened, {} at a time; {} of bodies",
        found.connections,
        found.most_open,
        show::bytes(found.body_bytes)
    )?;
    writeln!(out)?;
    out.push_str(show::PERCENTILES);
    if let Some(response) = &found.response_s {
        out.push_str(&show::percentiles("response", response));
    }
    out.push_str(&show::percentiles("service", &found.service_s));
    if let Some(lateness) = &found.lateness_s {
        out.push_str(&show::percentiles("lateness", lateness));
    }
    let cpu = found.cpu_s.total();
    let per_cpu = if cpu > 0.0 { show::digits(found.replies as f64 / cpu) } else { "-".into() };
    writeln!(out, "\n  CPU        {}; {per_cpu} replies per CPU second", show::cpu(found.cpu_s))?;
    if found.response_s.is_none() {
        writeln!(out, "\nA closed loop has no schedule: a slow server slows the load down too.")?;
    }
    out.push_str(&show::warnings("\nINVALID", &found.invalid_reasons));
    out.push_str(&show::warnings("\nwarning", &found.warnings));
    Ok(())
}

fn load(plan: &Plan) -> String {
    match plan.load {
        Load::Closed => format!("closed loop, {} connections", plan.max_connections),
        Load::Open { rate, per, arrivals } => {
            let arrivals = match arrivals {
                Arrivals::Constant => "evenly",
                Arrivals::Poisson => "Poisson",
            };
            let what = match per {
                Per::Connection if plan.calls == 1 => "connections/s".to_owned(),
                Per::Connection => format!("connections/s of {} calls", plan.calls),
                Per::Request => "requests/s".to_owned(),
            };
            format!("open loop, {rate} {what} {arrivals}")
        }
    }
}

fn errors(errors: &Errors) -> String {
    let classes = [
        ("client-timo", errors.client_timo),
        ("socket-timo", errors.socket_timo),
        ("connrefused", errors.connrefused),
        ("connreset", errors.connreset),
        ("fd-unavail", errors.fd_unavail),
        ("addrunavail", errors.addrunavail),
        ("ftab-full", errors.ftab_full),
        ("bad-header", errors.bad_header),
        ("other", errors.other),
    ];
    let mut shown: Vec<String> = classes
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if let Some((reason, _)) = errors.other_reasons.iter().max_by_key(|(_, count)| **count) {
        shown.push(format!("({})", model::escape(reason)));
    }
    shown.join(", ")
}
