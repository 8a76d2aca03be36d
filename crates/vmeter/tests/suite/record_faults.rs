//! What goes wrong while `vmeter record` runs: the recording reads, and says what is missing and
//! when.

use crate::processes::{Disk, Killed, said, serving};
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

/// Samples of a layer whose functions have names.
fn with_names(report: &Value, layer: &str) -> u64 {
    let rows = report["rows"].as_array().unwrap().iter();
    rows.filter(|row| row["layer"] == layer && row["symbol"].is_string())
        .map(|row| row["samples"].as_u64().unwrap())
        .sum()
}

/// An agent at a unix socket.
fn agent(socket: &Path) -> Killed {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmeter"));
    command.args(["agent", "run", "--unix"]).arg(socket);
    Killed(vec![serving(command)])
}

/// Records, with the agent `g1` at a socket, which is killed once it has told something;
/// meanwhile `then` is done.
fn recorded_without_end(dir: &Path, socket: &Path, time: &str, then: impl FnOnce()) -> Value {
    let agent = agent(socket);
    let _busy = Killed::busy(1);
    let named = format!("g1={}", text(socket));
    let args =
        ["record", "-e", "cpu-clock:1M", "--agent", &named, "--duration", time, "-o", text(dir)];
    let recorder = vmeter(&args).spawn().unwrap();
    grown(&dir.join("stream-1.raw"), 20_000);
    drop(agent);
    then();
    let output = ended(recorder);
    assert!(output.status.success(), "{}", said(&output));
    report(dir)
}

/// The agent of `g1` is killed: the rest goes on to its end, and `g1` says until when it told.
#[test]
fn an_agent_is_killed() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("socket");
    let found = recorded_without_end(&place.path().join("rec"), &socket, "4s", || ());
    let guest = stream(&found, "g1");
    assert!(guest["samples"].as_u64().unwrap() > 100, "{guest:#}");
    assert!(warns(guest, "s after the start its agent was lost"), "{guest:#}");
    let seconds = |name: &str| stream(&found, name)["duration_s"].as_f64().unwrap();
    assert!(seconds("host") > seconds("g1") + 0.5, "{} {}", seconds("host"), seconds("g1"));
    // What its kernel did until then has names.
    assert!(with_names(&found, "guest-kernel") > 0);
}

/// The agent of `g1` is killed and comes back: it goes on in a second stream.
#[test]
fn an_agent_comes_back() {
    let place = tempfile::tempdir().unwrap();
    let (dir, socket) = (place.path().join("rec"), place.path().join("socket"));
    let mut again = None;
    let found = recorded_without_end(&dir, &socket, "8s", || {
        again = Some(agent(&socket));
        grown(&dir.join("stream-2.raw"), 20_000);
    });
    drop(again);
    let streams = found["streams"].as_array().unwrap();
    let guests: Vec<_> = streams.iter().filter(|stream| stream["name"] == "g1").collect();
    assert_eq!(guests.len(), 2, "{streams:#?}");
    assert!(warns(guests[0], "s after the start its agent was lost"), "{guests:#?}");
    assert!(warns(guests[1], "s after the start its agent was reconnected"), "{guests:#?}");
    let samples = |stream: &Value| stream["samples"].as_u64().unwrap();
    assert!(guests.iter().all(|stream| samples(stream) > 100), "{guests:#?}");
    // Both are the VM's.
    let rows = found["rows"].as_array().unwrap().iter();
    let of: u64 = rows.filter(|row| row["vm"] == "g1").map(samples).sum();
    assert_eq!(of, guests.iter().map(|stream| samples(stream)).sum::<u64>());
}

/// The recorder is killed: of `g1`, too, all but the last second is there, its clock is known, and
/// kernels' functions have names.
#[test]
fn the_recorder_is_killed() {
    let place = tempfile::tempdir().unwrap();
    let (dir, socket) = (place.path().join("rec"), place.path().join("socket"));
    let _agent = agent(&socket);
    let _busy = Killed::busy(1);
    let named = format!("g1={}", text(&socket));
    let args = ["record", "-e", "cpu-clock:1M", "--agent", &named, "-o", text(&dir)];
    let mut recorder = Killed(vec![vmeter(&args).stderr(Stdio::null()).spawn().unwrap()]);
    let stream_file = dir.join("stream-1.raw");
    grown(&stream_file, 10_000);
    // Time, and not size: beside other tests the file also holds their mappings and names.
    let since = Instant::now();
    sleep(Duration::from_secs(3));
    let recorder = recorder.0.remove(0);
    let recorded = since.elapsed().as_secs_f64();
    kill_process(Pid::from_child(&recorder), Signal::KILL).unwrap();
    ended(recorder);
    let found = report(&dir);
    let guest = stream(&found, "g1");
    let (told, samples) = (guest["duration_s"].as_f64().unwrap(), &guest["samples"]);
    println!("{recorded:.3} s recorded, of them {told:.3} s with {samples} samples there");
    assert!(told > recorded - 1.0 && samples.as_u64().unwrap() > 1000, "{guest:#}");
    assert!(guest["clock_bound_s"].as_f64().unwrap() < 0.1, "{guest:#}");
    for vm in found["vms"].as_array().unwrap() {
        let (busy, samples) = (vm["busy_s"].as_f64().unwrap(), vm["samples"].as_f64().unwrap());
        assert!(samples > 0.0 && (busy - samples * 1e-3).abs() < 1e-6, "{vm:#}");
    }
    // Functions of both kernels have their names.
    for layer in ["host-kernel", "guest-kernel"] {
        let found = with_names(&found, layer);
        println!("{layer}: {found} samples have names");
        assert!(found > 0);
    }
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
    assert!(warns(host, "records lost on CPU") && warns(host, "after the start"), "{host:#}");
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
