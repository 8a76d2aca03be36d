//! The result of a web load: `vmeter.bench.web/1` (docs/bench.md).

use super::classes::Errors;
use super::plan::{Load, Plan};
use super::tally::Tally;
use super::target::redacted;
use crate::{CpuTime, Environment, Percentiles, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// The schema's name.
pub const SCHEMA: &str = "vmeter.bench.web/1";
/// Times that late or unanswered requests are counted over, in seconds.
const OVER: [(&str, f64); 8] = [
    ("0.001", 0.001),
    ("0.01", 0.01),
    ("0.1", 0.1),
    ("0.2", 0.2),
    ("0.5", 0.5),
    ("1", 1.0),
    ("2", 2.0),
    ("5", 5.0),
];
/// A generator that is later than this for one request in a hundred was itself the limit.
const LATE: Duration = Duration::from_millis(10);
/// The part of the requests that may be late, or held back, in a valid run.
const TOLERATED: f64 = 0.01;

/// The figures of the measured window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// `vmeter.bench.web/1`.
    pub schema: String,
    /// It ended before its time: what stands here is the result so far.
    pub partial: bool,
    /// False where the generator itself was the limit.
    pub valid: bool,
    /// Why it was.
    pub invalid_reasons: Vec<String>,
    /// What to know before believing the figures.
    pub warnings: Vec<String>,
    /// What was asked for; its URL without the password.
    pub plan: Plan,
    /// Where requests went: of the host's addresses the first that took a connection, the first
    /// of all where none did. `None` in results of before it was kept.
    pub address: Option<SocketAddr>,
    /// Length of the window in seconds.
    pub duration_s: f64,
    /// Requests due in the window: `replies + errors.total + unsent + unfinished`.
    pub requests: u64,
    /// Whole replies to them.
    pub replies: u64,
    /// Replies by HTTP status.
    pub status: BTreeMap<u16, u64>,
    /// Failed requests by httperf's classes.
    pub errors: Errors,
    /// Calls never made: their connection failed before, or too many requests were held back.
    pub unsent: u64,
    /// Requests under way when the run was ended early.
    pub unfinished: u64,
    /// Requests that waited because all connections were in use.
    pub held_back: u64,
    /// Requests due, a second; `None` where it ended before the window began.
    pub requests_per_s: Option<f64>,
    /// Replies that came within the window, a second.
    pub replies_per_s: Option<f64>,
    /// Bytes of the replies' bodies.
    pub body_bytes: u64,
    /// CPU seconds of the generating threads, to the last reply.
    pub cpu_s: CpuTime,
    /// Intended time to whole reply; of replies only. `None` in a closed loop.
    pub response_s: Option<Percentiles>,
    /// Requests that had no reply after so many seconds from the intended time, those that never
    /// had one included. `None` in a closed loop.
    pub response_over: Option<BTreeMap<String, u64>>,
    /// Sending to whole reply; of replies only.
    pub service_s: Percentiles,
    /// Intended time to sending. `None` in a closed loop.
    pub lateness_s: Option<Percentiles>,
    /// Connections opened, warm-up included.
    pub connections: u64,
    /// The most that were open together.
    pub most_open: usize,
    /// Second by second.
    pub series: Vec<Second>,
    /// The warm-up, which counts nowhere else.
    pub warmup: Warmup,
    /// The machine.
    pub environment: Environment,
}

/// One second of the window, or after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Its end, from the window's begin.
    pub at_s: f64,
    /// Requests due in it.
    pub requests: u64,
    /// Replies that came in it.
    pub replies: u64,
    /// Requests that failed in it.
    pub errors: u64,
    /// Longest response time of its replies.
    pub response_max_s: f64,
}

/// What a server saw besides the measured requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warmup {
    /// Requests.
    pub requests: u64,
    /// Replies to them by status.
    pub status: BTreeMap<u16, u64>,
}

impl Second {
    /// Adds another thread's same second.
    pub(super) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.replies += other.replies;
        self.errors += other.errors;
        self.response_max_s = self.response_max_s.max(other.response_max_s);
    }
}

impl Outcome {
    /// From all threads' counts over a window of `duration` seconds.
    pub(super) fn of(
        plan: &Plan,
        address: SocketAddr,
        tally: Tally,
        duration_s: f64,
        partial: bool,
        environment: Environment,
    ) -> Self {
        let open = matches!(plan.load, Load::Open { .. });
        let invalid_reasons = invalid(&tally);
        let mut warnings: Vec<String> = tally.problem.iter().cloned().collect();
        if plan.load.closes_connections() && tally.errors.addrunavail > 0 {
            warnings
                .push("no local ports left: use persistent connections, or more addresses".into());
        }
        if tally.left_open as f64 > tally.connections as f64 * TOLERATED {
            warnings.push(format!(
                "the server left {} of {} connections open despite `Connection: close`: they were \
                 closed here, which keeps their local ports in use (TIME_WAIT)",
                tally.left_open, tally.connections
            ));
        }
        let per_second = |count: u64| (duration_s > 0.0).then(|| count as f64 / duration_s);
        let never = tally.errors.total + tally.unsent;
        let over = OVER.iter().map(|(name, limit)| {
            ((*name).to_owned(), never + tally.response.over(Duration::from_secs_f64(*limit)))
        });
        Self {
            schema: SCHEMA.to_owned(),
            partial: partial || tally.problem.is_some(),
            valid: invalid_reasons.is_empty(),
            invalid_reasons,
            warnings,
            plan: Plan { url: redacted(&plan.url), ..plan.clone() },
            address: Some(address),
            duration_s,
            requests: tally.requests,
            replies: tally.replies,
            status: tally.status,
            unsent: tally.unsent,
            unfinished: tally.unfinished,
            held_back: tally.held_back,
            requests_per_s: per_second(tally.requests),
            replies_per_s: per_second(tally.replies_in_window),
            body_bytes: tally.body_bytes,
            cpu_s: tally.cpu,
            response_s: open.then(|| tally.response.percentiles()),
            response_over: open.then(|| over.collect()),
            service_s: tally.service.percentiles(),
            lateness_s: open.then(|| tally.lateness.percentiles()),
            connections: tally.connections,
            most_open: tally.most_open,
            series: tally.series,
            warmup: Warmup { requests: tally.warmup_requests, status: tally.warmup_status },
            errors: tally.errors,
            environment,
        }
    }
}

impl Outcome {
    /// The part of the requests that had no reply, or one with a status of 400 or more; `None`
    /// where there were no requests.
    #[must_use]
    pub fn failed_part(&self) -> Option<f64> {
        let good: u64 = self.status.range(..400).map(|(_, count)| count).sum();
        let failed = self.requests.saturating_sub(good + self.unfinished);
        let all = self.requests.saturating_sub(self.unfinished);
        (all > 0).then(|| failed as f64 / all as f64)
    }

    /// What the run is worth, where so large a part of its requests may fail; `None` is any that
    /// leaves one good reply.
    #[must_use]
    pub fn verdict(&self, may_fail: Option<f64>) -> Verdict {
        let too_many = |part: f64| may_fail.map_or(part >= 1.0, |limit| part > limit);
        if self.partial {
            Verdict::Broken
        } else if !self.valid {
            Verdict::Invalid
        } else if self.failed_part().is_none_or(too_many) {
            Verdict::Failed
        } else {
            Verdict::Good
        }
    }
}

/// In what the generator itself was the limit.
fn invalid(tally: &Tally) -> Vec<String> {
    let mut reasons = Vec::new();
    let tolerated = tally.requests as f64 * TOLERATED;
    let late = tally.lateness.over(LATE);
    let own = tally.errors.of_the_generator();
    if own > 0 {
        reasons.push(format!(
            "{own} requests could not be sent: no free file or port on this machine (RLIMIT_NOFILE, \
             `ulimit -n`; net.ipv4.ip_local_port_range)"
        ));
    }
    if tally.held_back as f64 > tolerated {
        reasons.push(format!(
            "{} of {} requests waited for a connection: raise --max-connections",
            tally.held_back, tally.requests
        ));
    } else if late as f64 > tolerated {
        reasons.push(format!(
            "{late} of {} requests were sent more than {} ms late: this machine is too slow or too busy \
             for the rate",
            tally.requests,
            LATE.as_millis()
        ));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::super::classes::Class;
    use super::*;

    /// A run of 100 requests of which so many were sent 20 ms late.
    fn tally(late: u64) -> Tally {
        let mut tally = Tally { requests: 100, ..Tally::default() };
        for request in 0..100 {
            tally.lateness.record_nanos(if request < late { 20_000_000 } else { 50_000 });
        }
        tally
    }

    #[test]
    fn a_run_is_invalid_for_the_generators_own_faults_only() {
        assert_eq!(invalid(&tally(0)), Vec::<String>::new());
        assert_eq!(invalid(&tally(1)), Vec::<String>::new());
        assert!(
            invalid(&tally(2))[0].starts_with("2 of 100 requests were sent more than 10 ms late")
        );
        let mut refused = tally(0);
        refused.errors.count(Class::ConnRefused, "");
        assert_eq!(invalid(&refused), Vec::<String>::new(), "the server's fault");
        let mut full = tally(0);
        full.errors.count(Class::FdUnavail, "");
        assert!(invalid(&full)[0].contains("RLIMIT_NOFILE"));
    }
}
