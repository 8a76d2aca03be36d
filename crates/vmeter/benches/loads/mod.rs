//! The loads against their peers, on the same target in the same run.

use crate::machine::{number, program};
use crate::servers::{Kind, Server};
use serde_json::Value;
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// Files that a generator of 10,000 connections, and its server, may open.
const FILES: &str = "ulimit -n 12000; exec \"$0\" \"$@\"";

/// Runs vmeter; its JSON.
fn vmeter(args: &[&str]) -> Value {
    let output = command(args).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", FILES]).arg(program()).args(args).args(["--json", "-"]);
    command.stdin(Stdio::null());
    command
}

/// Replies per CPU second against httperf, wrk and ab, then lateness at a rate.
pub fn web() {
    let nginx = Server::start(Kind::Nginx);
    let url = nginx.url("1k");
    println!("web: 1 KB from nginx, one thread, 64 connections, replies per CPU second:");
    let args = ["--closed", "--max-connections", "64", "--duration", "5s", "--rounds", "5"];
    let found = vmeter(&[&["bench", "compare", "web", &url][..], &args].concat());
    ratios(&found, &[("httperf", 1.5), ("wrk", 1.0), ("ab", 1.0)]);
    let args = ["--rate", "5000", "--per", "request", "--duration", "10s"];
    let found = vmeter(&[&["bench", "web", &url][..], &args].concat());
    println!(
        "web: 5,000 requests/s: send lateness p50 {:.3} ms, p99 {:.3} ms (wanted ≤ 1), valid {}",
        1e3 * number(&found, "/lateness_s/p50"),
        1e3 * number(&found, "/lateness_s/p99"),
        found["valid"]
    );
}

fn ratios(found: &Value, wanted: &[(&str, f64)]) {
    for (peer, least) in wanted {
        let ratios = found["ratios"].as_array().unwrap();
        let one = ratios.iter().find(|ratio| ratio["peer"] == *peer).unwrap();
        let at = |what: &str| number(one, &format!("/per_cpu_s/{what}"));
        println!(
            "  vmeter / {peer:<8} {:.2} ({:.2} to {:.2}), wanted ≥ {least}",
            at("median"),
            at("min"),
            at("max")
        );
    }
}

/// Bytes and packets per CPU second of both ends against iperf3, and rates.
pub fn tcp() {
    for (what, args) in [
        ("bytes, 128 KB writes", &["--size", "128K"][..]),
        ("packets, 1448 B, iperf3 -N -M", &["--size", "1448", "--packets", "one-per-write"]),
    ] {
        println!("tcp on loopback, {what}, per CPU second of both ends:");
        let common = ["bench", "compare", "tcp", "--duration", "5s", "--rounds", "5"];
        ratios(&vmeter(&[&common[..], args].concat()), &[("iperf3", 1.0)]);
    }
    let mut receiver = command(&["bench", "tcp", "recv", "--listen", "127.0.0.1:15202"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_secs(1));
    for rate in ["1000", "5000", "20000"] {
        let args = ["--rate", rate, "--packets", "one-per-write", "--duration", "10s"];
        let found = vmeter(&[&["bench", "tcp", "send", "127.0.0.1:15202"][..], &args].concat());
        let kept = number(&found, "/writes_per_s");
        let wanted: f64 = rate.parse().unwrap();
        println!(
            "tcp at {rate}/s: {kept:.2}/s, {:+.4} % (wanted within 0.1 %), lateness p99 {:.3} ms",
            100.0 * (kept / wanted - 1.0),
            1e3 * number(&found, "/lateness_s/p99")
        );
    }
    receiver.kill().unwrap();
    receiver.wait().unwrap();
}

/// 10,000 connections: memory of the generator, and whether each event arrived.
pub fn connections() {
    let nginx = Server::start(Kind::Nginx);
    let args = ["--closed", "--max-connections", "10000", "--duration", "10s"];
    let mut child = command(&[&["bench", "web", &nginx.url("1k")][..], &args].concat())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0_f64;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kb = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        peak = peak.max(kb.unwrap_or(0.0));
        thread::sleep(Duration::from_millis(50));
    }
    let output = child.wait_with_output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    println!(
        "10,000 connections: {} at a time, {:.1} MB (wanted ≤ 100), {} requests, {} replies, \
         errors {}",
        found["most_open"],
        peak / 1024.0,
        found["requests"],
        found["replies"],
        found["errors"]["total"]
    );
}
