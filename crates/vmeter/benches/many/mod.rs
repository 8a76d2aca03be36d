//! Many VMs: stand-in processes with a VMM's threads, and a real `kvm-vm` file where
//! `/dev/kvm` gives one.

use crate::machine::{number, program};
use serde_json::Value;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;
use workload::CpuTime;

/// The arguments that make this program a stand-in: one that sleeps, one whose vCPUs wake.
pub const STAND_IN: &str = "--stand-in";
pub const AWAKE: &str = "--stand-in-awake";

/// A guest that is idle wakes once a second and more often.
const WAKE: Duration = Duration::from_secs(1);

/// A VMM that does nothing, until its standard input ends: three threads beside the main one, of
/// which the vCPUs' wake once a second where it is `awake`.
pub fn stand_in(awake: bool) -> ! {
    let _vm = kvm_ioctls::Kvm::new().and_then(|kvm| kvm.create_vm());
    for name in ["CPU 0/KVM", "CPU 1/KVM", "IO io1"] {
        let wakes = awake && name.starts_with("CPU");
        let work = move || loop {
            if wakes { thread::sleep(WAKE) } else { thread::park() }
        };
        thread::Builder::new().name(name.into()).stack_size(64 << 10).spawn(work).unwrap();
    }
    let _ = std::io::stdin().read(&mut [0]);
    std::process::exit(0);
}

/// Running stand-ins, ended with the value.
pub struct StandIns(Vec<Child>);

impl StandIns {
    /// Starts so many, which are told what they are by an argument.
    pub fn start(count: usize, argument: &str) -> Self {
        let this = std::env::current_exe().unwrap();
        let start = |_| {
            Command::new(&this)
                .arg(argument)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        };
        Self((0..count).map(start).collect())
    }
}

impl Drop for StandIns {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
        }
        for child in &mut self.0 {
            let _ = child.wait();
        }
    }
}

/// CPU seconds of one refresh: of a run with many less one with few, over the difference.
fn refresh(many: u32, run: impl Fn(u32) -> Vec<u8>) -> f64 {
    const FEW: u32 = 4;
    let cost = |count| {
        let before = CpuTime::of_children();
        run(count);
        (CpuTime::of_children() - before).total()
    };
    let few = cost(FEW);
    (cost(many) - few) / f64::from(many - FEW)
}

fn output(command: &mut Command) -> Vec<u8> {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// One refresh of vmeter and of `top -b -H` over so many VMs, in turn, three rounds: of VMs that
/// sleep, and of VMs whose vCPUs have all run since the last refresh.
pub fn measure(machines: usize) {
    measure_those(machines, "asleep", STAND_IN, ("0.2", 34), 0.1);
    measure_those(machines, "awake", AWAKE, ("1", 14), 0.2);
}

fn measure_those(
    machines: usize,
    how: &str,
    argument: &str,
    (interval, many): (&str, u32),
    wanted: f64,
) {
    let stand_ins = StandIns::start(machines, argument);
    // The last one is there once its threads have names.
    thread::sleep(Duration::from_secs(2));
    let vmeter = |count: u32| {
        output(Command::new(program()).args(["top", "--platform", "kvm", "--batch"]).args([
            "--interval",
            interval,
            "--format",
            "json",
            "--count",
            &count.to_string(),
        ]))
    };
    let top = |count: u32| {
        output(Command::new("top").args(["-b", "-H", "-d", interval, "-n", &count.to_string()]))
    };
    let last = vmeter(3);
    let last: Value =
        serde_json::from_str(String::from_utf8_lossy(&last).lines().last().unwrap()).unwrap();
    let seen = last["vms"].as_array().unwrap().len();
    println!(
        "{machines} VMs of 4 threads, {how}: {seen} seen, memory {:.1} MB",
        number(&last, "/self/rss_bytes") / 1e6
    );
    for round in 1..=3 {
        let (ours, theirs) = (refresh(many, vmeter), refresh(many, top));
        println!(
            "  round {round}: vmeter {:.2} ms a refresh ({:.1} µs a VM), top -b -H {:.2} ms, ratio {:.3}, wanted ≤ {wanted}",
            ours * 1e3,
            ours * 1e6 / machines as f64,
            theirs * 1e3,
            ours / theirs
        );
    }
    drop(stand_ins);
}
