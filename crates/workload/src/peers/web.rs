//! httperf, wrk and ab.

use super::Run;
use super::command::{self, Ran, typed, version};
use crate::web::{Load, Per, Plan, Target};
use crate::{Control, Error};
use std::process::Command;
use std::time::Duration;

/// A web load generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// httperf: an open loop of connections, one thread.
    Httperf,
    /// wrk: a closed loop.
    Wrk,
    /// ApacheBench: a closed loop, one thread.
    Ab,
}

impl Peer {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Httperf, Self::Wrk, Self::Ab];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Httperf => "httperf",
            Self::Wrk => "wrk",
            Self::Ab => "ab",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Httperf => "httperf",
            Self::Wrk => "wrk",
            Self::Ab => "apache2-utils",
        }
    }

    /// Whether it can generate such a load at all.
    #[must_use]
    pub fn can(self, plan: &Plan) -> bool {
        match plan.load {
            Load::Closed => true,
            Load::Open { per: Per::Connection, .. } => self == Self::Httperf,
            Load::Open { .. } => false,
        }
    }
}

/// Runs the plan with a peer; `replies` is how many vmeter got, for those that count requests and
/// not time. Work is replies.
///
/// # Errors
/// The peer is missing, or what it printed cannot be read.
pub fn run(peer: Peer, plan: &Plan, replies: u64, control: &Control) -> Result<Run, Error> {
    let target = Target::of(&plan.url)?;
    if target.authorization.is_some() {
        let text = "credentials in the URL are not passed to the other tools: omit them to compare";
        return Err(Error::Plan(text.to_owned()));
    }
    let mut command = match peer {
        Peer::Httperf => httperf(plan, &target, replies),
        Peer::Wrk => wrk(plan, &target),
        Peer::Ab => ab(plan, &target, replies),
    };
    let limit = plan.duration * 20 + Duration::from_secs(60);
    let ran = command::run(&mut command, peer.package(), limit, control)?;
    let read = match peer {
        Peer::Httperf => read_httperf(&ran.text),
        Peer::Wrk => read_wrk(&ran.text),
        Peer::Ab => read_ab(&ran.text),
    };
    let read = read.filter(|_| ran.success).ok_or_else(|| unreadable(peer, &ran))?;
    Ok(Run {
        tool: peer.name().to_owned(),
        version: match peer {
            Peer::Ab => version("ab", "-V"),
            Peer::Wrk => version("wrk", "-v"),
            Peer::Httperf => version("httperf", "--version"),
        },
        command: typed(&command),
        work: read.replies,
        duration_s: read.duration_s,
        cpu_s: ran.cpu.total(),
        errors: read.errors,
        p50_s: read.p50_s,
        p99_s: read.p99_s,
    })
}

fn unreadable(peer: Peer, ran: &Ran) -> Error {
    let last = ran.text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing");
    Error::Peer(format!("{} printed no result: {last}", peer.name()))
}

fn httperf(plan: &Plan, target: &Target, replies: u64) -> Command {
    let mut command = Command::new("httperf");
    command.arg("--hog").arg(format!("--server={}", target.host));
    command.arg(format!("--port={}", target.port)).arg(format!("--uri={}", target.path));
    command.arg(format!("--timeout={}", plan.timeout.as_secs_f64()));
    match plan.load {
        Load::Open { rate, .. } => {
            let connections = (rate * plan.duration.as_secs_f64()).round().max(1.0);
            command.arg(format!("--rate={rate}")).arg(format!("--num-conns={connections}"));
            command.arg(format!("--num-calls={}", plan.calls));
        }
        Load::Closed => {
            // All connections at once, each with its part of the replies.
            let connections = plan.max_connections as u64;
            command.arg("--rate=100000").arg(format!("--num-conns={connections}"));
            command.arg(format!("--num-calls={}", replies.div_ceil(connections).max(1)));
        }
    }
    command
}

fn wrk(plan: &Plan, target: &Target) -> Command {
    let mut command = Command::new("wrk");
    command.arg(format!("-t{}", plan.threads)).arg(format!("-c{}", plan.max_connections));
    command.arg(format!("-d{}s", plan.duration.as_secs().max(1)));
    command.arg(format!("--timeout={}s", plan.timeout.as_secs().max(1)));
    command.arg("--latency").arg(target.url());
    command
}

fn ab(plan: &Plan, target: &Target, replies: u64) -> Command {
    let mut command = Command::new("ab");
    command.args(["-q", "-k", "-c", &plan.max_connections.to_string()]);
    command.args(["-n", &replies.max(plan.max_connections as u64).to_string()]);
    command.args(["-s", &plan.timeout.as_secs().max(1).to_string()]).arg(target.url());
    command
}

/// What a peer's output says.
#[derive(Debug, Default, PartialEq)]
struct Read {
    replies: f64,
    duration_s: f64,
    errors: u64,
    p50_s: Option<f64>,
    p99_s: Option<f64>,
}

/// The number that follows `before` in `text`.
fn after(text: &str, before: &str) -> Option<f64> {
    let rest = text.split_once(before)?.1.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    rest[..end].parse().ok()
}

fn read_httperf(text: &str) -> Option<Read> {
    let total = text.lines().find(|line| line.starts_with("Total: connections"))?;
    let errors = text.lines().find(|line| line.starts_with("Errors: total"))?;
    Some(Read {
        replies: after(total, "replies")?,
        duration_s: after(total, "test-duration")?,
        errors: after(errors, "Errors: total")? as u64,
        ..Read::default()
    })
}

fn read_wrk(text: &str) -> Option<Read> {
    let line = text.lines().find(|line| line.contains(" requests in "))?;
    let errors = text.lines().find(|line| line.contains("Socket errors:"));
    let errors = errors.map_or(0.0, |line| {
        ["connect", "read", "write", "timeout"].iter().filter_map(|kind| after(line, kind)).sum()
    });
    let percentile = |name: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(name))?;
        seconds(line.split_whitespace().nth(1)?)
    };
    Some(Read {
        replies: line.split_whitespace().next()?.parse().ok()?,
        duration_s: seconds(line.split(" requests in ").nth(1)?.split(',').next()?)?,
        errors: errors as u64,
        p50_s: percentile("50%"),
        p99_s: percentile("99%"),
    })
}

/// wrk's times: `830.00us`, `1.20ms`, `10.02s`, `1.5m`.
fn seconds(text: &str) -> Option<f64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let value: f64 = text[..digits].parse().ok()?;
    let unit = match &text[digits..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Some(value * unit)
}

fn read_ab(text: &str) -> Option<Read> {
    let percentile = |name: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(name))?;
        Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1e3)
    };
    Some(Read {
        replies: after(text, "Complete requests:")?,
        duration_s: after(text, "Time taken for tests:")?,
        errors: after(text, "Failed requests:")? as u64,
        p50_s: percentile("50%"),
        p99_s: percentile("99%"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_peers_print_is_read() {
        let httperf = "Maximum connect burst length: 1\n\n\
            Total: connections 64 requests 64000 replies 63990 test-duration 3.214 s\n\n\
            Errors: total 10 client-timo 10 socket-timo 0 connrefused 0 connreset 0\n";
        let read = read_httperf(httperf).unwrap();
        assert_eq!((read.replies, read.duration_s, read.errors), (63990.0, 3.214, 10));

        let wrk = "Running 3s test @ http://127.0.0.1/\n  Latency Distribution\n     50%  830.00us\n     \
            99%    1.20ms\n  251234 requests in 3.10s, 292.41MB read\n  \
            Socket errors: connect 0, read 2, write 0, timeout 1\nRequests/sec:  81042.11\n";
        let read = read_wrk(wrk).unwrap();
        assert_eq!((read.replies, read.duration_s, read.errors), (251_234.0, 3.1, 3));
        assert_eq!((read.p50_s, read.p99_s), (Some(0.00083), Some(0.0012)));

        let ab = "Time taken for tests:   1.234 seconds\nComplete requests:      50000\n\
            Failed requests:        0\n  50%      1\n  99%      3\n";
        let read = read_ab(ab).unwrap();
        assert_eq!((read.replies, read.duration_s), (50_000.0, 1.234));
        assert_eq!((read.p50_s, read.p99_s), (Some(0.001), Some(0.003)));

        for text in ["", "wrk: command failed", "Total: connections x"] {
            assert_eq!(read_httperf(text), None);
            assert_eq!(read_wrk(text), None);
            assert_eq!(read_ab(text), None);
        }
    }
}
