use super::hypercall::list_domains;
use super::testing::{Made, MadeDomain};
use super::*;
use crate::{Source, Want};
use model::{Absent, Nanos, Snapshot, State};

const ALL: Want = Want { vcpus: true, placement: true, exact_idle: false };

/// What is read of a made-up Xen, or why it cannot be.
fn read(made: &Made) -> Result<Snapshot, OpenError> {
    let folder = tempfile::tempdir().unwrap();
    open(&made.save(folder.path()))?.read(ALL)
}

#[test]
fn every_release_gives_the_same_snapshot() {
    let expected = read(&Made::of(17)).unwrap();
    assert_eq!(expected.host.system, "Xen 4.17.5");
    assert_eq!((expected.host.cpus, &expected.host.idle), (2, &Ok(Nanos(81_000_000_000))));
    assert_eq!(expected.host.memory.as_ref().unwrap().0, 400_000 * 4096);
    let dom0 = &expected.drivers[0];
    assert_eq!((dom0.name.as_str(), &dom0.cpu), ("Domain-0", &Ok(Nanos(7_000_000_000))));
    assert_eq!(dom0.vcpu_rows.as_ref().unwrap().len(), 2);
    let [g1, crashed] = &expected.vms[..] else { panic!("two VMs") };
    assert_eq!((g1.name.as_str(), g1.state, g1.vcpu_count.clone()), ("g1", State::Blocked, Ok(1)));
    assert_eq!(g1.memory.as_ref().unwrap().0, 128 << 20);
    assert_eq!(g1.memory_limit.as_ref().unwrap().0, 129 << 20);
    let vcpu = &g1.vcpus.as_ref().unwrap()[0];
    assert_eq!(vcpu.cpu, Ok(Nanos(5_000_000_000)));
    assert_eq!(vcpu.affinity.as_ref().unwrap().0, "0-1");
    assert!(matches!(vcpu.ready, Err(Absent::NotProvided(_))));
    assert_eq!((crashed.name.as_str(), crashed.state), ("domain 4", State::Crashed));
    assert_eq!(crashed.vcpus, Ok(Vec::new()), "it never had a vCPU");
    for minor in 13..=22 {
        let mut snapshot = read(&Made::of(minor)).unwrap();
        assert_eq!(snapshot.host.system, format!("Xen 4.{minor}.5"));
        snapshot.host.system.clone_from(&expected.host.system);
        snapshot.me = expected.me;
        assert_eq!(snapshot, expected, "4.{minor}");
    }
}

#[test]
fn an_unknown_release_is_understood_where_its_answers_make_sense() {
    let mut made = Made::of(25);
    made.interface = abi::Interface { sysctl: 0x18, domctl: 0x1a };
    assert_eq!(read(&made).unwrap().vms.len(), 2);
    // Its entries have grown at their end.
    made.stride = 136;
    assert_eq!(read(&made).unwrap().vms[0].name, "g1");
}

#[test]
fn an_unknown_release_that_makes_no_sense_is_named() {
    let mut made = Made::of(25);
    made.interface = abi::Interface { sysctl: 0x40, domctl: 0x40 };
    let error = read(&made).unwrap_err().to_string();
    assert!(error.contains("Xen 4.25") && error.contains("4.13 to 4.22"), "{error}");
    assert!(error.contains("0x16") && error.ends_with("update vmeter"), "{error}");
    // A layout that moved: CPU time where another field was.
    let mut made = Made::of(25);
    made.domains[1].cpu = u64::MAX - 5;
    let error = read(&made).unwrap_err();
    assert!(matches!(error, OpenError::UnknownVersion { .. }), "{error}");
    let mut made = Made::of(23);
    made.domains[0].id = 9;
    made.domains.truncate(1);
    assert!(read(&made).is_err(), "no Domain-0");
}

#[test]
fn a_vendors_interface_and_layout_are_found() {
    let mut made = Made::of(17);
    made.interface.domctl += 1;
    made.stride = 120;
    assert_eq!(read(&made).unwrap().vms[1].state, State::Crashed);
}

#[test]
fn a_long_list_is_read_page_by_page() {
    let mut made = Made::of(20);
    let domain = |id| MadeDomain { id, flags: 0, cpu: 1, vcpus: 1 };
    made.domains = [0, 1, 2, 7, 8, 9, 40, 41].map(domain).to_vec();
    let folder = tempfile::tempdir().unwrap();
    let record = transcript::Transcript::open(&made.save(folder.path())).unwrap();
    let mut xen = record.with_room(3 * 112 + 50);
    let mut list = Vec::new();
    list_domains(&mut xen, 112, &mut list).unwrap();
    let ids: Vec<u16> = list.iter().map(|domain| domain.id).collect();
    assert_eq!(ids, [0, 1, 2, 7, 8, 9, 40, 41]);
}

#[test]
fn an_offline_cpu_is_not_counted() {
    let mut made = Made::of(18);
    made.idle = vec![40, 0, 41, 0];
    assert_eq!(read(&made).unwrap().host.cpus, 2);
}

#[test]
fn a_guest_is_no_host() {
    let folder = tempfile::tempdir().unwrap();
    let tree = Made::of(17).save(folder.path());
    assert!(is_here(&tree));
    std::fs::write(folder.path().join("proc/xen/capabilities"), "").unwrap();
    assert!(!is_here(&tree));
    assert!(matches!(open(&tree), Err(OpenError::NotHere { .. })));
    // Without xenfs the features tell.
    std::fs::remove_file(folder.path().join("proc/xen/capabilities")).unwrap();
    std::fs::write(folder.path().join("sys/hypervisor/type"), "xen\n").unwrap();
    std::fs::create_dir(folder.path().join("sys/hypervisor/properties")).unwrap();
    let features = folder.path().join("sys/hypervisor/properties/features");
    std::fs::write(&features, "000228f0\n").unwrap();
    assert!(is_here(&tree));
    std::fs::write(&features, "000220f0\n").unwrap();
    assert!(!is_here(&tree));
}

#[test]
fn a_damaged_record_is_an_error_not_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let tree = Made::of(17).save(folder.path());
    let mut xen = open(&tree).unwrap();
    let list = folder.path().join("xen/getdomaininfolist.bin");
    let whole = std::fs::read(&list).unwrap();
    for length in [0, 20, 24, 25, whole.len() - 1] {
        std::fs::write(&list, &whole[..length]).unwrap();
        assert!(xen.read(ALL).is_err(), "{length} bytes");
    }
    std::fs::write(&list, &whole).unwrap();
    std::fs::remove_file(folder.path().join("xen/getcpuinfo.bin")).unwrap();
    assert!(matches!(xen.read(ALL).unwrap().host.idle, Err(Absent::NotFound(_))));
}

#[test]
fn a_driver_domain_is_no_vm() {
    let folder = tempfile::tempdir().unwrap();
    let tree = Made::of(20).save(folder.path());
    let lines = "/local/domain/1/name = g1\n/local/domain/4/name = netvm\n\
                 /local/domain/4/backend/vif/1/0/mac = 00:16:3e:00:00:01\n";
    std::fs::write(folder.path().join("xen/xenstore"), lines).unwrap();
    std::fs::create_dir_all(folder.path().join("proc/net")).unwrap();
    std::fs::write(folder.path().join("proc/net/dev"), "").unwrap();
    let snapshot = open(&tree).unwrap().read(ALL).unwrap();
    let [dom0, netvm] = &snapshot.drivers[..] else { panic!("two drivers") };
    assert_eq!((dom0.id, netvm.id, netvm.name.as_str()), (0, 4, "netvm"));
    assert_eq!(netvm.cpu, Ok(Nanos(3_000_000_000)));
    assert!(matches!(netvm.tasks, Err(Absent::NotProvided(_))));
    let [g1] = &snapshot.vms[..] else { panic!("one VM") };
    let nic = &g1.nics.as_ref().unwrap()[0];
    assert_eq!((nic.driver, nic.counters.is_err()), (4, true));
}

#[test]
fn a_thread_serves_the_domain_that_it_is_named_for_while_that_lives() {
    let folder = tempfile::tempdir().unwrap();
    let tree = Made::of(20).save(folder.path());
    let process = |pid: u32, name: &str, flags: u32| {
        let to = folder.path().join(format!("proc/{pid}"));
        std::fs::create_dir_all(&to).unwrap();
        let stat =
            format!("{pid} ({name}) S 2 0 0 0 -1 {flags} 0 0 0 0 0 7 0 0 20 0 1 0 {pid} 0 0");
        std::fs::write(to.join("stat"), stat).unwrap();
    };
    let kernel = 0x0020_0040;
    process(100, "vif1.0-q0-guest-rx", kernel);
    process(101, "1.xvda-0", kernel);
    process(102, "vif1.0-q0-guest-rx", 0);
    process(103, "vif9.0-q0-guest-rx", kernel);
    process(104, "ksoftirqd/0", kernel);
    let snapshot = open(&tree).unwrap().read(Want::default()).unwrap();
    let backends: Vec<u32> = snapshot.vms[0].backends.iter().map(|it| it.id.pid).collect();
    assert_eq!(backends, [100, 101]);
    assert_eq!(snapshot.vms[0].backends[0].cpu, Ok(Nanos(70_000_000)));
    let others = &snapshot.drivers[0].tasks.as_ref().unwrap().processes;
    assert_eq!(others.iter().map(|it| it.id.pid).collect::<Vec<_>>(), [102, 103, 104]);
}
