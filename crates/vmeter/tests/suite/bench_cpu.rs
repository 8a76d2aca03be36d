//! `vmeter bench cpu` as a program.

use crate::processes::children;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::process::{Command, Output, Stdio};

fn cpu(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmeter"));
    command.args(["bench", "cpu"]).args(args).stdin(Stdio::null()).output().unwrap()
}

fn json(args: &[&str]) -> Value {
    let output = cpu(&[&["--json", "-"], args].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn seconds(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no time: {value}"))
}

fn used(instance: &Value) -> f64 {
    seconds(&instance["cpu_s"]["user"]) + seconds(&instance["cpu_s"]["system"])
}

/// Wall time of n on one CPU is n times what each used there: nobody else, and no gap.
#[test]
fn instances_share_a_cpu_and_do_the_same_work() {
    let small = ["--text", "1M", "--data", "1M", "--passes", "20"];
    let alone = json(&[&small[..], &["--same-cpu"]].concat());
    let three = json(&[&small[..], &["--same-cpu", "--instances", "3"]].concat());
    let all: Vec<&Value> = three["instances"].as_array().unwrap().iter().collect();
    assert_eq!(all.len(), 3);
    assert_eq!(three["schema"], "vmeter.bench.cpu/1");
    for one in &all {
        assert_eq!(one["checksum"], alone["instances"][0]["checksum"], "the same work");
        assert_eq!(one["cpu"], all[0]["cpu"], "on one CPU");
        println!(
            "alone {:.3} s; of three {:.3} s with {:.3} s of CPU",
            used(&alone["instances"][0]),
            seconds(&one["seconds"]),
            used(one)
        );
        assert!(seconds(&one["seconds"]) > 2.0 * used(one), "they took turns: {three:#}");
    }
    let other = json(&[&small[..], &["--seed", "2"]].concat());
    assert_ne!(other["instances"][0]["checksum"], alone["instances"][0]["checksum"]);
}

#[test]
fn a_program_that_fails_is_named_and_the_others_count() {
    let program = "test $VMETER_INSTANCE = 0 || { echo broken >&2; exit 7; }";
    let output = cpu(&["--program", program, "--instances", "2"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("exit status: 7") && text.contains("broken"), "{text}");
    let found = json(&["--program", program, "--instances", "2"]);
    assert!(
        found["instances"][0]["seconds"].is_number() && found["instances"][1]["seconds"].is_null()
    );
}

#[test]
fn what_cannot_be_is_refused_with_status_2() {
    for args in [
        &["--instances", "0"][..],
        &["--text", "1K"],
        &["--text", "x"],
        &["--passes", "0"],
        &["--cpus", "99999"],
        &["--cpus", "3-1"],
        &["--same-cpu", "--cpus", "0"],
        &["--program", "true", "--passes", "3"],
    ] {
        let output = cpu(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
    }
}

#[test]
fn ctrl_c_gives_the_result_so_far_and_leaves_nobody() {
    let child = Command::new(env!("CARGO_BIN_EXE_vmeter"))
        .args(["bench", "cpu", "--program", "echo $$ >&2; exec sleep 1000", "--json", "-"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let instance = loop {
        if let Some(first) = children(child.id()).into_iter().next() {
            break first;
        }
    };
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["partial"], true);
    assert!(!std::path::Path::new(&format!("/proc/{instance}")).exists(), "{instance} is left");
}
