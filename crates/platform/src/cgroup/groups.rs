//! A row per control group.

use super::counters::{Disks, Files, parse_value};
use super::hierarchy::Hierarchy;
use super::name;
use crate::host::{LinkCounters, NetDevices, Tree, lines, number, physical_disks};
use crate::source::Want;
use model::{Absent, Need, Nic, Platform, Reading, State, Vm, VmId, Window};
use std::collections::HashMap;
use std::path::PathBuf;

/// Rows are groups this deep: `/system.slice/nginx.service`, `/docker/ID`.
const DEPTH: usize = 2;
/// Below `/kubepods…`, containers are in pods in classes of service.
const DEPTH_IN_PODS: usize = 4;
/// What is below that is no container.
const DEEPEST: usize = 32;

/// The control groups of this host that get a row.
///
/// A group as deep as a row has one, with all that is below it; a shallower one has one if no
/// group is below it. So none is in two rows. What a shallower group did itself, beside the
/// groups below it, is in no row.
#[derive(Debug)]
pub struct Groups {
    hierarchy: Hierarchy,
    /// Pid → the place of its group's row.
    members: HashMap<u32, usize>,
    networks: HashMap<PathBuf, String>,
    inside: NetDevices,
    buffer: Vec<u8>,
}

impl Groups {
    /// `None` where no control groups are mounted.
    #[must_use]
    pub fn open(tree: &Tree) -> Option<Self> {
        Some(Self {
            hierarchy: Hierarchy::find(tree)?,
            members: HashMap::new(),
            networks: HashMap::new(),
            inside: NetDevices::new(),
            buffer: Vec::new(),
        })
    }

    /// Reads all groups, in the order of their paths.
    pub fn read(&mut self, tree: &Tree, want: Want) -> Vec<Vm> {
        self.members.clear();
        self.networks.clear();
        if let Some(ours) = network(tree, "self") {
            self.networks.insert(ours, "the host".to_owned());
        }
        let disks = physical_disks(tree, &mut self.buffer);
        let mut paths = Vec::new();
        let root = self.hierarchy.root();
        for folder in folders(tree, root, "") {
            let depth = if folder.starts_with("/kubepods") { DEPTH_IN_PODS } else { DEPTH };
            rows(tree, root, folder, depth - 1, &mut paths);
        }
        paths.sort_unstable();
        let mut rows = Vec::with_capacity(paths.len());
        for path in &paths {
            rows.extend(self.group(tree, path, rows.len(), &disks, want));
        }
        rows
    }

    /// Where in the last reading the row of the group stands that the process is a member of.
    #[must_use]
    pub fn member_of(&self, pid: u32) -> Option<usize> {
        self.members.get(&pid).copied()
    }

    /// The row of a group at that place; `None` where the group is gone, or a unit of systemd
    /// without processes.
    fn group(
        &mut self,
        tree: &Tree,
        path: &str,
        place: usize,
        disks: &Disks,
        want: Want,
    ) -> Option<Vm> {
        let inode = tree.inode(&format!("{}{path}", self.hierarchy.root())).ok()?;
        let mut members = Vec::new();
        processes(tree, self.hierarchy.root(), path, DEEPEST, &mut members, &mut self.buffer);
        members.sort_unstable();
        let populated = self.populated(tree, path, &members);
        let unit = [".mount", ".swap", ".socket"].iter().any(|kind| path.ends_with(kind));
        if !populated && unit {
            return None;
        }
        self.members.extend(members.iter().map(|pid| (*pid, place)));
        let nics = self.nics(tree, path, &members);
        let files = Files { tree, hierarchy: &self.hierarchy, path };
        let buffer = &mut self.buffer;
        let start = tree.now();
        let cpu = files.cpu(buffer);
        let window = Window { start, end: tree.now() };
        let none = |what: &'static str| Absent::NotApplicable(what.into());
        Some(Vm {
            id: VmId::Cgroup { path: path.to_owned(), inode },
            name: name::of(path),
            platform: Platform::Cgroup,
            state: if populated { State::Running } else { State::Blocked },
            window,
            cpu,
            vcpu_count: files.cpus(buffer),
            vcpus: Err(none("a control group has no vCPUs")),
            backends: Vec::new(),
            memory: files.memory(buffer),
            memory_limit: if want.placement {
                files.memory_limit(buffer)
            } else {
                Err(Absent::NotProvided("not asked for".into()))
            },
            nics,
            disks: files.disks(disks, buffer),
            exits: Err(none("a control group makes no exits")),
            halt_poll: Err(none("a control group has no vCPUs")),
            cpupool: Err(none("only Xen has cpupools")),
            inside: Err(Absent::NotReported),
        })
    }

    /// Whether it holds a process. Those in pid namespaces that are not ours are not listed.
    fn populated(&mut self, tree: &Tree, path: &str, members: &[u32]) -> bool {
        let events = format!("{}{path}/cgroup.events", self.hierarchy.root());
        let events = tree.read_line(&events, &mut self.buffer).ok();
        match events.and_then(|events| parse_value(events, b"populated")) {
            Some(populated) => populated != 0,
            None => !members.is_empty(),
        }
    }

    /// The devices of the group's network namespace, unless it is the host's or that of
    /// another group, whose row has them.
    fn nics(&mut self, tree: &Tree, path: &str, members: &[u32]) -> Reading<Vec<Nic>> {
        let Some(pid) = members.first() else {
            return Err(Absent::NotProvided("the group has no process".into()));
        };
        let link = format!("/proc/{pid}/ns/net");
        let namespace =
            tree.link(&link).map_err(|error| Absent::from_io(&link, Need::Ptrace, &error))?;
        if let Some(owner) = self.networks.get(&namespace) {
            let reason = if owner == "the host" {
                "shares the host's network".into()
            } else {
                format!("shares the network of {owner}").into()
            };
            return Err(Absent::NotProvided(reason));
        }
        let devices = format!("/proc/{pid}/net/dev");
        let read = self.inside.refresh_from(tree, &devices);
        read.map_err(|error| Absent::from_io(&devices, Need::Ptrace, &error))?;
        self.networks.insert(namespace, name::of(path));
        let nic = |(name, counters): (String, LinkCounters)| Nic {
            name,
            driver: 0,
            counters: Ok(counters.of_guest()),
        };
        Ok(self.inside.iter().filter(|(name, _)| name != "lo").map(nic).collect())
    }
}

fn network(tree: &Tree, process: &str) -> Option<PathBuf> {
    tree.link(&format!("/proc/{process}/ns/net")).ok()
}

/// The groups right below `path`.
fn folders(tree: &Tree, root: &str, path: &str) -> Vec<String> {
    tree.folders(&format!("{root}{path}"))
        .unwrap_or_default()
        .into_iter()
        .map(|name| format!("{path}/{name}"))
        .collect()
}

/// `path` itself if nothing is below it, else what is below it, `deeper` levels down.
fn rows(tree: &Tree, root: &str, path: String, deeper: usize, found: &mut Vec<String>) {
    let below = if deeper == 0 { Vec::new() } else { folders(tree, root, &path) };
    if below.is_empty() {
        found.push(path);
    }
    for folder in below {
        rows(tree, root, folder, deeper - 1, found);
    }
}

/// Pids in the group and in all groups below it.
fn processes(
    tree: &Tree,
    root: &str,
    path: &str,
    deeper: usize,
    found: &mut Vec<u32>,
    buffer: &mut Vec<u8>,
) {
    if let Ok(bytes) = tree.read(&format!("{root}{path}/cgroup.procs"), buffer) {
        let pids = lines(bytes).filter_map(number);
        // 0 stands for a process that is not in our pid namespace.
        found.extend(pids.filter_map(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0));
    }
    if deeper > 0 {
        for folder in folders(tree, root, path) {
            processes(tree, root, &folder, deeper - 1, found, buffer);
        }
    }
}
