//! `vmeter bench compare`: the peers on the same target, in turn with vmeter.

use super::tcp::{TcpLoad, with_port};
use super::watch::{Line, watch};
use super::web::WebLoad;
use super::{Output, OutputArgs, show, status};
use crate::failure::Refused;
use crate::interrupt::interruptible;
use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use workload::peers::{self, Peer, Run, Target};
use workload::{Control, Environment, Verdict, tcp, web};

/// `vmeter bench compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    #[command(subcommand)]
    command: CompareCommand,
}

#[derive(Debug, Subcommand)]
enum CompareCommand {
    /// Compares with iperf3: bytes per CPU second of both ends
    Tcp(CompareTcp),
    /// Compares with httperf, wrk and ab: replies per CPU second of the generator
    Web(CompareWeb),
}

#[derive(Debug, Args)]
struct CompareTcp {
    /// Host that runs both `vmeter bench tcp recv` and `iperf3 -s` [default: this one, with both
    /// started]
    #[arg(value_name = "HOST")]
    host: Option<String>,
    /// Port of iperf3 on HOST
    #[arg(long, value_name = "PORT", default_value_t = 5201)]
    iperf3_port: u16,
    #[command(flatten)]
    load: TcpLoad,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct CompareWeb {
    /// Tool to compare with [default: all that support the load]
    ///
    /// Can be given several times.
    #[arg(long, value_enum, value_name = "NAME")]
    peer: Vec<PeerName>,
    #[command(flatten)]
    load: WebLoad,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// Number of rounds
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PeerName {
    /// Open loop of connections
    Httperf,
    /// Closed loop
    Wrk,
    /// Closed loop
    Ab,
}

/// `vmeter.bench.compare/1`.
#[derive(Serialize)]
struct Comparison {
    schema: &'static str,
    partial: bool,
    workload: &'static str,
    /// What `work` counts.
    unit: &'static str,
    rounds: Vec<Vec<Run>>,
    ratios: Vec<Ratio>,
    /// Peers that gave no result, and why.
    warnings: Vec<String>,
    environment: Environment,
}

/// vmeter's figure by a peer's, over the rounds.
#[derive(Serialize)]
struct Ratio {
    peer: String,
    /// Work a second of CPU.
    per_cpu_s: Option<Spread>,
    /// Work a second.
    per_s: Option<Spread>,
}

#[derive(Clone, Copy, Serialize)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

/// Runs the subcommand.
pub fn run(args: &CompareArgs) -> Result<ExitCode> {
    match &args.command {
        CompareCommand::Tcp(args) => compare_tcp(args),
        CompareCommand::Web(args) => compare_web(args),
    }
}

fn compare_tcp(args: &CompareTcp) -> Result<ExitCode> {
    let plan = args.load.plan()?;
    let target = match &args.host {
        None => Target::Here,
        Some(host) => Target::There(host.clone(), args.iperf3_port),
    };
    let worst = Worst::default();
    compare(&args.common, "tcp", "bytes", &["vmeter", "iperf3"], &worst, |tool, _, control| {
        if tool == "iperf3" {
            return Ok(peers::iperf3(&plan, &target, control)?);
        }
        let found = match &args.host {
            Some(host) => tcp::send(&plan, &with_port(host), control)?,
            None => on_loopback(&plan, control)?,
        };
        worst.take(found.verdict());
        let sides = found.cpu_s.receiver.map(|receiver| receiver.user + receiver.system);
        let receiver = sides.context("the receiving end's report was lost")?;
        let sender = found.cpu_s.sender;
        Ok(Run {
            tool: tool.to_owned(),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            command: format!(
                "bench tcp send --size {} --packets {}",
                plan.size,
                plan.packets.name()
            ),
            work: found.bytes as f64,
            duration_s: found.duration_s,
            cpu_s: sender.user + sender.system + sender.spin + receiver,
            errors: 0,
            p50_s: None,
            p99_s: None,
        })
    })
}

/// Both ends here, each on threads of its own.
fn on_loopback(plan: &tcp::Plan, control: &Control) -> Result<tcp::Outcome> {
    let server = tcp::Server::bind("127.0.0.1:0")?;
    let address = server.address()?.to_string();
    let serving = Control::default();
    std::thread::scope(|scope| {
        scope.spawn(|| server.serve(&serving));
        let found = tcp::send(plan, &address, control);
        serving.stop();
        Ok(found?)
    })
}

fn compare_web(args: &CompareWeb) -> Result<ExitCode> {
    let plan = args.load.plan()?;
    if plan.fileset.is_some() {
        return Err(Refused("the other tools support only one URL: omit --fileset".into()).into());
    }
    let named: Vec<Peer> = args.peer.iter().map(|name| name.peer()).collect();
    let wanted = if named.is_empty() { Peer::ALL.to_vec() } else { named };
    let peers: Vec<Peer> = wanted.into_iter().filter(|peer| peer.can(&plan)).collect();
    if peers.is_empty() {
        return Err(Refused(
            "no tool supports this load: use --closed, or a rate per connection (httperf)".into(),
        )
        .into());
    }
    let mut tools = vec!["vmeter"];
    tools.extend(peers.iter().map(|peer| peer.name()));
    let worst = Worst::default();
    compare(&args.common, "web", "replies", &tools, &worst, |tool, ours, control| {
        if let Some(peer) = peers.iter().find(|peer| peer.name() == tool) {
            let replies = ours.map_or(0, |run| run.work as u64);
            return Ok(peers::run(*peer, &plan, replies, control)?);
        }
        let found = web::run(&plan, control)?;
        worst.take(found.verdict(None));
        let times = found.response_s.unwrap_or(found.service_s);
        let valid = if found.valid { "" } else { " (INVALID)" };
        Ok(Run {
            tool: tool.to_owned(),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            command: format!("bench web {}{valid}", found.plan.url),
            work: found.replies as f64,
            duration_s: found.duration_s,
            cpu_s: found.cpu_s.total(),
            errors: found.errors.total,
            p50_s: (times.count > 0).then_some(times.p50),
            p99_s: (times.count > 0).then_some(times.p99),
        })
    })
}

impl PeerName {
    fn peer(self) -> Peer {
        match self {
            Self::Httperf => Peer::Httperf,
            Self::Wrk => Peer::Wrk,
            Self::Ab => Peer::Ab,
        }
    }
}

/// The worst of vmeter's own runs, which the exit status says.
#[derive(Default)]
struct Worst(Mutex<Verdict>);

impl Worst {
    fn take(&self, verdict: Verdict) {
        let mut worst = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *worst = verdict.max(*worst);
    }

    fn get(&self) -> Verdict {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs all tools, round by round, and prints what came of it.
fn compare(
    common: &Common,
    workload: &'static str,
    unit: &'static str,
    tools: &[&str],
    worst: &Worst,
    one: impl Fn(&str, Option<&Run>, &Control) -> Result<Run> + Send + Sync,
) -> Result<ExitCode> {
    let output = Output::open(&common.output)?;
    let control = interruptible()?;
    let (rounds, warnings) = measure(common.rounds.max(1), tools, &control, &one)?;
    let partial = control.stopped();
    let ratios: Vec<Ratio> = tools[1..].iter().map(|peer| ratio(peer, &rounds)).collect();
    if ratios.iter().all(|ratio| ratio.per_s.is_none()) && !partial {
        return Err(Refused(warnings.join("\n")).into());
    }
    let environment = Environment::read(None);
    let schema = "vmeter.bench.compare/1";
    let found =
        Comparison { schema, partial, workload, unit, rounds, ratios, warnings, environment };
    output.deliver(&text(&found), &found)?;
    Ok(status(&control, worst.get()))
}

/// The rounds, and the peers that gave no result, which are left out from then on. `one` gets
/// vmeter's newest run, for peers that count requests and not time.
fn measure(
    rounds: usize,
    tools: &[&str],
    control: &Control,
    one: &(impl Fn(&str, Option<&Run>, &Control) -> Result<Run> + Send + Sync),
) -> Result<(Vec<Vec<Run>>, Vec<String>)> {
    let (mut all, mut warnings): (Vec<Vec<Run>>, Vec<String>) = (Vec::new(), Vec::new());
    let mut tools = tools.to_vec();
    let mut ours: Option<Run> = None;
    for round in 0..rounds {
        let mut order = tools.clone();
        if round % 2 == 1 {
            order.reverse();
        }
        let mut runs = Vec::new();
        for tool in order {
            let line = Line { what: "compare", unit: "done", length: None, total: None };
            match watch(&line, control, || one(tool, ours.as_ref(), control)) {
                // A run that was cut short is no figure to compare.
                _ if control.stopped() => return Ok((all, warnings)),
                Ok(run) => {
                    if tool == "vmeter" {
                        ours = Some(run.clone());
                    }
                    runs.push(run);
                }
                Err(error) if tool == "vmeter" => return Err(error),
                // The others' figures are worth having all the same.
                Err(error) => {
                    warnings.push(crate::failure::sentence(&error));
                    tools.retain(|one| *one != tool);
                }
            }
        }
        all.push(runs);
    }
    Ok((all, warnings))
}

fn ratio(peer: &str, rounds: &[Vec<Run>]) -> Ratio {
    let spread = |of: fn(&Run) -> Option<f64>| {
        let ratios = rounds.iter().filter_map(|runs| {
            let of_tool = |tool: &str| runs.iter().find(|run| run.tool == tool).and_then(of);
            Some(of_tool("vmeter")? / of_tool(peer)?)
        });
        Spread::of(&ratios.collect::<Vec<_>>())
    };
    Ratio { peer: peer.to_owned(), per_cpu_s: spread(Run::per_cpu_s), per_s: spread(Run::per_s) }
}

impl Spread {
    fn of(values: &[f64]) -> Option<Self> {
        Some(Self {
            median: stats::median(values)?,
            min: values.iter().copied().reduce(f64::min)?,
            max: values.iter().copied().reduce(f64::max)?,
        })
    }
}

fn text(found: &Comparison) -> String {
    let mut out = format!("{}\n\n", show::machine(&found.environment));
    // Writing to a String cannot fail.
    let per = if found.unit == "bytes" { "MB" } else { found.unit };
    let scale = if found.unit == "bytes" { 1e6 } else { 1.0 };
    let _ = writeln!(
        out,
        "round tool    {:>16}{:>16}{:>10}{:>10}{:>8}",
        format!("{per}/s"),
        format!("{per}/CPU s"),
        "p50",
        "p99",
        "errors"
    );
    for (round, runs) in found.rounds.iter().enumerate() {
        for run in runs {
            let scaled = |value: Option<f64>| show::known(value.map(|value| value / scale));
            let time = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), show::time);
            let _ = writeln!(
                out,
                "{:>5} {:<8}{:>16}{:>16}{:>10}{:>10}{:>8}",
                round + 1,
                run.tool,
                scaled(run.per_s()),
                scaled(run.per_cpu_s()),
                time(run.p50_s),
                time(run.p99_s),
                run.errors
            );
        }
    }
    out.push('\n');
    for ratio in &found.ratios {
        let shown = |spread: Option<Spread>| {
            spread.map_or_else(
                || "-".to_owned(),
                |s| format!("{:.2} ({:.2} to {:.2})", s.median, s.min, s.max),
            )
        };
        let _ = writeln!(
            out,
            "vmeter / {:<8} per CPU second {}, per second {}",
            ratio.peer,
            shown(ratio.per_cpu_s),
            shown(ratio.per_s)
        );
    }
    out.push_str(&show::warnings("\nwarning", &found.warnings));
    if found.partial {
        out.push_str("\nended early\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_have_their_median() {
        let spread = Spread::of(&[3.0, 1.0, 2.0]).unwrap();
        assert_eq!((spread.median, spread.min, spread.max), (2.0, 1.0, 3.0));
        assert_eq!(Spread::of(&[1.0, 2.0]).unwrap().median, 1.5);
        assert!(Spread::of(&[]).is_none());
    }
}
