//! `vmeter record` and `report` on this machine: a program of known functions, what is left after a
//! kill, and what is refused.

use crate::processes::said;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn vmeter(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmeter"));
    command.args(args).stdin(Stdio::null());
    command
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn succeeded(output: Output) -> String {
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn report(dir: &Path) -> Value {
    let made = vmeter(&["report", text(dir), "--format", "json"]).output().unwrap();
    serde_json::from_str(&succeeded(made)).unwrap()
}

/// Samples of a function of the spinner's.
fn samples(report: &Value, symbol: &str) -> f64 {
    let rows = report["rows"].as_array().unwrap().iter();
    rows.filter(|row| row["process"] == "spin" && row["symbol"] == symbol)
        .map(|row| row["samples"].as_f64().unwrap())
        .sum()
}

/// χ² of two tables of the same two rows, one degree of freedom.
fn chi_squared(a: [f64; 2], b: [f64; 2]) -> f64 {
    let (rows, columns) = ([a[0] + a[1], b[0] + b[1]], [a[0] + b[0], a[1] + b[1]]);
    let all = rows[0] + rows[1];
    let part = |found: f64, row: f64, column: f64| {
        let expected = row * column / all;
        (found - expected).powi(2) / expected
    };
    part(a[0], rows[0], columns[0])
        + part(a[1], rows[0], columns[1])
        + part(b[0], rows[1], columns[0])
        + part(b[1], rows[1], columns[1])
}

#[test]
fn functions_have_the_samples_that_perf_gives_them() {
    let place = tempfile::tempdir().unwrap();
    let program = crate::spinner::build(place.path());
    let (ours, theirs) = (place.path().join("ours"), place.path().join("perf.data"));
    let event = "cpu-clock:1000000";
    let recorded = vmeter(&["record", "-e", event, "-o", text(&ours), "--"]).arg(&program).output();
    assert!(recorded.as_ref().unwrap().status.success(), "{}", said(recorded.as_ref().unwrap()));
    let recorded = Command::new("perf")
        // Without build ids: perf 6.1 now and then fails as it collects them.
        .args(["record", "-q", "-B", "-N", "-e", "cpu-clock", "-c", "1000000", "-o", text(&theirs)])
        .arg(&program)
        .output()
        .unwrap();
    assert!(recorded.status.success(), "{}", said(&recorded));
    let of = |report: &Value| [samples(report, "spin_three"), samples(report, "spin_one")];
    // A perf.data is read as it is, and imported: both are the same.
    let imported = place.path().join("imported");
    succeeded(vmeter(&["import", text(&theirs), "-o", text(&imported)]).output().unwrap());
    let (ours, theirs) = (of(&report(&ours)), of(&report(&theirs)));
    assert_eq!(theirs, of(&report(&imported)));
    let chi = chi_squared(ours, theirs);
    println!("spin_three, spin_one: vmeter {ours:?}, perf {theirs:?}; χ² {chi:.3}");
    assert!(ours[0] + ours[1] > 500.0 && theirs[0] + theirs[1] > 500.0);
    // The 99.9 % quantile of one degree of freedom.
    assert!(chi < 10.83, "{chi}");
    assert!((ours[0] / (ours[0] + ours[1]) - 0.75).abs() < 0.0375, "{ours:?}");
}

#[test]
fn every_format_is_made() {
    let place = tempfile::tempdir().unwrap();
    let program = crate::spinner::build(place.path());
    let dir = place.path().join("rec");
    let run = vmeter(&["record", "-e", "cpu-clock", "-o", text(&dir), "--"]).arg(&program).output();
    assert!(run.as_ref().unwrap().status.success(), "{}", said(run.as_ref().unwrap()));
    let made = |format: &str| {
        let args = ["report", text(&dir), "--format", format, "--limit", "0"];
        let output = vmeter(&args).output().unwrap();
        assert!(output.status.success(), "{format}: {}", said(&output));
        output.stdout
    };
    let shown = |format: &str| String::from_utf8(made(format)).unwrap();
    assert!(shown("table").contains("spin_three") && shown("table").contains("busy s"));
    assert!(shown("csv").lines().any(|line| line.contains(",spin_three")));
    assert!(shown("folded").lines().any(|line| line.contains(";spin_three ")));
    assert!(shown("script").contains("spin_three"));
    assert!(shown("svg").starts_with("<?xml"));
    let firefox: Value = serde_json::from_slice(&made("firefox")).unwrap();
    assert!(firefox["threads"].as_array().is_some_and(|threads| !threads.is_empty()));
    assert_eq!(made("pprof")[..2], [0x1f, 0x8b], "it is compressed");
    let by = vmeter(&["report", text(&dir), "--by", "image"]).output().unwrap();
    assert!(succeeded(by).contains("spin"));
    let args = ["report", text(&dir), "--diff", text(&dir), "--by", "symbol", "--limit", "0"];
    let same = succeeded(vmeter(&args).output().unwrap());
    let line = same.lines().find(|line| line.ends_with("spin_three")).unwrap();
    assert!(line.contains("+0.0000"), "{line}");
}

/// What was appended a second before a kill is there, and the report says that the end is not.
#[test]
fn a_recorder_that_is_killed_leaves_what_it_had() {
    let place = tempfile::tempdir().unwrap();
    let program = crate::spinner::build(place.path());
    let dir = place.path().join("rec");
    let mut recorder = vmeter(&["record", "-e", "cpu-clock:100000", "-o", text(&dir), "--"])
        .arg(&program)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let raw = dir.join("stream-0.raw");
    let size = || fs::metadata(&raw).map_or(0, |found| found.len());
    let until = Instant::now() + Duration::from_secs(30);
    while size() < 400_000 {
        assert!(Instant::now() < until, "{} bytes", size());
        std::thread::sleep(Duration::from_millis(20));
    }
    kill_process(Pid::from_child(&recorder), Signal::KILL).unwrap();
    recorder.wait().unwrap();
    let found = report(&dir);
    let all: f64 =
        found["rows"].as_array().unwrap().iter().map(|r| r["samples"].as_f64().unwrap()).sum();
    println!("{} bytes, {all} samples", size());
    assert!(all * 48.0 > 300_000.0, "{all} samples of {} bytes", size());
    // The same folder is not recorded into again.
    let again = vmeter(&["record", "-o", text(&dir), "--", "true"]).output().unwrap();
    assert!(!again.status.success() && said(&again).contains("empty"), "{}", said(&again));
}

#[test]
fn what_cannot_be_is_refused_with_what_to_do() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("rec");
    let refused = |args: &[&str], word: &str| {
        let output = vmeter(args).output().unwrap();
        assert!(!output.status.success(), "{args:?}");
        assert!(said(&output).contains(word), "{args:?}: {}", said(&output));
    };
    let out = text(&dir);
    refused(&["record", "-e", "cycle", "-o", out, "--", "true"], "invalid event");
    refused(&["record", "-e", "cpu-clock:10", "-o", out, "--", "true"], "expected at least");
    refused(&["record", "-o", out, "--", "/no/such/program"], "/no/such/program");
    refused(&["record", "--vm", "nobody", "-o", out, "--", "true"], "nobody");
    refused(&["record", "--agent", "127.0.0.1:1", "-o", out, "--", "true"], "127.0.0.1:1");
    assert!(!dir.exists(), "nothing was begun");
    refused(&["report", text(place.path())], "recording.json");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("recording.json"), "{\"schema\":\"vmeter.recording/99\"}").unwrap();
    refused(&["report", out], "vmeter.recording/99");
    let file = place.path().join("perf.data");
    fs::write(&file, "PERFILE2 and then nothing").unwrap();
    refused(&["report", text(&file)], "perf.data");
    refused(&["report", out, "--by", "colour"], "colour");
}
