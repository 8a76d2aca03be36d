//! Saving a live Xen host, so that it can be read again elsewhere.

use super::abi::DomainInfo;
use super::store::{Client, Store, record as record_store};
use super::{Dialect, OpenError, privcmd, release, transcript, understand};
use crate::host::Tree;
use std::io;
use std::path::Path;

/// What the Xen reader reads once, besides processes, devices and Xen itself.
const FILES: [&str; 19] = [
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/net/snmp",
    "/proc/net/snmp6",
    "/proc/schedstat",
    "/proc/softirqs",
    "/proc/stat",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/kernel/random/boot_id",
    "/proc/uptime",
    "/proc/xen/capabilities",
    "/sys/hypervisor/properties/features",
    "/sys/hypervisor/type",
    "/sys/hypervisor/version/extra",
    "/sys/hypervisor/version/major",
    "/sys/hypervisor/version/minor",
    "/proc/config.gz",
    "/proc/cmdline",
];
/// Levels of `/local/domain/N/backend/KIND/DOMAIN/DEVICE/KEY` below `backend`.
const BACKEND_DEPTH: usize = 4;

/// Saves this Xen host's counters as they are now into `folder`, which is made where it is
/// not there: a tree that [`super::open`] reads, or one moment (`at-0`) of a series.
///
/// # Errors
/// Where Xen cannot be asked or a file cannot be written; files of /proc and /sys that are
/// not there are left out, as they are on the live system.
pub fn capture(folder: &Path) -> Result<(), OpenError> {
    let failed = |error: io::Error| OpenError::Unusable {
        what: folder.display().to_string(),
        why: error.to_string(),
        action: "use a directory that can be written",
    };
    let tree = Tree::open(Path::new("/")).map_err(failed)?;
    std::fs::create_dir_all(folder.join("xen")).map_err(failed)?;
    let mut xen = privcmd::Privcmd::open().map_err(|error| super::no_device(&error))?;
    let (Dialect { interface, stride, .. }, _) = understand(&mut xen, release(&tree)?)?;
    // The moment is Xen's: its answers are the counters that rates are computed from.
    let (now, unix) = (tree.now().0, tree.moment().unix.0);
    let domains = transcript::record(&mut xen, interface, stride, &folder.join("xen"))
        .map_err(|error| super::unusable(&error))?;
    let text = format!("monotonic_ns {now}\nunix_ns {unix}\n");
    files::write(&folder.join("vmeter-moment"), text.as_bytes()).map_err(failed)?;
    save_store(&domains, &folder.join("xen/xenstore")).map_err(failed)?;
    let copy = Copy { tree: &tree, folder };
    copy.processes().and_then(|()| copy.devices()).map_err(failed)?;
    FILES.iter().try_for_each(|path| copy.file(path)).map_err(failed)?;
    let kernel = tree.read_text("/proc/sys/kernel/osrelease").unwrap_or_default();
    copy.file(&format!("/boot/config-{kernel}")).map_err(failed)
}

/// Names and backends, as far as xenstore lets them be read.
fn save_store(domains: &[DomainInfo], path: &Path) -> io::Result<()> {
    let mut lines = String::new();
    if let Ok(mut store) = Client::connect() {
        let store: &mut dyn Store = &mut store;
        for domain in domains {
            let domain = format!("/local/domain/{}", domain.id);
            let _ = record_store(store, &format!("{domain}/name"), 0, &mut lines);
            let _ = record_store(store, &format!("{domain}/backend"), BACKEND_DEPTH, &mut lines);
        }
    }
    files::write(path, lines.as_bytes())
}

/// Copies files of a tree below a folder, under the same paths.
struct Copy<'a> {
    tree: &'a Tree,
    folder: &'a Path,
}

impl Copy<'_> {
    /// One file; none where it is not there or cannot be read.
    fn file(&self, path: &str) -> io::Result<()> {
        let mut bytes = Vec::new();
        if self.tree.read(path, &mut bytes).is_err() {
            return Ok(());
        }
        self.save(path, &bytes)
    }

    /// What a process says of itself, as far as it is read.
    fn claim(&self, path: &str) -> io::Result<()> {
        let mut bytes = Vec::new();
        match self.tree.read_claim(path, &mut bytes) {
            Ok(_) => self.save(path, &bytes),
            Err(_) => Ok(()),
        }
    }

    fn save(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let to = self.folder.join(path.trim_start_matches('/'));
        if let Some(parent) = to.parent() {
            files::make_folders(parent)?;
        }
        files::write(&to, bytes)
    }

    /// Every process's `stat` and its threads' times, and QEMU's command lines.
    fn processes(&self) -> io::Result<()> {
        let (mut pids, mut tids) = (Vec::new(), Vec::new());
        self.tree.list_numbers("/proc", &mut pids)?;
        for pid in pids {
            let _ = self.tree.list_numbers(&format!("/proc/{pid}/task"), &mut tids);
            for tid in &tids {
                self.file(&format!("/proc/{pid}/task/{tid}/schedstat"))?;
            }
            self.file(&format!("/proc/{pid}/stat"))?;
            let name = self.tree.read_text(&format!("/proc/{pid}/comm")).unwrap_or_default();
            if name.starts_with("qemu") {
                self.claim(&format!("/proc/{pid}/cmdline"))?;
            }
        }
        Ok(())
    }

    /// Whose backends the network interfaces are, and the disks' counters.
    fn devices(&self) -> io::Result<()> {
        for name in self.tree.list("/sys/class/net").unwrap_or_default() {
            self.file(&format!("/sys/class/net/{name}/device/nodename"))?;
        }
        let bus = super::devices::BACKENDS;
        for name in self.tree.list(bus).unwrap_or_default() {
            self.file(&format!("{bus}/{name}/nodename"))?;
            for counter in super::devices::COUNTERS {
                self.file(&format!("{bus}/{name}/statistics/{counter}"))?;
            }
        }
        Ok(())
    }
}
