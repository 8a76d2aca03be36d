//! Emulated guests on the machine that the tests run on, seen by root and by someone else.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use model::{Absent, Nanos, Need, Platform, State, Vm, VmId};
use platform::host::Tree;
use platform::tune::{pin, place_backends};
use platform::{Choice, Source, Want, open};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const QEMU: &str = "qemu-system-x86_64";
/// Tells the test that another user runs which process to look for.
const PID: &str = "VMETER_TEST_PID";

/// A QEMU guest with nothing but its firmware, ended when it is dropped.
struct Guest(Child);

impl Guest {
    /// `None` where QEMU is not installed.
    fn start(arguments: &[&str]) -> Option<Self> {
        let mut command = Command::new(QEMU);
        command.args(["-nodefaults", "-display", "none", "-m", "32"]).args(arguments);
        match command.stdin(Stdio::null()).stderr(Stdio::null()).spawn() {
            Ok(child) => Some(Self(child)),
            Err(error) => {
                println!("skipped: {QEMU}: {error}");
                None
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The VM of that process, once `ready` holds of it.
fn find(source: &mut dyn Source, pid: u32, ready: impl Fn(&Vm) -> bool) -> Vm {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let snapshot =
            source.read(Want { vcpus: true, placement: true, exact_idle: true }).unwrap();
        let is_it = |vm: &&Vm| matches!(vm.id, VmId::Process(id) if id.pid == pid);
        if let Some(vm) = snapshot.vms.iter().find(is_it).filter(|vm| ready(vm)) {
            let driver = snapshot.drivers[0].tasks.as_ref().unwrap();
            assert!(driver.processes.iter().all(|process| process.id.pid != pid));
            return vm.clone();
        }
        assert!(Instant::now() < end, "no such VM in {:?}", snapshot.vms);
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn live() -> Box<dyn Source> {
    open(Choice::Auto, Path::new("/")).unwrap()
}

fn has_vcpus(count: usize) -> impl Fn(&Vm) -> bool {
    move |vm| vm.vcpus.as_ref().is_ok_and(|vcpus| vcpus.len() == count)
}

#[test]
fn an_emulated_guest_is_seen() {
    let named = ["-name", "vmeter-test,debug-threads=on", "-accel", "tcg", "-smp", "2"];
    let iothread = ["-object", "iothread,id=io1"];
    let Some(guest) = Guest::start(&[&named[..], &iothread[..]].concat()) else { return };
    let mut source = live();
    let vm = find(source.as_mut(), guest.0.id(), has_vcpus(2));
    assert_eq!((vm.name.as_str(), vm.platform), ("vmeter-test", Platform::Tcg));
    assert_eq!(vm.vcpu_count, Ok(2));
    assert!(vm.memory.is_ok() && vm.disks.is_ok(), "{vm:?}");
    assert!(matches!(vm.nics, Err(Absent::NotProvided(_))), "{:?}", vm.nics);
    assert!(vm.backends.iter().any(|backend| backend.name == "IO io1"));
    let sum: Nanos = vm.vcpus.unwrap().iter().map(|it| it.cpu.clone().unwrap()).sum();
    assert!(sum > Nanos::ZERO && sum <= vm.cpu.unwrap());
    let pid = guest.0.id();
    drop(guest);
    let vms = source.read(Want::default()).unwrap().vms;
    assert!(vms.iter().all(|vm| !matches!(vm.id, VmId::Process(id) if id.pid == pid)));
}

#[test]
fn vcpus_and_backends_get_cpus_and_their_old_ones_back() {
    let arguments = ["-name", "vmeter-pin,debug-threads=on", "-accel", "tcg", "-smp", "2"];
    let Some(guest) = Guest::start(&arguments) else { return };
    let (mut source, tree) = (live(), Tree::open(Path::new("/")).unwrap());
    let vm = find(source.as_mut(), guest.0.id(), has_vcpus(2));
    let of = |vm: &Vm, vcpu: usize| vm.vcpus.as_ref().unwrap()[vcpu].affinity.clone().unwrap().0;
    let before = of(&vm, 0);
    let pinned = pin(&tree, source.as_mut(), "vmeter-pin", Some(1), "0", &mut |_| Ok(())).unwrap();
    assert_eq!((pinned.len(), &*pinned[0].was, &*pinned[0].now), (1, &*before, "0"));
    assert!(pinned[0].what.contains("vCPU 1 of vmeter-pin"));
    let vm = find(source.as_mut(), guest.0.id(), has_vcpus(2));
    assert_eq!((of(&vm, 0), &*of(&vm, 1)), (before.clone(), "0"));
    let served =
        place_backends(&tree, source.as_mut(), "vmeter-pin", "0", &mut |_| Ok(())).unwrap();
    assert!(!served.is_empty() && served.iter().all(|one| one.now == "0"), "{served:?}");
    let list = |tid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{tid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        line.unwrap().trim().to_owned()
    };
    assert_eq!(list(guest.0.id()), "0", "the main thread is no vCPU");
    for one in pinned.iter().chain(&served).rev() {
        one.restore().unwrap();
    }
    let vm = find(source.as_mut(), guest.0.id(), has_vcpus(2));
    assert_eq!((of(&vm, 1), list(guest.0.id())), (before.clone(), before));
    let refused = |vm: &str, vcpu, cpus: &str| {
        pin(&tree, live().as_mut(), vm, vcpu, cpus, &mut |_| Ok(())).unwrap_err().to_string()
    };
    assert!(refused("nobody", None, "0").contains("VM nobody not found: expected one of"));
    assert!(
        refused("vmeter-pin", Some(7), "0")
            .contains("vCPU of vmeter-pin not found: expected one of 0, 1")
    );
    assert!(refused("vmeter-pin", None, "0-999").contains("not found: expected"));
    // What has ended has nothing to get back.
    let gone = pin(&tree, source.as_mut(), "vmeter-pin", None, "0", &mut |_| Ok(())).unwrap();
    drop(guest);
    assert!(gone.iter().all(|one| one.restore().is_ok()));
}

#[test]
fn unnamed_threads_are_told_by_their_order() {
    let Some(guest) = Guest::start(&["-accel", "tcg,thread=multi", "-smp", "2"]) else { return };
    let vm = find(live().as_mut(), guest.0.id(), has_vcpus(2));
    assert_eq!((vm.name, vm.platform), (guest.0.id().to_string(), Platform::Tcg));
}

#[test]
fn a_kvm_guest_is_seen_with_and_without_named_threads() {
    if std::fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
        println!("skipped: /dev/kvm cannot be used here");
        return;
    }
    for name in ["guest=kvm,debug-threads=on", "guest=kvm"] {
        let Some(guest) = Guest::start(&["-name", name, "-accel", "kvm", "-smp", "2"]) else {
            return;
        };
        let vm = find(live().as_mut(), guest.0.id(), has_vcpus(2));
        assert_eq!((vm.name.as_str(), vm.platform), ("kvm", Platform::Kvm));
        assert!(vm.vcpus.unwrap().iter().all(|vcpu| vcpu.guest.is_ok()));
    }
}

#[test]
fn one_thread_may_run_all_vcpus() {
    let Some(guest) = Guest::start(&["-accel", "tcg,thread=single", "-smp", "3"]) else { return };
    let vm = find(live().as_mut(), guest.0.id(), has_vcpus(1));
    assert_eq!(vm.vcpu_count, Ok(3));
}

#[test]
fn a_stopped_guest_is_paused() {
    let arguments = ["-name", "stopped,debug-threads=on", "-accel", "tcg"];
    let Some(guest) = Guest::start(&arguments) else { return };
    let mut source = live();
    find(source.as_mut(), guest.0.id(), has_vcpus(1));
    let pid = guest.0.id().to_string();
    assert!(Command::new("kill").args(["-STOP", &pid]).status().unwrap().success());
    find(source.as_mut(), guest.0.id(), |vm| vm.state == State::Paused);
}

#[test]
fn a_guest_of_someone_else_is_seen_in_part() {
    let arguments = ["-name", "other,debug-threads=on", "-accel", "tcg"];
    let Some(guest) = Guest::start(&arguments) else { return };
    find(live().as_mut(), guest.0.id(), has_vcpus(1));
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    // From a copy: the folders of the program itself may be closed to others.
    let program = std::env::current_exe().unwrap();
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("live");
    std::fs::copy(&program, &copy).unwrap();
    let open_to_all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(place.path(), open_to_all).unwrap();
    nobody.arg(&copy).args(["--exact", "as_nobody", "--ignored", "--nocapture"]);
    let output = nobody.env(PID, guest.0.id().to_string()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    if String::from_utf8_lossy(&output.stderr).contains("setpriv:") {
        println!("skipped: only root can become someone else");
        return;
    }
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "run by a_guest_of_someone_else_is_seen_in_part, as another user"]
fn as_nobody() {
    let pid = std::env::var(PID).unwrap().parse().unwrap();
    let vm = find(live().as_mut(), pid, has_vcpus(1));
    assert_eq!((vm.name.as_str(), vm.platform), ("other", Platform::Tcg));
    assert!(vm.cpu.unwrap() > Nanos::ZERO && vm.memory.is_ok());
    let refused =
        |absent: &Absent| matches!(absent, Absent::NotPermitted { need: Need::Ptrace, .. });
    assert!(vm.nics.is_err_and(|absent| refused(&absent)));
    assert!(vm.disks.is_err_and(|absent| refused(&absent)));
}
