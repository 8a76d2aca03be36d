//! A VM's network interfaces, found by the files that its VMM holds open.

use crate::host::{LinkCounters, NetDevices, Tree, fields, lines, parse_number, text};
use model::{Absent, Need, Nic, Reading};
use std::collections::BTreeSet;

/// No VMM holds more files than this that are of interest.
const MOST_FILES: usize = 4096;

/// What a VMM's open files tell.
#[derive(Debug, Clone)]
pub(super) struct OpenFiles {
    /// One of them is a VM of KVM.
    pub vm: bool,
    /// The VM's tap and macvtap devices.
    pub taps: BTreeSet<String>,
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
    for number in numbers.into_iter().take(MOST_FILES) {
        // One that was closed meanwhile is of no interest.
        let Ok(target) = tree.link(&format!("{folder}/{number}")) else { continue };
        let Some(target) = target.to_str() else { continue };
        if target == "anon_inode:kvm-vm" {
            found.vm = true;
        } else if target == "/dev/net/tun" {
            let mut buffer = Vec::new();
            let info = tree.read(&format!("/proc/{pid}/fdinfo/{number}"), &mut buffer);
            found.taps.extend(info.ok().and_then(parse_tap));
        } else if let Some(index) = target.strip_prefix("/dev/tap") {
            found.taps.extend(macvtap(tree, index));
        }
    }
    Ok(found)
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
    Some(numbers.into_iter().take(MOST_FILES).filter_map(inode).collect())
}

/// The line `iff:\tNAME` of a tap's fdinfo.
fn parse_tap(info: &[u8]) -> Option<String> {
    let name = lines(info).find_map(|line| line.strip_prefix(b"iff:"))?;
    Some(text(fields(name).next()?))
}

/// The device whose interface index is `index`: `/dev/tapN` is that of a macvtap.
fn macvtap(tree: &Tree, index: &str) -> Option<String> {
    let index = parse_number(index.as_bytes())?;
    let names = tree.list("/sys/class/net").ok()?;
    names
        .into_iter()
        .find(|name| tree.read_number(&format!("/sys/class/net/{name}/ifindex")) == Some(index))
}

/// The network interfaces of a VM.
#[derive(Debug)]
pub(super) struct Nics {
    taps: Reading<BTreeSet<String>>,
    /// Devices of the VMM's own network namespace, where it has one.
    elsewhere: Option<(String, NetDevices)>,
}

impl Nics {
    /// The VMM's taps, and the network namespace in which they are.
    pub(super) fn find(tree: &Tree, pid: u32, files: &Reading<OpenFiles>) -> Self {
        let taps = match files {
            Ok(files) if files.taps.is_empty() => Err(Absent::NotProvided(
                "no tap device: user-mode networking, vhost-user or none".into(),
            )),
            Ok(files) => Ok(files.taps.clone()),
            Err(absent) => Err(absent.clone()),
        };
        let namespace = |of: &str| tree.link(&format!("/proc/{of}/ns/net")).ok();
        let elsewhere = taps.is_ok() && {
            let (ours, its) = (namespace("self"), namespace(&pid.to_string()));
            ours.is_some() && its.is_some() && ours != its
        };
        let elsewhere = elsewhere.then(|| (format!("/proc/{pid}/net/dev"), NetDevices::new()));
        Self { taps, elsewhere }
    }

    /// Their counters now. A device that was renamed or removed is absent until it is found
    /// again.
    pub(super) fn read(&mut self, tree: &Tree, host: &NetDevices) -> Reading<Vec<Nic>> {
        let taps = self.taps.as_ref().map_err(Clone::clone)?;
        let devices = match &mut self.elsewhere {
            Some((path, devices)) => {
                let read = devices.refresh_from(tree, path);
                read.map_err(|error| Absent::from_io(path, Need::Ptrace, &error))?;
                devices
            }
            None => host,
        };
        let nic = |name: &String| Nic {
            name: name.clone(),
            driver: 0,
            counters: devices
                .get(name)
                .map(LinkCounters::of_backend)
                .ok_or_else(|| Absent::NotFound(format!("network device {name}").into())),
        };
        Ok(taps.iter().map(nic).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::survives;

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
