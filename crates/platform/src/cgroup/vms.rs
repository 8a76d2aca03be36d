//! The control groups in which VMs run: a VM's row has their time, so they get none of their own.

use super::hierarchy::Hierarchy;
use crate::host::{Tree, lines};
use model::TaskId;
use std::collections::{HashMap, HashSet};

/// A process that was there at this many readings is asked for its group again: it may be moved.
const EVERY: u32 = 16;

/// The groups of the processes that are VMs or serve one.
#[derive(Debug, Default)]
pub(super) struct VmGroups {
    known: HashMap<TaskId, (String, u32)>,
    buffer: Vec<u8>,
}

impl VmGroups {
    /// The groups of these processes, by their paths below the hierarchy's root.
    pub(super) fn of(
        &mut self,
        tree: &Tree,
        hierarchy: &Hierarchy,
        served: &HashSet<TaskId>,
    ) -> HashSet<String> {
        self.known.retain(|task, _| served.contains(task));
        for task in served {
            let known = self.known.entry(*task).or_default();
            if known.1.is_multiple_of(EVERY) {
                let path = format!("/proc/{}/cgroup", task.pid);
                let list = tree.read(&path, &mut self.buffer).unwrap_or_default();
                known.0 = parse(list, hierarchy).unwrap_or_default();
            }
            known.1 = known.1.wrapping_add(1);
        }
        let paths = self.known.values().map(|(path, _)| path);
        paths.filter(|path| !path.is_empty()).cloned().collect()
    }
}

/// The group in the lines of /proc/PID/cgroup, `0::/a/b` or `4:cpu,cpuacct:/a/b`; `None` for the
/// root.
fn parse(list: &[u8], hierarchy: &Hierarchy) -> Option<String> {
    lines(list).find_map(|line| {
        let mut parts = std::str::from_utf8(line).ok()?.splitn(3, ':');
        let (number, mut controllers) = (parts.next()?, parts.next()?.split(','));
        let ours = match hierarchy {
            Hierarchy::Unified { .. } => number == "0",
            Hierarchy::Split { .. } => controllers.any(|controller| controller == "cpuacct"),
        };
        let path = parts.next().filter(|_| ours)?;
        Some(whole(path)).filter(|path| *path != "/").map(str::to_owned)
    })
}

/// libvirt divides a VM's group among its threads: `…/libvirt/emulator`, `…/libvirt/vcpu0`, on
/// version 1 `…/emulator`.
fn whole(path: &str) -> &str {
    let path = path.strip_suffix("/emulator").unwrap_or(path);
    path.strip_suffix("/libvirt").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostile::survives;

    fn unified() -> Hierarchy {
        Hierarchy::Unified { root: "/sys/fs/cgroup".into() }
    }

    #[test]
    fn a_vms_group_is_the_one_that_holds_all_its_threads() {
        let split = Hierarchy::Split {
            cpuacct: "/x".into(),
            cpu: None,
            cpuset: None,
            memory: None,
            blkio: None,
        };
        let scope = "/machine.slice/machine-qemu\\x2d1\\x2dweb.scope";
        let list = format!(
            "4:cpu,cpuacct:/machine/web.libvirt-qemu/emulator\n0::{scope}/libvirt/emulator\n"
        );
        assert_eq!(parse(list.as_bytes(), &unified()).as_deref(), Some(scope));
        assert_eq!(parse(list.as_bytes(), &split).as_deref(), Some("/machine/web.libvirt-qemu"));
        let plain = |list: &[u8]| parse(list, &unified());
        assert_eq!(plain(b"0::/qemu.slice/100.scope\n").as_deref(), Some("/qemu.slice/100.scope"));
        assert_eq!(plain(b"0::/\n"), None);
        assert_eq!(plain(b"1:name=systemd:/a\n"), None);
    }

    #[test]
    fn hostile_input() {
        survives(b"4:cpu,cpuacct:/a/emulator\n0::/b/libvirt/emulator\n", |bytes| {
            let _ = parse(bytes, &unified());
        });
    }
}
