//! Processes that serve one VM from beside its VMM: virtiofsd, passt, swtpm and vhost-user
//! backends, whoever started them (libvirt, Kata, a shell).

use super::command::Command;
use super::devices::sockets;
use crate::host::{Task, TaskTable, Tree, fields, lines, number};
use model::TaskId;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Programs that serve VMs by a unix socket, as the kernel shows their names: at most 15 bytes.
const PROGRAMS: [&str; 8] = [
    "virtiofsd",
    "nydusd",
    "passt",
    "passt.avx2",
    "swtpm",
    "qemu-storage-da",
    "nbdkit",
    "qemu-nbd",
];
/// How the names of vhost-user backends start.
const PREFIXES: [&str; 3] = ["vhost-user-", "vhost-device-", "vhost_user_"];

/// By what a VM's helpers are found.
#[derive(Debug, Default)]
struct Ties {
    /// Paths of unix sockets on its command line.
    sockets: BTreeSet<String>,
    /// The control group that its manager made for it.
    group: Option<String>,
}

/// A process that may serve a VM.
#[derive(Debug)]
struct Candidate {
    task: TaskId,
    /// Paths on its command line.
    paths: BTreeSet<String>,
    group: Option<String>,
}

/// The VMs that a path or group leads to.
type Clients<'a> = HashMap<&'a str, Vec<TaskId>>;

/// The helpers of all VMs.
#[derive(Debug, Default)]
pub(super) struct Helpers {
    vms: BTreeMap<TaskId, Ties>,
    candidates: HashMap<u32, Candidate>,
    owners: HashMap<TaskId, TaskId>,
    /// A VM or candidate has come or gone since the owners were found.
    stale: bool,
}

impl Helpers {
    /// Takes note of a VM that was examined.
    pub(super) fn met_vm(&mut self, tree: &Tree, task: TaskId) {
        self.forget(task.pid);
        if self.vms.contains_key(&task) {
            return;
        }
        let mut buffer = Vec::new();
        let line = tree.read_claim(&format!("/proc/{}/cmdline", task.pid), &mut buffer);
        let sockets = line.map(|line| Command(line).sockets()).unwrap_or_default();
        let group = group(tree, task.pid, &mut buffer);
        self.vms.insert(task, Ties { sockets, group });
        self.stale = true;
    }

    /// Takes note of a process that was examined and is not a VM.
    pub(super) fn met(&mut self, tree: &Tree, task: &Task) {
        let pid = task.id.pid;
        let name = task.name.as_str();
        if !PROGRAMS.contains(&name) && !PREFIXES.iter().any(|it| name.starts_with(it)) {
            self.forget(pid);
            return;
        }
        let mut buffer = Vec::new();
        let line = tree.read_claim(&format!("/proc/{pid}/cmdline"), &mut buffer);
        let paths = line.map(|line| Command(line).paths()).unwrap_or_default();
        let group = group(tree, pid, &mut buffer);
        self.candidates.insert(pid, Candidate { task: task.id, paths, group });
        self.stale |= !self.owners.contains_key(&task.id);
    }

    fn forget(&mut self, pid: u32) {
        self.stale |= self.candidates.remove(&pid).is_some();
    }

    /// Drops what has ended, and finds whom each helper serves where that may have changed.
    pub(super) fn settle(
        &mut self,
        tree: &Tree,
        table: &TaskTable,
        is_vm: impl Fn(TaskId) -> bool,
    ) {
        let before = self.vms.len() + self.candidates.len();
        self.vms.retain(|task, _| is_vm(*task));
        self.candidates.retain(|_, it| table.find(it.task).is_some());
        self.owners.retain(|helper, vm| table.find(*helper).is_some() && is_vm(*vm));
        self.stale |= self.vms.len() + self.candidates.len() != before;
        if std::mem::take(&mut self.stale) {
            let found = self.find(tree);
            self.owners.extend(found);
        }
    }

    /// The VM that a process serves.
    pub(super) fn owner(&self, helper: TaskId) -> Option<TaskId> {
        self.owners.get(&helper).copied()
    }

    /// Whom the helpers serve that have no owner yet: one that a VM has been connected to stays
    /// its helper, though it may close the socket by which it was found.
    ///
    /// Anyone can start a program of any name with any path on its command line; so where its
    /// files can be read it must hold a socket that is bound to the path. A helper of several
    /// VMs (as a storage daemon may be) belongs to none of them.
    fn find(&self, tree: &Tree) -> HashMap<TaskId, TaskId> {
        let unowned = |it: &&Candidate| !self.owners.contains_key(&it.task);
        let candidates: Vec<&Candidate> = self.candidates.values().filter(unowned).collect();
        if candidates.is_empty() || self.vms.is_empty() {
            return HashMap::new();
        }
        let (mut by_path, mut by_group) = (Clients::new(), Clients::new());
        for (task, ties) in &self.vms {
            for path in &ties.sockets {
                by_path.entry(path).or_default().push(*task);
            }
            if let Some(group) = &ties.group {
                by_group.entry(group).or_default().push(*task);
            }
        }
        let by_inode = self.bound(tree, &by_path);
        let owner = |candidate: &Candidate| {
            let mut owners: BTreeSet<TaskId> = BTreeSet::new();
            if let Some(inodes) = sockets(tree, candidate.task.pid) {
                owners.extend(inodes.iter().filter_map(|inode| by_inode.get(inode)).flatten());
            } else {
                let paths = candidate.paths.iter();
                owners.extend(paths.filter_map(|path| by_path.get(path.as_str())).flatten());
            }
            if owners.is_empty() {
                owners.extend(by_group.get(candidate.group.as_deref()?).into_iter().flatten());
            }
            owners.first().copied().filter(|_| owners.len() == 1)
        };
        let found = candidates.into_iter();
        found.filter_map(|candidate| Some((candidate.task, owner(candidate)?))).collect()
    }

    /// The VMs that connect to a socket, by the inodes of sockets that are bound to its path:
    /// the listening one and those that it accepted. A socket is listed in the network namespace
    /// in which it was made: the host's, or the VMM's.
    fn bound(&self, tree: &Tree, by_path: &Clients<'_>) -> HashMap<u64, Vec<TaskId>> {
        let mut found = HashMap::new();
        let pids = self.vms.keys().map(|task| task.pid.to_string());
        let mut seen = BTreeSet::new();
        let mut buffer = Vec::new();
        for process in std::iter::once("self".to_owned()).chain(pids) {
            let namespace = tree.link(&format!("/proc/{process}/ns/net")).ok();
            if !seen.insert(namespace) {
                continue;
            }
            let Ok(list) = tree.read(&format!("/proc/{process}/net/unix"), &mut buffer) else {
                continue;
            };
            for (inode, path) in lines(list).filter_map(parse_socket) {
                if let Some(vms) = by_path.get(path) {
                    found.insert(inode, vms.clone());
                }
            }
        }
        found
    }
}

/// A line of /proc/net/unix: `ffff…: 00000002 00000000 00010000 0001 01 28466 /run/x.sock`.
fn parse_socket(line: &[u8]) -> Option<(u64, &str)> {
    let mut words = fields(line);
    let inode = number(words.nth(6)?)?;
    // Abstract sockets (`@…`) have no path; white space is part of one.
    let path = line.iter().position(|byte| matches!(byte, b'/' | b'@'))?;
    Some((inode, std::str::from_utf8(line.get(path..)?).ok()?))
}

/// The control group that libvirt or Kata made for one VM and its helpers.
fn group(tree: &Tree, pid: u32, buffer: &mut Vec<u8>) -> Option<String> {
    parse_group(tree.read(&format!("/proc/{pid}/cgroup"), buffer).ok()?)
}

/// Lines of /proc/PID/cgroup: `0::/machine.slice/machine-qemu\x2d1\x2dweb.scope/libvirt/emulator`.
fn parse_group(list: &[u8]) -> Option<String> {
    lines(list).find_map(|line| {
        let path = std::str::from_utf8(line).ok()?.splitn(3, ':').nth(2)?;
        let mut made = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let in_overhead = made.ends_with("/kata_overhead");
            made = format!("{made}/{part}");
            let of_kata = part.starts_with("kata_") && part != "kata_overhead" || in_overhead;
            let of_libvirt = part.starts_with("machine-qemu") || part.ends_with(".libvirt-qemu");
            if of_kata || of_libvirt {
                return Some(made);
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostile::survives;

    const SOCKET: &[u8] =
        b"0000000000000000: 00000002 00000000 00010000 0001 01 28466 /run/a b.sock";
    const GROUP: &[u8] =
        b"1:name=systemd:/\n0::/machine.slice/machine-qemu\\x2d1\\x2dweb.scope/libvirt/emulator\n";

    #[test]
    fn a_socket_is_known_by_its_inode() {
        assert_eq!(parse_socket(SOCKET), Some((28466, "/run/a b.sock")));
        assert_eq!(parse_socket(b"0: 00000003 00000000 00000000 0001 03 28467"), None);
        assert_eq!(
            parse_socket(b"0: 00000003 00000000 00000000 0001 03 28467 @/x"),
            Some((28467, "@/x"))
        );
    }

    #[test]
    fn a_vms_own_control_group() {
        let group = |text: &[u8]| parse_group(text);
        let scope = "/machine.slice/machine-qemu\\x2d1\\x2dweb.scope";
        assert_eq!(group(GROUP).as_deref(), Some(scope));
        assert_eq!(
            group(b"3:cpu:/machine/qemu-1-web.libvirt-qemu/emulator\n").as_deref(),
            Some("/machine/qemu-1-web.libvirt-qemu")
        );
        assert_eq!(group(b"0::/kata_overhead/3fa\n").as_deref(), Some("/kata_overhead/3fa"));
        assert_eq!(group(b"0::/user.slice/user-0.slice/session-1.scope\n"), None);
    }

    #[test]
    fn hostile_input() {
        survives(SOCKET, |bytes| {
            let _ = parse_socket(bytes);
        });
        survives(GROUP, |bytes| {
            let _ = parse_group(bytes);
        });
    }
}
