//! `vmeter bench tcp`: arguments and the text of the result.

use super::watch::{Line, watch};
use super::{Output, OutputArgs, measured, show, status};
use crate::args::{bytes, duration, rate};
use crate::failure::Refused;
use crate::interrupt::interruptible;
use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;
use workload::tcp::{
    self, Demand, Outcome, Pace, Packets, Plan, Server, SpunCpu, UNPACED_CONGESTION,
};

/// `vmeter bench tcp`.
#[derive(Debug, Args)]
pub struct TcpArgs {
    #[command(subcommand)]
    command: TcpCommand,
}

#[derive(Debug, Subcommand)]
enum TcpCommand {
    /// Receives tests, one at a time, until Ctrl-C
    Recv(RecvArgs),
    /// Runs a test against `vmeter bench tcp recv` at ADDR
    ///
    /// Write k is due at t0 + k/rate, even if earlier writes were late. The sender warms up, waits
    /// for all ACKs, sends for --duration, and waits for all ACKs again, so that both ends count
    /// the same packets.
    Send(SendArgs),
}

/// Waits for tests.
#[derive(Debug, Args)]
struct RecvArgs {
    /// Address to listen on; port 0 selects a free port and prints it [default: all, port 5202]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Stop after one test and return its exit status
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// A test against another vmeter.
#[derive(Debug, Args)]
struct SendArgs {
    /// HOST[:PORT] of the receiver [default port: 5202]
    #[arg(value_name = "ADDR")]
    to: String,
    #[command(flatten)]
    load: TcpLoad,
    #[command(flatten)]
    output: OutputArgs,
}

/// What to send: common to tests and to comparisons.
#[derive(Debug, Args)]
pub struct TcpLoad {
    /// Size of each write
    #[arg(long, value_name = "BYTES", default_value = "1448", value_parser = bytes)]
    size: u64,
    /// Total rate of writes of all streams [default: unlimited]
    #[arg(long, value_name = "PACKETS/S", value_parser = rate)]
    rate: Option<f64>,
    /// Time between writes, instead of a rate
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "rate")]
    delay: Option<Duration>,
    /// Method of waiting for the next write
    #[arg(long, value_enum, default_value_t = PaceName::Sleep)]
    pace: PaceName,
    /// Number of connections, each with a thread at both ends
    #[arg(long, value_name = "N", default_value_t = 1)]
    streams: usize,
    /// Duration of the measured interval
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// Duration of sending before the measured interval
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = duration)]
    warmup: Duration,
    /// Packets per write: as TCP decides, or exactly one, which the result verifies
    #[arg(long, value_enum, default_value_t = PacketsName::AsIs)]
    packets: PacketsName,
    /// Send from the receiver to this end
    #[arg(long)]
    reverse: bool,
    /// Congestion control of the sender [default: reno with one-per-write, else that of the system]
    #[arg(long, value_name = "NAME")]
    congestion: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PaceName {
    /// Sleep: uses no CPU, but is late by the wake-up latency
    Sleep,
    /// Busy-wait: on time, but uses a whole CPU
    Spin,
    /// Sleep, then busy-wait for the last 100 µs
    Hybrid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PacketsName {
    /// As many packets as TCP decides
    AsIs,
    /// One segment per write: NODELAY, MAXSEG and MSG_EOR
    OnePerWrite,
}

/// The port where none is given: iperf3's and one.
const PORT: u16 = 5202;

impl TcpLoad {
    /// What is to be run.
    ///
    /// # Errors
    /// Values that cannot be.
    pub fn plan(&self) -> Result<Plan> {
        if self.delay.is_some_and(|delay| delay.is_zero()) {
            return Err(Refused(
                "invalid --delay: expected more than 0; omit it to send without a limit".into(),
            )
            .into());
        }
        let plan = Plan {
            size: usize::try_from(self.size)?,
            rate: self.rate.or_else(|| self.delay.map(|delay| 1.0 / delay.as_secs_f64())),
            pace: match self.pace {
                PaceName::Sleep => Pace::Sleep,
                PaceName::Spin => Pace::Spin,
                PaceName::Hybrid => Pace::Hybrid,
            },
            streams: self.streams,
            duration: self.duration,
            warmup: self.warmup,
            packets: match self.packets {
                PacketsName::AsIs => Packets::AsIs,
                PacketsName::OnePerWrite => Packets::OnePerWrite,
            },
            reverse: self.reverse,
            congestion: self.congestion.clone().or_else(|| {
                (self.packets == PacketsName::OnePerWrite).then(|| UNPACED_CONGESTION.to_owned())
            }),
        };
        plan.check()?;
        Ok(plan)
    }
}

/// Runs the subcommand.
pub fn run(args: &TcpArgs) -> Result<ExitCode> {
    match &args.command {
        TcpCommand::Recv(args) => receive(args),
        TcpCommand::Send(args) => send(args),
    }
}

fn send(args: &SendArgs) -> Result<ExitCode> {
    let plan = args.load.plan()?;
    let output = Output::open(&args.output)?;
    let control = interruptible()?;
    let length = Some(plan.warmup + plan.duration);
    let line = Line { what: "tcp", unit: "packets", length, total: None };
    let to = with_port(&args.to);
    let found = watch(&line, &control, || tcp::send(&plan, &to, &control));
    let found = measured(found, &control)?;
    output.deliver(&text(&to, &found), &found)?;
    Ok(status(&control, found.verdict()))
}

/// An address with a port.
pub fn with_port(address: &str) -> String {
    let bare_v6 = address.matches(':').count() > 1 && !address.contains(']');
    match address.rsplit_once(':') {
        _ if bare_v6 => format!("[{address}]:{PORT}"),
        Some((_, port)) if port.parse::<u16>().is_ok() => address.to_owned(),
        _ => format!("{address}:{PORT}"),
    }
}

fn receive(args: &RecvArgs) -> Result<ExitCode> {
    let server = match &args.listen {
        Some(address) => Server::bind(&with_port(address))?,
        // Where the kernel has no IPv6, the wildcard is IPv4's.
        None => {
            Server::bind(&with_port("[::]")).or_else(|_| Server::bind(&with_port("0.0.0.0")))?
        }
    };
    let control = interruptible()?;
    let mut console = io::stderr().lock();
    writeln!(console, "listening at {}; stop with Ctrl-C", server.address()?)?;
    loop {
        let output = Output::open(&args.output)?;
        match server.serve(&control) {
            Ok(None) => return Ok(ExitCode::SUCCESS),
            Ok(Some(found)) => {
                output.deliver(&text("a test", &found), &found)?;
                if args.once {
                    return Ok(status(&control, found.verdict()));
                }
            }
            Err(error) if args.once => return measured(Err(error), &control),
            // A receiver whose notes nobody reads goes on all the same.
            Err(error) => {
                let _ = writeln!(console, "vmeter: {}", model::escape(&error.to_string()));
            }
        }
    }
}

/// The result as people read it.
fn text(with: &str, found: &Outcome) -> String {
    let plan = &found.plan;
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = body(&mut text, with, found, plan);
    text
}

fn body(out: &mut String, with: &str, found: &Outcome, plan: &Plan) -> std::fmt::Result {
    let direction = if plan.reverse { "from" } else { "to" };
    let streams =
        if plan.streams == 1 { String::new() } else { format!(", {} streams", plan.streams) };
    let asked = plan.rate.map_or("unpaced".to_owned(), |rate| {
        format!("{}/s, {}", show::digits(rate), pace(plan.pace))
    });
    writeln!(out, "TCP {direction} {}", model::escape(with))?;
    writeln!(
        out,
        "  {} writes {}, {asked}{streams}, {:.2} s{}",
        show::bytes(plan.size as u64),
        plan.packets.name(),
        found.duration_s,
        if found.partial { " (ended early)" } else { "" }
    )?;
    writeln!(out)?;
    writeln!(out, "  throughput     {}", show::bits(found.throughput_bit_per_s))?;
    writeln!(out, "  writes         {:<12}{:.1}/s", found.writes, found.writes_per_s)?;
    writeln!(
        out,
        "  data packets   {:<12}{:.1}/s, {} sent again",
        found.data_segments, found.packets_per_s, found.retransmissions
    )?;
    let per = found.acks_per_data_segment.map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
    writeln!(out, "  ACKs           {:<12}{per} per data packet", found.acks)?;
    if let Some(kept) = found.rate_kept {
        let kept = if kept { "kept within 0.1 %" } else { "NOT KEPT" };
        writeln!(out, "  rate           {kept}")?;
    }
    if let Some(late) = found.lateness_s {
        writeln!(
            out,
            "  send lateness  p50 {}, p99 {}, max {}",
            show::time(late.p50),
            show::time(late.p99),
            show::time(late.max)
        )?;
    }
    if let Some(proof) = found.one_per_write {
        let sign = if proof.holds { "=" } else { "≠" };
        writeln!(
            out,
            "  one per write  {} segments {sign} {} writes + {} sent again; MSS {}",
            proof.data_segments, proof.writes, proof.retransmissions, proof.mss
        )?;
    }
    writeln!(out, "\n  CPU            used      spin   µs/packet     µs/KB")?;
    let demand = found.service_demand_us;
    writeln!(out, "{}", end("sender", found.cpu_s.sender, demand.sender))?;
    if let (Some(cpu), Some(demand)) = (found.cpu_s.receiver, demand.receiver) {
        writeln!(out, "{}", end("receiver", cpu, demand))?;
    }
    out.push_str(&show::warnings("\nwarning", &found.warnings));
    Ok(())
}

fn end(name: &str, cpu: SpunCpu, demand: Demand) -> String {
    format!(
        "  {name:<9}{:>8.3} s{:>8.3} s{:>12}{:>10}",
        cpu.used(),
        cpu.spin,
        show::known(demand.per_packet),
        show::known(demand.per_kb)
    )
}

fn pace(pace: Pace) -> &'static str {
    match pace {
        Pace::Sleep => "sleeping",
        Pace::Spin => "spinning",
        Pace::Hybrid => "sleeping and spinning",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_a_port() {
        for (given, wanted) in [
            ("h", "h:5202"),
            ("h:1", "h:1"),
            ("10.0.0.1", "10.0.0.1:5202"),
            ("::1", "[::1]:5202"),
            ("[::1]", "[::1]:5202"),
            ("[::1]:7", "[::1]:7"),
            ("fe80::1%v0", "[fe80::1%v0]:5202"),
            ("[fe80::1%v0]", "[fe80::1%v0]:5202"),
            ("[fe80::1%v0]:7", "[fe80::1%v0]:7"),
        ] {
            assert_eq!(with_port(given), wanted);
        }
    }
}
