//! The VMs that there are: found when they appear, forgotten when they end.

use super::devices::{join, open_files};
use super::examine::{Found, examine};
use super::helpers::Helpers;
use super::reading::{Around, Machine};
use super::threads::{Role, Vmm, kernel_thread};
use crate::host::{NetDevices, Task, TaskTable, Tree};
use crate::source::Want;
use model::{Backend, Duty, Nanos, TaskId, Vm, VmId};
use std::collections::{BTreeMap, HashMap, HashSet};

/// A process that has changed is examined at this many refreshes: threads and their names
/// come into being one by one.
const SETTLING: u8 = 3;
/// A process that has been there for so long when it is first seen has settled.
const YOUNG: Nanos = Nanos(10_000_000_000);
/// A settled one is examined again after so long, at times spread over as long again, if it
/// has run since.
const SETTLED: u64 = 15_000_000_000;
/// Nothing but a change of its identity makes a process be examined more often than this.
const SELDOM: Nanos = Nanos(900_000_000);
/// A change of the thread count is worth a look where there are no more threads than this, or
/// the process is known to be a VM.
const FEW_THREADS: u32 = 64;

/// The processes of the driver domain that serve VMs.
pub type Served = HashSet<TaskId>;

/// All VMs of this host that are processes.
#[derive(Debug, Default)]
pub struct Vms {
    machines: BTreeMap<u32, Machine>,
    looks: HashMap<u32, Look>,
    helpers: Helpers,
    served: Served,
    buffer: Vec<u8>,
}

/// What is known of a process that was examined.
#[derive(Debug)]
struct Look {
    task: TaskId,
    threads: u32,
    name: String,
    settling: u8,
    cpu: Nanos,
    last: Nanos,
    next: Nanos,
}

impl Look {
    /// A process that was not there before: to be examined at once.
    fn new(task: &Task, now: Nanos, tick: Nanos) -> Self {
        let started = Nanos(task.id.start.saturating_mul(tick.0));
        let settling = if started + YOUNG > now { SETTLING } else { 1 };
        let name = task.name.clone();
        let threads = task.threads;
        let (cpu, last) = (Nanos::ZERO, Nanos::ZERO);
        Self { task: task.id, threads, name, settling, cpu, last, next: now }
    }

    /// Whether the process is to be examined now. `outdated`: it is a VM of which something
    /// that should be there is not.
    fn is_due(&mut self, task: &Task, now: Nanos, is_vm: bool, outdated: bool) -> bool {
        let renamed = self.name != task.name;
        let threads = self.threads != task.threads && (is_vm || task.threads <= FEW_THREADS);
        let seldom = now >= self.last + SELDOM;
        if renamed || (threads || outdated) && seldom {
            self.settling = self.settling.max(SETTLING - 1);
            self.name.clone_from(&task.name);
        }
        let due = self.settling > 0 || now >= self.next && self.cpu != task.cpu;
        if due {
            self.cpu = task.cpu;
            self.threads = task.threads;
            self.settling = self.settling.saturating_sub(1);
            self.last = now;
            let spread = u64::from(task.id.pid % 64) * (SETTLED / 64);
            self.next = now + Nanos(SETTLED + spread);
        }
        due
    }
}

impl Vms {
    /// None known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads all VMs, by pid. `table` and `devices` have just been refreshed.
    pub fn read(
        &mut self,
        tree: &Tree,
        table: &TaskTable,
        devices: &NetDevices,
        want: Want,
    ) -> Vec<Vm> {
        self.discover(tree, table);
        let page = if tree.is_live() { rustix::param::page_size() as u64 } else { 4096 };
        let around =
            Around { tree, table: table.window(), devices, tick: table.tick(), page, want };
        let buffer = &mut self.buffer;
        let mut vms: Vec<Vm> = self
            .machines
            .values_mut()
            .filter_map(|machine| {
                let task = table.find(machine.task)?;
                machine.read(&around, task, buffer)
            })
            .collect();
        self.serve(table, &mut vms);
        vms
    }

    /// The processes that serve VMs, the VMMs themselves among them, at the last reading.
    #[must_use]
    pub fn served(&self) -> &Served {
        &self.served
    }

    fn discover(&mut self, tree: &Tree, table: &TaskTable) {
        let now = tree.now();
        let before = self.machines.len();
        self.machines.retain(|_, machine| table.find(machine.task).is_some());
        let mut changed = self.machines.len() != before;
        if self.looks.len() > table.tasks().len() {
            self.looks.retain(|pid, _| table.get(*pid).is_some());
        }
        for task in table.tasks().iter().filter(|task| !task.kernel) {
            let pid = task.id.pid;
            let machine = self.machines.get(&pid);
            let outdated = machine.is_some_and(|machine| machine.outdated);
            let look = self.looks.entry(pid).or_insert_with(|| Look::new(task, now, table.tick()));
            if look.task != task.id {
                *look = Look::new(task, now, table.tick());
            }
            let is_vm = machine.is_some();
            if !look.is_due(task, now, is_vm, outdated) {
                continue;
            }
            let known = machine.map(Machine::known).unwrap_or_default();
            changed |= is_vm;
            match examine(tree, task, &known) {
                Some(mut found) => {
                    add_devices(tree, table, pid, &mut found);
                    self.helpers.met_vm(tree, task.id);
                    let mut new = Machine::new(tree, task.id, found);
                    if let Some(before) = self.machines.remove(&pid) {
                        new.adopt(before);
                    }
                    self.machines.insert(pid, new);
                    changed = true;
                }
                None => {
                    self.machines.remove(&pid);
                    self.helpers.met(tree, task);
                }
            }
        }
        if changed {
            self.share_devices();
        }
        let machines = &self.machines;
        let is_vm = |id: TaskId| machines.get(&id.pid).is_some_and(|machine| machine.task == id);
        self.helpers.settle(tree, table, is_vm);
    }

    /// Gives each network device to one VM: to that which started first, as a later process may
    /// have been handed a descriptor of it.
    fn share_devices(&mut self) {
        let mut machines: Vec<&mut Machine> = self.machines.values_mut().collect();
        machines.sort_by_key(|machine| (machine.task.start, machine.task.pid));
        let mut owners = BTreeMap::new();
        machines.into_iter().for_each(|machine| machine.claim(&mut owners));
    }

    /// Gives the kernel threads and device processes that serve one VM to that VM.
    fn serve(&mut self, table: &TaskTable, vms: &mut [Vm]) {
        self.served.clear();
        self.served.extend(vms.iter().filter_map(|vm| match vm.id {
            VmId::Process(task) => Some(task),
            _ => None,
        }));
        for task in table.tasks() {
            let Some((owner, duty)) = self.owner(task) else { continue };
            let place = vms.binary_search_by_key(&VmId::Process(owner), |vm| vm.id.clone());
            let Some(vm) = place.ok().and_then(|at| vms.get_mut(at)) else { continue };
            let (name, cpu) = (task.name.clone(), Ok(task.cpu));
            vm.backends.push(Backend { id: task.id, name, duty, inside: false, cpu });
            self.served.insert(task.id);
        }
    }

    fn owner(&self, task: &Task) -> Option<(TaskId, Duty)> {
        if task.kernel {
            let (tid, role) = kernel_thread(task.name.as_bytes())?;
            let owner = self.machines.get(&tid);
            let owner = owner.or_else(|| self.machines.values().find(|it| it.has_thread(tid)))?;
            let duty = if role == Role::Io { Duty::Io } else { Duty::Vmm };
            return Some((owner.task, duty));
        }
        if let Some(vm) = self.helpers.owner(task.id) {
            return Some((vm, Duty::Io));
        }
        let parent = self.machines.get(&task.parent).filter(|parent| parent.forks_devices())?;
        (!self.machines.contains_key(&task.id.pid)).then_some((parent.task, Duty::Io))
    }
}

/// Adds the network devices that crosvm's device processes hold, its children.
fn add_devices(tree: &Tree, table: &TaskTable, pid: u32, found: &mut Found) {
    if found.vmm == Vmm::Crosvm {
        for child in table.tasks().iter().filter(|task| task.parent == pid) {
            join(&mut found.files, open_files(tree, child.id.pid));
        }
    }
}
