//! The VMs' network interfaces and disks, as dom0's Linux serves them.

use super::names::{Elsewhere, Names};
use super::threads::parse_vif;
use crate::host::{NetDevices, Tree};
use model::{Absent, Bytes, Disk, DiskCounters, Nic, Operations, Reading};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

/// Where the kernel lists its backends (`drivers/xen/xenbus/xenbus_probe_backend.c`).
pub(super) const BACKENDS: &str = "/sys/bus/xen-backend/devices";
/// Bytes of a sector in blkback's counters, whatever the disk's own.
const SECTOR: u64 = 512;
/// Disks whose counters' files are kept open: four files each, and a process may have 1024.
const KEPT_OPEN: usize = 64;

/// The backends that dom0 has, found out once and then only read.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    net: NetDevices,
    net_failed: Option<Absent>,
    /// The names that the mapping below was made for.
    interfaces: Vec<String>,
    vifs: BTreeMap<String, Vif>,
    disks: Vec<Backend>,
    disks_failed: Option<Absent>,
    buffer: Vec<u8>,
}

/// One network backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Vif {
    domain: u16,
    handle: u32,
    /// A tap of an emulated card, whose guest has not loaded a driver for the vif.
    emulated: bool,
}

/// One disk backend.
#[derive(Debug)]
struct Backend {
    name: String,
    domain: u16,
    /// rd_req, wr_req, rd_sect, wr_sect; none where the kernel does not serve it.
    files: Option<[Option<OwnedFd>; 4]>,
}

/// The files of a disk's counters, in the order of [`Backend::files`].
pub(super) const COUNTERS: [&str; 4] = ["rd_req", "wr_req", "rd_sect", "wr_sect"];

impl Devices {
    /// Reads the network's counters; looks for devices again where `anew`, where an interface
    /// came, went or was renamed, and always in a saved tree.
    pub(crate) fn refresh(&mut self, tree: &Tree, anew: bool) {
        let path = "/proc/net/dev";
        let read = self.net.refresh(tree);
        self.net_failed = read.err().map(|error| Absent::from_io(path, model::Need::Root, &error));
        let same = self.net.iter().map(|row| row.0).eq(self.interfaces.iter().cloned());
        if anew || !same || !tree.is_live() {
            self.interfaces = self.net.iter().map(|row| row.0).collect();
            let vif = |name: &String| Some((name.clone(), find_vif(tree, name)?));
            self.vifs = self.interfaces.iter().filter_map(vif).collect();
            self.find_disks(tree);
        }
    }

    fn find_disks(&mut self, tree: &Tree) {
        self.disks.clear();
        let listed = tree.list(BACKENDS);
        self.disks_failed = match &listed {
            // The bus is there with the first backend; no bus, no disk.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Some(Absent::from_io(BACKENDS, model::Need::Root, error))
            }
            _ => None,
        };
        for name in listed.unwrap_or_default() {
            let Some(domain) = parse_disk(&name) else { continue };
            let file = |counter| format!("{BACKENDS}/{name}/statistics/{counter}");
            let counted = tree.exists(&file(COUNTERS[0]));
            let keep = tree.is_live() && self.disks.len() < KEPT_OPEN;
            let open = |counter| tree.open_file(&file(counter)).ok().filter(|_| keep);
            let files = counted.then(|| COUNTERS.map(open));
            self.disks.push(Backend { name, domain, files });
        }
    }

    /// The domain whose backend an interface is.
    pub(crate) fn domain_of(&self, interface: &str) -> Option<u16> {
        self.vifs.get(interface).map(|vif| vif.domain)
    }

    /// The domains' network interfaces, those that another driver domain serves included.
    pub(crate) fn nics(&self, names: &Names) -> Reading<BTreeMap<u16, Vec<Nic>>> {
        if let Some(absent) = &self.net_failed {
            return Err(absent.clone());
        }
        let mut nics: BTreeMap<u16, Vec<Nic>> = BTreeMap::new();
        for (name, vif) in &self.vifs {
            let Some(link) = self.net.get(name) else { continue };
            let counters = link.of_backend();
            if vif.emulated && self.is_in_use(*vif) {
                continue;
            }
            let nic = Nic { name: name.clone(), driver: 0, counters: Ok(counters) };
            nics.entry(vif.domain).or_default().push(nic);
        }
        for Elsewhere { domain, driver, device, .. } in of_kind(names, "vif") {
            let counters =
                Err(Absent::NotProvided("vmeter does not run in its driver domain".into()));
            let nic = Nic { name: format!("vif{domain}.{device}"), driver: *driver, counters };
            nics.entry(*domain).or_default().push(nic);
        }
        Ok(nics)
    }

    /// Whether the vif beside an emulated card has carried traffic. An HVM guest uses one of
    /// the two, and its broadcasts, which a bridge sends to both, count once.
    fn is_in_use(&self, emulated: Vif) -> bool {
        let vif = Vif { emulated: false, ..emulated };
        let name = self.vifs.iter().find(|row| *row.1 == vif).map(|row| row.0);
        let link = name.and_then(|name| self.net.get(name));
        link.is_some_and(|link| link.rx_packets + link.tx_packets > 0)
    }

    /// The domains' disks, those that another driver domain serves included.
    pub(crate) fn disks(
        &mut self,
        tree: &Tree,
        names: &Names,
    ) -> Reading<BTreeMap<u16, Vec<Disk>>> {
        if let Some(absent) = &self.disks_failed {
            return Err(absent.clone());
        }
        let mut disks: BTreeMap<u16, Vec<Disk>> = BTreeMap::new();
        for backend in &self.disks {
            let counters = backend.read(tree, &mut self.buffer);
            let disk = Disk { name: backend.name.clone(), driver: 0, counters };
            disks.entry(backend.domain).or_default().push(disk);
        }
        for Elsewhere { domain, driver, device, .. } in of_kind(names, "vbd") {
            let counters = uncounted("vmeter does not run in its driver domain");
            let disk = Disk { name: format!("vbd-{domain}-{device}"), driver: *driver, counters };
            disks.entry(*domain).or_default().push(disk);
        }
        Ok(disks)
    }
}

fn of_kind<'a>(names: &'a Names, kind: &'a str) -> impl Iterator<Item = &'a Elsewhere> {
    names.elsewhere.iter().filter(move |device| device.kind == kind)
}

fn uncounted(why: &'static str) -> DiskCounters {
    let absent = Absent::NotProvided(why.into());
    DiskCounters {
        reads: Err(absent.clone()),
        writes: Err(absent.clone()),
        read_bytes: Err(absent.clone()),
        write_bytes: Err(absent),
    }
}

impl Backend {
    fn read(&self, tree: &Tree, buffer: &mut Vec<u8>) -> DiskCounters {
        let Some(files) = &self.files else {
            return uncounted("a process, not the kernel, serves this disk, and does not count");
        };
        let mut counter = |at: usize| -> Reading<u64> {
            let path = || format!("{BACKENDS}/{}/statistics/{}", self.name, COUNTERS[at]);
            let bytes = match &files[at] {
                Some(file) => crate::host::read_again(file, buffer),
                None => tree.read_line(&path(), buffer),
            };
            let bytes = bytes.map_err(|error| match error.raw_os_error() {
                // The device went away under the open file.
                Some(19) => Absent::Ended,
                _ => Absent::from_io(&path(), model::Need::Root, &error),
            })?;
            crate::host::number(bytes).ok_or_else(|| Absent::Malformed(path().into()))
        };
        let sectors = |sectors: u64| Bytes(sectors.saturating_mul(SECTOR));
        DiskCounters {
            reads: counter(0).map(Operations),
            writes: counter(1).map(Operations),
            read_bytes: counter(2).map(sectors),
            write_bytes: counter(3).map(sectors),
        }
    }
}

/// Whose backend an interface is: its device knows, whatever it is called; a tap, which is no
/// device of Xen's, can be told by its name alone.
fn find_vif(tree: &Tree, name: &str) -> Option<Vif> {
    if let Ok(node) = tree.read_text(&format!("/sys/class/net/{name}/device/nodename")) {
        let (domain, handle) = parse_nodename(&node)?;
        return Some(Vif { domain, handle, emulated: false });
    }
    let (bare, emulated) = match name.strip_suffix("-emu") {
        Some(bare) => (bare, true),
        None => (name, false),
    };
    let (domain, handle) = parse_vif(bare)?;
    Some(Vif { domain, handle, emulated })
}

/// `backend/vif/DOMAIN/HANDLE`.
fn parse_nodename(node: &str) -> Option<(u16, u32)> {
    let (domain, handle) = node.strip_prefix("backend/vif/")?.split_once('/')?;
    Some((domain.parse().ok()?, handle.parse().ok()?))
}

/// The domain in `KIND-DOMAIN-DEVICE`, of the kinds that are disks.
fn parse_disk(name: &str) -> Option<u16> {
    let mut words = name.split('-');
    words.next().filter(|kind| ["vbd", "tap", "vbd3", "qdisk"].contains(kind))?;
    let domain = words.next()?.parse().ok()?;
    words.next().map(|_| domain)
}

#[cfg(test)]
#[path = "devices_tests.rs"]
mod tests;
