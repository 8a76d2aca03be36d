//! Hand-made usages and a source that replays hand-made snapshots, for tests.

use account::{BackendUsage, Cpu, DriverUsage, HostUsage, SelfUsage, Usage, VcpuUsage, VmUsage};
use model::{
    Absent, Affinity, Bytes, DiskCounters, Duty, Moment, Nanos, Need, NicCounters, Operations,
    Platform, Reading, SelfUse, Snapshot, State, TaskId, Vm, VmId, Window,
};
use platform::{OpenError, Source, Want};

fn ms(milliseconds: u64) -> Reading<Nanos> {
    Ok(Nanos(milliseconds * 1_000_000))
}

fn mib(size: u64) -> Reading<Bytes> {
    Ok(Bytes(size << 20))
}

fn none<T>() -> Reading<T> {
    Err(Absent::NotProvided("Xen tells no domain another's".into()))
}

fn refused<T>(what: &'static str) -> Reading<T> {
    Err(Absent::NotPermitted { what: what.into(), need: Need::Ptrace })
}

fn moment() -> Moment {
    Moment { unix: Nanos(1_700_000_000_250_000_000), boot: "5d0c1a52".to_owned() }
}

fn domain(id: u16, name: &str, state: State, cpu: [u64; 3]) -> VmUsage {
    let [guest, direct, shared] = cpu;
    VmUsage {
        id: VmId::Domain { id, handle: [0; 16] },
        name: name.to_owned(),
        platform: Platform::Xen,
        state,
        vcpus: Ok(2),
        memory: mib(512),
        cpu: Cpu {
            total: ms(guest + direct + shared),
            guest: ms(guest),
            vmm: Err(Absent::NotApplicable("Xen counts it in the domain's time".into())),
            unsplit: Err(Absent::NotApplicable("it is divided".into())),
            io_direct: ms(direct),
            io_shared: ms(shared),
        },
        guest_system: Err(Absent::NotReported),
        guest_programs: Err(Absent::NotReported),
        ready: none(),
        steal: Err(Absent::NotReported),
        net: Ok(NicCounters {
            rx_packets: Operations(12_345),
            tx_packets: Operations(6_001),
            rx_bytes: Bytes(18_000_000),
            tx_bytes: Bytes(396_066),
        }),
        disk: DiskCounters {
            reads: Ok(Operations(3)),
            writes: Ok(Operations(0)),
            read_bytes: Ok(Bytes(12_288)),
            write_bytes: Ok(Bytes(0)),
        },
        exits: none(),
        halt_poll: none(),
        cpupool: Ok(0),
        vcpu_rows: Vec::new(),
        backends: Vec::new(),
        operations: Vec::new(),
    }
}

fn vcpu(id: u32, busy: u64) -> VcpuUsage {
    VcpuUsage {
        id,
        state: State::Running,
        cpu: ms(busy),
        guest: ms(busy),
        ready: none(),
        affinity: Ok(Affinity("0-3".to_owned())),
    }
}

fn thread(pid: u32, name: &str, duty: Duty, busy: u64) -> BackendUsage {
    BackendUsage { id: TaskId { pid, start: 7 }, name: name.to_owned(), duty, cpu: ms(busy) }
}

fn driver(name: &str, [direct, shared, own, rest]: [u64; 4]) -> DriverUsage {
    DriverUsage {
        id: 0,
        name: name.to_owned(),
        total: ms(direct + shared + own + rest),
        direct: ms(direct),
        shared: ms(shared),
        own: ms(own),
        unattributed: ms(rest),
        vcpus: Ok(1),
        memory: mib(1024),
        vcpu_rows: Vec::new(),
        processes: vec![thread(812, "xenstored", Duty::Own, 60)],
    }
}

/// Two domains at work and one that ended, over one second of Xen.
pub fn xen() -> Usage {
    let mut web = domain(1, "web", State::Running, [500, 151, 110]);
    web.vcpu_rows = vec![vcpu(0, 400), vcpu(1, 100)];
    web.backends = vec![thread(1501, "vif1.0-q0-guest", Duty::Io, 151)];
    let db = domain(2, "db-東京", State::Blocked, [100, 50, 10]);
    let mut gone = domain(3, "gone", State::Ended, [0; 3]);
    for part in [&mut gone.cpu.total, &mut gone.cpu.guest, &mut gone.cpu.io_direct] {
        *part = Err(Absent::Ended);
    }
    gone.cpu.io_shared = Err(Absent::Ended);
    gone.net = Err(Absent::Ended);
    gone.memory = Err(Absent::Ended);
    Usage {
        moment: moment(),
        interval: Nanos(1_000_000_000),
        host: HostUsage {
            cpus: 4,
            busy: ms(1012),
            busy_within: Nanos::ZERO,
            steal: Err(Absent::NotProvided("Xen does not count it".into())),
            hidden: false,
            unattributed: ms(10),
            conservation_error: Ok(0.000_25),
            system: "Xen 4.17.5".to_owned(),
            irq_time_accounting: Ok(true),
            memory: mib(8192),
        },
        drivers: vec![driver("Domain-0", [201, 120, 81, 10])],
        vms: vec![web, db, gone],
        me: SelfUsage { cpu: Nanos(2_000_000), rss: Bytes(9 << 20) },
    }
}

/// An emulated VM of another user, seen without root over two seconds.
pub fn unprivileged() -> Usage {
    let mut vm = domain(0, "demo", State::Running, [1900, 0, 0]);
    vm.id = VmId::Process(TaskId { pid: 4242, start: 99 });
    vm.platform = Platform::Tcg;
    vm.cpu.vmm = ms(40);
    vm.cpu.total = ms(1940);
    vm.cpu.io_shared = refused("/proc/4242/fd");
    vm.ready = ms(12);
    vm.net = refused("/proc/4242/fd");
    vm.disk.read_bytes = refused("/proc/4242/io");
    vm.disk.write_bytes = refused("/proc/4242/io");
    vm.disk.reads = none();
    vm.disk.writes = none();
    vm.cpupool = none();
    vm.exits = Ok(5000);
    vm.halt_poll = ms(1);
    vm.backends = vec![thread(4242, "qemu-system-x86", Duty::Vmm, 40)];
    let mut host = driver("host", [0, 0, 300, 60]);
    host.shared = none();
    let mut usage = xen();
    usage.interval = Nanos(2_000_000_000);
    usage.host.system = "Linux 6.1.0".to_owned();
    usage.host.irq_time_accounting = Ok(false);
    usage.host.busy = ms(2300);
    usage.host.unattributed = ms(60);
    usage.host.memory = none();
    usage.drivers = vec![host];
    usage.vms = vec![vm];
    usage
}

/// A machine on which nothing happens but time, without VMs unless told.
#[derive(Default)]
pub struct Fake {
    reads: u64,
    vms: Vec<Vm>,
}

impl Fake {
    /// With VMs of these names, of which nothing is known.
    pub fn with_vms(names: &[&str]) -> Self {
        let vms = names.iter().enumerate().map(|(at, name)| unknown(Self::id(at), name));
        Self { reads: 0, vms: vms.collect() }
    }

    /// What tells the VM at this place from the others.
    pub fn id(at: usize) -> VmId {
        VmId::Domain { id: 1 + at as u16, handle: [0; 16] }
    }
}

fn unknown(id: VmId, name: &str) -> Vm {
    Vm {
        id,
        name: name.to_owned(),
        platform: Platform::Xen,
        state: State::Unknown,
        window: Window { start: Nanos(0), end: Nanos(0) },
        cpu: none(),
        vcpu_count: none(),
        vcpus: none(),
        backends: Vec::new(),
        memory: none(),
        memory_limit: none(),
        nics: none(),
        disks: none(),
        exits: none(),
        halt_poll: none(),
        cpupool: none(),
        inside: Err(Absent::NotReported),
    }
}

impl Source for Fake {
    fn read(&mut self, _: Want) -> Result<Snapshot, OpenError> {
        self.reads += 1;
        let now = Nanos(self.reads * 1_000_000_000);
        let window = Window { start: now, end: now };
        Ok(Snapshot {
            moment: moment(),
            window,
            host: model::Host {
                window,
                cpus: 1,
                idle: Ok(now),
                system: "Linux 6.1.0".to_owned(),
                idle_step: Nanos(0),
                idle_each: Err(Absent::Appeared),
                steal: Ok(Nanos(0)),
                irq_time_accounting: Ok(true),
                memory: mib(1024),
            },
            drivers: Vec::new(),
            vms: self.vms.clone(),
            me: SelfUse::default(),
        })
    }
}
