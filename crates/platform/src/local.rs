//! The platform of a Linux host: its VMs that are processes, or its control groups.

use crate::host::{Linux, NetDevices, TaskTable, Tree};
use crate::kvm::Vms;
use crate::source::{Choice, OpenError, Source, Want};
use model::{Absent, Need, Reading, Snapshot, Tasks, Vm, Window};

/// A Linux host that is not Xen's driver domain.
#[derive(Debug)]
pub(crate) struct Local {
    tree: Tree,
    choice: Choice,
    linux: Linux,
    tasks: TaskTable,
    devices: NetDevices,
    vms: Vms,
}

impl Local {
    /// `choice` is which of its VMs and groups to show; [`Choice::Auto`] shows VMs wherever
    /// there are any at that moment, else groups.
    pub(crate) fn open(tree: &Tree, choice: Choice) -> Result<Self, OpenError> {
        let linux = Linux::new(tree);
        Ok(Self {
            linux,
            tree: tree.clone(),
            choice,
            tasks: TaskTable::new(),
            devices: NetDevices::new(),
            vms: Vms::new(),
        })
    }

    fn tasks(&self, read: std::io::Result<()>) -> Reading<Tasks> {
        read.map_err(|error| Absent::from_io("/proc", Need::Root, &error))?;
        let serves = |id| self.vms.served().contains(&id);
        let own = self.tasks.tasks().iter().filter(|task| !serves(task.id));
        let processes = own.map(crate::host::Task::row).collect();
        Ok(Tasks { window: self.tasks.window(), processes })
    }
}

impl Source for Local {
    fn read(&mut self, want: Want) -> Result<Snapshot, OpenError> {
        self.tree.begin();
        let (moment, start) = (self.tree.moment(), self.tree.now());
        let read = self.tasks.refresh(&self.tree);
        // Devices that cannot be read are absent one by one where they are looked for.
        let _ = self.devices.refresh(&self.tree);
        let vms: Vec<Vm> = self.vms.read(&self.tree, &self.tasks, &self.devices, want);
        let tasks = self.tasks(read);
        let host = self.linux.host(&self.tree);
        let driver = self.linux.driver(&self.tree, &host, tasks);
        let window = Window { start, end: self.tree.now() };
        let me = self.linux.me();
        let _ = self.choice;
        Ok(Snapshot { moment, window, host, drivers: vec![driver], vms, me })
    }
}
