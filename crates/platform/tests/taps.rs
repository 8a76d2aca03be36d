//! Whose a network device is: real taps and macvtaps of emulated guests in namespaces that the tests
//! make, and processes that only look like VMs. As root.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use model::{Absent, NicCounters, Vm, VmId};
use platform::{Choice, Source, Want, open};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Runs a shell script, which must succeed; what it prints.
fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// A network namespace, or a device of the host's, removed with all that is in it.
struct Made(String);

impl Made {
    fn namespace(name: &str) -> Self {
        let name = format!("vmeter-{name}-{}", std::process::id());
        sh(&format!("ip netns add {name}"));
        Self(format!("netns del {name}"))
    }

    fn name(&self) -> &str {
        self.0.rsplit(' ').next().unwrap()
    }

    /// A tap of the host's.
    fn tap(name: &str, more: &str) -> Self {
        sh(&format!("ip tuntap add dev {name} mode tap {more}; ip link set {name} up"));
        Self(format!("link del {name}"))
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(self.0.split(' ')).stderr(Stdio::null()).status();
    }
}

/// A process that is killed when it is dropped.
struct Running(Child);

impl Running {
    /// An emulated guest that holds a network device; `before` runs it (`ip netns exec NAME`). Its
    /// firmware has no driver: a hub takes what the device sends, so that it is counted.
    fn guest(before: &str, name: &str, netdev: &str) -> Self {
        let script = format!(
            "exec {before} qemu-system-x86_64 -nodefaults -display none -m 32 -accel tcg \
             -name {name},debug-threads=on -netdev {netdev} -netdev user,id=u,restrict=on \
             -netdev hubport,hubid=0,id=h1,netdev=n -netdev hubport,hubid=0,id=h2,netdev=u"
        );
        let mut command = Command::new("sh");
        command.args(["-ec", &script]).stdin(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn vm_of(source: &mut dyn Source, pid: u32) -> Option<Vm> {
    let vms = source.read(Want::default()).unwrap().vms;
    vms.into_iter().find(|vm| matches!(vm.id, VmId::Process(id) if id.pid == pid))
}

/// The VM of a process once `ready` holds of it.
fn find(source: &mut dyn Source, pid: u32, ready: impl Fn(&Vm) -> bool) -> Vm {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let vm = vm_of(source, pid);
        if let Some(vm) = vm.clone().filter(&ready) {
            return vm;
        }
        assert!(Instant::now() < end, "{vm:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn live() -> Box<dyn Source> {
    open(Choice::Kvm, Path::new("/")).unwrap()
}

/// The VM's only network device and its counters.
fn nic(vm: &Vm) -> (String, NicCounters) {
    let nics = vm.nics.as_ref().unwrap();
    assert_eq!(nics.len(), 1, "{nics:?}");
    (nics[0].name.clone(), nics[0].counters.clone().unwrap())
}

fn has_counters(vm: &Vm) -> bool {
    vm.nics.as_ref().is_ok_and(|nics| nics.iter().any(|nic| nic.counters.is_ok()))
}

/// What the namespace's own sysfs says that a device has sent, which the guest receives.
fn sent(namespace: &str, device: &str) -> u64 {
    let path = format!("/sys/class/net/{device}/statistics/tx_packets");
    sh(&format!("ip netns exec {namespace} cat {path}")).trim().parse().unwrap()
}

/// Sends so many frames through a device, to a neighbour that is set: nobody need answer.
fn send(before: &str, device: &str, address: &str, frames: usize) {
    sh(&format!(
        "{before} ip address replace {address}.1/24 dev {device}; {before} ip link set {device} up; \
         {before} ip neighbour replace {address}.2 lladdr 02:00:00:00:00:02 dev {device}; \
         {before} bash -c 'for i in $(seq {frames}); do echo >/dev/udp/{address}.2/9; done'"
    ));
}

/// The same name in two namespaces and on the host: each VM has its own device's packets.
#[test]
fn taps_of_one_name_are_told_apart() {
    let (one, two) = (Made::namespace("one"), Made::namespace("two"));
    let device = format!("vmt{}", std::process::id() % 10_000);
    let here = Made::tap(&device, "");
    let mut guests = Vec::new();
    for namespace in [&one, &two] {
        let before = format!("ip netns exec {}", namespace.name());
        sh(&format!("{before} ip tuntap add dev {device} mode tap"));
        let netdev = format!("tap,id=n,ifname={device},script=no,downscript=no");
        guests.push(Running::guest(&before, namespace.name(), &netdev));
    }
    let mut source = live();
    for guest in &guests {
        find(source.as_mut(), guest.pid(), has_counters);
    }
    for (namespace, frames) in [(&one, 20), (&two, 50)] {
        send(&format!("ip netns exec {}", namespace.name()), &device, "10.9.9", frames);
    }
    for (guest, (namespace, least)) in guests.iter().zip([(&one, 20), (&two, 50)]) {
        // Kernels send frames of their own, now and then: both are read until nothing moves.
        let sent = || sent(namespace.name(), &device);
        let vm = find(source.as_mut(), guest.pid(), |vm| nic(vm).1.rx_packets.0 == sent());
        let (name, counters) = nic(&vm);
        println!("{} {name}: {counters:?}", namespace.name());
        assert!(name == device && counters.rx_packets.0 >= least, "{counters:?}");
    }
    drop(here);
}

/// The VMM stays on the host, its device goes to another namespace, and the host gets another device
/// of the name: that one's packets are not the VM's.
#[test]
fn a_device_that_moved_away_is_not_its_namesake() {
    let away = Made::namespace("away");
    let device = format!("vmm{}", std::process::id() % 10_000);
    let first = Made::tap(&device, "");
    let netdev = format!("tap,id=n,ifname={device},script=no,downscript=no");
    let guest = Running::guest("", "vmeter-moved", &netdev);
    let mut source = live();
    find(source.as_mut(), guest.pid(), has_counters);
    sh(&format!("ip link set {device} netns {}", away.name()));
    let second = Made::tap(&device, "");
    send("", &device, "10.9.8", 10);
    let is_absent = |vm: &Vm| {
        let mut counters = vm.nics.iter().flatten().map(|nic| &nic.counters);
        counters.any(|it| matches!(it, Err(Absent::NotProvided(why)) if why.contains("namespace")))
    };
    // It is looked at again after a while, if it runs; a VM that is just started is seen at once.
    let mut source = live();
    let vm = find(source.as_mut(), guest.pid(), is_absent);
    println!("{:?}", vm.nics);
    drop((guest, second, first));
}

/// A macvtap in another namespace, with the interface index of a device of the host's.
#[test]
fn a_macvtap_of_another_namespace_is_not_the_hosts_device_of_its_index() {
    let pod = Made::namespace("pod");
    let before = format!("ip netns exec {}", pod.name());
    let host = sh("ip -o link").lines().filter(|line| !line.contains(" lo:")).count();
    assert!(host > 0, "the host has a device besides lo");
    let index = sh("ip -o link | grep -v ' lo:' | head -1 | cut -d: -f1");
    let index = index.trim();
    sh(&format!(
        "{before} ip link add v0 index 110 type veth peer name v1 index 111; \
         {before} ip link add link v0 name mv0 index {index} type macvtap mode bridge; \
         {before} ip link set v0 up; {before} ip link set v1 up; {before} ip link set mv0 up"
    ));
    println!("index {index} is, on the host, {}", sh("ip -o link"));
    let script = format!("sh -c 'exec \"$@\" 3<>/dev/tap{index}' sh");
    let guest = Running::guest(&format!("{before} {script}"), "vmeter-pod", "tap,id=n,fd=3");
    let mut source = live();
    find(source.as_mut(), guest.pid(), has_counters);
    let is_sent = |vm: &Vm| nic(vm).1.rx_packets.0 == sent(pod.name(), "mv0");
    let (name, counters) = nic(&find(source.as_mut(), guest.pid(), is_sent));
    println!("{name}: {counters:?}");
    assert_eq!(name, "mv0");
}

/// Two VMs at the queues of one device: its packets are those of the first.
#[test]
fn a_device_is_of_one_vm() {
    let device = format!("vmq{}", std::process::id() % 10_000);
    let tap = Made::tap(&device, "multi_queue");
    let netdev = format!("tap,id=n,ifname={device},script=no,downscript=no,queues=2");
    let first = Running::guest("", "vmeter-first", &netdev);
    let mut source = live();
    find(source.as_mut(), first.pid(), has_counters);
    std::thread::sleep(Duration::from_millis(20));
    let second = Running::guest("", "vmeter-second", &netdev);
    let is_refused = |vm: &Vm| {
        let of = format!("belongs to the VM of process {}", first.pid());
        matches!(&vm.nics, Err(Absent::NotProvided(why)) if why.contains(&of))
    };
    find(source.as_mut(), second.pid(), is_refused);
    assert!(has_counters(&vm_of(source.as_mut(), first.pid()).unwrap()));
    let pid = second.pid();
    drop(first);
    find(source.as_mut(), pid, has_counters);
    drop((second, tap));
}

/// Makes this test program a process that looks like a VM of KVM's with a macvtap.
const FAKE: &str = "VMETER_TEST_FAKE";

#[test]
fn looks_like_a_vm() {
    let Some(file) = std::env::var_os(FAKE) else { return };
    let _held = fs::File::open(file).unwrap();
    let thread = std::thread::Builder::new().name("CPU 0/KVM".to_owned());
    thread.spawn(std::thread::park).unwrap();
    println!("ready");
    std::thread::sleep(Duration::from_secs(60));
}

/// A process in a mount namespace of its own, where `/dev/tap2` is a file of its own.
fn fake(user: u32) -> Running {
    let program = std::env::current_exe().unwrap();
    let script = format!(
        "mount -t tmpfs none /dev; echo >/dev/tap2; chmod 644 /dev/tap2; \
         exec setpriv --reuid {user} --clear-groups {} --exact looks_like_a_vm --nocapture",
        program.display()
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", &script]).env(FAKE, "/dev/tap2").process_group(0);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let running = Running(child);
    assert!(lines.any(|line| line.unwrap().contains("ready")));
    running
}

#[test]
fn attack_by_a_process_with_the_looks_of_a_vm_gets_no_packets() {
    let (users, roots) = (fake(65_534), fake(0));
    let mut source = live();
    // Root's is believed to be a VM, but its file is not a device.
    let vm = find(source.as_mut(), roots.pid(), |_| true);
    println!("root's: {} {:?}", vm.platform, vm.nics);
    assert!(matches!(&vm.nics, Err(Absent::NotProvided(why)) if why.contains("no tap device")));
    assert_eq!(vm_of(source.as_mut(), users.pid()), None);
}
