//! Real Xen hosts, captured in the lab, read again in the layout of every release.
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used)]

#[path = "xen/reencode.rs"]
mod reencode;

use model::{Reading, Snapshot};
use platform::host::Tree;
use platform::{Source, Want, xen};
use std::fmt::{Debug, Write};
use std::path::{Path, PathBuf};

/// The captures, both made under the instruction clock, and how far their clocks may wander.
const CAPTURES: [(&str, f64); 2] = [("xen-4.17", 0.001), ("xen-4.20", 0.001)];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The successive snapshots of a saved series.
fn read(root: &Path, moments: usize) -> Vec<Snapshot> {
    let tree = Tree::open(root).unwrap();
    assert!(xen::is_here(&tree));
    let mut source = xen::open(&tree).unwrap();
    let want = Want { vcpus: true, placement: true, exact_idle: false };
    (0..moments).map(|_| source.read(want).unwrap()).collect()
}

/// The snapshot's facts as lines of text.
fn tell(snapshot: &Snapshot) -> String {
    fn known<T: Debug>(reading: &Reading<T>) -> String {
        reading.as_ref().map_or_else(|absent| format!("({absent})"), |value| format!("{value:?}"))
    }
    let mut text = String::new();
    let host = &snapshot.host;
    let (idle, memory) = (known(&host.idle), known(&host.memory));
    writeln!(text, "{}: {} CPUs, {idle} idle, {memory}", host.system, host.cpus).unwrap();
    for driver in &snapshot.drivers {
        let (cpu, vcpus) = (known(&driver.cpu), known(&driver.vcpu_rows));
        writeln!(text, "driver {} {}: {cpu}", driver.id, driver.name).unwrap();
        writeln!(text, "  vcpus {vcpus}").unwrap();
        for process in driver.tasks.as_ref().map_or(&[][..], |tasks| &tasks.processes) {
            let (name, id) = (&process.name, process.id.pid);
            writeln!(text, "  {:?} {name} {id}: {:?}", process.duty, process.cpu).unwrap();
        }
    }
    for vm in &snapshot.vms {
        let (cpu, memory, limit) = (known(&vm.cpu), known(&vm.memory), known(&vm.memory_limit));
        writeln!(text, "vm {} {} {}: {cpu}", vm.id, vm.name, vm.state.word()).unwrap();
        writeln!(text, "  {memory} of {limit}\n  vcpus {}", known(&vm.vcpus)).unwrap();
        for backend in &vm.backends {
            let (name, id) = (&backend.name, backend.id.pid);
            writeln!(text, "  {:?} {name} {id}: {}", backend.duty, known(&backend.cpu)).unwrap();
        }
        writeln!(text, "  {}\n  {}", known(&vm.nics), known(&vm.disks)).unwrap();
    }
    text
}

/// Compares with a golden file, which has to be there; `VMETER_GOLDEN=write` writes it.
fn golden(name: &str, text: &str) {
    let path = fixture(name).join("golden.txt");
    if std::env::var_os("VMETER_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).expect("a golden file");
    assert_eq!(text, expected, "{}", path.display());
}

#[test]
fn real_captures_are_read_as_they_were() {
    for (name, _) in CAPTURES {
        let moments = read(&fixture(name), 2);
        golden(name, &moments.iter().map(tell).collect::<String>());
    }
}

#[test]
fn every_layout_gives_the_same_snapshots() {
    for (name, _) in CAPTURES {
        let expected = read(&fixture(name), 2);
        for release in reencode::RELEASES {
            let folder = tempfile::tempdir().unwrap();
            reencode::reencode(&fixture(name), folder.path(), release);
            let mut moments = read(folder.path(), 2);
            for (moment, expected) in moments.iter_mut().zip(&expected) {
                let found =
                    std::mem::replace(&mut moment.host.system, expected.host.system.clone());
                assert!(found.starts_with(&format!("Xen 4.{}.", release.0)), "{found}");
                moment.me = expected.me;
            }
            assert_eq!(moments, expected, "{name} as 4.{}", release.0);
        }
    }
}

#[test]
fn the_parts_of_all_cpus_time_make_up_the_whole() {
    for (name, wander) in CAPTURES {
        let [from, to] = &read(&fixture(name), 2)[..] else { panic!("two moments") };
        let time = |snapshot: &Snapshot| -> u64 {
            let drivers = snapshot.drivers.iter().map(|driver| &driver.cpu);
            let all = drivers.chain(snapshot.vms.iter().map(|vm| &vm.cpu));
            all.chain([&snapshot.host.idle]).map(|time| time.as_ref().unwrap().0).sum()
        };
        let whole = from.host.window.interval_to(to.host.window).unwrap().0;
        let whole = (whole * u64::from(to.host.cpus)) as f64;
        let parts = (time(to) - time(from)) as f64;
        assert!((parts / whole - 1.0).abs() < wander, "{name}: {parts} ns of {whole} ns");
    }
}
