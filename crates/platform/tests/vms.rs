//! VMs as they are found on hosts: what they are called, what runs them, who serves them, and
//! whether they are stopped.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use model::{Absent, Duty, Nanos, Platform, Snapshot, State, Vm, VmId};
use platform::{Choice, Source, Want, open};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

const QEMU: &str = "qemu-system-x86_64";
const ALL: Want = Want { vcpus: true, placement: false, exact_idle: false };

/// The last moment of a saved series of two.
fn saved(name: &str) -> Snapshot {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let mut source = open(Choice::Auto, &root).unwrap();
    source.read(ALL).unwrap();
    source.read(ALL).unwrap()
}

fn named<'a>(snapshot: &'a Snapshot, name: &str) -> &'a Vm {
    let vm = snapshot.vms.iter().find(|vm| vm.name == name);
    vm.unwrap_or_else(|| panic!("no {name} in {:?}", snapshot.vms))
}

/// The processes beside the VMM that serve the VM, and their duties.
fn outside(vm: &Vm) -> Vec<(&str, Duty)> {
    let backends = vm.backends.iter().filter(|backend| !backend.inside);
    backends.map(|backend| (backend.name.as_str(), backend.duty)).collect()
}

fn own_names(snapshot: &Snapshot) -> Vec<&str> {
    let tasks = snapshot.drivers[0].tasks.as_ref().unwrap();
    tasks.processes.iter().map(|process| process.name.as_str()).collect()
}

#[test]
fn without_files_kvm_is_known_by_its_threads() {
    let snapshot = saved("qemu-incus");
    let vm = named(&snapshot, "v1");
    assert_eq!((vm.platform, &vm.vcpu_count), (Platform::Kvm, &Ok(2)));
    let vcpus = vm.vcpus.as_ref().unwrap();
    assert_eq!(vcpus.len(), 2);
    assert_eq!(vcpus[0].cpu, Ok(Nanos(4_063_152_397)));
}

/// A saved tree with one QEMU of three threads whose vCPU threads cannot be told.
fn hidden(options: &str) -> Snapshot {
    let place = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = place.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let stat = |tid: u32, comm: &str| {
        let zeros = "0 ".repeat(17);
        format!("{tid} ({comm}) S 1 700 700 0 -1 0 0 0 0 0 10 10 0 0 20 0 3 0 {tid} 1 1 {zeros}\n")
    };
    put("proc/stat", "cpu 1 1 1 1 1 1 1 0 0 0\ncpu0 1 1 1 1 1 1 1 0 0 0\n");
    put("proc/700/cmdline", &format!("qemu-system-x86_64 {options}").replace(' ', "\0"));
    put("proc/700/stat", &stat(700, "qemu-system-x86"));
    for tid in 700..703 {
        put(&format!("proc/700/task/{tid}/stat"), &stat(tid, "qemu-system-x86"));
        put(&format!("proc/700/task/{tid}/schedstat"), "100000000 0 1\n");
        // All signals are blocked, as in a thread that is none of KVM's.
        put(&format!("proc/700/task/{tid}/status"), "SigBlk:\tfffffffe7ffbfa77\n");
    }
    open(Choice::Kvm, place.path()).unwrap().read(ALL).unwrap()
}

#[test]
fn what_cannot_be_known_is_not_guessed() {
    let snapshot = hidden("-S -name v1 -readconfig /run/incus/v1/qemu.conf");
    let vm = named(&snapshot, "v1");
    assert_eq!(vm.platform, Platform::Other);
    assert!(matches!(vm.vcpu_count, Err(Absent::NotProvided(_))), "{:?}", vm.vcpu_count);
    assert!(vm.vcpus.is_err());
    let snapshot = hidden("-name v1 -name debug-threads=on");
    let vm = named(&snapshot, "v1");
    assert_eq!((vm.platform, &vm.vcpu_count), (Platform::Tcg, &Ok(1)));
    let snapshot = hidden("-name v1 -accel mshv -smp 1");
    assert_eq!(named(&snapshot, "v1").platform, Platform::Other);
}

#[test]
fn processes_beside_a_vmm_serve_its_vm() {
    let snapshot = saved("qemu-helpers");
    let io = |name| (name, Duty::Io);
    let serving = ["qemu-storage-da", "virtiofsd", "swtpm", "passt.avx2", "virtiofsd"];
    let mut found = outside(named(&snapshot, "web"));
    found.sort_unstable_by_key(|(name, _)| *name);
    let mut expected = serving.map(io);
    expected.sort_unstable_by_key(|(name, _)| *name);
    assert_eq!(found, expected);
    assert_eq!(outside(named(&snapshot, "other")), []);
    assert_eq!(own_names(&snapshot), Vec::<&str>::new());
}

/// Processes as another user sees them: no files, but command lines and control groups.
struct Layout(tempfile::TempDir);

impl Layout {
    fn new() -> Self {
        let layout = Self(tempfile::tempdir().unwrap());
        layout.put("proc/stat", "cpu 1 1 1 1 1 1 1 0 0 0\ncpu0 1 1 1 1 1 1 1 0 0 0\n");
        layout
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn process(&self, pid: u32, threads: &[&str], group: &str, line: &str) {
        for (tid, name) in (pid..).zip(threads) {
            let zeros = "0 ".repeat(17);
            let count = threads.len();
            let stat = format!(
                "{tid} ({name}) S 1 {pid} {pid} 0 -1 0 0 0 0 0 10 10 0 0 20 0 {count} 0 {tid} 1 1 \
                 {zeros}\n"
            );
            if tid == pid {
                self.put(&format!("proc/{pid}/stat"), &stat);
            }
            self.put(&format!("proc/{pid}/task/{tid}/stat"), &stat);
            self.put(&format!("proc/{pid}/task/{tid}/schedstat"), "200000000 0 1\n");
        }
        self.put(&format!("proc/{pid}/cmdline"), &line.replace(' ', "\0"));
        self.put(&format!("proc/{pid}/cgroup"), &format!("0::{group}\n"));
    }

    fn read(&self) -> Snapshot {
        open(Choice::Kvm, self.0.path()).unwrap().read(ALL).unwrap()
    }
}

#[test]
fn helpers_as_libvirt_starts_them() {
    let layout = Layout::new();
    let scope = |n: u32, name: &str| {
        format!("/machine.slice/machine-qemu\\x2d{n}\\x2d{name}.scope/libvirt/emulator")
    };
    let qemu = |n: u32, name: &str| {
        format!(
            "/usr/bin/qemu-system-x86_64 -name guest={name},debug-threads=on -S -accel kvm \
             -chardev socket,id=chr-vu-fs0,path=/var/lib/libvirt/qemu/domain-{n}-{name}/fs0-fs.sock \
             -chardev socket,id=chrtpm,path=/run/libvirt/qemu/swtpm/{n}-{name}-swtpm.sock \
             -netdev {{\"type\":\"stream\",\"addr\":{{\"type\":\"unix\",\"path\":\
             \"/run/libvirt/qemu/passt/{n}-{name}-net0.socket\"}},\"server\":false,\"id\":\"hostnet0\"}}"
        )
    };
    let threads = ["qemu-system-x86", "CPU 0/KVM"];
    layout.process(100, &threads, &scope(1, "web"), &qemu(1, "web"));
    layout.process(110, &threads, &scope(2, "db"), &qemu(2, "db"));
    // libvirt hands virtiofsd an open socket; the rest have paths.
    let fs = "/usr/libexec/virtiofsd --fd=29 --shared-dir /srv";
    layout.process(200, &["virtiofsd"], &scope(1, "web"), fs);
    layout.process(201, &["virtiofsd"], &scope(2, "db"), fs);
    let tpm = "/usr/bin/swtpm socket --ctrl type=unixio,path=/run/libvirt/qemu/swtpm/\
               1-web-swtpm.sock,mode=0600 --tpmstate dir=/x --tpm2";
    layout.process(202, &["swtpm"], "/system.slice/libvirtd.service", tpm);
    let net = "/usr/bin/passt --one-off --socket /run/libvirt/qemu/passt/2-db-net0.socket";
    layout.process(203, &["passt.avx2"], "/system.slice/libvirtd.service", net);
    // One that serves both VMs, and one of nobody's.
    let both = "/usr/bin/qemu-storage-daemon --chardev socket,path=/run/libvirt/qemu/swtpm/\
                1-web-swtpm.sock --chardev socket,path=/run/libvirt/qemu/swtpm/2-db-swtpm.sock";
    layout.process(204, &["qemu-storage-da"], "/", both);
    layout.process(205, &["passt"], "/user.slice/session-1.scope", "passt --socket /tmp/p.sock");
    let snapshot = layout.read();
    let web = named(&snapshot, "web");
    assert_eq!(outside(web), [("virtiofsd", Duty::Io), ("swtpm", Duty::Io)]);
    let db = named(&snapshot, "db");
    assert_eq!(outside(db), [("virtiofsd", Duty::Io), ("passt.avx2", Duty::Io)]);
    assert_eq!(own_names(&snapshot), ["qemu-storage-da", "passt"]);
}

#[test]
fn helpers_as_kata_starts_them() {
    let layout = Layout::new();
    let id = "3f".repeat(32);
    let qemu = format!(
        "/opt/kata/bin/qemu-system-x86_64 -name sandbox-{id},debug-threads=on -accel kvm -chardev \
         socket,id=char-5e,path=/run/vc/vm/{id}/vhost-fs.sock -device vhost-user-fs-pci,\
         chardev=char-5e,tag=kataShared"
    );
    let group = format!("/kata_overhead/{id}");
    layout.process(300, &["qemu-system-x86", "CPU 0/KVM"], &group, &qemu);
    let fs = "/opt/kata/libexec/virtiofsd --syslog --cache=auto --shared-dir=/run/x --fd=3";
    layout.process(290, &["virtiofsd"], &group, fs);
    layout.process(291, &["virtiofsd"], "/kata_overhead/other", fs);
    let snapshot = layout.read();
    let vm = named(&snapshot, &format!("sandbox-{id}"));
    assert_eq!(outside(vm), [("virtiofsd", Duty::Io)]);
    assert_eq!(own_names(&snapshot), ["virtiofsd"]);
}

#[test]
fn the_threads_of_libraries_do_io() {
    let layout = Layout::new();
    let threads = [
        "kvm",
        "kvm",
        "log",
        "msgr-worker-0",
        "io_context_pool",
        "tp_librbd",
        "iou-wrk-400",
        "SPICE Worker",
        "CPU 0/KVM",
    ];
    let line = "/usr/bin/kvm -id 100 -name web,debug-threads=on -drive file=rbd:pool/vm-100-disk-0";
    layout.process(400, &threads, "/qemu.slice/100.scope", line);
    let snapshot = layout.read();
    let vm = named(&snapshot, "web");
    let of = |duty| {
        let backends = vm.backends.iter().filter(move |backend| backend.duty == duty);
        backends.map(|backend| backend.name.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of(Duty::Io), ["msgr-worker-0", "io_context_pool", "tp_librbd", "iou-wrk-400"]);
    assert_eq!(of(Duty::Vmm), ["kvm", "kvm", "log", "SPICE Worker"]);
}

#[test]
fn a_stopped_vm_is_told_from_one_whose_guest_sleeps() {
    let snapshot = saved("qemu-stopped");
    assert_eq!(named(&snapshot, "stopped").state, State::Paused);
    assert_eq!(named(&snapshot, "halted").state, State::Blocked);
    assert_eq!(named(&snapshot, "halted-tcg").state, State::Blocked);
}

/// A QEMU guest with nothing but its firmware, and its monitor; ended when it is dropped.
struct Guest(Child, ChildStdin);

impl Guest {
    /// `None` where QEMU is not installed.
    fn start(arguments: &[&str]) -> Option<Self> {
        let mut command = Command::new(QEMU);
        command.args(["-nodefaults", "-display", "none", "-m", "32", "-monitor", "stdio"]);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            Ok(mut child) => {
                let monitor = child.stdin.take().unwrap();
                Some(Self(child, monitor))
            }
            Err(error) => {
                println!("skipped: {QEMU}: {error}");
                None
            }
        }
    }

    fn tell(&mut self, line: &str) {
        self.1.write_all(line.as_bytes()).unwrap();
        self.1.flush().unwrap();
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn find(source: &mut dyn Source, pid: u32, ready: impl Fn(&Vm) -> bool) -> Vm {
    let end = Instant::now() + Duration::from_secs(40);
    loop {
        let snapshot = source.read(ALL).unwrap();
        let is_it = |vm: &&Vm| matches!(vm.id, VmId::Process(id) if id.pid == pid);
        if let Some(vm) = snapshot.vms.iter().find(is_it).filter(|vm| ready(vm)) {
            return vm.clone();
        }
        assert!(Instant::now() < end, "no such VM in {:?}", snapshot.vms);
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn a_guest_that_its_monitor_stops_is_paused() {
    let kvm = fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
    let accelerators: &[&str] = if kvm { &["tcg", "kvm"] } else { &["tcg"] };
    for accelerator in accelerators {
        let options = ["-name", "stops", "-name", "debug-threads=on", "-accel", accelerator];
        let Some(mut guest) = Guest::start(&options) else { return };
        let mut source = open(Choice::Kvm, Path::new("/")).unwrap();
        let pid = guest.0.id();
        let vm = find(source.as_mut(), pid, |vm| vm.vcpus.is_ok());
        assert_eq!(vm.name, "stops");
        guest.tell("stop\n");
        find(source.as_mut(), pid, |vm| vm.state == State::Paused);
        guest.tell("cont\n");
        find(source.as_mut(), pid, |vm| vm.state != State::Paused);
    }
}

#[test]
fn a_probe_is_not_a_vm() {
    let probe = ["-S", "-no-user-config", "-machine", "none,accel=kvm:tcg"];
    let Some(probe) = Guest::start(&probe) else { return };
    let Some(guest) = Guest::start(&["-accel", "tcg"]) else { return };
    let mut source = open(Choice::Kvm, Path::new("/")).unwrap();
    find(source.as_mut(), guest.0.id(), |vm| vm.vcpus.is_ok());
    let snapshot = source.read(ALL).unwrap();
    let is_probe = |id: &VmId| matches!(id, VmId::Process(id) if id.pid == probe.0.id());
    assert!(snapshot.vms.iter().all(|vm| !is_probe(&vm.id)), "{:?}", snapshot.vms);
    let tasks = snapshot.drivers[0].tasks.as_ref().unwrap();
    assert!(tasks.processes.iter().any(|process| process.id.pid == probe.0.id()));
}

#[test]
fn a_real_storage_daemon_serves_its_vm() {
    let place = tempfile::tempdir().unwrap();
    let (disk, socket) = (place.path().join("disk"), place.path().join("blk.sock"));
    fs::write(&disk, vec![0; 1 << 20]).unwrap();
    let mut daemon = Command::new("qemu-storage-daemon");
    daemon.arg("--blockdev").arg(format!("driver=file,node-name=f,filename={}", disk.display()));
    let export = "type=vhost-user-blk,id=e,node-name=f,addr.type=unix,addr.path=";
    daemon.arg("--export").arg(format!("{export}{}", socket.display()));
    let Ok(mut daemon) = daemon.stdin(Stdio::null()).stderr(Stdio::null()).spawn() else {
        println!("skipped: qemu-storage-daemon is not installed");
        return;
    };
    let end = Instant::now() + Duration::from_secs(20);
    while !socket.exists() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
    }
    let chardev = format!("socket,id=c,path={}", socket.display());
    let memory =
        ["-object", "memory-backend-memfd,id=m,size=32M,share=on", "-numa", "node,memdev=m"];
    let options =
        ["-accel", "tcg", "-chardev", &chardev, "-device", "vhost-user-blk-pci,chardev=c"];
    let guest = Guest::start(&[&memory[..], &options[..]].concat());
    if let Some(guest) = &guest {
        let mut source = open(Choice::Kvm, Path::new("/")).unwrap();
        let serves = |vm: &Vm| outside(vm) == [("qemu-storage-da", Duty::Io)];
        find(source.as_mut(), guest.0.id(), serves);
    }
    drop(guest);
    let _ = daemon.kill();
    let _ = daemon.wait();
}
