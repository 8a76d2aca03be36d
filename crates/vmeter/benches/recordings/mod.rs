//! Sampling against perf, in turn: what recording costs the recorder, the disk and the program that
//! is sampled, what a report costs, and what an agent costs that tells names.

use crate::agents::Agent;
use crate::machine::program;
use crate::processes::Killed;
use crate::spent::{Cost, attempt, run};
use agent::Sampling;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Rounds of what is compared.
const ROUNDS: usize = 7;
/// Of a recording whose costs are compared, in nanoseconds.
const PERIOD: &str = "100000";
/// How long such a recording takes.
const SECONDS: u32 = 12;
/// Switches a second that an agent tells of.
const SWITCHES: u32 = 1000;

/// perf without the marking of build ids.
const PLAIN: &[&str] = &["-B", "-N"];

/// Prints what recording costs.
pub fn measure() {
    let place = tempfile::tempdir().unwrap();
    recorders(&place);
    slowdown(&place);
    names();
}

fn vmeter(args: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(program());
    command.args(args).arg(dir);
    command
}

fn perf(args: &[&str], file: &Path) -> Command {
    let mut command = Command::new("perf");
    command.args(["record", "-q", "-o"]).arg(file).args(args);
    command
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Bytes of a file, or of a folder's files.
fn size(path: &Path) -> f64 {
    let bytes: u64 = match fs::read_dir(path) {
        Ok(entries) => entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum(),
        Err(_) => fs::metadata(path).unwrap().len(),
    };
    bytes as f64
}

/// Samples that a report counts in a recording or a perf.data.
fn samples(path: &Path) -> f64 {
    let output = vmeter(&["report", "--format", "json"], path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap().iter();
    rows.map(|row| row["samples"].as_f64().unwrap()).sum()
}

/// CPU time and bytes for a sample, of all CPUs, which are busy. perf is compared as it comes, when
/// it marks the build ids of what it met at the end, as vmeter does, and without that.
fn recorders(place: &TempDir) {
    let busy = Killed::all_busy();
    let event = format!("cpu-clock:{PERIOD}");
    let time = format!("{SECONDS}s");
    let mut all = [const { Vec::new() }; 3];
    for round in 0..ROUNDS {
        let dir = place.path().join(format!("rec-{round}"));
        let cost = run(vmeter(&["record", "-e", &event, "--duration", &time, "-o"], &dir));
        all[0].push((cost, samples(&dir), size(&dir)));
        for (to, options) in [(1, &[][..]), (2, PLAIN)] {
            let file = place.path().join("perf.data");
            let words = ["-e", "cpu-clock", "-c", PERIOD, "-a", "--", "sleep", &time];
            // perf 6.1 now and then fails as it collects build ids.
            let mut tries =
                (0..5).filter_map(|_| attempt(perf(&[options, &words].concat(), &file)));
            let cost = tries.next().unwrap();
            all[to].push((cost, samples(&file), size(&file)));
        }
    }
    drop(busy);
    // Of all rounds together: the kernel tells user time by its ticks, of which a round has few.
    let of = |at: usize, what: fn(&Cost) -> f64| {
        let (spent, count) = all[at].iter().fold((0.0, 0.0), |(spent, count), row| {
            let (cost, samples, _) = row;
            (spent + what(cost), count + samples)
        });
        1e9 * spent / count
    };
    let bytes = |at: usize| median(all[at].iter().map(|(_, count, size)| size / count).collect());
    println!("recording all CPUs, {event}, {:.0} samples in {SECONDS} s:", all[0][0].1);
    let names = ["vmeter", "perf record", "perf record -B -N"];
    for (at, name) in names.iter().enumerate() {
        let (user, whole) = (of(at, |cost| cost.user_s), of(at, Cost::cpu_s));
        println!("  {name}: user CPU a sample {user:.0} ns, with system {whole:.0} ns");
    }
    let ratio = of(0, |cost| cost.user_s) / of(1, |cost| cost.user_s);
    println!("  vmeter's user CPU is {ratio:.2} of perf record's, wanted ≤ 1");
    let (a, b) = (bytes(0), bytes(1));
    println!(
        "  bytes a sample, symbols included: vmeter {a:.2}, perf {b:.2} ({:.3}), wanted ≤ 0.5",
        a / b
    );
}

/// How much longer fixed work takes because it is sampled.
fn slowdown(place: &TempDir) {
    let work = program();
    let work = [work.to_str().unwrap(), "bench", "cpu", "--passes", "100", "--same-cpu"];
    let event = format!("cpu-clock:{PERIOD}");
    let (mut ours, mut theirs, mut of_all) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let bare = || {
            let mut command = Command::new(work[0]);
            command.args(&work[1..]);
            seconds(command)
        };
        let before = bare();
        let mut command =
            vmeter(&["record", "-e", &event, "-o"], &place.path().join(format!("work-{round}")));
        command.arg("--").args(work);
        let sampled = seconds(command);
        let file = place.path().join("work.data");
        let with = |scope: &[&str]| {
            let words = [PLAIN, scope, &["-e", "cpu-clock", "-c", PERIOD, "--"], &work];
            seconds(perf(&words.concat(), &file))
        };
        let (with, with_all) = (with(&[]), with(&["-a"]));
        let without = f64::midpoint(before, bare());
        ours.push(sampled / without);
        theirs.push(with / without);
        of_all.push(with_all / without);
    }
    println!(
        "a program's own time while it is sampled at {event}: vmeter, which samples all CPUs, \
         {:+.2} %, perf record -a {:+.2} %, perf record {:+.2} %, wanted ≤ perf's",
        100.0 * (median(ours) - 1.0),
        100.0 * (median(of_all) - 1.0),
        100.0 * (median(theirs) - 1.0)
    );
}

/// What the work says of its own time, which is no part of the recorder's begin and end.
fn seconds(mut command: Command) -> f64 {
    let result = tempfile::NamedTempFile::new().unwrap();
    let path = result.path().to_path_buf();
    // Recorders leave their command's standard output alone.
    command.args(["--json"]).arg(&path).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let found: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    found["instances"][0]["seconds"].as_f64().unwrap()
}

/// Prints what reports of perf.data with 1.2 and 10 million samples cost.
pub fn measure_reports() {
    let place = tempfile::tempdir().unwrap();
    let busy = Killed::all_busy();
    let record = |name: &str, seconds: f64| {
        let file = place.path().join(name);
        let time = format!("{seconds:.1}");
        let words = ["-e", "cpu-clock", "-c", "25000", "-a", "--", "sleep", &time];
        run(perf(&[PLAIN, &words].concat(), &file));
        let count = samples(&file);
        (file, count)
    };
    let (_, rate) = record("try.data", 4.0);
    let rate = rate / 4.0;
    let (file, count) = record("middle.data", 1.2e6 / rate);
    let (large, many) = record("large.data", 10e6 / rate);
    drop(busy);
    let report = |file: &Path| run(vmeter(&["report"], file));
    let peer = |word: &str| {
        let mut command = Command::new("perf");
        command.args([word, "-i"]).arg(&file);
        if word == "report" {
            command.arg("--stdio");
        }
        run(command)
    };
    // What was recorded is on its way to the disk.
    rustix::fs::sync();
    println!("report of a perf.data of {count:.0} samples:");
    let all: Vec<[Cost; 3]> =
        (0..ROUNDS).map(|_| [report(&file), peer("report"), peer("script")]).collect();
    let of =
        |at: usize, what: fn(&Cost) -> f64| median(all.iter().map(|row| what(&row[at])).collect());
    for (at, name) in ["vmeter report", "perf report --stdio", "perf script"].iter().enumerate() {
        let (wall, cpu) = (of(at, |cost| cost.wall_s), of(at, Cost::cpu_s));
        println!("  {name}: {wall:.2} s, CPU {cpu:.2} s, {:.0} MB", of(at, |cost| cost.peak_mb()));
    }
    for (at, least) in [(1, 5.0), (2, 10.0)] {
        let (wall, cpu) =
            (of(at, |c| c.wall_s) / of(0, |c| c.wall_s), of(at, Cost::cpu_s) / of(0, Cost::cpu_s));
        println!("  ratio: {wall:.1} of the time, {cpu:.1} of the CPU, wanted ≥ {least}");
    }
    let one = of(0, |cost| cost.wall_s);
    let ten = report(&large);
    println!(
        "  {many:.0} samples: {:.2} s, {:.0} MB; {:.2} times the time of each, wanted about 1",
        ten.wall_s,
        ten.peak_mb(),
        ten.wall_s / many / (one / count)
    );
}

/// CPU of an agent that tells names and switches, as a recorder in mode A asks.
fn names() {
    let agent = Agent::start();
    let mut handle = agent.connect();
    handle.sample(&Sampling::Names).unwrap();
    handle.existing().unwrap();
    while handle.drain().unwrap().more {}
    // Each wake is a switch to it and one away.
    let wakes = f64::from(SWITCHES) / 2.0;
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                sleep(Duration::from_secs_f64(1.0 / wakes));
            }
        });
        let (before, switched, from) = (agent.cpu(), context_switches(), Instant::now());
        while from.elapsed() < Duration::from_secs(20) {
            while handle.drain().unwrap().more {}
            sleep(Duration::from_millis(250));
        }
        let seconds = from.elapsed().as_secs_f64();
        let part = 100.0 * (agent.cpu() - before) / seconds;
        let rate = (context_switches() - switched) / seconds;
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        println!(
            "agent, mode A at {rate:.0} switches/s: {part:.3} % of a CPU, wanted ≤ 0.5 at 1000"
        );
    });
}

/// Switches of all CPUs so far.
fn context_switches() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap();
    stat.lines().find_map(|line| line.strip_prefix("ctxt ")).unwrap().parse().unwrap()
}
