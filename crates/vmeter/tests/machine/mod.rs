//! A booted lab machine for the tests: runs scripts in it and reads their JSON.

#![allow(dead_code, reason = "each test program uses its part")]

use lab::{AgentFiles, Cache, Clock, Images, Kind, LabError, Machine, Quiet, Spec};
use serde_json::Value;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Condvar, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The CPUs of this machine that no emulator keeps busy.
static FREE: LazyLock<Mutex<usize>> =
    LazyLock::new(|| Mutex::new(std::thread::available_parallelism().map_or(1, NonZero::get)));
static FREED: Condvar = Condvar::new();

/// CPUs for an emulator. Two that share one would starve each other.
pub struct Turn(usize);

impl Turn {
    /// Waits until so many are free, or all that there are.
    pub fn of(cpus: usize) -> Self {
        let all = std::thread::available_parallelism().map_or(1, NonZero::get);
        let wanted = cpus.min(all);
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free =
            FREED.wait_while(free, |free| *free < wanted).unwrap_or_else(PoisonError::into_inner);
        *free -= wanted;
        Self(wanted)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *FREE.lock().unwrap_or_else(PoisonError::into_inner) += self.0;
        FREED.notify_all();
    }
}

/// A machine that is up.
pub struct Host {
    machine: Machine,
    kind: Kind,
    _turn: Turn,
}

/// The static program that runs in the machine: `make test` names it, else it is built. It is not the
/// tests' own, which is not optimised.
pub fn program() -> PathBuf {
    static BUILT: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let place = tempfile::tempdir().unwrap();
        let program = place.path().join("vmeter");
        let built = Command::new("make")
            .arg(format!("PROGRAM={}", program.display()))
            .arg("program")
            .current_dir(root)
            .status()
            .unwrap();
        assert!(built.success(), "make program failed");
        (place, program)
    });
    std::env::var_os("VMETER_STATIC").map_or_else(|| BUILT.1.clone(), PathBuf::from)
}

/// A spec with vmeter in it.
pub fn spec(kind: Kind, suite: &str) -> Spec {
    let mut spec = Spec::new(kind);
    spec.suite = suite.to_owned();
    spec.put = vec![program()];
    spec.agent = Some(AgentFiles { program: program(), key: key() });
    // Three attempts of four minutes: Xen on three CPUs under the instruction clock takes two beside
    // another machine.
    spec.boot_limit = Duration::from_secs(3 * 240);
    spec.command_limit = Some(Duration::from_secs(300));
    spec
}

/// The arguments by which vmeter in the machine reaches the guests' agents.
pub const AGENTS: &str =
    "--agent g1=10.0.2.101:5203 --agent g2=10.0.2.102:5203 --key /lab/agent/key";

/// A key for the agents of all machines of this test program.
fn key() -> PathBuf {
    static KEY: LazyLock<TempDir> = LazyLock::new(|| {
        let place = tempfile::tempdir().unwrap();
        agent::Key::create(&place.path().join("key"), agent::Role::Configure, None, false).unwrap();
        place
    });
    KEY.path().join("key")
}

/// Makes a machine ready and runs the checks. A machine that hangs or whose emulator crashes under
/// them says nothing about vmeter: they are then run again on a machine that is booted anew, once,
/// and the mishap is noted. With `$VMETER_LAB_KEEP` the machine of checks that fail is kept there.
pub fn checked(spec: &Spec, checks: impl Fn(&mut Host)) {
    let attempt = |spec: &Spec| {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let mut host = Host::boot(spec);
            let outcome = catch_unwind(AssertUnwindSafe(|| checks(&mut host)));
            if outcome.is_err() {
                host.keep();
            }
            outcome
        }));
        outcome.and_then(|outcome| outcome)
    };
    let Err(panic) = attempt(spec) else { return };
    match panic.downcast_ref::<String>() {
        Some(said) if said.contains(CRASHED) => println!("once more, as {said}"),
        _ => resume_unwind(panic),
    }
    if let Err(panic) = attempt(&Spec { fresh: true, ..spec.clone() }) {
        resume_unwind(panic);
    }
}

/// What stands before the console's last lines of a machine that hung or crashed.
const CRASHED: &str = "the emulated machine is gone";

fn fail(what: &str, kind: Kind, error: &LabError) -> ! {
    let crashed = if error.is_mishap() {
        lab::note_mishap(kind.name(), error);
        CRASHED
    } else {
        ""
    };
    panic!("{what}: {crashed} {error}")
}

impl Host {
    /// Boots.
    pub fn boot(spec: &Spec) -> Self {
        // One thread emulates all CPUs under the instruction clock, which stands still while it
        // waits. By the host's clock a machine must have the CPUs to itself, or what it is held
        // against is read at another moment than it means.
        let turn = Turn::of(if spec.clock == Clock::Instructions { 1 } else { usize::MAX });
        let start = Instant::now();
        let images: Images = lab::prepare(spec, Cache::open().unwrap(), &mut Quiet)
            .unwrap_or_else(|e| panic!("{e}"));
        let machine = images.boot(spec).unwrap_or_else(|error| fail("boot", spec.kind, &error));
        println!("{:.1} s: ready", start.elapsed().as_secs_f64());
        Self { machine, kind: spec.kind, _turn: turn }
    }

    /// Keeps the machine where the environment says so.
    fn keep(&self) {
        let Some(folder) = std::env::var_os("VMETER_LAB_KEEP").filter(|name| !name.is_empty())
        else {
            return;
        };
        let folder = PathBuf::from(folder);
        match self.machine.keep(&folder) {
            Ok(()) => println!("kept: vmeter lab open {}", folder.display()),
            Err(error) => println!("not kept: {error}"),
        }
    }

    /// The machine itself.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Runs a script; its status and its output.
    pub fn run(&mut self, script: &str) -> (i32, String) {
        let (mut output, start) = (Vec::new(), Instant::now());
        let status = self.machine.run(script, &mut output).unwrap_or_else(|error| {
            println!("{}", String::from_utf8_lossy(&output));
            fail(script, self.kind, &error)
        });
        let shown: String = script.chars().take(400).collect();
        println!("{:.1} s: {shown}", start.elapsed().as_secs_f64());
        (status, String::from_utf8_lossy(&output).into_owned())
    }

    /// Runs a script that must succeed; its output.
    pub fn sh(&mut self, script: &str) -> String {
        let (status, output) = self.run(script);
        assert_eq!(status, 0, "{script}\n{output}");
        output
    }

    /// Runs a script that prints JSON lines.
    pub fn json(&mut self, script: &str) -> Vec<Value> {
        let output = self.sh(script);
        let found: Vec<Value> = output
            .lines()
            .filter(|line| line.starts_with('{'))
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect();
        assert!(!found.is_empty(), "no JSON in {output}");
        found
    }

    /// Fails, as a mishap of the emulated machine, where a guest of KVM has booted more often than it
    /// was told to: nested KVM under an emulator loses a guest to a double fault now and then, and
    /// QEMU resets it without a word.
    pub fn has_booted(&mut self, guest: &str, times: usize) {
        let console = self.sh(&format!("cat /run/{guest}.console"));
        let boots = console.lines().filter(|line| line.contains("lab: guest")).count();
        println!("{guest} has booted {boots} times");
        if boots > times {
            let last: Vec<&str> = console.lines().rev().take(12).collect();
            let console = last.into_iter().rev().collect::<Vec<_>>().join("\n");
            let error = LabError::GuestReset { guest: guest.to_owned(), console };
            fail("a guest", self.kind, &error);
        }
    }

    /// What `vmeter top` reads now: cumulative counters.
    pub fn snapshot(&mut self) -> Value {
        let read = "vmeter cpu --save /tmp/moment >/dev/null && cat /tmp/moment";
        self.json(read).remove(0)["snapshot"].take()
    }
}

/// Runs checks one after the other, and says how long each took.
pub fn each(host: &mut Host, checks: &[(&str, Check)]) {
    for (name, check) in checks {
        let start = Instant::now();
        check(host);
        println!("checked {name} in {:.1} s", start.elapsed().as_secs_f64());
    }
}

/// What is checked in a machine.
pub type Check = fn(&mut Host);

/// The element of a list whose `name` is this.
pub fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    list.as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {list:#}"))
}

/// A number that must be there.
pub fn number(value: &Value, path: &str) -> f64 {
    let found = value.pointer(path).unwrap_or_else(|| panic!("no {path} in {value:#}"));
    found.as_f64().unwrap_or_else(|| panic!("{path} is {found} in {value:#}"))
}

/// Prints both figures and fails where they are further apart than `most`.
pub fn close(what: &str, ours: f64, theirs: f64, most: f64) {
    println!("{what}: vmeter {ours:.4}, reference {theirs:.4}, difference {:.4}", ours - theirs);
    assert!((ours - theirs).abs() <= most, "{what}: {ours} against {theirs}, at most {most} apart");
}

/// A script that runs a command while these guests compute: however long it takes to begin, they
/// do so to its end.
pub fn while_busy(guests: &str, command: &str) -> String {
    let count = "i=0; while [ \\$i -lt 20000 ]; do i=\\$((i+1)); done";
    let each = |then: &str| format!("for g in {guests}; do {then} done");
    let compute = each(&format!(
        "guest $g 'rm -f /tmp/stop /tmp/started; timeout 200 sh -c \"touch /tmp/started; \
         until [ -e /tmp/stop ]; do {count}; done\"' >/dev/null &"
    ));
    let started = each("until guest $g 'ls /tmp/started' | grep -q '^/tmp'; do sleep 0.1; done;");
    let stop = each("guest $g 'touch /tmp/stop';");
    format!("{compute}; {started}; {command}; {stop}; wait")
}

/// What the guest's agent reports is a part of what the host measured of it.
pub fn reported(vm: &Value) -> (f64, f64) {
    let part = |name: &str| number(vm, &format!("/cpu_s/{name}"));
    let (system, programs) = (part("guest_os"), part("guest_programs"));
    close("guest OS + programs", system + programs, part("guest"), 1e-6);
    (system, programs)
}

/// Many short-lived processes in dom0 or on the host, which their parent waits for or not: its own
/// time, none of the guests'.
pub fn a_build_is_its_own(host: &mut Host) {
    for parent in ["", "trap '' CHLD;"] {
        built(host, parent);
    }
}

fn built(host: &mut Host, parent: &str) {
    let top = host
        .json(&format!(
            "sh -c \"{parent} while :; do /bin/busybox true; done\" & \
             vmeter top --batch --count 1 --interval 0.5s --format json; kill $!; wait"
        ))
        .remove(0);
    let idd = &top["idd"][0]["cpu_s"];
    let shared: f64 =
        ["g1", "g2"].iter().map(|name| number(named(&top["vms"], name), "/cpu_s/io_shared")).sum();
    println!("a build, {parent}: {idd}, charged to guests {shared:.4} s");
    assert!(number(idd, "/own") > 0.7 * number(idd, "/total"), "{top:#}");
    assert!(shared < 0.05 * number(idd, "/total"), "{top:#}");
}

/// All three loads, by the same static program, in a guest and against it. An emulated machine may
/// not keep a rate (status 4): every request and packet counts all the same.
pub fn workloads(host: &mut Host) {
    tcp_in_guest(host);
    web_in_guest(host);
    cpu_in_guest(host);
}

fn tcp_in_guest(host: &mut Host) {
    host.sh(
        "guest 1 '/lab/agent/vmeter bench tcp recv --listen 0.0.0.0:5202 </dev/null >/tmp/recv 2>&1 & \
         until grep -q listening /tmp/recv; do sleep 0.1; done'",
    );
    for (size, direction) in [(500, ""), (1448, ""), (1448, "--reverse")] {
        let found = whole(&host.sh(&format!(
            "vmeter bench tcp send 10.0.2.101 --size {size} --rate 300 --duration 1s \
             --packets one-per-write {direction} --json - || test $? = 4"
        )));
        let proof = &found["one_per_write"];
        println!("tcp {direction}: {proof}, accelerator of the guest's end {}", {
            let guest = if direction.is_empty() { "receiver" } else { "sender" };
            &found["ends"][guest]["environment"]["accelerator"]
        });
        assert_eq!(proof["holds"], true, "{found:#}");
        let acks = |end: &str| number(&found, &format!("/ends/{end}/acks"));
        assert!((acks("sender") - acks("receiver")).abs() <= 1.0, "{found:#}");
    }
}

/// Every request gets its reply, however long an emulated machine takes for fifty a second.
fn web_in_guest(host: &mut Host) {
    host.sh("guest 1 'mkdir -p /tmp/www && head -c 1024 /dev/zero >/tmp/www/1k'; \
         guest 1 '/lab/agent/vmeter bench serve /tmp/www --listen 0.0.0.0:8080 </dev/null \
         >/tmp/serve 2>&1 & until grep -q serving /tmp/serve; do sleep 0.1; done'");
    let found = whole(&host.sh(
        "vmeter bench web http://10.0.2.101:8080/1k --rate 50 --timeout 60s --duration 1s --json - \
         || test $? = 4",
    ));
    println!("web: {} {}", found["status"], found["errors"]);
    assert_eq!(found["status"]["200"], 50, "{found:#}");
    // And the guest as the client.
    let found = whole(&host.sh("mkdir -p /tmp/www; head -c 1024 /dev/zero >/tmp/www/1k; \
         vmeter bench serve /tmp/www --listen 0.0.0.0:8080 2>/tmp/serve & server=$!; \
         until grep -q serving /tmp/serve; do sleep 0.1; done; \
         guest 1 '/lab/agent/vmeter bench web http://10.0.2.15:8080/1k --rate 50 --per request \
         --timeout 60s --duration 1s --json -'; kill $server; wait"));
    assert_eq!(found["status"]["200"], 50, "{found:#}");
}

fn cpu_in_guest(host: &mut Host) {
    let load = "bench cpu --text 64K --data 64K --passes 1 --instances 2 --json -";
    let here = whole(&host.sh(&format!("vmeter {load}")));
    let there = whole(&host.sh(&format!("guest 1 '/lab/agent/vmeter {load}'")));
    let seconds = |found: &Value| number(found, "/instances/0/seconds");
    println!("cpu: {:.3} s here, {:.3} s in the guest", seconds(&here), seconds(&there));
    for instance in [0, 1] {
        let work = |found: &Value| found["instances"][instance]["checksum"].clone();
        assert_eq!(work(&here), work(&there), "the same work");
        assert!(work(&here).is_string());
    }
}

/// The JSON object that stands in an output, over several lines.
fn whole(output: &str) -> Value {
    let from = output.find('{').unwrap_or_else(|| panic!("no result: {output}"));
    let mut values = serde_json::Deserializer::from_str(&output[from..]).into_iter();
    values.next().unwrap().unwrap_or_else(|error| panic!("{error}: {output}"))
}
