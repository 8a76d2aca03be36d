//! Exits and halt polling, from KVM's statistics in debugfs.

use crate::host::{Kept, Tree, number, parse_number};
use model::{Absent, Nanos, Need, Reading};

const STATISTICS: &str = "/sys/kernel/debug/kvm";

/// Where a VM's statistics are, or why there are none.
#[derive(Debug)]
pub(super) struct Statistics {
    folder: Reading<String>,
    exits: Kept,
    polled: Kept,
    polled_in_vain: Kept,
}

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
        Self::of(folder(tree, is_thread))
    }

    pub(super) fn emulated() -> Self {
        Self::of(Err(Absent::NotApplicable("an emulated guest has no exits".into())))
    }

    fn of(folder: Reading<String>) -> Self {
        let (exits, polled) = (Kept::default(), Kept::default());
        Self { folder, exits, polled, polled_in_vain: Kept::default() }
    }

    pub(super) fn read(&mut self, tree: &Tree, buffer: &mut Vec<u8>) -> Exits {
        let folder = match &self.folder {
            Ok(folder) => folder,
            Err(absent) => return (Err(absent.clone()), Err(absent.clone())),
        };
        let mut value = |file: &mut Kept, name: &str| {
            let path = || format!("{folder}/{name}");
            let read = file.read(tree, path, buffer).ok().and_then(number);
            read.ok_or_else(|| Absent::NotFound(path().into()))
        };
        let exits = value(&mut self.exits, "exits");
        let polled = value(&mut self.polled, "halt_poll_success_ns").and_then(|success| {
            let in_vain = value(&mut self.polled_in_vain, "halt_poll_fail_ns")?;
            Ok(Nanos(success) + Nanos(in_vain))
        });
        (exits, polled)
    }
}
