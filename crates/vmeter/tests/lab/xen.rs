//! vmeter against xentop and xl on real Xen, booted by emulation.

use crate::machine::{
    AGENTS, Host, a_build_is_its_own, checked, close, each, named, number, reported, spec,
    while_busy, workloads,
};
use crate::recording::{self, End, recorded};
use lab::{Clock, Kind, Receive};
use serde_json::Value;

#[test]
fn xen_4_17() {
    checks("bookworm", "Xen 4.17");
}

#[test]
fn xen_4_20() {
    checks("trixie", "Xen 4.20");
}

/// Mode B: Domain-0 and both guests sample themselves at the same time, each busy on a CPU of its
/// own; each one's busy time by equation 4.9 is xentop's. By the instruction clock: an emulator of
/// two cores can give three busy CPUs no more of the host's time. None of them sleeps: a CPU that
/// Xen wakes waits for its turn in the emulator, which Xen takes for the domain's time and which is
/// in no sample of the domain's.
#[test]
fn domains_sample_themselves() {
    let mut spec = spec(Kind::Xen, "bookworm");
    (spec.cpus, spec.clock) = (3, Clock::Instructions);
    checked(&spec, |host| {
        host.sh("xl vcpu-set Domain-0 1");
        for (domain, cpu) in [("Domain-0", 0), ("g1", 1), ("g2", 2)] {
            host.sh(&format!("xl vcpu-pin {domain} all {cpu}"));
        }
        recording::put_spinner(host, 1);
        let spin =
            "sh -c \"while :; do :; done\" </dev/null >/dev/null 2>&1 & echo $! >/tmp/spinning";
        host.sh("guest 1 '/tmp/spin </dev/null >/dev/null 2>&1 & echo $! >/tmp/spinning'");
        host.sh(&format!("{spin}; guest 2 '{spin}'"));
        // They are stopped once the samples are taken: what is left to do takes its time without.
        let report = recorded(
            host,
            &End::After(5),
            "xentop -b -i 2 -d 3 -f >/tmp/xentop
             until [ -e /tmp/rec/stream-0.vmr ]; do sleep 0.1; done
             for g in 1 2; do guest $g 'kill $(cat /tmp/spinning)'; done
             kill $(cat /tmp/spinning)",
        );
        let output = host.sh("cat /tmp/xentop");
        for (name, domain) in [("host", "Domain-0"), ("g1", "g1"), ("g2", "g2")] {
            let seconds = number(recording::stream(&report, name), "/duration_s");
            let vms = report["vms"].as_array().unwrap().iter();
            let busy: f64 = vms.filter(|vm| vm["vm"] == name).map(|vm| number(vm, "/busy_s")).sum();
            let theirs = xentop(&output, domain).0.number("CPU(%)");
            close(&format!("{domain} CPU %"), 100.0 * busy / seconds, theirs, 0.05 * theirs);
        }
        assert_eq!(recording::stream(&report, "g1")["role"], "samples-itself");
        recording::spins(&report, "g1");
        recording::kernels_are_named(&report, "g1");
    });
}

/// One machine, every check. By the instruction clock, in which a CPU is as fast as on a host, and no
/// wait of the emulator's is anybody's time.
fn checks(suite: &str, system: &str) {
    let mut spec = spec(Kind::Xen, suite);
    (spec.vcpus, spec.clock) = (2, Clock::Instructions);
    checked(&spec, |host| {
        let start = host.snapshot();
        let found = start["host"]["system"].as_str().unwrap();
        println!("{found}");
        assert!(found.starts_with(system), "{found}");
        // Domain-0 runs whenever it can: what Xen takes from a thread while it runs, this kernel
        // bills to it (docs/accounting.md).
        host.sh("xl sched-credit2 -d Domain-0 -w 65535");
        each(
            host,
            &[
                ("at rest", |host| at_rest(host, "on the bridge")),
                ("off the bridge", off_the_bridge),
                ("under load", under_load),
                ("a build is its own", a_build_is_its_own),
                ("guests report", guests_report),
                ("states", states),
                ("come and go", come_and_go),
                ("commands", commands),
                ("captured", captured),
                ("workloads", workloads),
            ],
        );
    });
}

/// A row of xentop's, by column names.
struct Row<'a> {
    header: Vec<&'a str>,
    cells: Vec<&'a str>,
}

impl Row<'_> {
    fn number(&self, column: &str) -> f64 {
        let at = self.header.iter().position(|name| *name == column).unwrap();
        self.cells[at].parse().unwrap_or_else(|_| panic!("{column}: {:?}", self.cells))
    }
}

/// The last table that xentop printed: domain → row, with its interfaces' lines.
fn xentop<'a>(output: &'a str, domain: &str) -> (Row<'a>, Vec<&'a str>) {
    let last = output.rfind("NAME  STATE").unwrap_or_else(|| panic!("no table in {output}"));
    let mut lines = output[last..].lines();
    // "no limit" and the state are words of their own; names have none.
    let header: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    let mut rest = lines.skip_while(|line| line.split_whitespace().next() != Some(domain));
    let row = rest.next().unwrap_or_else(|| panic!("no {domain} in {output}"));
    let row = row.replace("no limit", "-1");
    let cells: Vec<&str> = Box::leak(row.into_boxed_str()).split_whitespace().collect();
    let parts = rest
        .take_while(|line| ["VCPUs", "Net", "VBD"].iter().any(|part| line.starts_with(part)))
        .collect();
    (Row { header, cells }, parts)
}

/// `key:  123unit` in a line of xentop's.
fn after(line: &str, key: &str) -> u64 {
    let rest = line.split(key).nth(1).unwrap_or_else(|| panic!("no {key} in {line}"));
    let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// Memory, packets, bytes and requests are xentop's to the last unit when nothing moves.
fn at_rest(host: &mut Host, when: &str) {
    // A quiet moment is one whose counters are the same on both sides of xentop's reading.
    for _ in 0..20 {
        let before = host.snapshot();
        let output = host.sh("xentop -b -i 1 -f -n -x");
        let after_it = host.snapshot();
        let counters = |snapshot: &Value| {
            let vms = snapshot["vms"].as_array().unwrap();
            vms.iter().map(|vm| (vm["nics"].clone(), vm["disks"].clone())).collect::<Vec<_>>()
        };
        if counters(&before) == counters(&after_it) {
            for name in ["g1", "g2"] {
                exactly(named(&after_it["vms"], name), &output, name, when);
            }
            return;
        }
    }
    panic!("the guests were never quiet");
}

fn exactly(vm: &Value, output: &str, name: &str, when: &str) {
    let (row, parts) = xentop(output, name);
    let memory = number(vm, "/memory/Ok") / 1024.0;
    close(&format!("{name} memory KB {when}"), memory, row.number("MEM(k)"), 0.0);
    let net = parts.iter().find(|line| line.starts_with("Net0")).unwrap();
    let (rx, tx) = net.split_once("TX:").unwrap();
    let ours = |field: &str| number(vm, &format!("/nics/Ok/0/counters/Ok/{field}"));
    // xentop names a backend's directions: what the backend receives, the guest has sent.
    let sent = after(rx, "RX:") as f64;
    let received = after(&format!("TX:{tx}"), "TX:") as f64;
    close(&format!("{name} bytes sent {when}"), ours("tx_bytes"), sent, 0.0);
    close(&format!("{name} bytes received {when}"), ours("rx_bytes"), received, 0.0);
    let packets = |part: &str| after(part, "bytes") as f64;
    close(&format!("{name} packets sent {when}"), ours("tx_packets"), packets(rx), 0.0);
    close(&format!("{name} packets received {when}"), ours("rx_packets"), packets(tx), 0.0);
    if let Some(disk) = parts.iter().find(|line| line.starts_with("VBD")) {
        let ours = |field: &str| number(vm, &format!("/disks/Ok/0/counters/{field}/Ok"));
        close(&format!("{name} reads {when}"), ours("reads"), after(disk, "RD:") as f64, 0.0);
        close(&format!("{name} writes {when}"), ours("writes"), after(disk, "WR:") as f64, 0.0);
    }
}

/// With no bridge at all, and an interface that was renamed, names and counters stay right.
fn off_the_bridge(host: &mut Host) {
    host.sh("ip link set vif1.0 nomaster; ip link set vif2.0 nomaster");
    at_rest(host, "with no bridge");
    host.sh("ip link set vif2.0 down; ip link set vif2.0 name renamed0; ip link set renamed0 up");
    let snapshot = host.snapshot();
    let nic = &named(&snapshot["vms"], "g2")["nics"]["Ok"][0];
    println!("renamed: {nic}");
    assert_eq!(nic["name"], "renamed0");
    host.sh("ip link set renamed0 down; ip link set renamed0 name vif2.0; ip link set vif2.0 up");
    host.sh("for vif in vif1.0 vif2.0; do ip link set $vif master xenbr0; done");
}

/// g1 receives TCP from outside: xentop's figures, charging, conservation.
///
/// Reading is work of Domain-0 itself, 1 % of such an interval and more. So each program's second
/// interval counts, and vmeter's reading comes first at both ends: either interval then holds one
/// whole reading of each program, and nothing of what they do to start.
fn under_load(host: &mut Host) {
    let stream = host.machine().receive(Receive { guest: 1, bytes_per_second: 2_000_000 }).unwrap();
    let output = host.sh("vmeter top --batch --count 2 --interval 5s --format json >/tmp/top & \
         sleep 0.1; xentop -b -i 3 -d 5 -f; wait; echo; cat /tmp/top");
    drop(stream);
    let json = output
        .lines()
        .rfind(|line| line.starts_with('{'))
        .unwrap_or_else(|| panic!("no JSON in {output}"));
    let top: Value = serde_json::from_str(json).unwrap();
    println!("{top:#}");
    let interval = number(&top, "/interval_s");
    for name in ["g1", "g2"] {
        let cpu = 100.0 * number(named(&top["vms"], name), "/cpu_s/guest") / interval;
        close(&format!("{name} CPU %"), cpu, xentop(&output, name).0.number("CPU(%)"), 0.3);
    }
    let dom0 = 100.0 * number(&top["idd"][0], "/cpu_s/total") / interval;
    close("Domain-0 CPU %", dom0, xentop(&output, "Domain-0").0.number("CPU(%)"), 0.3);
    charged(&top);
    vcpus(host);
}

/// Two guests that compute share the CPU with Domain-0: what one does not get was stolen from it,
/// which only it can tell; and its programs had nearly all that it got. A second vCPU that is idle
/// has steal of its own each time it wakes: each guest has one for the while.
fn guests_report(host: &mut Host) {
    let second = |online| {
        let write = format!("guest $g 'echo {online} >/sys/devices/system/cpu/cpu1/online'");
        format!("for g in 1 2; do {write}; done")
    };
    host.sh(&second(0));
    let top = format!("vmeter top --batch --count 1 --interval 1s --format json {AGENTS}");
    let top = host.json(&while_busy("1 2", &top)).remove(0);
    let interval = number(&top, "/interval_s");
    for name in ["g1", "g2"] {
        let vm = named(&top["vms"], name);
        println!("{name}: {} steal {}", vm["cpu_s"], vm["steal_s"]);
        let (system, programs) = reported(vm);
        assert!(programs > 0.8 * (system + programs), "{vm:#}");
        let percent = |what| 100.0 * number(vm, what) / interval;
        let wanted = percent("/cpu_s/guest") + percent("/steal_s");
        close(&format!("{name} got and stolen %"), wanted, 100.0, 3.0);
        close(&format!("{name} ready %"), percent("/ready_s"), percent("/steal_s"), 1e-6);
    }
    host.sh(&second(1));
}

/// Each vCPU's cumulative time is xl's, which shows tenths of a second.
fn vcpus(host: &mut Host) {
    let output = host.sh("vmeter cpu --format json; xl vcpu-list");
    let json = output.lines().find(|line| line.starts_with('{')).unwrap();
    let ours: Value = serde_json::from_str(json).unwrap();
    let mut compared = 0;
    for line in output.lines().filter(|line| !line.starts_with('{')) {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let [name, _, vcpu, _, _, seconds, ..] = cells[..] else { continue };
        let (Ok(vcpu), Ok(seconds)) = (vcpu.parse::<u64>(), seconds.parse::<f64>()) else {
            continue;
        };
        let rows = ours["vcpus"].as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == name && row["vcpu"] == vcpu).unwrap();
        close(&format!("{name} vCPU {vcpu} s"), number(row, "/busy_s"), seconds, 0.6);
        compared += 1;
    }
    assert!(compared >= 4, "compared {compared} vCPUs of {output}");
}

/// With one guest receiving and all else idle.
fn charged(top: &Value) {
    let io = |name: &str| {
        let vm = named(&top["vms"], name);
        number(vm, "/cpu_s/io_direct") + number(vm, "/cpu_s/io_shared")
    };
    let (g1, g2) = (io("g1"), io("g2"));
    let part = g1 / (g1 + g2);
    let error = number(top, "/host/conservation_error");
    let left = number(top, "/host/unattributed_s") / number(top, "/host/busy_s");
    println!(
        "g1 has {part:.4} of the charged I/O; conservation {error:.5}; unattributed {left:.4}"
    );
    assert!(part >= 0.9, "g1 has {part} of the charged I/O");
    // What the domains had is what the CPUs had.
    let domain = |name: &str| number(named(&top["vms"], name), "/cpu_s/guest");
    let domains =
        number(named(&top["idd"], "Domain-0"), "/cpu_s/total") + domain("g1") + domain("g2");
    let busy = number(top, "/host/busy_s");
    close("all domains s", domains, busy, 0.01 * busy);
    assert!(error < 0.01, "conservation error {error}");
    assert!(left <= 0.1, "unattributed {left}");
}

fn states(host: &mut Host) {
    host.sh("xl pause g2");
    let snapshot = host.snapshot();
    host.sh("xl unpause g2");
    assert_eq!(named(&snapshot["vms"], "g2")["state"], "paused");
    println!("g2: {}", named(&snapshot["vms"], "g2")["state"]);
}

/// A guest destroyed and made again under the same name inside an interval: two rows, no
/// wrong number.
fn come_and_go(host: &mut Host) {
    let top = host
        .json(
            "vmeter top --batch --count 1 --interval 4s --format json >/tmp/top & \
             sleep 1; xl destroy g2; xl create /etc/xen/g2.cfg >/dev/null; wait; cat /tmp/top",
        )
        .remove(0);
    let rows: Vec<&Value> =
        top["vms"].as_array().unwrap().iter().filter(|vm| vm["name"] == "g2").collect();
    println!("{rows:#?}");
    assert_eq!(rows.len(), 2);
    let ended = rows.iter().find(|vm| vm["state"] == "ended").unwrap();
    assert!(ended["cpu_s"]["total"].is_null() && ended["absent"]["cpu_s.total"].is_string());
    let born = rows.iter().find(|vm| vm["state"] != "ended").unwrap();
    assert!(number(born, "/cpu_s/guest") > 0.0);
    assert!(number(&top, "/host/conservation_error") < 0.01);
}

/// `vmeter cpu -- COMMAND` passes on output and status.
fn commands(host: &mut Host) {
    let (status, output) = host.run("vmeter cpu -- sh -c 'echo from the command; exit 3'");
    println!("{output}");
    assert_eq!(status, 3);
    assert!(output.starts_with("from the command\n") && output.contains("B_IDD"), "{output}");
    let saved = host.sh("vmeter cpu --save /tmp/a; sleep 1; vmeter cpu --save /tmp/b >/dev/null; \
         vmeter cpu --from /tmp/a --to /tmp/b");
    println!("{saved}");
    assert!(saved.contains("g1") && saved.contains("unattributed"));
    let (status, output) = host.run("vmeter cpu --save /nowhere/x -- touch /tmp/ran; ls /tmp/ran");
    assert!(status != 0 && !output.lines().any(|line| line == "/tmp/ran"), "{output}");
}

/// What is captured reads as the live host does.
fn captured(host: &mut Host) {
    let live = host.snapshot();
    host.sh("rm -rf /tmp/saved; vmeter capture /tmp/saved");
    let saved = host
        .json("vmeter top --root /tmp/saved --batch --count 1 --interval 0.1s --format json")
        .remove(0);
    println!("captured: {}", saved["host"]);
    assert_eq!(saved["host"]["system"], live["host"]["system"]);
    let names = |list: &Value| -> Vec<Value> {
        list.as_array().unwrap().iter().map(|vm| vm["name"].clone()).collect()
    };
    assert_eq!(names(&saved["vms"]), names(&live["vms"]));
    assert!(number(&saved, "/host/busy_s") > 0.0);
}
