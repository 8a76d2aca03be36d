//! Which of dom0's tasks serve one VM alone.
//!
//! Kernel threads tell by their name. netback (`drivers/net/xen-netback/interface.c`):
//! `IFACE-qN-guest-rx`, `IFACE-qN-dealloc`, before Linux 3.16 `IFACE-guest-rx`, and
//! `IFACE-control` for a while; threaded NAPI: `napi/IFACE-ID`. blkback
//! (`drivers/block/xen-blkback/xenbus.c`): `DOMAIN.DEVICE-RING`, before Linux 4.5
//! `blkback.DOMAIN.DEVICE`. Before Linux 5.17 names are cut to 15 bytes.

use crate::host::{Task, Tree};
use model::TaskId;
use std::collections::BTreeMap;

/// Finds the domain that a task serves.
#[derive(Debug, Default)]
pub(crate) struct Servants {
    /// QEMU processes and the domain in their command line, which does not change.
    emulators: BTreeMap<TaskId, Option<u16>>,
    buffer: Vec<u8>,
}

impl Servants {
    /// The domain that the task serves alone. `vif` tells whose backend an interface is,
    /// `tapdisks` whom such a process serves.
    pub(crate) fn served_by(
        &mut self,
        task: &Task,
        tree: &Tree,
        vif: impl Fn(&str) -> Option<u16>,
        tapdisks: &BTreeMap<u32, u16>,
    ) -> Option<u16> {
        // Any user's process may call itself vif1.0-q0-guest-rx: only the kernel's are
        // believed by their name.
        if task.kernel {
            let block = blkback_domain(&task.name);
            return block.or_else(|| interface_of(&task.name).and_then(vif_or_name(vif)));
        }
        if task.name.starts_with("tapdisk") {
            return tapdisks.get(&task.id.pid).copied();
        }
        if !task.name.starts_with("qemu") {
            return None;
        }
        if let Some(known) = self.emulators.get(&task.id) {
            return *known;
        }
        let path = format!("/proc/{}/cmdline", task.id.pid);
        let domain = tree.read_claim(&path, &mut self.buffer).ok().and_then(emulated_domain);
        self.emulators.insert(task.id, domain);
        domain
    }

    /// Forgets processes that have ended.
    pub(crate) fn keep(&mut self, lives: impl Fn(TaskId) -> bool) {
        self.emulators.retain(|id, _| lives(*id));
    }
}

/// An interface's domain: as sysfs tells it (it may have been renamed), else by its name.
fn vif_or_name(vif: impl Fn(&str) -> Option<u16>) -> impl Fn(&str) -> Option<u16> {
    move |interface| vif(interface).or_else(|| parse_vif(interface).map(|vif| vif.0))
}

/// The interface that a netback or NAPI thread is named for.
fn interface_of(name: &str) -> Option<&str> {
    if let Some(napi) = name.strip_prefix("napi/") {
        return napi.rsplit_once('-').map(|(interface, _)| interface);
    }
    // The job's name may be cut short, the number of the queue as well.
    let job = ["-guest-rx", "-dealloc", "-control"].into_iter().find_map(|job| {
        (1..=job.len()).rev().find_map(|length| name.strip_suffix(job.get(..length)?))
    });
    let queue = job.unwrap_or(name).rsplit_once("-q");
    let interface = queue.filter(|(_, queue)| is_number(queue)).map(|(interface, _)| interface);
    interface.or(job)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `1.xvda-0`, `blkback.1.xvda`.
fn blkback_domain(name: &str) -> Option<u16> {
    let name = name.strip_prefix("blkback.").unwrap_or(name);
    let (domain, device) = name.split_once('.')?;
    (is_number(domain) && !device.is_empty()).then(|| domain.parse().ok())?
}

/// The domain and handle in `vifDOMAIN.HANDLE`.
pub(crate) fn parse_vif(name: &str) -> Option<(u16, u32)> {
    let (domain, handle) = name.strip_prefix("vif")?.split_once('.')?;
    (is_number(domain) && is_number(handle))
        .then(|| Some((domain.parse().ok()?, handle.parse().ok()?)))?
}

/// The domain in a QEMU's command line: `-xen-domid N`.
fn emulated_domain(cmdline: &[u8]) -> Option<u16> {
    let mut words = cmdline.split(|byte| *byte == 0);
    words.find(|word| *word == b"-xen-domid" || *word == b"--xen-domid")?;
    std::str::from_utf8(words.next()?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostile::survives;
    use model::Nanos;

    fn served(name: &str, kernel: bool) -> Option<u16> {
        let task = Task {
            id: TaskId { pid: 812, start: 1 },
            name: name.into(),
            kernel,
            parent: 2,
            state: b'S',
            threads: 1,
            resident: 0,
            cpu: Nanos(0),
            children: Nanos(0),
        };
        let tree = Tree::open(std::path::Path::new("/")).expect("the live tree");
        let vif = |name: &str| (name == "web").then_some(7);
        Servants::default().served_by(&task, &tree, vif, &BTreeMap::from([(812, 5)]))
    }

    #[test]
    fn the_kernels_threads_tell_whom_they_serve() {
        for (name, domain) in [
            ("vif1.0-q0-guest-rx", 1),
            ("vif1.0-q0-guest", 1),
            ("vif1.0-q0-gues", 1),
            ("vif12.0-q11-gue", 12),
            ("vif12.10-q11-de", 12),
            ("vif12.10-q110-", 12),
            ("vif123.0-q0-dea", 123),
            ("vif3.1-q1-dealloc", 3),
            ("vif3.1-dealloc", 3),
            ("vif3.1-guest-rx", 3),
            ("vif3.1-control", 3),
            ("napi/vif4.0-8193", 4),
            ("web-q0-guest-rx", 7),
            ("web-q12", 7),
            ("1.xvda-0", 1),
            ("31.sda1-3", 31),
            ("blkback.2.xvda", 2),
        ] {
            assert_eq!(served(name, true), Some(domain), "{name}");
            assert_eq!(served(name, false), None, "a user's process may call itself {name}");
        }
    }

    #[test]
    fn other_threads_serve_nobody_alone() {
        for name in [
            "kworker/0:1-events",
            "ksoftirqd/0",
            "xenwatch",
            "loop0",
            "napi/eth0-12",
            "vif",
            "vif1",
            "irq/9-acpi",
            "jbd2/xvda1-8",
            "mail-q0-guest-rx",
            "1.",
            ".1",
            "-",
            "",
        ] {
            assert_eq!(served(name, true), None, "{name}");
        }
    }

    #[test]
    fn tapdisks_and_emulators_are_told_by_other_means() {
        assert_eq!(served("tapdisk", false), Some(5));
        let line = b"/usr/bin/qemu-system-i386\0-xen-domid\x005\0-name\0g1\0";
        assert_eq!(emulated_domain(line), Some(5));
        assert_eq!(emulated_domain(b"qemu\0-xen-domid"), None);
        assert_eq!(emulated_domain(b"qemu\0-name\0-xen\0"), None);
    }

    #[test]
    fn hostile_input() {
        for sample in ["vif12.0-q11-guest-rx", "blkback.1.xvda-0", "napi/vif1.0-12"] {
            survives(sample.as_bytes(), |bytes| {
                let name = String::from_utf8_lossy(bytes);
                let _ = (interface_of(&name), blkback_domain(&name), parse_vif(&name));
            });
        }
        survives(b"qemu\0-xen-domid\x005\0", |bytes| {
            let _ = emulated_domain(bytes);
        });
    }
}
