//! A row per control group.

use super::counters::{Disks, Files, parse_value};
use super::hierarchy::Hierarchy;
use super::rows::{self, GroupRows, Row};
use super::vms::VmGroups;
use super::{name, pods};
use crate::host::{LinkCounters, NetDevices, Tree, lines, number, physical_disks};
use crate::source::Want;
use model::{Absent, Need, Nic, Platform, Reading, State, TaskId, Vm, VmId, Window};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

/// The owner of the network in which vmeter runs.
const HOST: &str = "the host";
/// Processes of one container that are looked at for one in a network of its own.
const MAX_LOOKED_AT: usize = 32;

/// The control groups of this host that get a row.
///
/// [`GroupRows`] says which. What a group without a row did itself, beside the groups below it,
/// is in no row.
#[derive(Debug)]
pub struct Groups {
    hierarchy: Hierarchy,
    rows: GroupRows,
    /// Pid → the place of its group's row.
    members: HashMap<u32, usize>,
    /// Names of the groups that had a row, with their inodes.
    names: HashMap<String, (u64, String)>,
    of_vms: VmGroups,
    networks: HashMap<PathBuf, String>,
    inside: NetDevices,
    buffer: Vec<u8>,
}

impl Groups {
    /// `None` where no control groups are mounted.
    #[must_use]
    pub fn open(tree: &Tree, rows: &GroupRows) -> Option<Self> {
        Some(Self {
            hierarchy: Hierarchy::find(tree)?,
            rows: rows.clone(),
            members: HashMap::new(),
            names: HashMap::new(),
            of_vms: VmGroups::default(),
            networks: HashMap::new(),
            inside: NetDevices::new(),
            buffer: Vec::new(),
        })
    }

    /// Reads all groups, in the order of their paths. `served` are the processes of VMs: their groups
    /// have no row, and beside VMs only containers have one, unless other rows were asked for.
    pub fn read(&mut self, tree: &Tree, served: &HashSet<TaskId>, want: Want) -> Vec<Vm> {
        self.members.clear();
        self.networks.clear();
        if let Some(ours) = network(tree, "self") {
            self.networks.insert(ours, HOST.to_owned());
        }
        let disks = physical_disks(tree, &mut self.buffer);
        let vms = self.of_vms.of(tree, &self.hierarchy, served);
        let mut rows = rows::find(tree, self.hierarchy.root(), &self.rows, &vms);
        if !served.is_empty() && self.rows == GroupRows::Automatic {
            rows.retain(|row| name::container(&row.path).is_some());
        }
        let mut vms = Vec::with_capacity(rows.len());
        for row in &rows {
            vms.extend(self.group(tree, row, vms.len(), &disks, want));
        }
        if self.names.len() > rows.len() {
            let has_row =
                |path: &str| rows.binary_search_by(|row| row.path.as_str().cmp(path)).is_ok();
            self.names.retain(|path, _| has_row(path));
        }
        vms
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
        row: &Row,
        place: usize,
        disks: &Disks,
        want: Want,
    ) -> Option<Vm> {
        let path = row.path.as_str();
        let inode = tree.inode(&format!("{}{path}", self.hierarchy.root())).ok()?;
        // Inodes of a saved tree are its copies', others at each moment of a series.
        let inode = if tree.is_live() { inode } else { 1 };
        let mut members = Members::default();
        for path in std::iter::once(&row.path).chain(&row.inside) {
            members.read(tree, self.hierarchy.root(), path, &mut self.buffer);
        }
        members.pids.sort_unstable();
        let populated = self.populated(tree, path, &members.pids);
        let unit = [".mount", ".swap", ".socket"].iter().any(|kind| path.ends_with(kind));
        if !populated && unit {
            return None;
        }
        self.members.extend(members.pids.iter().map(|pid| (*pid, place)));
        let name = self.name(tree, path, inode);
        let nics = self.nics(tree, path, &name, &members);
        let files = Files { tree, hierarchy: &self.hierarchy, path };
        let buffer = &mut self.buffer;
        let start = tree.now();
        let cpu = files.cpu(buffer);
        let window = Window { start, end: tree.now() };
        let none = |what: &'static str| Absent::NotApplicable(what.into());
        Some(Vm {
            id: VmId::Cgroup { path: path.to_owned(), inode },
            name,
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
                Err(Absent::NotProvided("not requested".into()))
            },
            nics,
            disks: files.disks(disks, buffer),
            exits: Err(none("a control group has no exits")),
            halt_poll: Err(none("a control group has no vCPUs")),
            cpupool: Err(none("only Xen has cpupools")),
            inside: Err(Absent::NotReported),
        })
    }

    /// Its name, with the pod that a container of Kubernetes is in: `crio:0123456789ab@web-1`.
    fn name(&mut self, tree: &Tree, path: &str, inode: u64) -> String {
        if let Some((_, name)) = self.names.get(path).filter(|(of, _)| *of == inode) {
            return name.clone();
        }
        let mut name = name::of(path);
        if let Some(pod) = pods::of(tree, path, &mut self.buffer) {
            name = format!("{name}@{pod}");
        }
        self.names.insert(path.to_owned(), (inode, name.clone()));
        name
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
    fn nics(
        &mut self,
        tree: &Tree,
        path: &str,
        name: &str,
        members: &Members,
    ) -> Reading<Vec<Nic>> {
        let (pid, namespace) = self.network_of(tree, path, members)?;
        if let Some(owner) = self.networks.get(&namespace) {
            let reason = if owner == HOST {
                "shares the host's network".into()
            } else {
                format!("shares the network of {owner}").into()
            };
            return Err(Absent::NotProvided(reason));
        }
        let devices = format!("/proc/{pid}/net/dev");
        let read = self.inside.refresh_from(tree, &devices);
        read.map_err(|error| Absent::from_io(&devices, Need::Ptrace, &error))?;
        self.networks.insert(namespace, name.to_owned());
        let nic = |(name, counters): (String, LinkCounters)| Nic {
            name,
            driver: 0,
            counters: Ok(counters.of_guest()),
        };
        Ok(self.inside.iter().filter(|(name, _)| name != "lo").map(nic).collect())
    }

    /// The process by which a group's network is found, and the network: of a container the one
    /// that its init has. Monitors that stand beside the container's processes have the host's.
    fn network_of(&self, tree: &Tree, path: &str, members: &Members) -> Reading<(u32, PathBuf)> {
        let first = members.init.or_else(|| members.pids.first().copied());
        let Some(first) = first else {
            return Err(Absent::NotProvided("the group has no process".into()));
        };
        let link = format!("/proc/{first}/ns/net");
        let namespace =
            tree.link(&link).map_err(|error| Absent::from_io(&link, Need::Ptrace, &error))?;
        let is_host =
            |namespace: &PathBuf| self.networks.get(namespace).is_some_and(|of| of == HOST);
        if is_host(&namespace) && members.init.is_none() && name::container(path).is_some() {
            let others = members.pids.iter().take(MAX_LOOKED_AT);
            let own = others
                .filter_map(|pid| Some((*pid, network(tree, &pid.to_string())?)))
                .find(|(_, namespace)| !is_host(namespace));
            return Ok(own.unwrap_or((first, namespace)));
        }
        Ok((first, namespace))
    }
}

fn network(tree: &Tree, process: &str) -> Option<PathBuf> {
    tree.link(&format!("/proc/{process}/ns/net")).ok()
}

/// The processes of a group and of all groups below it.
#[derive(Debug, Default)]
struct Members {
    pids: Vec<u32>,
    /// One in an `init.scope`: systemd as a container's init.
    init: Option<u32>,
}

impl Members {
    fn read(&mut self, tree: &Tree, root: &str, path: &str, buffer: &mut Vec<u8>) {
        if let Ok(bytes) = tree.read(&format!("{root}{path}/cgroup.procs"), buffer) {
            let before = self.pids.len();
            let pids = lines(bytes).filter_map(number);
            // 0 stands for a process that is not in our pid namespace.
            self.pids
                .extend(pids.filter_map(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0));
            if path.ends_with("/init.scope") && self.init.is_none() {
                self.init = self.pids.get(before).copied();
            }
        }
    }
}
