//! A run: threads with their parts of the schedule, then their sums.

use super::outcome::Outcome;
use super::plan::{Load, Plan};
use super::requests::Requests;
use super::schedule::Schedule;
use super::tally::{Tally, Window};
use super::target::Target;
use super::worker::Worker;
use crate::address::{connect, first_of, stream_to};
use crate::environment::device_towards;
use crate::{Control, Environment, Error, affinity, clock, fileset};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

/// How long each of a host's several addresses may take to accept a connection before the run.
const PROBE: Duration = Duration::from_secs(2);

/// Generates the load and gives what was measured.
///
/// # Errors
/// Where the plan cannot be done: wrong values, no such host, no whole file set. A server that
/// is not there is a result, not an error.
pub fn run(plan: &Plan, control: &Control) -> Result<Outcome, Error> {
    plan.check()?;
    let target = Target::of(&plan.url)?;
    let dirs = plan.fileset.as_deref().map(fileset::check).transpose()?.map(|set| set.dirs);
    if dirs.is_some() && target.path.contains('?') {
        let text = "invalid URL of a file set: expected no query";
        return Err(Error::Plan(text.to_owned()));
    }
    let address = choose(&target, control)?;
    let device = device_towards(address);
    let environment = Environment::read(device.as_deref());
    let cpus = affinity::allowed()?;
    // All threads are there before the first request is due.
    let start = clock::now() + 10_000_000;
    let from = start + clock::length(plan.warmup);
    let window = Window { start, from, to: from + clock::length(plan.duration) };
    let tally = thread::scope(|scope| {
        let threads: Vec<_> = (0..plan.threads)
            .map(|index| {
                let (target, cpus) = (&target, &cpus);
                scope.spawn(move || {
                    // The last CPU first: interrupts prefer the first. Where it is not allowed, the
                    // thread runs where it may.
                    if let Some(cpu) = cpus.iter().rev().cycle().nth(index) {
                        let _ = affinity::pin(*cpu);
                    }
                    let place = (index, plan.threads);
                    let requests =
                        Requests::new(target, dirs.map(|dirs| (dirs, plan.seed)), index, place.1);
                    let schedule = schedule(plan, place, (start, window.to));
                    let most = share(plan.max_connections, place);
                    let worker =
                        Worker::new(plan, control, address, requests, schedule, window, most);
                    worker.map_or_else(|error| broken(plan, error), Worker::run)
                })
            })
            .collect();
        threads.into_iter().fold(Tally::default(), |sum, thread| {
            sum.merge(thread.join().unwrap_or_else(|_| Tally {
                problem: Some("a generator thread panicked".to_owned()),
                ..Tally::default()
            }))
        })
    });
    let partial = control.stopped();
    let duration_s = tally.ended.saturating_sub(window.from) as f64 / 1e9;
    Ok(Outcome::of(plan, address, tally, duration_s, partial, environment))
}

/// Where requests go: of several addresses the first that takes a connection, so that no request
/// meets one that does not. A host with one address gets no connection before the load.
fn choose(target: &Target, control: &Control) -> Result<SocketAddr, Error> {
    let addresses = target.addresses(control)?;
    let within = PROBE * u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    let attempt = |at, within| connect(stream_to(at)?, at, within, control);
    Ok(match addresses.as_slice() {
        [only] => *only,
        // Where none answers, the load shows how each request failed.
        several => first_of(several, within, attempt).map_or(several[0], |(_, address)| address),
    })
}

/// A thread that could not even have its epoll.
fn broken(plan: &Plan, error: rustix::io::Errno) -> Tally {
    let mut tally = Tally::default();
    let class = super::classes::Class::of(error);
    let why = std::io::Error::from(error).to_string();
    if let Load::Open { rate, .. } = plan.load {
        tally.requests = (rate * plan.duration.as_secs_f64()) as u64 / plan.threads as u64;
        tally.unsent = tally.requests.saturating_sub(1);
    }
    tally.requests = tally.requests.max(1);
    tally.errors.count(class, &why);
    tally.problem = Some(format!("cannot start a generator thread: {why}"));
    tally
}

fn schedule(plan: &Plan, place: (usize, usize), times: (u64, u64)) -> Option<Schedule> {
    match plan.load {
        Load::Open { rate, arrivals, .. } => {
            Some(Schedule::new(arrivals, rate, place, plan.seed, times))
        }
        Load::Closed => None,
    }
}

/// A thread's part of a whole, the first ones taking what is left over.
fn share(whole: usize, (index, parts): (usize, usize)) -> usize {
    whole / parts + usize::from(index < whole % parts)
}
