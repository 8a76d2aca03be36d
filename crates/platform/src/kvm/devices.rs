//! A VM's network interfaces, found by the files that its VMM holds open.
//!
//! A file's path proves nothing, as any user can make a `/dev/tap2` of any kind: on a live system the
//! descriptor itself must be the device.

use super::tun;
use crate::host::{LinkCounters, NetDevices, Tree, fields, lines, parse_number, text};
use model::{Absent, Need, Nic, Reading};
use std::collections::{BTreeMap, BTreeSet};

/// Maximum number of a VMM's files that are looked at.
const MAX_FILES: usize = 4096;

/// A tap or macvtap device that a VMM holds, by what tells it from all others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tap {
    /// Its name in its network namespace.
    pub name: String,
    pub place: Place,
}

/// The network namespace of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// That of this program.
    Host,
    /// That of a process; the namespace's inode number.
    Of(u64),
    /// One of which no process is known.
    Elsewhere,
}

/// What a VMM's open files tell.
#[derive(Debug, Clone)]
pub(super) struct OpenFiles {
    /// One of them is a VM of KVM.
    pub vm: bool,
    /// The VM's tap and macvtap devices.
    pub taps: BTreeSet<Tap>,
}

/// Looks through the files that a process holds open.
///
/// # Errors
/// Not permitted: files of other users' processes need CAP_SYS_PTRACE.
pub(super) fn open_files(tree: &Tree, pid: u32) -> Reading<OpenFiles> {
    let folder = format!("/proc/{pid}/fd");
    let refused = |error| Absent::from_io(&folder, Need::Ptrace, &error);
    let mut numbers = Vec::new();
    tree.list_numbers(&folder, &mut numbers).map_err(refused)?;
    let mut found = OpenFiles { vm: false, taps: BTreeSet::new() };
    let search = Search { tree, pid, ours: namespace(tree, "self"), its: namespace(tree, pid) };
    for number in numbers.into_iter().take(MAX_FILES) {
        // One that was closed meanwhile is of no interest.
        let Ok(target) = tree.link(&format!("{folder}/{number}")) else { continue };
        match target.to_str() {
            Some("anon_inode:kvm-vm") => found.vm = true,
            Some(path) if path.starts_with('/') => found.taps.extend(search.tap(number, path)),
            _ => {}
        }
    }
    Ok(found)
}

/// The inode number of a process's network namespace.
fn namespace(tree: &Tree, process: impl std::fmt::Display) -> Option<u64> {
    let link = tree.link(&format!("/proc/{process}/ns/net")).ok()?;
    let inode = link.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?;
    parse_number(inode.as_bytes())
}

/// A search among the files of one process.
struct Search<'a> {
    tree: &'a Tree,
    pid: u32,
    /// The network namespaces of this program and of the process.
    ours: Option<u64>,
    its: Option<u64>,
}

impl Search<'_> {
    /// The device that a descriptor holds, whose file has this path.
    fn tap(&self, number: u32, path: &str) -> Option<Tap> {
        if !self.tree.is_live() {
            return match path.strip_prefix("/dev/tap") {
                Some(index) => self.saved_macvtap(index),
                None if path == "/dev/net/tun" => self.tun(number),
                None => None,
            };
        }
        let device = self.tree.device(&format!("/proc/{}/fd/{number}", self.pid)).ok()??;
        if device == tun::DEVICE { self.tun(number) } else { self.macvtap(device) }
    }

    fn tun(&self, number: u32) -> Option<Tap> {
        let mut buffer = Vec::new();
        let info = self.tree.read(&format!("/proc/{}/fdinfo/{number}", self.pid), &mut buffer);
        let name = parse_tap(info.ok()?)?;
        let namespace =
            if self.tree.is_live() { tun::namespace(self.pid, number).ok() } else { None };
        // Where the kernel does not tell, it is most likely the VMM's own.
        Some(Tap { name, place: namespace.map_or(self.own(), |inode| self.place(inode)) })
    }

    /// The macvtap of a device number. `/sys/dev/char` has those of all namespaces,
    /// `/sys/class/net` those of this program's.
    fn macvtap(&self, (major, minor): (u32, u32)) -> Option<Tap> {
        let link = self.tree.link(&format!("/sys/dev/char/{major}:{minor}")).ok()?;
        let (device, character) = link.to_str()?.rsplit_once("/macvtap/")?;
        let name = device.rsplit('/').next()?;
        let numbers = self.tree.read_text(&format!("/sys/class/net/{name}/{character}/dev"));
        let is_here = numbers.is_ok_and(|numbers| numbers == format!("{major}:{minor}"));
        let place = match self.own() {
            _ if is_here => Place::Host,
            Place::Host => Place::Elsewhere,
            own => own,
        };
        Some(Tap { name: name.to_owned(), place })
    }

    /// In a saved tree: the device whose interface index is `index`, where that index is of the
    /// namespace whose devices the tree has.
    fn saved_macvtap(&self, index: &str) -> Option<Tap> {
        let index = parse_number(index.as_bytes())?;
        let is_it = |name: &String| {
            self.tree.read_number(&format!("/sys/class/net/{name}/ifindex")) == Some(index)
        };
        match self.own() {
            Place::Host => {
                let name = self.tree.list("/sys/class/net").ok()?.into_iter().find(is_it)?;
                Some(Tap { name, place: Place::Host })
            }
            _ => Some(Tap { name: format!("tap{index}"), place: Place::Elsewhere }),
        }
    }

    /// The process's own namespace.
    fn own(&self) -> Place {
        match (self.ours, self.its) {
            (Some(ours), Some(its)) if ours != its => Place::Of(its),
            _ => Place::Host,
        }
    }

    fn place(&self, inode: u64) -> Place {
        if Some(inode) == self.ours {
            Place::Host
        } else if Some(inode) == self.its {
            Place::Of(inode)
        } else {
            Place::Elsewhere
        }
    }
}

/// Adds the devices that the processes beside a VMM hold for it (crosvm's device processes).
pub(super) fn join(files: &mut Reading<OpenFiles>, of_device: Reading<OpenFiles>) {
    let Ok(all) = files else { return };
    match of_device {
        Ok(device) => all.taps.extend(device.taps),
        // There may be others, but none is known.
        Err(absent) if all.taps.is_empty() => *files = Err(absent),
        Err(_) => {}
    }
}

/// The inodes of the sockets that a process holds; `None` where its files may not be read.
pub(super) fn sockets(tree: &Tree, pid: u32) -> Option<BTreeSet<u64>> {
    let folder = format!("/proc/{pid}/fd");
    let mut numbers = Vec::new();
    tree.list_numbers(&folder, &mut numbers).ok()?;
    let inode = |number: u32| {
        let target = tree.link(&format!("{folder}/{number}")).ok()?;
        let inode = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        parse_number(inode.as_bytes())
    };
    Some(numbers.into_iter().take(MAX_FILES).filter_map(inode).collect())
}

/// The line `iff:\tNAME` of a tap's fdinfo.
fn parse_tap(info: &[u8]) -> Option<String> {
    let name = lines(info).find_map(|line| line.strip_prefix(b"iff:"))?;
    Some(text(fields(name).next()?))
}

/// The network interfaces of a VM.
#[derive(Debug)]
pub(super) struct Nics {
    taps: Reading<BTreeSet<Tap>>,
    /// Taps that are of another VM, by its process.
    refused: BTreeMap<Tap, u32>,
    /// Devices of the VMM's own network namespace, where it has one.
    elsewhere: Option<(String, NetDevices)>,
}

impl Nics {
    /// The VMM's taps.
    pub(super) fn find(pid: u32, files: &Reading<OpenFiles>) -> Self {
        let taps = match files {
            Ok(files) if files.taps.is_empty() => Err(Absent::NotProvided(
                "no tap device: user-mode networking, vhost-user or none".into(),
            )),
            Ok(files) => Ok(files.taps.clone()),
            Err(absent) => Err(absent.clone()),
        };
        let is_elsewhere = |tap: &Tap| matches!(tap.place, Place::Of(_));
        let elsewhere = taps.as_ref().is_ok_and(|taps| taps.iter().any(is_elsewhere));
        let elsewhere = elsewhere.then(|| (format!("/proc/{pid}/net/dev"), NetDevices::new()));
        Self { taps, refused: BTreeMap::new(), elsewhere }
    }

    /// Gives each device that it holds to one VM: the first that asks has it. `pid` is this VM's.
    pub(super) fn claim(&mut self, pid: u32, owners: &mut BTreeMap<Tap, u32>) {
        self.refused.clear();
        for tap in self.taps.iter().flatten() {
            // Devices of unknown namespaces have no counters to be shared.
            if tap.place == Place::Elsewhere {
                continue;
            }
            let owner = *owners.entry(tap.clone()).or_insert(pid);
            if owner != pid {
                self.refused.insert(tap.clone(), owner);
            }
        }
    }

    /// Their counters now. A device that was renamed or removed is absent until it is found
    /// again.
    pub(super) fn read(&mut self, tree: &Tree, host: &NetDevices) -> Reading<Vec<Nic>> {
        let taps = self.taps.as_ref().map_err(Clone::clone)?;
        if let Some((path, devices)) = &mut self.elsewhere {
            let read = devices.refresh_from(tree, path);
            read.map_err(|error| Absent::from_io(path, Need::Ptrace, &error))?;
        }
        let elsewhere = self.elsewhere.as_ref().map(|(_, devices)| devices);
        let own: Vec<&Tap> = taps.iter().filter(|tap| !self.refused.contains_key(tap)).collect();
        if let (true, Some((tap, owner))) = (own.is_empty(), self.refused.first_key_value()) {
            return Err(Absent::NotProvided(
                format!("network device {} belongs to the VM of process {owner}", tap.name).into(),
            ));
        }
        let nic = |tap: &Tap| Nic {
            name: tap.name.clone(),
            driver: 0,
            counters: counters(tap, host, elsewhere),
        };
        Ok(own.into_iter().map(nic).collect())
    }
}

fn counters(
    tap: &Tap,
    host: &NetDevices,
    elsewhere: Option<&NetDevices>,
) -> Reading<model::NicCounters> {
    let devices = match tap.place {
        Place::Host => Some(host),
        Place::Of(_) => elsewhere,
        Place::Elsewhere => None,
    };
    let unknown = || {
        Absent::NotProvided(
            "the device is in a network namespace of neither the host nor the VMM".into(),
        )
    };
    devices
        .ok_or_else(unknown)?
        .get(&tap.name)
        .map(LinkCounters::of_backend)
        .ok_or_else(|| Absent::NotFound(format!("network device {}", tap.name).into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostile::survives;

    const INFO: &[u8] = b"pos:\t0\nflags:\t0104002\nmnt_id:\t25\nino:\t9\niff:\ttap0\n";

    #[test]
    fn a_taps_name_stands_in_its_fdinfo() {
        assert_eq!(parse_tap(INFO).as_deref(), Some("tap0"));
        assert_eq!(parse_tap(b"pos:\t0\niff:\n"), None);
    }

    #[test]
    fn hostile_input() {
        survives(INFO, |bytes| {
            let _ = parse_tap(bytes);
        });
    }
}
