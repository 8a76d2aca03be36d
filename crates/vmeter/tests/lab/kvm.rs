//! vmeter against the guests' own counters on real KVM, booted by emulation.

use crate::machine::{
    AGENTS, Host, a_build_is_its_own, checked, close, each, named, number, reported, spec,
    while_busy, workloads,
};
use crate::recording::{self, End, recorded};
use lab::{Kind, Receive};
use serde_json::Value;

/// One boot, every check.
#[test]
fn kvm_with_vhost() {
    checked(&spec(Kind::Kvm, "bookworm"), |host| {
        each(
            host,
            &[
                ("samples see into guests", samples_see_into_guests),
                ("counted on the right side", counted_on_the_right_side),
                ("guest time", guest_time),
                ("guests report", guests_report),
                ("under load", under_load),
                ("a build is its own", a_build_is_its_own),
                ("workloads", workloads),
                ("a CPU goes offline", a_cpu_goes_offline),
                ("a guest attacks its host", a_guest_attacks_its_host),
                ("a guest boots again", a_guest_boots_again),
                ("a guest ends", a_guest_ends),
            ],
        );
    });
}

/// A guest's root has the guest's key, and may connect to the host's agent as often as it likes: it gets
/// nothing, and the host's own controller gets in.
fn a_guest_attacks_its_host(host: &mut Host) {
    host.sh("vmeter agent key /tmp/host.key --role configure
         vmeter agent run --listen 0.0.0.0:5299 --key /tmp/host.key >/tmp/host-agent 2>&1 & \
         until grep -q serving /tmp/host-agent; do sleep 0.1; done");
    let refused = host
        .sh("guest 1 '/lab/agent/vmeter agent status 10.0.2.15:5299 --key /lab/agent/key 2>&1 || \
         echo refused with $?'");
    assert!(refused.contains("different key") && refused.contains("refused with 1"), "{refused}");
    // Connections that say nothing, hundreds of them, kept open.
    host.sh("guest 1 'for i in 1 2 3 4 5 6 7 8 9 10; do for j in 1 2 3 4 5 6 7 8 9 10 11 12; do \
         (sleep 15 | /bin/busybox nc 10.0.2.15 5299) </dev/null >/dev/null 2>&1 & done; done; \
         echo sent' | \
         grep sent");
    let status = host.sh("vmeter agent status 127.0.0.1:5299 --key /tmp/host.key");
    assert!(status.contains("protocol"), "{status}");
    let log = host.sh("killall vmeter 2>/dev/null; cat /tmp/host-agent");
    println!("{log}");
    assert!(log.lines().count() < 60, "{log}");
}

/// The part of its time that a guest was busy between two readings of its own `/proc/stat` and
/// `/proc/uptime`, in % of a CPU: what it was neither idle nor robbed of. The kernel knows idle time
/// exactly; the other fields are samples of its tick, which a guest that wakes for packets hardly ever
/// meets.
fn busy(before: &str, after: &str) -> f64 {
    let fields = |text: &str| -> (f64, f64, f64, f64) {
        let number = |word: &str| word.parse::<f64>().unwrap();
        let cpus = text.lines().filter(|line| line.starts_with("cpu")).count() - 1;
        let all = text.lines().find(|line| line.starts_with("cpu ")).unwrap();
        // cpu user nice system idle iowait irq softirq steal
        let steal = number(all.split_whitespace().nth(8).unwrap()) / 100.0;
        let mut uptime = text.lines().last().unwrap().split_whitespace().map(number);
        (cpus as f64, uptime.next().unwrap(), uptime.next().unwrap(), steal)
    };
    let ((cpus, start, idle, steal), (_, end, idle_after, steal_after)) =
        (fields(before), fields(after));
    let time = end - start;
    100.0 * (cpus * time - (idle_after - idle) - (steal_after - steal)) / time
}

/// One guest computes, the other is idle: each says so itself.
fn guest_time(host: &mut Host) {
    let read = |moment| {
        let one =
            |guest| format!("guest {guest} cat /proc/stat /proc/uptime >/tmp/g{guest}.{moment}");
        [one(1), one(2)].join("; ")
    };
    let top = "vmeter top --batch --count 1 --interval 10s --format json";
    let top = host.json(&while_busy("2", &[&read(0), top, &read(1)].join("; "))).remove(0);
    let interval = number(&top, "/interval_s");
    for guest in [1, 2] {
        let mut at = |moment| host.sh(&format!("cat /tmp/g{guest}.{moment}"));
        let theirs = busy(&at(0), &at(1));
        let vm = named(&top["vms"], &format!("g{guest}"));
        println!("{}", vm["cpu_s"]);
        let percent = |part| 100.0 * number(vm, &format!("/cpu_s/{part}")) / interval;
        // What the VMM does meanwhile passes in the guest as its own, as far as it does not sleep.
        let (guest_alone, vmm) = (percent("guest"), percent("vmm"));
        let ours = theirs.clamp(guest_alone, guest_alone + vmm);
        println!("g{guest}: guest {guest_alone:.4} %, VMM {vmm:.4} %");
        close(&format!("g{guest} guest CPU %"), ours, theirs, 2.0);
    }
}

/// Two guests that compute share a CPU: their kernels say that half of it was stolen from each,
/// the host that they waited for it; and their programs had nearly all that they got.
fn guests_report(host: &mut Host) {
    let cpus = |mask| {
        format!("for g in 1 2; do taskset -a -p {mask} $(cat /run/g$g.pid) >/dev/null; done")
    };
    host.sh(&cpus(1));
    let top = format!("vmeter top --batch --count 1 --interval 10s --format json {AGENTS}");
    let top = host.json(&while_busy("1 2", &top)).remove(0);
    host.sh(&cpus(3));
    let interval = number(&top, "/interval_s");
    for name in ["g1", "g2"] {
        let vm = named(&top["vms"], name);
        println!("{name}: {} steal {} ready {}", vm["cpu_s"], vm["steal_s"], vm["ready_s"]);
        let (system, programs) = reported(vm);
        assert!(programs > 0.8 * (system + programs), "{vm:#}");
        let percent = |what| 100.0 * number(vm, what) / interval;
        close(&format!("{name} stolen %"), percent("/steal_s"), percent("/ready_s"), 5.0);
        assert!((30.0..70.0).contains(&percent("/steal_s")), "{vm:#}");
    }
}

/// Mode A: the host samples its guests, their agents name what ran. g1 computes, g2 receives.
fn samples_see_into_guests(host: &mut Host) {
    recording::put_spinner(host, 1);
    let stream = host.machine().receive(Receive { guest: 2, bytes_per_second: 200_000 }).unwrap();
    host.sh("guest 1 '/tmp/spin </dev/null >/dev/null 2>&1 &'");
    let report = recorded(host, &End::After(8), ":");
    host.sh("guest 1 'killall spin'");
    drop(stream);
    for name in ["g1", "g2"] {
        let stream = recording::stream(&report, name);
        assert_eq!(stream["role"], "names-only", "{stream:#}");
        println!("{name}: clock within {} s: {}", stream["clock_bound_s"], stream["warnings"]);
        recording::kernels_are_named(&report, name);
    }
    // A guest that wakes has another offset each time, as KVM takes this host's counter for
    // unstable; one that computes keeps it.
    assert!(recording::warns(&report, "g1", "aligned with KVM's TSC offset"), "{report:#}");
    recording::spins(&report, "g1");
    recording::receives(&report, "g2", "cat");
    // vhost, the VMM and the host itself are apart from the guest and from each other.
    let of = |vm: &str, layer: &str, part: &str| {
        recording::samples(&report, |row| {
            row["vm"] == vm && row["layer"] == layer && row["part"] == part
        })
    };
    let (vhost, vcpu) = (of("g2", "host-kernel", "io"), of("g2", "host-kernel", "vcpu"));
    println!("g2: vhost {vhost}, KVM in its vCPU's thread {vcpu} samples");
    assert!(vhost > 0.0 && vcpu > 0.0);
}

/// A guest boots again while it is recorded, and computes then: its agent is met again, its
/// program and its new kernel have their names.
fn a_guest_boots_again(host: &mut Host) {
    // Streams are numbered: 0 the host's, 1 and 2 the guests'.
    let report = recorded(
        host,
        &End::Done,
        "until [ -s /tmp/rec/stream-2.raw ]; do sleep 0.2; done
         timeout 2 guest 2 'reboot -f'
         until [ -s /tmp/rec/stream-3.raw ]; do sleep 0.5; done
         guest 2 'timeout 10 sh -c \"while :; do :; done\"' >/dev/null",
    );
    let streams = report["streams"].as_array().unwrap().iter();
    let boots: Vec<_> = streams.filter(|stream| stream["name"] == "g2").collect();
    for boot in &boots {
        println!("g2: clock within {} s: {}", boot["clock_bound_s"], boot["warnings"]);
    }
    host.has_booted("g2", 2);
    assert_eq!(boots.len(), 2, "{:#}", report["streams"]);
    assert!(recording::says(boots[0], "its agent was lost"), "{boots:#?}");
    assert!(recording::says(boots[1], "reconnected"), "{boots:#?}");
    let shell = recording::samples(&report, |row| {
        row["vm"] == "g2" && row["layer"] == "guest-user" && row["process"] == "sh"
    });
    let kernel = |row: &Value| {
        row["vm"] == "g2" && row["layer"] == "guest-kernel" && row["process"] != "[unknown]"
    };
    let known = recording::samples(&report, kernel);
    let named = recording::samples(&report, |row| kernel(row) && row["symbol"].is_string());
    println!("g2: {shell} samples in its shell, {known} in its kernels, {named} of them named");
    // 10 s of a sample each 4 ms, as far as the emulator lets it compute.
    assert!(shell > 300.0 && known > 0.0 && named >= 0.95 * known);
}

/// A guest ends while it is recorded: what was until then is there, and when that was is said.
fn a_guest_ends(host: &mut Host) {
    let report = recorded(host, &End::After(10), "sleep 3; kill -9 $(cat /run/g2.pid)");
    let warned = |name| recording::warns(&report, name, "s after the start its agent was lost");
    assert!(warned("g2") && !warned("g1"), "{:#}", report["streams"]);
    for name in ["g1", "g2"] {
        let all = recording::samples(&report, |row| row["vm"] == name);
        println!("{name}: {all} samples, lost {}", warned(name));
        assert!(all > 0.0);
        recording::kernels_are_named(&report, "g1");
    }
}

/// Idle time of a CPU that was offline for a while measures nothing, and is not taken for work.
fn a_cpu_goes_offline(host: &mut Host) {
    let online = "/sys/devices/system/cpu/cpu1/online";
    let top = host
        .json(&format!(
            "vmeter top --batch --count 2 --interval 2s --format json >/tmp/top & sleep 0.7; \
             echo 0 >{online}; sleep 0.3; echo 1 >{online}; wait; cat /tmp/top"
        ))
        .into_iter();
    let hosts: Vec<Value> = top.map(|mut top| top["host"].take()).collect();
    println!("{hosts:#?}");
    assert!(hosts[0]["busy_s"].is_null(), "{}", hosts[0]);
    let reason = hosts[0]["absent"]["busy_s"].as_str().unwrap();
    assert!(reason.contains("a CPU went offline or online"), "{reason}");
    assert!(number(&hosts[1], "/busy_s") < 2.0 * number(&hosts[1], "/cpus"));
}

/// A tap's reception is the guest's transmission: ours are the guest's own counters.
fn counted_on_the_right_side(host: &mut Host) {
    host.sh("ping -c 5 -s 1000 10.0.2.101 >/dev/null");
    for _ in 0..20 {
        let before = host.snapshot();
        let device = host.sh("guest-netdev 1");
        let after = host.snapshot();
        let counters = |snapshot: &Value| named(&snapshot["vms"], "g1")["nics"].clone();
        let line = device.lines().find(|line| line.trim().starts_with("eth0:")).unwrap();
        let fields: Vec<f64> = line
            .split_once(':')
            .unwrap()
            .1
            .split_whitespace()
            .map(|field| field.parse().unwrap())
            .collect();
        let ours = |snapshot: &Value, field: &str| {
            number(snapshot, &format!("/vms/0/nics/Ok/0/counters/Ok/{field}"))
        };
        assert_eq!(counters(&before)["Ok"][0]["name"], "tap1");
        // Asking the guest takes packets of its own: its answer lies between our two readings.
        let within = |field: &str, theirs: f64| {
            (ours(&before, field)..=ours(&after, field)).contains(&theirs)
        };
        println!("g1 {line}\n  vmeter before {} after {}", counters(&before), counters(&after));
        if within("rx_packets", fields[1]) && within("tx_packets", fields[9]) {
            return;
        }
    }
    panic!("a tap's packets are not the guest's");
}

/// g1 receives TCP from outside for 10 s.
fn under_load(host: &mut Host) {
    let stream = host.machine().receive(Receive { guest: 1, bytes_per_second: 500_000 }).unwrap();
    host.sh("sleep 3");
    let top = host.json("vmeter top --batch --count 1 --interval 10s --format json").remove(0);
    drop(stream);
    println!("{top:#}");
    charged(&top);
}

/// With one guest receiving and all else idle.
fn charged(top: &Value) {
    let part = |name: &str, what: &str| number(named(&top["vms"], name), &format!("/cpu_s/{what}"));
    let io = |name: &str| part(name, "io_direct") + part(name, "io_shared");
    let share = io("g1") / (io("g1") + io("g2"));
    let error = number(top, "/host/conservation_error");
    let left = number(top, "/host/unattributed_s") / number(top, "/host/busy_s");
    println!(
        "g1 has {share:.4} of the charged I/O; conservation {error:.5}; unattributed {left:.4}"
    );
    assert!(part("g1", "io_direct") > 10.0 * part("g2", "io_direct"), "vhost's owner is charged");
    assert!(share >= 0.9, "g1 has {share} of the charged I/O");
    assert!(error < 0.01, "conservation error {error}");
    assert!(left <= 0.1, "unattributed {left}");
}
