//! `counters.parquet`: a row for each raw counter of each reading.

use super::notes;
use crate::record::Record;
use model::{
    Absent, Backend, CpuTicks, Disk, Driver, Duty, Host, LoadKinds, Nic, NicCounters,
    OwnOperations, Process, Reading, SelfUse, Snapshot, TaskId, Vcpu, Vm, Window,
};
use table::{Cell, Kind, Result, Table};

const COLUMNS: [(&str, Kind); 15] = [
    ("run", Kind::Int),
    ("attempt", Kind::Int),
    ("source", Kind::Text),
    ("at", Kind::Text),
    ("kind", Kind::Text),
    ("name", Kind::Text),
    ("id", Kind::Text),
    ("owner", Kind::Text),
    ("owner_id", Kind::Text),
    ("duty", Kind::Text),
    ("inside", Kind::Bool),
    ("counter", Kind::Text),
    ("value", Kind::Int),
    ("unit", Kind::Text),
    ("absent", Kind::Text),
];

/// The source of the host's own counters; a plan may not call a guest so.
const HOST: &str = "host";

/// The whole file.
pub(super) fn write(plan: &str, records: &[Record]) -> Result<Vec<u8>> {
    let mut table = Table::new(Vec::new(), "counters", &notes(plan), &COLUMNS)?;
    for record in records {
        let Some(data) = record.data() else { continue };
        let host = data.host.iter().map(|counters| (HOST, counters));
        let guests = data.targets.iter().map(|(name, counters)| (name.as_str(), counters));
        for (source, counters) in host.chain(guests) {
            for (at, snapshot) in [("begin", &counters.begin), ("end", &counters.end)] {
                Rows { table: &mut table, record, source, at }.snapshot(snapshot)?;
            }
        }
    }
    table.finish()
}

/// A counter's name, and the counter in what was read with it.
type Part<T> = (&'static str, fn(&T) -> u64);

/// Whose a counter is.
#[derive(Clone, Copy, Default)]
struct Entity<'a> {
    kind: &'static str,
    name: Option<&'a str>,
    id: Option<&'a str>,
    owner: Option<&'a str>,
    owner_id: Option<&'a str>,
    duty: Option<&'static str>,
    inside: Option<bool>,
}

/// The rows of one reading.
struct Rows<'a> {
    table: &'a mut Table<Vec<u8>>,
    record: &'a Record,
    source: &'a str,
    at: &'static str,
}

impl Rows<'_> {
    fn row(
        &mut self,
        entity: Entity<'_>,
        counter: &str,
        unit: &str,
        value: std::result::Result<u64, &Absent>,
    ) -> Result<()> {
        let (value, why) = match value.map(i64::try_from) {
            Ok(Ok(value)) => (Some(value), None),
            Ok(Err(_)) => (None, Some("larger than a signed number of 64 bits".to_owned())),
            Err(absent) => (None, Some(absent.to_string())),
        };
        self.table.row(&[
            Cell::Int(i64::try_from(self.record.number).ok()),
            Cell::Int(i64::try_from(self.record.attempt).ok()),
            Cell::Text(Some(self.source)),
            Cell::Text(Some(self.at)),
            Cell::Text(Some(entity.kind)),
            Cell::Text(entity.name),
            Cell::Text(entity.id),
            Cell::Text(entity.owner),
            Cell::Text(entity.owner_id),
            Cell::Text(entity.duty),
            Cell::Bool(entity.inside),
            Cell::Text(Some(counter)),
            Cell::Int(value),
            Cell::Text(Some(unit)),
            Cell::Text(why.as_deref()),
        ])
    }

    fn read<T: Copy + Into<u64>>(
        &mut self,
        entity: Entity<'_>,
        counter: &str,
        unit: &str,
        value: &Reading<T>,
    ) -> Result<()> {
        self.row(entity, counter, unit, value.as_ref().map(|value| (*value).into()))
    }

    /// Several counters that are read, or absent, as one.
    fn group<T>(
        &mut self,
        entity: Entity<'_>,
        unit: &str,
        value: &Reading<T>,
        parts: &[Part<T>],
    ) -> Result<()> {
        for (counter, part) in parts {
            self.row(entity, counter, unit, value.as_ref().map(part))?;
        }
        Ok(())
    }

    /// How many of something there are: their own rows follow.
    fn count<T>(&mut self, entity: Entity<'_>, counter: &str, all: &Reading<Vec<T>>) -> Result<()> {
        self.row(entity, counter, "count", all.as_ref().map(|all| all.len() as u64))
    }

    fn window(&mut self, entity: Entity<'_>, name: &str, window: Window) -> Result<()> {
        self.row(entity, &format!("{name}_start"), "ns", Ok(window.start.0))?;
        self.row(entity, &format!("{name}_end"), "ns", Ok(window.end.0))
    }

    fn snapshot(&mut self, all: &Snapshot) -> Result<()> {
        let host = Entity { kind: "host", name: Some(&all.host.system), ..Entity::default() };
        self.row(host, "unix", "ns", Ok(all.moment.unix.0))?;
        self.window(host, "reading", all.window)?;
        self.host(host, &all.host)?;
        let SelfUse { cpu, rss } = all.me;
        self.row(host, "vmeter_cpu", "ns", Ok(cpu.0))?;
        self.row(host, "vmeter_memory", "bytes", Ok(rss.0))?;
        for driver in &all.drivers {
            self.driver(driver)?;
        }
        for vm in &all.vms {
            self.vm(vm)?;
        }
        Ok(())
    }

    fn host(&mut self, entity: Entity<'_>, host: &Host) -> Result<()> {
        self.window(entity, "window", host.window)?;
        self.row(entity, "cpus", "count", Ok(host.cpus.into()))?;
        self.read(entity, "idle", "ns", &host.idle)?;
        self.row(entity, "idle_step", "ns", Ok(host.idle_step.0))?;
        self.read(entity, "irq_time_accounting", "flag", &host.irq_time_accounting)?;
        self.read(entity, "memory", "bytes", &host.memory)?;
        match &host.idle_each {
            Ok(each) => {
                for (cpu, idle) in each.iter().enumerate() {
                    let id = cpu.to_string();
                    self.row(Entity { id: Some(&id), ..entity }, "cpu_idle", "ns", Ok(idle.0))?;
                }
                Ok(())
            }
            Err(why) => self.row(entity, "cpu_idle", "ns", Err(why)),
        }
    }

    fn driver(&mut self, driver: &Driver) -> Result<()> {
        let id = driver.id.to_string();
        let entity =
            Entity { kind: "driver", name: Some(&driver.name), id: Some(&id), ..Entity::default() };
        self.window(entity, "window", driver.window)?;
        self.read(entity, "cpu", "ns", &driver.cpu)?;
        self.read(entity, "vcpus", "count", &driver.vcpus)?;
        self.read(entity, "memory", "bytes", &driver.memory)?;
        self.group(
            entity,
            "softirqs",
            &driver.load,
            &[
                ("softirq_net_tx", |load: &LoadKinds| load.net_tx),
                ("softirq_net_rx", |load| load.net_rx),
                ("softirq_block", |load| load.block),
                ("softirq_timer", |load| load.timer),
                ("softirq_sched", |load| load.sched),
                ("softirq_rcu", |load| load.rcu),
                ("softirq_tasklet", |load| load.tasklet),
            ],
        )?;
        let packets: [Part<LoadKinds>; 1] = [("device_packets", |load| load.packets.0)];
        self.group(entity, "operations", &driver.load, &packets)?;
        self.group(
            entity,
            "operations",
            &driver.own,
            &[
                ("own_packets", |own: &OwnOperations| own.packets.0),
                ("own_requests", |own| own.requests.0),
            ],
        )?;
        self.vcpus(entity, &driver.vcpu_rows)?;
        let processes = driver.tasks.as_ref().map(|tasks| tasks.processes.len() as u64);
        self.row(entity, "process_rows", "count", processes)?;
        let Ok(tasks) = &driver.tasks else { return Ok(()) };
        self.window(entity, "tasks", tasks.window)?;
        tasks.processes.iter().try_for_each(|process| self.process(entity, process))
    }

    fn process(&mut self, owner: Entity<'_>, process: &Process) -> Result<()> {
        let id = task(process.id);
        let entity = Entity {
            name: Some(&process.name),
            duty: Some(duty(process.duty)),
            ..part("process", owner, Some(&id))
        };
        self.row(entity, "cpu", "ns", Ok(process.cpu.0))?;
        self.row(entity, "children", "ns", Ok(process.children.0))
    }

    fn vm(&mut self, vm: &Vm) -> Result<()> {
        let id = vm.id.to_string();
        let entity =
            Entity { kind: "vm", name: Some(&vm.name), id: Some(&id), ..Entity::default() };
        self.window(entity, "window", vm.window)?;
        self.read(entity, "cpu", "ns", &vm.cpu)?;
        self.read(entity, "vcpus", "count", &vm.vcpu_count)?;
        self.read(entity, "memory", "bytes", &vm.memory)?;
        self.read(entity, "memory_limit", "bytes", &vm.memory_limit)?;
        self.read(entity, "exits", "exits", &vm.exits)?;
        self.read(entity, "halt_poll", "ns", &vm.halt_poll)?;
        self.read(entity, "cpupool", "number", &vm.cpupool)?;
        self.vcpus(entity, &vm.vcpus)?;
        vm.backends.iter().try_for_each(|backend| self.backend(entity, backend))?;
        self.count(entity, "nic_rows", &vm.nics)?;
        vm.nics.iter().flatten().try_for_each(|nic| self.nic(entity, nic))?;
        self.count(entity, "disk_rows", &vm.disks)?;
        vm.disks.iter().flatten().try_for_each(|disk| self.disk(entity, disk))
    }

    fn vcpus(&mut self, owner: Entity<'_>, all: &Reading<Vec<Vcpu>>) -> Result<()> {
        self.count(owner, "vcpu_rows", all)?;
        for vcpu in all.iter().flatten() {
            let id = vcpu.id.to_string();
            let entity = part("vcpu", owner, Some(&id));
            self.read(entity, "cpu", "ns", &vcpu.cpu)?;
            self.read(entity, "ready", "ns", &vcpu.ready)?;
            self.group(
                entity,
                "ticks",
                &vcpu.guest,
                &[
                    ("guest_ticks", |ticks: &CpuTicks| ticks.guest),
                    ("user_ticks", |ticks| ticks.user),
                    ("total_ticks", |ticks| ticks.total),
                ],
            )?;
        }
        Ok(())
    }

    fn backend(&mut self, owner: Entity<'_>, backend: &Backend) -> Result<()> {
        let id = task(backend.id);
        let entity = Entity {
            name: Some(&backend.name),
            duty: Some(duty(backend.duty)),
            inside: Some(backend.inside),
            ..part("backend", owner, Some(&id))
        };
        self.read(entity, "cpu", "ns", &backend.cpu)
    }

    fn nic(&mut self, owner: Entity<'_>, nic: &Nic) -> Result<()> {
        let entity = Entity { name: Some(&nic.name), ..part("nic", owner, None) };
        let packets: [Part<NicCounters>; 2] =
            [("rx_packets", |nic| nic.rx_packets.0), ("tx_packets", |nic| nic.tx_packets.0)];
        let bytes: [Part<NicCounters>; 2] =
            [("rx_bytes", |nic| nic.rx_bytes.0), ("tx_bytes", |nic| nic.tx_bytes.0)];
        self.group(entity, "operations", &nic.counters, &packets)?;
        self.group(entity, "bytes", &nic.counters, &bytes)
    }

    fn disk(&mut self, owner: Entity<'_>, disk: &Disk) -> Result<()> {
        let entity = Entity { name: Some(&disk.name), ..part("disk", owner, None) };
        let counters = &disk.counters;
        self.read(entity, "reads", "operations", &counters.reads)?;
        self.read(entity, "writes", "operations", &counters.writes)?;
        self.read(entity, "read_bytes", "bytes", &counters.read_bytes)?;
        self.read(entity, "write_bytes", "bytes", &counters.write_bytes)
    }
}

/// Something that a driver domain or a VM has.
fn part<'a>(kind: &'static str, owner: Entity<'a>, id: Option<&'a str>) -> Entity<'a> {
    Entity { kind, id, owner: owner.name, owner_id: owner.id, ..Entity::default() }
}

/// A task's number and start: the number alone is reused.
fn task(id: TaskId) -> String {
    format!("{}@{}", id.pid, id.start)
}

fn duty(duty: Duty) -> &'static str {
    match duty {
        Duty::Own => "own",
        Duty::SoftIrq => "softirq",
        Duty::Vmm => "vmm",
        Duty::Io => "io",
    }
}
