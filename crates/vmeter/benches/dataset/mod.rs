//! A report over many runs: real ones (crates/study/tests/fixtures), each stored under many
//! numbers with another idle time.

use crate::spent::run;
use std::fs;
use std::path::Path;
use std::process::Command;
use study::{Ending, Plan, Record, Store, schedule};

/// 1,000 blocks of five rates on two machines.
const PLAN: &str = r#"schema = "vmeter.plan/1"
id = "many"
title = "Many runs"
repetitions = 1000
[[machines]]
name = "native"
lab = { kind = "native" }
[[machines]]
name = "xen"
lab = { kind = "xen", guests = 1 }
[[workloads]]
name = "receive"
kind = "tcp"
size = "1448 B"
rate = ["100/s", "200/s", "300/s", "400/s", "500/s"]
warmup = "500 ms"
window = "3 s"
[[figures]]
id = "ratio"
[[figures]]
id = "fig-6.1"
[[figures]]
id = "layers"
[[figures]]
id = "fig-6.5"
"#;

/// Seconds and peak memory of each form of a report.
pub fn measure() {
    let place = tempfile::tempdir().unwrap();
    let runs = store(place.path());
    let bytes: u64 = fs::read_dir(place.path().join("runs"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    println!("vmeter study report over {runs} runs ({} MB of JSON):", bytes / 1_000_000);
    for format in ["html", "json", "parquet"] {
        let (seconds, memory) = report(place.path(), format);
        println!("  {format}: {seconds:.2} s, {memory:.0} MB, wanted < 10 s");
    }
    for name in ["report.html", "runs.parquet", "counters.parquet"] {
        let length = fs::metadata(place.path().join(name)).unwrap().len();
        println!("  {name}: {:.1} MB", length as f64 / 1e6);
    }
}

/// Stores all runs of the plan and says how many.
fn store(place: &Path) -> usize {
    let plan = Plan::parse(PLAN, "many").unwrap();
    let store = Store::create(place, &plan).unwrap();
    let real = ["native-tcp", "xen-tcp"].map(fixture);
    let runs = schedule(&plan);
    for run in &runs {
        let machine = run.treatment.machine.unwrap();
        let mut record = real[machine].clone();
        (record.number, record.block, record.attempt) = (run.number, run.block, 1);
        record.load = plan.workloads[0].points[run.treatment.point].clone();
        let Ending::Measured(data) = &mut record.ending else { panic!("measured") };
        for idle in data.host.iter_mut().filter_map(|host| host.end.host.idle.as_mut().ok()) {
            idle.0 -= (run.number as u64).wrapping_mul(0x9e37_79b9) % 50_000_000;
        }
        store.keep(&record).unwrap();
    }
    runs.len()
}

fn fixture(name: &str) -> Record {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../study/tests/fixtures");
    let text = fs::read_to_string(format!("{folder}/{name}.json")).unwrap();
    let mut envelope: serde_json::Value = serde_json::from_str(&text).unwrap();
    serde_json::from_value(envelope["run"].take()).unwrap()
}

fn report(dir: &Path, format: &str) -> (f64, f64) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmeter"));
    command.args(["study", "report", "--format", format]).arg(dir);
    let cost = run(command);
    (cost.wall_s, cost.peak_kb / 1000.0)
}
