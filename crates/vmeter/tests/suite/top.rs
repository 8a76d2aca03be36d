//! `vmeter top` as a program: exit statuses, what goes to which output.

use assert_cmd::Command;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

fn vmeter(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmeter"));
    command.args(args);
    command
}

fn plain(args: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_vmeter"));
    command.args(args);
    command
}

/// Runs on any Linux: there are processes to look among, if no VM.
const SHORT: [&str; 4] = ["top", "--batch", "--interval", "100ms"];

#[test]
fn without_a_terminal_it_says_so() {
    let assert = vmeter(&["top"]).assert().code(2);
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(said.contains("--batch"), "{said}");
    assert!(assert.get_output().stdout.is_empty());
}

#[test]
fn where_there_is_nothing_it_says_what_was_looked_for() {
    let empty = tempfile::tempdir().unwrap();
    let root = empty.path().to_str().unwrap();
    let assert = vmeter(&["top", "--batch", "--platform", "xen", "--root", root]).assert().code(2);
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(said.contains("looked for"), "{said}");
}

#[test]
fn wrong_arguments_are_refused() {
    for wrong in [["--interval", "0"], ["--sort", "nothing"], ["--columns", "cpu,x"]] {
        vmeter(&["top", "--batch", "-n", "1"]).args(wrong).assert().code(2);
    }
    vmeter(&["top", "--count", "3"]).assert().code(2);
}

#[test]
fn it_prints_an_object_per_interval() {
    let assert = vmeter(&SHORT).args(["--count", "2", "--format", "json"]).assert().success();
    let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    let objects: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 2);
    for object in objects {
        assert_eq!(object["schema"], "vmeter.top/1");
        assert!((0.05..5.0).contains(&object["interval_s"].as_f64().unwrap()));
        assert!(object["self"]["rss_bytes"].as_u64().unwrap() > 0);
    }
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let mut child = plain(&SHORT).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(!line.is_empty());
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_full_disk_is_an_error() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = plain(&SHORT).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard output"));
}
