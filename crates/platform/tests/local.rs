//! Hosts that the lab cannot boot, as saved trees: every VMM, both kinds of vhost workers, both
//! versions of control groups.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use model::{
    Absent, Bytes, CpuTicks, Duty, Nanos, Operations, Platform, Snapshot, State, Vm, VmId,
};
use platform::{Choice, Want, open};
use std::path::{Path, PathBuf};

const SECOND: u64 = 1_000_000_000;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The two moments of a saved series.
fn read(name: &str, choice: Choice) -> [Snapshot; 2] {
    let mut source = open(choice, &fixture(name)).unwrap();
    let want = Want { vcpus: false, placement: true, exact_idle: false };
    let first = source.read(want).unwrap();
    let second = source.read(want).unwrap();
    assert_eq!(first.window.interval_to(second.window), Some(Nanos(10 * SECOND)));
    assert_eq!(first.vms.len(), second.vms.len());
    [first, second]
}

fn only(snapshot: &Snapshot) -> &Vm {
    assert_eq!(snapshot.vms.len(), 1);
    &snapshot.vms[0]
}

/// The vCPUs of all these VMs are alike, and so is their traffic.
fn check_guest(vm: &Vm, name: &str, tap: &str) {
    assert_eq!((vm.name.as_str(), vm.platform), (name, Platform::Kvm));
    assert_eq!(vm.vcpu_count, Ok(2));
    let vcpus = vm.vcpus.as_ref().unwrap();
    assert_eq!((vcpus[0].id, vcpus[1].id), (0, 1));
    assert_eq!(vcpus[0].cpu, Ok(Nanos(25 * SECOND)));
    assert_eq!(vcpus[0].guest, Ok(CpuTicks { guest: 1900, user: 2500, total: 2500 }));
    assert!(vcpus[0].ready.as_ref().unwrap() >= &Nanos(SECOND));
    assert!(vcpus.iter().all(|vcpu| vcpu.affinity.is_ok()));
    assert_eq!(vcpus[1].state, State::Blocked);
    let nics = vm.nics.as_ref().unwrap();
    assert_eq!(nics.len(), 1);
    assert_eq!(nics[0].name, tap);
    let counters = nics[0].counters.as_ref().unwrap();
    // The tap has received 110 packets: the guest has sent them.
    assert_eq!((counters.tx_packets, counters.tx_bytes), (Operations(110), Bytes(9900)));
    assert_eq!((counters.rx_packets, counters.rx_bytes), (Operations(55), Bytes(4400)));
}

/// Names, duties and whether they are inside, of the VM's backends.
fn backends(vm: &Vm) -> Vec<(&str, Duty, bool)> {
    vm.backends.iter().map(|it| (it.name.as_str(), it.duty, it.inside)).collect()
}

/// Names of the host's own processes, which are in no group that has a row.
fn own_names(snapshot: &Snapshot) -> Vec<&str> {
    let tasks = snapshot.drivers[0].tasks.as_ref().unwrap();
    let own = tasks.processes.iter().filter(|process| process.member_of.is_none());
    own.map(|process| process.name.as_str()).collect()
}

/// Names of the processes that are members of that group.
fn members<'a>(snapshot: &'a Snapshot, group: &str) -> Vec<&'a str> {
    let tasks = snapshot.drivers[0].tasks.as_ref().unwrap();
    let of = |place: u32| snapshot.vms[place as usize].name == group;
    let members = tasks.processes.iter().filter(|process| process.member_of.is_some_and(of));
    members.map(|process| process.name.as_str()).collect()
}

#[test]
fn firecracker() {
    let [_, snapshot] = read("firecracker", Choice::Auto);
    let vm = only(&snapshot);
    check_guest(vm, "web-1", "tap0");
    assert_eq!(vm.state, State::Running);
    assert_eq!(backends(vm), [("firecracker", Duty::Io, true)]);
    assert_eq!(vm.cpu, Ok(Nanos(39 * SECOND + SECOND / 10)));
    assert_eq!(vm.memory, Ok(Bytes(50_000 * 4096)));
    assert_eq!((&vm.exits, &vm.halt_poll), (&Ok(1500), &Ok(Nanos(8_000_000))));
    let disk = &vm.disks.as_ref().unwrap()[0].counters;
    assert_eq!((&disk.read_bytes, &disk.write_bytes), (&Ok(Bytes(4096)), &Ok(Bytes(8192))));
    assert!(matches!(disk.reads, Err(Absent::NotProvided(_))));
    assert_eq!(own_names(&snapshot), ["systemd", "ksoftirqd/0"]);
}

#[test]
fn cloud_hypervisor() {
    let [_, snapshot] = read("cloud-hypervisor", Choice::Kvm);
    let vm = only(&snapshot);
    check_guest(vm, "db", "macvtap0");
    assert_eq!(backends(vm), [("_disk0_q0", Duty::Io, true), ("_net1_qp0", Duty::Io, true)]);
    assert!(matches!(vm.exits, Err(Absent::NotFound(_))));
}

#[test]
fn crosvm() {
    let [_, snapshot] = read("crosvm", Choice::Auto);
    let vm = only(&snapshot);
    check_guest(vm, "arcvm", "vmtap0");
    // The devices' processes are beside the VMM's own.
    let outside = [("pcivirtio-net", Duty::Io, false), ("pcivirtio-block", Duty::Io, false)];
    assert_eq!(backends(vm), outside);
    assert_eq!(own_names(&snapshot), ["systemd", "ksoftirqd/0"]);
}

#[test]
fn vhost_as_kernel_threads() {
    let [first, snapshot] = read("vhost-kernel-threads", Choice::Auto);
    let vm = only(&snapshot);
    check_guest(vm, "web", "vnet0");
    let expected = [
        ("IO iothread0", Duty::Io, true),
        ("vhost-700", Duty::Io, false),
        ("kvm-pit/700", Duty::Vmm, false),
        ("kvm-nx-lpage-recovery-700", Duty::Vmm, false),
    ];
    assert_eq!(backends(vm), expected);
    let worker = |vm: &Vm| vm.backends[1].cpu.clone().unwrap();
    assert_eq!(worker(vm).checked_sub(worker(only(&first))), Some(Nanos(SECOND / 2)));
    // A worker whose owner is not here stays the host's.
    assert_eq!(own_names(&snapshot), ["systemd", "ksoftirqd/0", "vhost-9999"]);
}

#[test]
fn vhost_inside_the_process() {
    let [_, snapshot] = read("vhost-in-process", Choice::Auto);
    let vm = only(&snapshot);
    check_guest(vm, "web", "vnet0");
    let expected = [("IO iothread0", Duty::Io, true), ("vhost-700", Duty::Io, true)];
    assert_eq!(backends(vm), expected);
    // Main loop, RCU, iothread, two vCPUs, vhost, page recovery.
    assert_eq!(vm.cpu, Ok(Nanos(39 * SECOND + 810_001_000)));
    let mut source = open(Choice::Auto, &fixture("vhost-in-process")).unwrap();
    let all = source.read(Want { vcpus: true, placement: false, exact_idle: false }).unwrap();
    assert_eq!(only(&all).backends.len(), 5);
}

#[test]
fn the_host_around_them() {
    let [first, second] = read("firecracker", Choice::Auto);
    let host = &second.host;
    assert_eq!((host.cpus, host.system.as_str()), (2, "Linux 6.12.30"));
    assert_eq!(host.irq_time_accounting, Ok(false));
    let idle = |snapshot: &Snapshot| snapshot.host.idle.clone().unwrap();
    assert_eq!(idle(&second).checked_sub(idle(&first)), Some(Nanos(15 * SECOND)));
    let driver = &second.drivers[0];
    let own = driver.own.as_ref().unwrap();
    // 1020 received and 810 sent, 58 of them the loopback's; the disk's, not the dm's requests.
    assert_eq!((own.packets, own.requests), (Operations(1772), Operations(312)));
    assert_eq!(driver.load.as_ref().unwrap().packets, Operations(165));
    let duties = driver.tasks.as_ref().unwrap().processes.iter().map(|it| it.duty);
    assert_eq!(duties.collect::<Vec<_>>(), [Duty::Own, Duty::SoftIrq]);
}

fn names(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.vms.iter().map(|vm| vm.name.as_str()).collect()
}

#[test]
fn control_groups_version_1() {
    let [_, snapshot] = read("cgroup-v1", Choice::Auto);
    assert_eq!(names(&snapshot), ["docker:4f4f4f4f4f4f", "nginx.service", "user.slice"]);
    let docker = &snapshot.vms[0];
    assert_eq!((docker.platform, docker.state), (Platform::Cgroup, State::Running));
    assert_eq!(docker.cpu, Ok(Nanos(2 * SECOND + SECOND / 2)));
    // A quota of 1.5 CPUs; nginx has none.
    assert_eq!(docker.vcpu_count, Ok(2));
    assert!(matches!(snapshot.vms[1].vcpu_count, Err(Absent::NotProvided(_))));
    assert_eq!(
        (&docker.memory, &docker.memory_limit),
        (&Ok(Bytes(1 << 20)), &Ok(Bytes(256 << 20)))
    );
    let disk = &docker.disks.as_ref().unwrap()[0].counters;
    assert_eq!((&disk.reads, &disk.writes), (&Ok(Operations(4)), &Ok(Operations(4))));
    assert_eq!(disk.read_bytes, Ok(Bytes(16_384)));
    // As the container itself sees it: not turned round.
    let nics = docker.nics.as_ref().unwrap();
    assert_eq!((nics.len(), nics[0].name.as_str()), (1, "eth0"));
    assert_eq!(nics[0].counters.as_ref().unwrap().rx_packets, Operations(110));
    let shared = Err(Absent::NotProvided("shares the host's network".into()));
    assert_eq!(snapshot.vms[1].nics, shared);
    // Processes in groups that have a row are not the host's own.
    assert_eq!(own_names(&snapshot), ["systemd", "ksoftirqd/0"]);
    assert_eq!(members(&snapshot, "nginx.service"), ["nginx"]);
}

#[test]
fn control_groups_version_2() {
    let [_, snapshot] = read("cgroup-v2", Choice::Cgroup);
    let expected = [
        "init.scope",
        "containerd:a0a0a0a0a0a0",
        "docker:4f4f4f4f4f4f",
        "nginx.service",
        "user-1000.slice",
    ];
    assert_eq!(names(&snapshot), expected);
    let docker = &snapshot.vms[2];
    assert_eq!(docker.cpu, Ok(Nanos(2 * SECOND + SECOND / 2)));
    assert_eq!((&docker.vcpu_count, &docker.memory), (&Ok(2), &Ok(Bytes(5 << 20))));
    assert!(
        matches!(&docker.id, VmId::Cgroup { path, inode } if path.ends_with(".scope") && *inode > 0)
    );
    assert_eq!(snapshot.vms[1].state, State::Blocked);
    let nginx = &snapshot.vms[3];
    assert!(matches!(nginx.vcpu_count, Err(Absent::NotProvided(_))));
    assert_eq!(nginx.disks.as_ref().unwrap()[0].counters.reads, Ok(Operations(4)));
    assert_eq!(own_names(&snapshot), ["ksoftirqd/0"]);
    assert_eq!(members(&snapshot, "init.scope"), ["systemd"]);
}

#[test]
fn what_is_not_here_is_said() {
    let empty = tempfile::tempdir().unwrap();
    for choice in [Choice::Auto, Choice::Kvm, Choice::Cgroup, Choice::Xen] {
        let error = open(choice, empty.path()).err().unwrap().to_string();
        assert!(error.contains("looked for"), "{error}");
    }
    assert!(open(Choice::Auto, &empty.path().join("none")).is_err());
}
