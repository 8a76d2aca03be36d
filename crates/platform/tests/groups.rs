//! Containers and jobs as control groups: which have a row, what they are called, their networks
//! and limits. Layouts that cannot be made where tests run follow each system's documentation
//! (tests/fixtures/README.md).
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use model::{Absent, Operations, Platform, Snapshot, State, Vm, VmId};
use platform::{Choice, GroupRows, Want, open, open_with};
use std::fs;
use std::path::Path;

const WANT: Want = Want { vcpus: false, placement: true, exact_idle: false };

fn named<'a>(snapshot: &'a Snapshot, name: &str) -> &'a Vm {
    let vm = snapshot.vms.iter().find(|vm| vm.name == name);
    vm.unwrap_or_else(|| panic!("no {name} in {:?}", names(snapshot)))
}

fn names(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.vms.iter().map(|vm| vm.name.as_str()).collect()
}

/// How many processes are in no group that has a row.
fn own(snapshot: &Snapshot) -> usize {
    let processes = &snapshot.drivers[0].tasks.as_ref().unwrap().processes;
    processes.iter().filter(|process| process.member_of.is_none()).count()
}

#[test]
fn a_system_container_of_lxc_is_one_row() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lxc");
    let mut source = open(Choice::Cgroup, &root).unwrap();
    source.read(WANT).unwrap();
    let snapshot = source.read(WANT).unwrap();
    assert_eq!(names(&snapshot), ["lxc.monitor.web", "lxc:web", "lxc.pivot"]);
    let web = named(&snapshot, "lxc:web");
    assert_eq!((web.platform, web.state), (Platform::Cgroup, State::Running));
    // Its init's network, not that of a service with one of its own.
    let nics = web.nics.as_ref().unwrap();
    assert_eq!((nics.len(), nics[0].name.as_str()), (1, "eth0"));
    assert_eq!(nics[0].counters.as_ref().unwrap().tx_packets, Operations(7));
    assert_eq!(own(&snapshot), 0);
}

/// A host with control groups of version 2, made of folders.
struct Layout(tempfile::TempDir);

impl Layout {
    fn new() -> Self {
        let layout = Self(tempfile::tempdir().unwrap());
        layout.put("proc/stat", "cpu 1 1 1 1 1 1 1 0 0 0\ncpu0 1 1 1 1 1 1 1 0 0 0\n");
        layout.put("proc/self/mountinfo", "41 31 0:38 / /cg rw - cgroup2 cgroup2 rw\n");
        layout.put("proc/self/ns/net", "net:[1]");
        layout
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A group with a process in the network namespace of that number.
    fn group(&self, path: &str, pid: u32, network: u32) {
        self.put(&format!("cg{path}/cgroup.procs"), &format!("{pid}\n"));
        self.put(&format!("cg{path}/cpu.stat"), "usage_usec 1000000\n");
        let zeros = "0 ".repeat(17);
        let stat = format!("{pid} (p) S 1 1 1 0 -1 0 0 0 0 0 10 10 0 0 20 0 1 0 9 1 1 {zeros}\n");
        self.put(&format!("proc/{pid}/stat"), &stat);
        self.put(&format!("proc/{pid}/ns/net"), &format!("net:[{network}]"));
        let head = "Inter-|   Receive  |  Transmit\n face |bytes packets\n";
        let counters = format!("eth0: 9000 {pid} 0 0 0 0 0 0 4000 50 0 0 0 0 0 0\n");
        self.put(&format!("proc/{pid}/net/dev"), &format!("{head}{counters}"));
    }

    fn read(&self, rows: &GroupRows) -> Snapshot {
        open_with(Choice::Cgroup, self.0.path(), rows).unwrap().read(WANT).unwrap()
    }
}

#[test]
fn a_container_of_cri_o_is_one_row_with_its_pod() {
    let layout = Layout::new();
    let (web, db, init) = ("4f".repeat(32), "5e".repeat(32), "6d".repeat(32));
    let uid = "1c2d3e4f_0000_1111_2222_0123456789ab";
    // A guaranteed pod, whose slice stands one level higher than a burstable one's.
    let pod = format!("/kubepods.slice/kubepods-pod{uid}.slice");
    layout.group(&format!("{pod}/crio-conmon-{web}.scope"), 10, 1);
    layout.group(&format!("{pod}/crio-{web}.scope/container"), 11, 2);
    let burstable =
        format!("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice");
    layout.group(&format!("{burstable}/crio-{db}.scope/container"), 12, 3);
    // A pod with systemd as its init.
    layout.group(&format!("{burstable}/crio-{init}.scope/container/init.scope"), 20, 4);
    layout.group(&format!("{burstable}/crio-{init}.scope/container/system.slice/x.service"), 13, 5);
    let settings = r#"{"annotations":{"io.kubernetes.pod.name":"web-1"}}"#;
    let place = format!("run/containers/storage/overlay-containers/{web}/userdata/config.json");
    layout.put(&place, settings);
    let snapshot = layout.read(&GroupRows::Automatic);
    let expected = [
        "crio:5e5e5e5e5e5e@1c2d3e4f",
        "crio:6d6d6d6d6d6d@1c2d3e4f",
        "conmon:4f4f4f4f4f4f@web-1",
        "crio:4f4f4f4f4f4f@web-1",
    ];
    let mut found = names(&snapshot);
    found.sort_unstable();
    let mut sorted = expected;
    sorted.sort_unstable();
    assert_eq!(found, sorted);
    let received = |name: &str| {
        let nics = named(&snapshot, name).nics.as_ref().unwrap();
        nics[0].counters.as_ref().unwrap().rx_packets
    };
    assert_eq!(received("crio:4f4f4f4f4f4f@web-1"), Operations(11));
    assert_eq!(received("crio:6d6d6d6d6d6d@1c2d3e4f"), Operations(20));
}

/// A batch system's node, with a user's containers.
fn jobs() -> Layout {
    let layout = Layout::new();
    let slurm = "/system.slice/slurmstepd.scope";
    layout.group(&format!("{slurm}/system"), 30, 1);
    layout.group(&format!("{slurm}/job_7/step_0/user/task_0"), 31, 1);
    layout.group(&format!("{slurm}/job_7/step_1/user/task_0"), 32, 1);
    layout.group(&format!("{slurm}/job_8/step_batch/user/task_0"), 33, 1);
    let allocation = "0a1b2c3d-0000-1111-2222-0123456789ab";
    layout.group(&format!("/nomad.slice/share.slice/{allocation}.web.scope"), 34, 2);
    layout.group(&format!("/nomad.slice/share.slice/{allocation}.log.scope"), 35, 1);
    let user = "/user.slice/user-1000.slice/user@1000.service";
    layout.group(&format!("{user}/user.slice/libpod-{}.scope/container", "4f".repeat(32)), 36, 3);
    layout.group(&format!("{user}/user.slice/libpod-conmon-{}.scope", "4f".repeat(32)), 37, 1);
    layout.group("/user.slice/user-1000.slice/session-1.scope", 38, 1);
    layout.group("/user.slice/user-1001.slice/session-2.scope", 39, 1);
    layout.group("/user.slice/user-1001.slice/session-3.scope", 40, 1);
    layout
}

#[test]
fn each_job_and_each_users_container_has_a_row() {
    let snapshot = jobs().read(&GroupRows::Automatic);
    let expected = [
        "nomad:0a1b2c3d.log",
        "nomad:0a1b2c3d.web",
        "slurm:7",
        "slurm:8",
        "slurmstepd.scope/system",
        "session-1.scope",
        "conmon:4f4f4f4f4f4f",
        "podman:4f4f4f4f4f4f",
        "user-1001.slice",
    ];
    let mut found = names(&snapshot);
    found.sort_unstable();
    let mut sorted = expected.map(|name| match name {
        "session-1.scope" => "user-1000.slice/session-1.scope",
        other => other,
    });
    sorted.sort_unstable();
    assert_eq!(found, sorted);
    let received = &named(&snapshot, "podman:4f4f4f4f4f4f").nics.as_ref().unwrap()[0];
    assert_eq!(received.counters.as_ref().unwrap().rx_packets, Operations(36));
    let shares = Err(Absent::NotProvided("shares the host's network".into()));
    assert_eq!(named(&snapshot, "slurm:7").nics, shares);
    // Each process is in one row, and so not the host's own.
    assert_eq!(own(&snapshot), 0);
}

#[test]
fn depth_and_patterns_choose_the_rows() {
    let layout = jobs();
    let pattern = |text: &str| GroupRows::Matching(vec![text.parse().unwrap()]);
    let steps = layout.read(&pattern("/system.slice/slurmstepd.scope/job_*/step_*"));
    assert_eq!(names(&steps), ["slurm:7/step_0", "slurm:7/step_1", "slurm:8/step_batch"]);
    // What is in no row is the host's own.
    assert_eq!(own(&steps), 8);
    let users = layout.read(&pattern("/user.slice/*"));
    assert_eq!(names(&users), ["user-1000.slice", "user-1001.slice"]);
    let depth = |n: u8| layout.read(&GroupRows::Depth(n.try_into().unwrap()));
    assert_eq!(names(&depth(1)), ["nomad.slice", "system.slice", "user.slice"]);
    assert_eq!(names(&depth(3)).iter().filter(|name| name.starts_with("slurm:")).count(), 2);
    assert_eq!(names(&depth(4)).iter().filter(|name| name.contains("/step_")).count(), 3);
}

#[test]
fn a_monitor_beside_a_containers_processes_does_not_hide_its_network() {
    let layout = Layout::new();
    let scope = format!("/machine.slice/libpod-{}.scope", "4f".repeat(32));
    layout.group(&format!("{scope}/monitor"), 50, 1);
    layout.group(&format!("{scope}/container"), 51, 2);
    let snapshot = layout.read(&GroupRows::Automatic);
    let nics = named(&snapshot, "podman:4f4f4f4f4f4f").nics.as_ref().unwrap();
    assert_eq!(nics[0].counters.as_ref().unwrap().rx_packets, Operations(51));
}

/// A folder of a control group that is removed at the end.
struct Made(String);

impl Drop for Made {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_real_group_of_version_1_has_its_limit() {
    let here = std::process::id();
    let make = |controller: &str| {
        let folder = format!("/sys/fs/cgroup/{controller}/vmeter-test-{here}");
        fs::create_dir(&folder).ok().map(|()| Made(folder))
    };
    let (Some(_cpuacct), Some(cpu)) = (make("cpuacct"), make("cpu")) else {
        println!("skipped: no control groups of version 1 that may be made here");
        return;
    };
    let limit = || {
        let snapshot = open(Choice::Cgroup, Path::new("/")).unwrap().read(WANT).unwrap();
        let path = format!("/vmeter-test-{here}");
        let is_it = |vm: &&Vm| matches!(&vm.id, VmId::Cgroup { path: of, .. } if *of == path);
        snapshot.vms.iter().find(is_it).unwrap().vcpu_count.clone()
    };
    assert!(matches!(limit(), Err(Absent::NotProvided(_))));
    fs::write(format!("{}/cpu.cfs_period_us", cpu.0), "50000").unwrap();
    fs::write(format!("{}/cpu.cfs_quota_us", cpu.0), "125000").unwrap();
    assert_eq!(limit(), Ok(3));
}

#[test]
fn a_groups_time_in_a_saved_series_is_an_increase() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lxc");
    let mut source = open(Choice::Cgroup, &root).unwrap();
    let [before, after] = [(); 2].map(|()| source.read(WANT).unwrap());
    let [web, was] = [&after, &before].map(|snapshot| named(snapshot, "lxc:web"));
    assert_eq!(web.id, was.id, "the copies' inodes differ, the group does not");
}
