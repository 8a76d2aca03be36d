//! Hand-made hosts: a Xen host and a KVM host at a moment, every counter 0.

#![allow(dead_code, reason = "each test program uses its part")]

use model::*;

pub const SECOND: u64 = 1_000_000_000;

pub fn at(ns: u64) -> Window {
    Window { start: Nanos(ns), end: Nanos(ns) }
}

pub fn task(pid: u32) -> TaskId {
    TaskId { pid, start: u64::from(pid) }
}

fn driver(name: &str, cpu: Reading<Nanos>) -> Driver {
    Driver {
        id: 0,
        name: name.into(),
        window: at(0),
        cpu,
        vcpus: Ok(2),
        vcpu_rows: Ok(Vec::new()),
        memory: Ok(Bytes(1 << 30)),
        tasks: Ok(Tasks {
            window: at(0),
            processes: Vec::new(),
            all: Err(Absent::NotProvided("nobody sums up".into())),
            hidden: false,
        }),
        load: Ok(LoadKinds::default()),
        own: Ok(OwnOperations::default()),
        interrupts: Ok(Nanos(0)),
    }
}

fn snapshot(driver: Driver) -> Snapshot {
    Snapshot {
        moment: Moment { unix: Nanos(0), boot: "a".into() },
        window: at(0),
        host: Host {
            window: at(0),
            cpus: 4,
            idle: Ok(Nanos(0)),
            idle_step: Nanos(0),
            idle_each: Err(Absent::Appeared),
            steal: Ok(Nanos(0)),
            system: "test".into(),
            irq_time_accounting: Ok(false),
            memory: Ok(Bytes(4 << 30)),
        },
        drivers: vec![driver],
        vms: Vec::new(),
        me: SelfUse::default(),
    }
}

pub fn xen() -> Snapshot {
    snapshot(driver("Domain-0", Ok(Nanos(0))))
}

pub fn kvm() -> Snapshot {
    snapshot(driver("host", Err(Absent::NotApplicable("the host is no domain".into()))))
}

/// The same host `seconds` later, its clock moved and its CPUs idle all the while. Its counter of
/// interrupt work limits nothing.
pub fn later(snapshot: &Snapshot, seconds: u64) -> Snapshot {
    let mut next = snapshot.clone();
    let window = at(snapshot.window.end.0 + seconds * SECOND);
    next.window = window;
    next.host.window = window;
    next.host.idle = Ok(Nanos(seconds * SECOND * u64::from(next.host.cpus)));
    for driver in &mut next.drivers {
        driver.window = window;
        driver.interrupts = Ok(Nanos(seconds * SECOND * 4));
        if let Ok(tasks) = &mut driver.tasks {
            tasks.window = window;
        }
    }
    for vm in &mut next.vms {
        vm.window = window;
    }
    next
}

/// Takes busy time off the host's idle time.
pub fn busy(snapshot: &mut Snapshot, time: Nanos) {
    if let Ok(idle) = &mut snapshot.host.idle {
        *idle = idle.saturating_sub(time);
    }
}

pub fn vm(id: VmId, name: &str, platform: Platform) -> Vm {
    let device = NicCounters::default();
    Vm {
        id,
        name: name.into(),
        platform,
        state: State::Running,
        window: at(0),
        cpu: Ok(Nanos(0)),
        vcpu_count: Ok(1),
        vcpus: Ok(Vec::new()),
        backends: Vec::new(),
        memory: Ok(Bytes(1 << 28)),
        memory_limit: Ok(Bytes(1 << 28)),
        nics: Ok(vec![Nic { name: format!("{name}.0"), driver: 0, counters: Ok(device) }]),
        disks: Ok(Vec::new()),
        exits: Ok(0),
        halt_poll: Ok(Nanos(0)),
        cpupool: Ok(0),
        inside: Err(Absent::NotReported),
    }
}

pub fn domain(id: u16, name: &str) -> Vm {
    vm(VmId::Domain { id, handle: [0; 16] }, name, Platform::Xen)
}

pub fn process(pid: u32, cpu: u64, children: u64) -> Process {
    Process {
        id: task(pid),
        name: format!("p{pid}"),
        duty: Duty::Own,
        kernel: false,
        cpu: Nanos(cpu),
        children: Nanos(children),
        member_of: None,
    }
}

pub fn processes(snapshot: &mut Snapshot) -> &mut Vec<Process> {
    &mut snapshot.drivers[0].tasks.as_mut().unwrap().processes
}

pub fn packets(vm: &mut Vm, received: u64, sent: u64) {
    let nic = &mut vm.nics.as_mut().unwrap()[0];
    let counters = nic.counters.as_mut().unwrap();
    counters.rx_packets = Operations(received);
    counters.tx_packets = Operations(sent);
}
