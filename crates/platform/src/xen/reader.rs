//! One snapshot of a Xen host.

use super::abi::{self, DomainInfo, Physical, VcpuInfo};
use super::devices::Devices;
use super::hypercall::{Call, CallError, Dialect, Hypervisor, list_domains};
use super::names::Names;
use super::store::{Client, Connection, Recorded, Store};
use super::threads::Servants;
use super::transcript;
use crate::cgroup::Total;
use crate::host::{Linux, TaskTable, Tree};
use crate::{OpenError, Source, Want};
use model::{
    Absent, Affinity, Backend, Bytes, Disk, Driver, Duty, Host, Nanos, Need, Nic, Platform,
    Reading, Snapshot, State, Tasks, Vcpu, Vm, VmId, Window,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Domain-0, which vmeter runs in and whose Linux drives the devices.
const DOM0: u16 = 0;

/// Reads the Xen that vmeter's Domain-0 controls.
pub struct XenSource {
    tree: Tree,
    xen: Box<dyn Hypervisor>,
    /// Whether Xen's own clock can be read.
    has_clock: bool,
    dialect: Dialect,
    /// `Xen 4.17.5`.
    system: String,
    physical: Physical,
    store: Option<Client<Connection>>,
    names: Names,
    linux: Linux,
    total: Total,
    tasks: TaskTable,
    servants: Servants,
    devices: Devices,
    domains: Vec<DomainInfo>,
}

/// What one hypercall after the other told, and when.
struct Counted {
    host: Host,
    window: Window,
    vcpus: BTreeMap<u16, Reading<Vec<Vcpu>>>,
}

/// What dom0's Linux told about the domains.
struct Served {
    backends: BTreeMap<u16, Vec<Backend>>,
    nics: Reading<BTreeMap<u16, Vec<Nic>>>,
    disks: Reading<BTreeMap<u16, Vec<Disk>>>,
}

/// Idle time and domains' times that were read within this time belong together; a longer one
/// means that dom0 lost its CPU in between, and they are read again.
const TIGHT: Nanos = Nanos(300_000);
/// How often they are read at most.
const TRIES: u32 = 4;

impl XenSource {
    pub(super) fn new(
        tree: &Tree,
        mut xen: Box<dyn Hypervisor>,
        dialect: Dialect,
        system: String,
        physical: Physical,
    ) -> Self {
        let linux = Linux::new(tree);
        Self {
            tree: tree.clone(),
            has_clock: xen.ask(Call::Clock).is_ok(),
            xen,
            dialect,
            system,
            physical,
            store: None,
            names: Names::default(),
            total: Total::new(tree, &linux.irq_time_accounting()),
            linux,
            tasks: TaskTable::new(),
            servants: Servants::default(),
            devices: Devices::default(),
            domains: Vec::new(),
        }
    }

    /// Asks Xen: idle time and the domains' times back to back, so that together they make up
    /// all CPUs' time; then single vCPUs, where they are wanted.
    fn count(&mut self, want: Want) -> Result<Counted, OpenError> {
        let mut tries = 1..TRIES;
        let (idle, [start, between, end]) = loop {
            let start = self.now();
            let idle = self.idle();
            let between = self.now();
            list_domains(self.xen.as_mut(), self.dialect.stride, &mut self.domains)
                .map_err(|error| super::unusable(&error))?;
            let end = self.now();
            if end.saturating_sub(start) <= TIGHT || tries.next().is_none() {
                break (idle, [start, between, end]);
            }
        };
        self.count_cpus(&idle);
        let host = Host {
            window: Window { start, end: between },
            cpus: self.physical.cpus,
            idle: idle.map(|(idle, _)| Nanos(idle)).map_err(|error| error.absent()),
            idle_step: Nanos::ZERO,
            idle_each: Err(Absent::NotProvided("a driver domain's vCPUs have rows".into())),
            steal: Err(Absent::NotProvided("Xen does not count it".into())),
            system: self.system.clone(),
            irq_time_accounting: self.linux.irq_time_accounting(),
            memory: Ok(bytes(self.physical.pages)),
        };
        let mut vcpus = BTreeMap::new();
        if want.vcpus {
            for at in 0..self.domains.len() {
                let rows = self.vcpus(at, want);
                vcpus.insert(self.domains[at].id, rows);
            }
        }
        Ok(Counted { host, window: Window { start: between, end }, vcpus })
    }

    /// Xen's own clock, by which it counts CPU time: dom0's may run a little differently.
    /// Where Xen's cannot be read, dom0's monotonic clock.
    fn now(&mut self) -> Nanos {
        let clock = if self.has_clock { self.xen.ask(Call::Clock).ok() } else { None };
        clock.and_then(|answer| abi::clock(answer.head)).unwrap_or_else(|| self.tree.now())
    }

    fn idle(&mut self) -> Result<(u64, u32), CallError> {
        let answer = self.xen.ask(Call::Idle)?;
        Ok(abi::idle(answer.head, answer.data)?)
    }

    /// CPUs come and go seldom; the idle times show when.
    fn count_cpus(&mut self, idle: &Result<(u64, u32), CallError>) {
        if idle.as_ref().is_ok_and(|(_, online)| *online == self.physical.cpus) {
            return;
        }
        let sysctl = self.dialect.interface.sysctl;
        if let Ok(answer) = self.xen.ask(Call::Physical)
            && let Ok(physical) = Physical::decode(answer.head, sysctl)
        {
            self.physical = physical;
        }
    }

    /// A hypercall for each vCPU of a domain, and another for its affinity.
    fn vcpus(&mut self, at: usize, want: Want) -> Reading<Vec<Vcpu>> {
        let domain = &self.domains[at];
        let (id, count) = (domain.id, domain.vcpus());
        if domain.state() == State::Dying {
            return Err(Absent::Ended);
        }
        if count > abi::MOST_VCPUS {
            return Err(Absent::Malformed(format!("a domain with {count} vCPUs").into()));
        }
        let mut rows = Vec::new();
        for vcpu in 0..count {
            match self.vcpu(id, vcpu, want) {
                Ok(row) => rows.push(row),
                // Numbers may have gaps where vCPUs were never made.
                Err(CallError::Gone(_)) => {}
                Err(error) => return Err(error.absent()),
            }
        }
        Ok(rows)
    }

    fn vcpu(&mut self, domain: u16, vcpu: u32, want: Want) -> Result<Vcpu, CallError> {
        let info = VcpuInfo::decode(self.xen.ask(Call::Vcpu { domain, vcpu })?.head)?;
        let affinity = if want.placement {
            let answer = self.xen.ask(Call::Affinity { domain, vcpu });
            answer
                .map(|answer| Affinity(abi::cpu_list(answer.data, self.physical.max_cpu)))
                .map_err(|error| error.absent())
        } else {
            Err(Absent::NotProvided("placement was not requested".into()))
        };
        Ok(Vcpu {
            id: vcpu,
            state: info.state,
            task: None,
            cpu: Ok(Nanos(info.cpu)),
            guest: Err(Absent::NotApplicable("Xen's own work is not in a vCPU's time".into())),
            ready: Err(Absent::NotProvided(
                "Xen tells no domain's runnable time to dom0: use trace buffers or an agent in \
                 the guest"
                    .into(),
            )),
            affinity,
        })
    }

    /// Sorts dom0's tasks: those that serve one domain alone, and all others.
    fn share_tasks(
        &mut self,
        read: io::Result<()>,
        all: Reading<Nanos>,
    ) -> (Reading<Tasks>, BTreeMap<u16, Vec<Backend>>) {
        let mut backends: BTreeMap<u16, Vec<Backend>> = BTreeMap::new();
        if let Err(error) = read {
            return (Err(Absent::from_io("/proc", Need::Root, &error)), backends);
        }
        let alive: BTreeSet<u16> = self.domains.iter().map(|domain| domain.id).collect();
        let mut processes = Vec::with_capacity(self.tasks.tasks().len());
        for task in self.tasks.tasks() {
            let vif = |interface: &str| self.devices.domain_of(interface);
            let served = self.servants.served_by(task, &self.tree, vif, &self.names.tapdisks);
            match served.filter(|id| *id != DOM0 && alive.contains(id)) {
                Some(id) => backends.entry(id).or_default().push(Backend {
                    id: task.id,
                    name: task.name.clone(),
                    duty: Duty::Io,
                    inside: false,
                    cpu: Ok(task.cpu),
                }),
                None => processes.push(task.row(None)),
            }
        }
        let tasks = &self.tasks;
        self.servants.keep(|id| tasks.find(id).is_some());
        let hidden = tasks.is_partial(&self.tree);
        (Ok(Tasks { window: tasks.window(), processes, all, hidden }), backends)
    }

    /// Asks xenstore what may have changed; true where devices should be looked for anew.
    fn refresh_names(&mut self, now: Nanos) -> bool {
        if !self.tree.is_live() {
            let path = format!("{}/xenstore", transcript::FOLDER);
            let mut recorded = Recorded::parse(&self.tree.read_text(&path).unwrap_or_default());
            self.names.forget();
            return self.names.refresh(Some(&mut recorded), &self.domains, now);
        }
        if self.store.as_ref().is_none_or(Client::is_broken) {
            self.store = Client::connect().ok();
        }
        let store = self.store.as_mut().map(|store| store as &mut dyn Store);
        self.names.refresh(store, &self.domains, now)
    }

    /// Domain-0's row.
    fn dom0(&mut self, counted: &mut Counted, tasks: Reading<Tasks>) -> Driver {
        let info = self.domains.iter().find(|domain| domain.id == DOM0);
        let absent = || Absent::NotFound("Domain-0 in Xen's list of domains".into());
        let (cpu, vcpus, memory) = match info {
            Some(info) => (Ok(Nanos(info.cpu)), Ok(info.online_vcpus), Ok(bytes(info.pages))),
            None => (Err(absent()), Err(absent()), Err(absent())),
        };
        let (load, own) = self.linux.io(&self.tree);
        Driver {
            id: DOM0,
            name: info.map_or_else(|| "Domain-0".to_owned(), |info| self.names.name(info)),
            window: counted.window,
            cpu,
            vcpus,
            vcpu_rows: counted.vcpus.remove(&DOM0).unwrap_or_else(|| Err(unasked())),
            memory,
            tasks,
            load,
            own,
            interrupts: self.linux.interrupts(&self.tree),
        }
    }

    /// The row of a driver domain other than Domain-0.
    fn driver(&self, info: &DomainInfo, counted: &mut Counted) -> Driver {
        let absent = || Absent::NotProvided("vmeter does not run in it".into());
        Driver {
            id: info.id,
            name: self.names.name(info),
            window: counted.window,
            cpu: Ok(Nanos(info.cpu)),
            vcpus: Ok(info.online_vcpus),
            vcpu_rows: counted.vcpus.remove(&info.id).unwrap_or_else(|| Err(unasked())),
            memory: Ok(bytes(info.pages)),
            tasks: Err(absent()),
            load: Err(absent()),
            own: Err(absent()),
            interrupts: Err(absent()),
        }
    }

    /// A domain's row.
    fn vm(&self, info: &DomainInfo, counted: &mut Counted, served: &mut Served) -> Vm {
        Vm {
            id: VmId::Domain { id: info.id, handle: info.handle },
            name: self.names.name(info),
            platform: Platform::Xen,
            state: info.state(),
            window: counted.window,
            cpu: Ok(Nanos(info.cpu)),
            vcpu_count: Ok(info.online_vcpus),
            vcpus: counted.vcpus.remove(&info.id).unwrap_or_else(|| Err(unasked())),
            backends: served.backends.remove(&info.id).unwrap_or_default(),
            memory: Ok(bytes(info.pages)),
            memory_limit: info
                .page_limit()
                .map(bytes)
                .ok_or(Absent::NotApplicable("its memory has no limit".into())),
            nics: take(&mut served.nics, info.id),
            disks: take(&mut served.disks, info.id),
            exits: Err(Absent::NotProvided("Xen does not count exits by domain".into())),
            halt_poll: Err(Absent::NotProvided("Xen does not poll before it idles".into())),
            cpupool: Ok(info.cpupool),
            inside: Err(Absent::NotReported),
        }
    }
}

impl Source for XenSource {
    fn read(&mut self, want: Want) -> Result<Snapshot, OpenError> {
        self.tree.begin();
        self.xen.move_to(&self.tree);
        let (moment, start) = (self.tree.moment(), self.tree.now());
        let mut counted = self.count(want)?;
        let read = self.tasks.refresh(&self.tree);
        let anew = self.refresh_names(start);
        self.devices.refresh(&self.tree, anew);
        let dom0 = self.domains.iter().find(|domain| domain.id == DOM0);
        let cpus = dom0.map_or(0, |domain| domain.online_vcpus);
        // Its threads are billed for what Xen takes from them while they run.
        let all = self.total.read(&self.tree, &self.tasks, cpus, Nanos::ZERO);
        let (tasks, backends) = self.share_tasks(read, all);
        let nics = self.devices.nics(&self.names);
        let disks = self.devices.disks(&self.tree, &self.names);
        let mut served = Served { backends, nics, disks };
        let mut drivers = vec![self.dom0(&mut counted, tasks)];
        let elsewhere: BTreeSet<u16> = self.names.elsewhere.iter().map(|it| it.driver).collect();
        let mut vms = Vec::with_capacity(self.domains.len());
        for info in self.domains.iter().filter(|info| info.id != DOM0) {
            if elsewhere.contains(&info.id) {
                drivers.push(self.driver(info, &mut counted));
            } else {
                vms.push(self.vm(info, &mut counted, &mut served));
            }
        }
        let window = Window { start, end: self.tree.now() };
        Ok(Snapshot { moment, window, host: counted.host, drivers, vms, me: self.linux.me() })
    }
}

/// A domain's devices; none where it has none.
fn take<T>(all: &mut Reading<BTreeMap<u16, Vec<T>>>, id: u16) -> Reading<Vec<T>> {
    match all {
        Ok(all) => Ok(all.remove(&id).unwrap_or_default()),
        Err(absent) => Err(absent.clone()),
    }
}

fn unasked() -> Absent {
    Absent::NotProvided("vCPUs were not requested".into())
}

fn bytes(pages: u64) -> Bytes {
    Bytes(pages.saturating_mul(abi::PAGE))
}
