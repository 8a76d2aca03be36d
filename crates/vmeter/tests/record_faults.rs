//! What goes wrong while `vmeter record` runs: the recording reads, and says what is missing and
//! when.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod processes;

use processes::{Disk, Killed, said, serving};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

fn vmeter(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmeter"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The report as JSON; what the table says of the streams is printed.
fn report(dir: &Path) -> Value {
    let table = vmeter(&["report", text(dir), "--limit", "3"]).output().unwrap();
    println!("{}", said(&table));
    let made = vmeter(&["report", text(dir), "--format", "json"]).output().unwrap();
    assert!(made.status.success(), "{}", said(&made));
    serde_json::from_slice(&made.stdout).unwrap()
}

/// Waits until a file of the recording has so many bytes.
fn grown(path: &Path, bytes: u64) {
    let until = Instant::now() + Duration::from_secs(60);
    while fs::metadata(path).map_or(0, |found| found.len()) < bytes {
        assert!(Instant::now() < until, "{}", path.display());
        sleep(Duration::from_millis(20));
    }
}

fn ended(recorder: Child) -> Output {
    recorder.wait_with_output().unwrap()
}

fn stream<'a>(report: &'a Value, name: &str) -> &'a Value {
    let streams = report["streams"].as_array().unwrap();
    streams.iter().find(|stream| stream["name"] == name).unwrap()
}

fn warns(stream: &Value, what: &str) -> bool {
    let warnings = stream["warnings"].as_array().unwrap().iter();
    warnings.filter_map(Value::as_str).any(|warning| warning.contains(what))
}

/// The agent of `g1` is killed: the rest goes on to its end, and `g1` says until when it told.
#[test]
fn an_agent_is_killed() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("socket");
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmeter"));
    command.args(["agent", "run", "--unix"]).arg(&socket);
    let agent = Killed(vec![serving(command)]);
    let _busy = Killed::busy(1);
    let dir = place.path().join("rec");
    let named = format!("g1={}", text(&socket));
    let event = "cpu-clock:1M";
    let args = ["record", "-e", event, "--agent", &named, "--duration", "4s", "-o", text(&dir)];
    let recorder = vmeter(&args).spawn().unwrap();
    grown(&dir.join("stream-1.raw"), 20_000);
    drop(agent);
    let output = ended(recorder);
    assert!(output.status.success(), "{}", said(&output));
    let found = report(&dir);
    let guest = stream(&found, "g1");
    assert!(guest["samples"].as_u64().unwrap() > 100, "{guest:#}");
    assert!(warns(guest, "s after the begin its agent was lost"), "{guest:#}");
    let seconds = |name: &str| stream(&found, name)["duration_s"].as_f64().unwrap();
    assert!(seconds("host") > seconds("g1") + 0.5, "{} {}", seconds("host"), seconds("g1"));
}

/// The recorder is stopped for so long that the kernel's rings run over.
#[test]
fn a_ring_runs_over() {
    let place = tempfile::tempdir().unwrap();
    let _busy = Killed::busy(2);
    let dir = place.path().join("rec");
    let args = ["record", "-e", "cpu-clock:20k", "--duration", "5s", "-o", text(&dir)];
    let recorder = vmeter(&args).spawn().unwrap();
    grown(&dir.join("stream-0.raw"), 500_000);
    let pid = Pid::from_child(&recorder);
    kill_process(pid, Signal::STOP).unwrap();
    // Rings of 512 KiB are full of 48-byte samples after 0.22 s.
    sleep(Duration::from_millis(1500));
    kill_process(pid, Signal::CONT).unwrap();
    let output = ended(recorder);
    assert!(output.status.success(), "{}", said(&output));
    let found = report(&dir);
    let host = stream(&found, "host");
    let lost: u64 = host["lost"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    let (samples, between) = (host["samples"].as_u64().unwrap(), &host["lost_between_s"]);
    println!("{samples} samples, {lost} lost, told at {between} s");
    // 1.5 s of two busy CPUs are 150,000 samples, of which the rings held 21,000.
    assert!(lost > 10_000 && samples > 10_000, "{host:#}");
    assert!(warns(host, "records lost on CPU") && warns(host, "after the begin"), "{host:#}");
    // Nothing else is wrong with it: records that go over the ring's end are whole.
    assert!(!warns(host, "damaged"), "{host:#}");
    let (from, to) = (between[0].as_f64().unwrap(), between[1].as_f64().unwrap());
    assert!(0.0 < from && from <= to && to <= host["duration_s"].as_f64().unwrap(), "{between}");
}

/// The disk is full: the recorder says so and ends; what it had written reads.
#[test]
fn a_disk_is_full() {
    let place = tempfile::tempdir().unwrap();
    let disk = Disk::new(&place.path().join("disk"), 2);
    let _busy = Killed::busy(1);
    let dir = disk.0.join("rec");
    let args = ["record", "-e", "cpu-clock:20k", "--duration", "60s", "-o", text(&dir)];
    let output = ended(vmeter(&args).spawn().unwrap());
    println!("{}", said(&output));
    assert!(!output.status.success());
    assert!(said(&output).contains("No space left on device"), "{}", said(&output));
    let found = report(&dir);
    let host = stream(&found, "host");
    // Up to 2 MB of 48-byte samples, less what was not written to its end.
    assert!(host["samples"].as_u64().unwrap() > 20_000, "{host:#}");
}
