//! Whose time it is, where a sum alone would not show that it is another's: every part against
//! what was really used.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod hosts;

use account::{Usage, VmUsage, usage};
use hosts::*;
use model::*;

const MS: u64 = 1_000_000;

/// A host with one control group that has a network.
fn grouped() -> Snapshot {
    let mut host = kvm();
    let id = VmId::Cgroup { path: "/box/web".into(), inode: 7 };
    let mut group = vm(id, "web", Platform::Cgroup);
    group.cpu = Ok(Nanos(0));
    host.vms = vec![group];
    host
}

fn member(pid: u32, cpu: u64) -> Process {
    Process { member_of: Some(0), ..process(pid, cpu, 0) }
}

fn all(snapshot: &mut Snapshot, time: u64) {
    snapshot.drivers[0].tasks.as_mut().unwrap().all = Ok(Nanos(time));
}

fn own(usage: &Usage) -> u64 {
    usage.drivers[0].own.clone().unwrap().0 / MS
}

fn left(usage: &Usage) -> u64 {
    usage.host.unattributed.clone().unwrap().0 / MS
}

fn shared(usage: &Usage) -> u64 {
    usage.drivers[0].shared.clone().unwrap().0 / MS
}

fn row<'a>(usage: &'a Usage, name: &str) -> &'a VmUsage {
    usage.vms.iter().find(|vm| vm.name == name).unwrap()
}

fn total(usage: &Usage, name: &str) -> u64 {
    row(usage, name).cpu.total.clone().unwrap().0 / MS
}

/// Ten packets of the first VM, and nothing but network in the softirqs.
fn traffic(to: &mut Snapshot) {
    to.drivers[0].load = Ok(LoadKinds { net_rx: 100, ..LoadKinds::default() });
    packets(&mut to.vms[0], 500, 500);
}

#[test]
fn a_groups_time_is_taken_off_once() {
    let mut from = grouped();
    processes(&mut from).extend([member(10, 0), process(20, 0, 0)]);
    let mut to = later(&from, 1);
    busy(&mut to, Nanos(900 * MS));
    to.vms[0].cpu = Ok(Nanos(400 * MS));
    processes(&mut to)[0].cpu = Nanos(400 * MS);
    processes(&mut to)[1].cpu = Nanos(500 * MS);
    traffic(&mut to);
    let usage = usage(&from, &to).unwrap();
    assert_eq!((own(&usage), total(&usage, "web"), left(&usage)), (500, 400, 0));
}

#[test]
fn what_nobody_waited_for_is_no_interrupt_work() {
    let mut from = grouped();
    processes(&mut from).push(process(20, 0, 0));
    all(&mut from, 10 * SECOND);
    let mut to = later(&from, 1);
    busy(&mut to, Nanos(470 * MS));
    traffic(&mut to);
    let mut counted = to.clone();
    // The scheduler has seen 450 ms of threads that are gone.
    all(&mut counted, 10 * SECOND + 450 * MS);
    let found = usage(&from, &counted).unwrap();
    assert_eq!((own(&found), shared(&found), left(&found)), (450, 20, 0));
    // Where it tells nothing, the counter of interrupts is the limit.
    to.drivers[0].tasks.as_mut().unwrap().all = Err(Absent::Appeared);
    to.drivers[0].interrupts = Ok(Nanos(20 * MS));
    let found = usage(&from, &to).unwrap();
    assert_eq!((own(&found), shared(&found), left(&found)), (0, 20, 450));
}

#[test]
fn an_operation_takes_no_second() {
    let mut from = grouped();
    all(&mut from, 0);
    let mut to = later(&from, 1);
    busy(&mut to, Nanos(470 * MS));
    traffic(&mut to);
    packets(&mut to.vms[0], 5, 5);
    let usage = usage(&from, &to).unwrap();
    assert_eq!((shared(&usage), left(&usage)), (10, 460), "a millisecond a packet at most");
}

#[test]
fn interrupts_that_are_counted_exactly_are_the_limit() {
    let mut from = grouped();
    all(&mut from, 0);
    let mut to = later(&from, 1);
    busy(&mut to, Nanos(300 * MS));
    traffic(&mut to);
    to.host.irq_time_accounting = Ok(true);
    to.drivers[0].interrupts = Ok(Nanos(120 * MS));
    let usage = usage(&from, &to).unwrap();
    assert_eq!((shared(&usage), left(&usage)), (120, 180));
}

/// A VM of two threads that has used much, beside a process of the host's.
fn emulated() -> Snapshot {
    let mut host = kvm();
    let mut g1 = vm(VmId::Process(task(100)), "g1", Platform::Tcg);
    g1.cpu = Ok(Nanos(15 * SECOND));
    host.vms = vec![g1];
    processes(&mut host).push(process(20, 0, 0));
    host
}

#[test]
fn a_vm_that_is_one_no_more_leaves_its_past_behind() {
    let from = emulated();
    let mut to = later(&from, 1);
    busy(&mut to, Nanos(800 * MS));
    // A zombie, or its threads were renamed: a process like others.
    to.vms.clear();
    processes(&mut to).push(process(100, 15 * SECOND + 700 * MS, 0));
    processes(&mut to)[0].cpu = Nanos(100 * MS);
    let found = usage(&from, &to).unwrap();
    assert_eq!((own(&found), total(&found, "g1"), left(&found)), (100, 700, 0));
    assert_eq!(found.host.conservation_error, Ok(0.0));
    assert_eq!(row(&found, "g1").cpu.guest, Err(Absent::Ended));
    // From then on it is the host's own.
    let mut then = later(&to, 1);
    busy(&mut then, Nanos(300 * MS));
    processes(&mut then)[1].cpu = Nanos(15 * SECOND + 1000 * MS);
    assert_eq!(own(&usage(&to, &then).unwrap()), 300);
}

#[test]
fn a_group_that_gets_a_child_leaves_its_members_past_behind() {
    let mut from = grouped();
    from.vms[0].cpu = Ok(Nanos(15 * SECOND));
    processes(&mut from).push(member(10, 15 * SECOND));
    let mut to = later(&from, 1);
    busy(&mut to, Nanos(400 * MS));
    to.vms.clear();
    processes(&mut to)[0] = process(10, 15 * SECOND + 400 * MS, 0);
    let usage = usage(&from, &to).unwrap();
    assert_eq!((own(&usage), total(&usage, "web"), left(&usage)), (0, 400, 0));
}

#[test]
fn a_helper_that_outlives_its_vm_leaves_its_past_behind() {
    let mut from = emulated();
    from.vms[0].backends.push(Backend {
        id: task(300),
        name: "virtiofsd".into(),
        duty: Duty::Io,
        inside: false,
        cpu: Ok(Nanos(9 * SECOND)),
    });
    let mut to = later(&from, 1);
    busy(&mut to, Nanos(200 * MS));
    to.vms.clear();
    processes(&mut to).push(process(300, 9 * SECOND + 200 * MS, 0));
    let usage = usage(&from, &to).unwrap();
    assert_eq!((own(&usage), total(&usage, "g1"), left(&usage)), (0, 200, 0));
}

#[test]
fn what_nobody_saw_begin_has_no_whole_life() {
    let from = emulated();
    let mut to = later(&from, 1);
    busy(&mut to, Nanos(500 * MS));
    processes(&mut to).push(process(400, 70 * SECOND, 0));
    let found = usage(&from, &to).unwrap();
    assert_eq!((own(&found), left(&found)), (0, 500));
    let mut g2 = vm(VmId::Process(task(500)), "g2", Platform::Tcg);
    g2.cpu = Ok(Nanos(70 * SECOND));
    to.vms.push(g2);
    let found = usage(&from, &to).unwrap();
    assert!(row(&found, "g2").cpu.vmm.is_err());
}

#[test]
fn a_group_that_was_there_without_a_row_has_no_whole_life() {
    let from = grouped();
    let mut to = later(&from, 1);
    busy(&mut to, Nanos(500 * MS));
    let group = |name: &str, inode| {
        let id = VmId::Cgroup { path: format!("/box/{name}"), inode };
        Vm { cpu: Ok(Nanos(300 * MS)), ..vm(id, name, Platform::Cgroup) }
    };
    to.vms.extend([group("old", 3), group("new", 9)]);
    let found = usage(&from, &to).unwrap();
    assert_eq!(row(&found, "old").cpu.total, Err(Absent::Appeared));
    assert_eq!(total(&found, "new"), 300);
}

#[test]
fn stolen_time_is_not_busy() {
    let mut from = grouped();
    all(&mut from, 0);
    let mut to = later(&from, 1);
    // Of 600 ms that were not idle, 500 were other machines'.
    busy(&mut to, Nanos(600 * MS));
    to.host.steal = Ok(Nanos(500 * MS));
    to.vms[0].cpu = Ok(Nanos(100 * MS));
    all(&mut to, 100 * MS);
    traffic(&mut to);
    let found = usage(&from, &to).unwrap();
    assert_eq!(found.host.busy, Ok(Nanos(100 * MS)));
    assert_eq!(found.host.steal, Ok(Nanos(500 * MS)));
    assert_eq!((total(&found, "web"), shared(&found)), (100, 0));
    // A CPU that was woken late is idle and stolen from at a time.
    to.vms[0].cpu = Ok(Nanos(250 * MS));
    all(&mut to, 250 * MS);
    let found = usage(&from, &to).unwrap();
    assert_eq!(found.host.busy, Ok(Nanos(250 * MS)));
    assert_eq!(found.host.conservation_error, Ok(0.0));
}

#[test]
fn what_is_hidden_is_nobodys() {
    let mut from = grouped();
    from.drivers[0].tasks.as_mut().unwrap().hidden = true;
    let mut to = later(&from, 1);
    busy(&mut to, Nanos(900 * MS));
    to.drivers[0].interrupts = Ok(Nanos(0));
    traffic(&mut to);
    let found = usage(&from, &to).unwrap();
    assert!(found.host.hidden);
    assert_eq!((own(&found), shared(&found), left(&found)), (0, 0, 900));
    // With the scheduler's sum the interrupt work is known all the same.
    all(&mut from, 0);
    all(&mut to, 860 * MS);
    let found = usage(&from, &to).unwrap();
    assert_eq!((own(&found), shared(&found), left(&found)), (0, 40, 860));
}

#[test]
fn a_cpu_that_was_offline_makes_busy_time_unknown() {
    let mut from = emulated();
    let hotplug = |cpu| Process { kernel: true, name: "cpuhp/1".into(), ..process(19, cpu, 0) };
    processes(&mut from).push(hotplug(5));
    let mut to = later(&from, 1);
    busy(&mut to, Nanos(468 * MS));
    assert!(usage(&from, &to).unwrap().host.busy.is_ok(), "it did not run");
    processes(&mut to)[1].cpu = Nanos(9);
    let found = usage(&from, &to).unwrap();
    let reason = found.host.busy.unwrap_err().to_string();
    assert!(reason.contains("went offline or online"), "{reason}");
    assert!(found.host.unattributed.is_err() && found.drivers[0].shared.is_err());
    let mut jumped = later(&from, 1);
    jumped.host.idle = Ok(Nanos(9 * SECOND));
    assert!(usage(&from, &jumped).unwrap().host.busy.is_err(), "more idle than there was");
}

#[test]
fn idle_time_that_goes_back_by_two_ticks_did_not_grow() {
    let mut from = emulated();
    (from.host.idle_step, from.host.idle) = (Nanos(20 * MS), Ok(Nanos(5 * SECOND)));
    let mut to = later(&from, 1);
    to.host.idle = Ok(Nanos(5 * SECOND - 20 * MS));
    assert_eq!(usage(&from, &to).unwrap().host.busy, Ok(Nanos(4 * SECOND)));
    to.host.idle = Ok(Nanos(4 * SECOND));
    assert!(usage(&from, &to).unwrap().host.busy.is_err());
}

#[test]
fn counters_that_were_not_read_together_show_no_error() {
    let from = emulated();
    let mut to = later(&from, 1);
    processes(&mut to)[0].cpu = Nanos(900 * MS);
    assert!(usage(&from, &to).unwrap().host.conservation_error.unwrap() > 1.0);
    to.window.start = Nanos(to.window.end.0 - 600 * MS);
    let reason = usage(&from, &to).unwrap().host.conservation_error.unwrap_err().to_string();
    assert!(reason.contains("reading took 0.600 s of an interval of 1.000 s"), "{reason}");
}

#[test]
fn busy_time_closes_within_the_step_of_its_counter() {
    let mut from = emulated();
    from.host.idle_step = Nanos(20 * MS);
    let mut to = later(&from, 1);
    busy(&mut to, Nanos(10 * MS));
    processes(&mut to)[0].cpu = Nanos(25 * MS);
    let found = usage(&from, &to).unwrap();
    assert_eq!(
        (found.host.busy.clone(), found.host.busy_within),
        (Ok(Nanos(25 * MS)), Nanos(20 * MS))
    );
    let driver = &found.drivers[0];
    assert_eq!((driver.total.clone(), own(&found), left(&found)), (Ok(Nanos(25 * MS)), 25, 0));
    // Not beyond the step: that is an error, and shown.
    processes(&mut to)[0].cpu = Nanos(100 * MS);
    let found = usage(&from, &to).unwrap();
    assert_eq!(found.host.busy, Ok(Nanos(30 * MS)));
    assert!(found.host.conservation_error.unwrap() > 1.0);
}
