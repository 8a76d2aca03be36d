//! A whole study in the lab: native Linux and real Xen, each with a client outside; a machine is
//! killed in the middle; the page is read in a real browser.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

#[path = "../../report/tests/chromium/mod.rs"]
#[allow(dead_code, reason = "the page's own tests use the rest")]
mod chromium;
mod machine;
mod processes;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

const PLAN: &str = r#"schema = "vmeter.plan/1"
id = "lab"
title = "A study of the tests"
repetitions = 2
[lab]
cpus = 2
[[machines]]
name = "native"
lab = { kind = "native" }
[[machines]]
name = "xen"
lab = { kind = "xen", guests = 1 }
set = [{ kind = "pin", vm = "g1", cpus = "1" }]
[[workloads]]
name = "receive"
kind = "tcp"
rate = "100/s"
warmup = "300 ms"
window = "2 s"
[[workloads]]
name = "web"
kind = "web"
server = "nginx"
rate = "10/s"
# An emulated client translates its code first, and is late meanwhile.
warmup = "2 s"
window = "2 s"
[[workloads]]
name = "compute"
kind = "cpu"
text = "1 MiB"
data = "1 MiB"
passes = 1
[[figures]]
id = "ratio"
workload = "receive"
[[figures]]
id = "layers"
workload = "receive"
[[figures]]
id = "fig-6.3"
workload = "web"
[[figures]]
id = "fig-6.10"
workload = "compute"
"#;

/// QEMU's process that runs the machine under test, not its client.
fn server(controller: u32) -> Option<Pid> {
    let all = processes::children(controller);
    let mut lines = all.into_iter().filter_map(|pid| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        Some((pid, line)).filter(|(_, line)| line.contains("id=wire0,server=off"))
    });
    let (pid, _) = lines.next_back()?;
    Pid::from_raw(pid.parse().ok()?)
}

fn report(dir: &Path, format: &str) -> String {
    let output = Command::new(machine::program())
        .args(["study", "report", "--format", format])
        .arg(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn native_and_xen_are_compared_and_a_machine_that_dies_is_booted_again() {
    let place = tempfile::tempdir().unwrap();
    let (plan, dir) = (place.path().join("plan.toml"), place.path().join("study"));
    fs::write(&plan, PLAN).unwrap();
    let mut controller = Command::new(machine::program())
        .args(["study", "run"])
        .arg(&plan)
        .arg("-o")
        .arg(&dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut killed = false;
    let mut log = String::new();
    for line in BufReader::new(controller.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        println!("{line}");
        if line.contains("run 3 of 12") && !killed {
            kill_process(server(controller.id()).expect("a machine to kill"), Signal::KILL)
                .unwrap();
            killed = true;
        }
        log.push_str(&line);
    }
    assert!(controller.wait().unwrap().success());
    assert!(killed && log.contains("is lost"), "{log}");

    let found: Value = serde_json::from_str(&report(&dir, "json")).unwrap();
    assert_eq!(found["runs"]["valid"], 12, "{found:#}");
    println!("{:#}", found["findings"]);
    let rows = found["figures"][0]["drawing"]["rows"].as_array().unwrap();
    let ratio = rows[0][2]["measured"]["value"].as_f64().unwrap();
    // In instructions a packet of a Xen guest costs some four native ones.
    assert!((1.5..10.0).contains(&ratio), "{rows:#?}");
    assert!(
        found["changes"].as_array().unwrap().iter().any(|c| c.as_str().unwrap().contains("g1"))
    );
    let machines: Vec<&str> =
        found["machines"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert!(machines.contains(&"xen, g1") && machines.contains(&"native, client"), "{machines:?}");
    in_a_browser(&dir, found["figures"].as_array().unwrap());
}

fn in_a_browser(dir: &Path, figures: &[Value]) {
    let drawn = figures.iter().filter(|figure| figure["drawing"]["kind"] != "table").count();
    let mut browser = chromium::Chromium::start();
    for (width, height) in [(1280, 900), (400, 800)] {
        browser.resize(width, height);
        browser.open(&dir.join("report.html"));
        browser.wait_for(&format!("document.documentElement.dataset.drawn === '{drawn}'"));
        let wide = browser.eval("document.scrollingElement.scrollWidth").as_u64().unwrap();
        assert!(wide <= u64::from(width), "{wide} pixels in a window of {width}");
        assert_eq!(browser.problems(), Vec::<String>::new());
    }
    println!("{drawn} figures drawn at 1280 and 400 pixels");
}
