//! The platform of a Linux host: its VMs that are processes, or its control groups.

use crate::cgroup::{GroupRows, Groups, Total};
use crate::host::{Linux, NetDevices, Task, TaskTable, Tree};
use crate::kvm::Vms;
use crate::source::{Choice, OpenError, Source, Want};
use model::{Absent, Nanos, Need, Reading, Snapshot, Tasks, Vm, Window};

const VMS: &str = "processes with vCPU threads of QEMU, Firecracker, Cloud Hypervisor or crosvm, \
                   or with a kvm-vm file; /dev/kvm; /sys/module/kvm";
const GROUPS: &str = "a cgroup2 or cpuacct mount in /proc/self/mountinfo";

/// A Linux host that is not Xen's driver domain.
#[derive(Debug)]
pub(crate) struct Local {
    tree: Tree,
    linux: Linux,
    total: Total,
    tasks: TaskTable,
    devices: NetDevices,
    /// Absent where control groups alone were asked for.
    vms: Option<Vms>,
    /// Absent where VMs alone were asked for, or no control groups are mounted.
    groups: Option<Groups>,
}

impl Local {
    /// `choice` is which of its VMs and groups to show; [`Choice::Auto`] shows VMs and containers
    /// wherever there are VMs at that moment, else all groups.
    pub(crate) fn open(tree: &Tree, choice: Choice, rows: &GroupRows) -> Result<Self, OpenError> {
        let wants_vms = matches!(choice, Choice::Auto | Choice::Kvm);
        let wants_groups = matches!(choice, Choice::Auto | Choice::Cgroup);
        let linux = Linux::new(tree);
        let mut local = Self {
            total: Total::new(tree, &linux.irq_time_accounting()),
            linux,
            tree: tree.clone(),
            tasks: TaskTable::new(),
            devices: NetDevices::new(),
            vms: wants_vms.then(Vms::new),
            groups: if wants_groups { Groups::open(tree, rows) } else { None },
        };
        let (wanted, looked_for) = match choice {
            Choice::Cgroup => ("control groups", GROUPS.to_owned()),
            Choice::Kvm => ("KVM", VMS.to_owned()),
            _ => (
                "Xen, KVM or control groups",
                format!("control_d in /proc/xen/capabilities; {VMS}; {GROUPS}"),
            ),
        };
        let is_here =
            choice == Choice::Alone || local.groups.is_some() || wants_vms && local.may_have_vms();
        if is_here { Ok(local) } else { Err(OpenError::NotHere { wanted, looked_for }) }
    }

    /// Whether VMs can start here, or emulated ones are there.
    fn may_have_vms(&mut self) -> bool {
        if ["/dev/kvm", "/sys/module/kvm"].iter().any(|path| self.tree.exists(path)) {
            return true;
        }
        let read = self.tasks.refresh(&self.tree);
        read.is_ok() && !self.read_vms(Want::default()).is_empty()
    }

    fn read_vms(&mut self, want: Want) -> Vec<Vm> {
        let Some(vms) = &mut self.vms else { return Vec::new() };
        vms.read(&self.tree, &self.tasks, &self.devices, want)
    }

    /// The host's processes, but for those that serve a VM; `all` is what all tasks used.
    fn own(
        &self,
        read: std::io::Result<()>,
        all: Reading<Nanos>,
        first_group: usize,
    ) -> Reading<Tasks> {
        read.map_err(|error| Absent::from_io("/proc", Need::Root, &error))?;
        let member_of = |task: &Task| {
            let place = self.groups.as_ref()?.member_of(task.id.pid)?;
            u32::try_from(first_group + place).ok()
        };
        let serves =
            |task: &Task| self.vms.as_ref().is_some_and(|vms| vms.served().contains(&task.id));
        let own = self.tasks.tasks().iter().filter(|task| !serves(task));
        Ok(Tasks {
            window: self.tasks.window(),
            processes: own.map(|task| task.row(member_of(task))).collect(),
            all,
            hidden: self.tasks.is_partial(&self.tree),
        })
    }
}

impl Source for Local {
    fn read(&mut self, want: Want) -> Result<Snapshot, OpenError> {
        self.tree.begin();
        let (moment, start) = (self.tree.moment(), self.tree.now());
        let read = self.tasks.refresh(&self.tree);
        // Devices that cannot be read are absent one by one where they are looked for.
        let _ = self.devices.refresh(&self.tree);
        let mut vms = self.read_vms(want);
        let first_group = vms.len();
        if let Some(groups) = &mut self.groups {
            let served = self.vms.as_ref().map(Vms::served).cloned().unwrap_or_default();
            vms.extend(groups.read(&self.tree, &served, want));
        }
        let host = self.linux.host(&self.tree, want.exact_idle);
        let stolen = host.steal.clone().unwrap_or_default();
        let all = self.total.read(&self.tree, &self.tasks, host.cpus, stolen);
        let own = self.own(read, all, first_group);
        // What reading itself cost is known best right after the idle time was read.
        let me = self.linux.me();
        let driver = self.linux.driver(&self.tree, &host, own);
        let window = Window { start, end: self.tree.now() };
        Ok(Snapshot { moment, window, host, drivers: vec![driver], vms, me })
    }
}
