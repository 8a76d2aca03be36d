//! What `vmeter top` says of programs that use a known time, in a VM's neighbourhood: a container, a
//! parent that waits for nobody, a PID namespace.

use crate::processes::Killed;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Uses so many ms of CPU in so many children, one after the other, whose ends nobody waits for.
const BURN: &str = "
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
static void burn(double ms) {
    struct timespec t;
    do clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    while (t.tv_sec * 1e3 + t.tv_nsec / 1e6 < ms);
}
int main(int count, char **words) {
    double ms = atof(words[1]);
    int children = count > 2 ? atoi(words[2]) : 0;
    if (!children) { burn(ms); pause(); }
    signal(SIGCHLD, SIG_IGN);
    for (int i = 0; i < children; i++) {
        if (!fork()) { burn(ms); _exit(0); }
        usleep(ms * 2000);
    }
    pause();
}
";

fn burn(place: &Path) -> PathBuf {
    let (source, program) = (place.join("burn.c"), place.join("burn"));
    fs::write(&source, BURN).unwrap();
    let built = Command::new("cc").arg("-O1").arg("-o").args([&program, &source]).status();
    assert!(built.unwrap().success());
    program
}

/// The hierarchy in which CPU time is counted, where groups may be made in it.
fn root() -> Option<PathBuf> {
    let places = ["/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup"];
    let mut places = places.iter().map(PathBuf::from);
    places.find(|place| place.join("cgroup.procs").exists())
}

/// Groups that are removed at the end, the last one first.
struct Groups {
    root: PathBuf,
    made: Vec<PathBuf>,
}

impl Groups {
    fn make(&mut self, path: &str) -> PathBuf {
        let mut folder = self.root.clone();
        for part in path.split('/') {
            folder.push(part);
            if fs::create_dir(&folder).is_ok() {
                self.made.push(folder.clone());
            }
        }
        folder
    }

    fn join(folder: &Path, child: &Child) {
        fs::write(folder.join("cgroup.procs"), child.id().to_string()).unwrap();
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for folder in self.made.iter().rev() {
            let until = Instant::now() + Duration::from_secs(5);
            while fs::remove_dir(folder).is_err() && Instant::now() < until {
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// One interval of two seconds, in which something is done after the first reading.
fn interval(prefix: &[&str], meanwhile: impl FnOnce()) -> Value {
    let words = ["top", "--batch", "--count", "1", "--interval", "2s", "--format", "json"];
    let mut command = Command::new(prefix.first().copied().unwrap_or(env!("CARGO_BIN_EXE_vmeter")));
    if let Some((_, rest)) = prefix.split_first() {
        command.args(rest).arg(env!("CARGO_BIN_EXE_vmeter"));
    }
    let top = command.args(words).stdout(Stdio::piped()).spawn().unwrap();
    thread::sleep(Duration::from_millis(700));
    meanwhile();
    let output = top.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn rows<'a>(top: &'a Value, name: &str) -> Vec<&'a Value> {
    top["vms"].as_array().unwrap().iter().filter(|vm| vm["name"] == name).collect()
}

fn seconds(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no time: {value}"))
}

#[test]
fn vms_and_containers_are_shown_beside_each_other_and_counted_once() {
    let place = tempfile::tempdir().unwrap();
    let burn = burn(place.path());
    let Some(root) = root() else { panic!("no control groups are mounted here") };
    let mut groups = Groups { root, made: Vec::new() };
    let tag = std::process::id();
    let id = format!("{tag:x}").repeat(64)[..64].to_owned();
    let vm = groups.make(&format!("vmeter{tag}/vm.libvirt-qemu/emulator"));
    let container = groups.make(&format!("docker/{id}"));
    let name = format!("vmeter-mixed-{tag}");
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-nodefaults", "-display", "none", "-m", "32", "-accel", "tcg", "-name"]);
    let qemu = qemu.arg(format!("{name},debug-threads=on")).stdin(Stdio::null()).spawn().unwrap();
    Groups::join(&vm, &qemu);
    let mut started = Killed(vec![qemu]);
    // The firmware ends, and the guest halts.
    thread::sleep(Duration::from_secs(2));
    let top = interval(&[], || {
        let child = Command::new(&burn).arg("500").spawn().unwrap();
        Groups::join(&container, &child);
        started.0.push(child);
    });
    let shown: Vec<_> = top["vms"].as_array().unwrap().iter().map(|vm| &vm["id"]).collect();
    assert_eq!(rows(&top, &name).len(), 1, "{shown:?}");
    assert!(!shown.iter().any(|id| id.to_string().contains("libvirt-qemu")), "{shown:?}");
    let row = rows(&top, &format!("docker:{}", &id[..12]))[0];
    let used = seconds(&row["cpu_s"]["guest"]);
    println!("{used} s in the container, {}", row["cpu_s"]);
    assert!((used - 0.5).abs() < 0.06, "{used} s of 0.5");
    let error = seconds(&top["host"]["conservation_error"]);
    assert!(error < 0.03, "{error}: {:#}", top["host"]);
}

#[test]
fn children_that_nobody_waits_for_are_charged_to_nobody_else() {
    let place = tempfile::tempdir().unwrap();
    let burn = burn(place.path());
    let mut started = Killed(Vec::new());
    let top = interval(&[], || {
        started.0.push(Command::new(&burn).args(["10", "40"]).spawn().unwrap());
    });
    let shared = seconds(&top["idd"][0]["cpu_s"]["shared"]);
    let own = seconds(&top["idd"][0]["cpu_s"]["own"]);
    let left = seconds(&top["host"]["unattributed_s"]);
    println!("shared {shared} s, own {own} s, unattributed {left} s");
    assert!(shared < 0.1 * (own + left), "{:#}", top["idd"]);
    assert!(own + left > 0.35, "400 ms of them");
}

#[test]
fn what_is_outside_a_pid_namespace_is_unattributed_and_said() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root makes a PID namespace");
        return;
    }
    let mut started = Killed(Vec::new());
    let apart = ["unshare", "--pid", "--fork", "--mount-proc"];
    let top = interval(&apart, || started = Killed::busy(1));
    assert_eq!(top["host"]["hidden_processes"], true);
    let (own, left) =
        (seconds(&top["idd"][0]["cpu_s"]["own"]), seconds(&top["host"]["unattributed_s"]));
    println!("own {own} s, unattributed {left} s");
    assert!(own < 0.3 && left > 0.6, "{top:#}");
}
