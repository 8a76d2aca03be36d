//! Exits and halt polling, from KVM's statistics in debugfs.

use crate::host::{Tree, parse_number};
use model::{Absent, Nanos, Need, Reading};

const STATISTICS: &str = "/sys/kernel/debug/kvm";

/// Where a VM's statistics are, or why there are none.
#[derive(Debug, Clone)]
pub(super) struct Statistics(Reading<String>);

/// Exits from the guest, and the time that vCPU threads polled before they slept.
pub(super) type Exits = (Reading<u64>, Reading<Nanos>);

/// A VM's folder, which is named after the thread that made the VM and its file descriptor:
/// `4242-11`.
pub(super) fn folder(tree: &Tree, is_thread: impl Fn(u32) -> bool) -> Reading<String> {
    let folders = tree.list(STATISTICS);
    let folders = folders.map_err(|error| Absent::from_io(STATISTICS, Need::Root, &error))?;
    let owner = |folder: &String| {
        let (thread, _descriptor) = folder.split_once('-')?;
        u32::try_from(parse_number(thread.as_bytes())?).ok()
    };
    let found = folders.into_iter().find(|folder| owner(folder).is_some_and(&is_thread));
    let absent = Absent::NotFound(STATISTICS.into());
    found.map(|folder| format!("{STATISTICS}/{folder}")).ok_or(absent)
}

impl Statistics {
    /// Finds the VM's.
    pub(super) fn find(tree: &Tree, is_thread: impl Fn(u32) -> bool) -> Self {
        Self(folder(tree, is_thread))
    }

    pub(super) fn emulated() -> Self {
        Self(Err(Absent::NotApplicable("an emulated guest makes no exits".into())))
    }

    pub(super) fn read(&self, tree: &Tree) -> Exits {
        let folder = match &self.0 {
            Ok(folder) => folder,
            Err(absent) => return (Err(absent.clone()), Err(absent.clone())),
        };
        let value = |name: &str| {
            let path = format!("{folder}/{name}");
            tree.read_number(&path).ok_or(Absent::NotFound(path.into()))
        };
        let polled = value("halt_poll_success_ns")
            .and_then(|success| Ok(Nanos(success) + Nanos(value("halt_poll_fail_ns")?)));
        (value("exits"), polled)
    }
}
