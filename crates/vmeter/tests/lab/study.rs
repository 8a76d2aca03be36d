//! A whole study in the lab: native Linux and real Xen, each with a client outside; both machines are
//! killed in the middle of runs; the page is read in a real browser.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

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
text = "256 KiB"
data = "256 KiB"
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

/// After this run of the 12, the QEMU is killed that runs a machine under test and not its client:
/// the one that was started last (Xen), or the one that was started first.
const KILLS: [(&str, bool); 2] = [("run 3 of 12", true), ("run 8 of 12", false)];

/// QEMU's processes that run machines under test, in the order of their start.
fn servers(controller: u32) -> Vec<Pid> {
    let is_server = |pid: &String| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains("id=wire0,server=off")
    };
    let all = crate::processes::children(controller).into_iter().filter(is_server);
    let mut all: Vec<i32> = all.map(|pid| pid.parse().unwrap()).collect();
    all.sort_unstable();
    all.into_iter().filter_map(Pid::from_raw).collect()
}

fn report(dir: &Path, format: &str) -> String {
    let output = Command::new(crate::machine::program())
        .args(["study", "report", "--format", format])
        .arg(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn native_and_xen_are_compared_and_machines_that_die_are_booted_again() {
    // For the machine under test; its client hardly does anything.
    let _turn = crate::machine::Turn::of(1);
    let place = tempfile::tempdir().unwrap();
    let (plan, dir) = (place.path().join("plan.toml"), place.path().join("study"));
    fs::write(&plan, PLAN).unwrap();
    let mut controller = Command::new(crate::machine::program())
        .args(["study", "run"])
        .arg(&plan)
        .arg("-o")
        .arg(&dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let (mut killed, mut lost) = (0, 0);
    for line in BufReader::new(controller.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        println!("{line}");
        lost += usize::from(line.contains("connection to ") && line.contains(" lost: "));
        let Some((_, last)) = KILLS.iter().find(|(after, _)| line.contains(after)) else {
            continue;
        };
        // At any moment of the next run.
        sleep(Duration::from_millis(random.next_u64() % 1500));
        let servers = servers(controller.id());
        let of = if *last { servers.last() } else { servers.first() };
        kill_process(*of.expect("a machine to kill"), Signal::KILL).unwrap();
        killed += 1;
    }
    assert!(controller.wait().unwrap().success());
    assert_eq!((killed, lost), (2, 2));

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
    let mut browser = crate::chromium::Chromium::start();
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
