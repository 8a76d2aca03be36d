//! What vmeter costs, and what its loads do for their CPU, side by side with xentop, top, iperf3,
//! httperf, wrk, ab and perf, and a report over many runs: `make bench`.
//!
//! Arguments choose parts (`web`, `tcp`, `connections`, `agent`, `xen`, `restored`, `many`, `report`,
//! `sampling`, `profiles`); none means all. `cargo bench` adds `--bench`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a benchmark")]

mod agents;
mod dataset;
mod loads;
#[path = "../tests/machine/mod.rs"]
mod machine;
mod many;
#[path = "../tests/processes/mod.rs"]
mod processes;
mod recordings;
mod restored;
#[path = "../tests/servers/mod.rs"]
mod servers;
mod spent;

use lab::{Accel, Clock, Kind};
use machine::{Host, number, spec};

fn main() {
    let chosen: Vec<String> =
        std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match chosen.first().map(String::as_str) {
        Some(many::STAND_IN) => many::stand_in(false),
        Some(many::AWAKE) => many::stand_in(true),
        _ => {}
    }
    let wants = |part: &str| chosen.is_empty() || chosen.iter().any(|one| one == part);
    if wants("web") {
        loads::web();
    }
    if wants("tcp") {
        loads::tcp();
    }
    if wants("connections") {
        loads::connections();
    }
    if wants("agent") {
        agents::measure();
    }
    if wants("many") {
        for machines in [1000, 2000, 5000] {
            many::measure(machines);
        }
    }
    if wants("report") {
        dataset::measure();
    }
    if wants("sampling") {
        recordings::measure();
    }
    if wants("profiles") {
        recordings::measure_reports();
    }
    if wants("xen") {
        against_xentop();
    }
    if wants("restored") {
        restored::measure();
    }
}

/// CPU of twenty refreshes in dom0 under the instruction clock: seconds are 10⁹ instructions.
fn against_xentop() {
    let mut spec = spec(Kind::Xen, "bookworm");
    spec.clock = Clock::Instructions;
    spec.accel = Accel::Tcg;
    let mut host = Host::boot(&spec);
    let mut cpu = |command: &str| {
        let script =
            format!("vmeter cpu --format json -o /tmp/cost -- {command} >/dev/null; cat /tmp/cost");
        number(&host.json(&script)[0], "/command_cpu_s")
    };
    println!("dom0 with two guests, instruction clock, CPU s of 20 refreshes:");
    for round in 1..=3 {
        let ours = cpu("vmeter top --batch --count 20 --format json");
        let table = cpu("vmeter top --batch --count 20");
        let theirs = cpu("xentop -b -i 20 -d 1 -f");
        println!(
            "  round {round}: vmeter {ours:.4} (table {table:.4}), xentop {theirs:.4}, \
             ratio {:.3} (table {:.3}), wanted ≤ 0.5",
            ours / theirs,
            table / theirs
        );
    }
}
