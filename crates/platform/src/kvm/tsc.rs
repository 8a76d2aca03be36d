//! How a guest's time stamp counter goes by the host's, from KVM's debugfs.

use super::exits;
use crate::host::Tree;
use model::{Absent, Need, Reading, TscOffset};
use std::path::Path;

/// A guest's counter, to be read again and again: a guest may set it, and a migration does.
#[derive(Debug)]
pub struct GuestCounter {
    tree: Tree,
    /// The VM's folder in debugfs.
    folder: String,
}

impl GuestCounter {
    /// Of the VM of a process, on the machine below `root`.
    ///
    /// # Errors
    /// Where debugfs may not be read, or has no such VM.
    pub fn find(root: &Path, pid: u32) -> Reading<Self> {
        let failed = |path: &str, error| Absent::from_io(path, Need::Root, &error);
        let shown = root.display().to_string();
        let tree = Tree::open(root).map_err(|error| failed(&shown, error))?;
        let tasks = format!("/proc/{pid}/task");
        let mut threads = Vec::new();
        tree.list_numbers(&tasks, &mut threads).map_err(|error| failed(&tasks, error))?;
        let folder = exits::folder(&tree, |tid| threads.contains(&tid))?;
        Ok(Self { tree, folder })
    }

    /// What holds now; none where its vCPUs' counters differ, or on another architecture.
    ///
    /// # Errors
    /// Where debugfs may not be read, or tells nothing of counters.
    pub fn read(&self) -> Reading<TscOffset> {
        let folders = self.tree.folders(&self.folder);
        let folders = folders.map_err(|e| Absent::from_io(&self.folder, Need::Root, &e))?;
        let vcpus = folders.iter().filter(|name| name.starts_with("vcpu"));
        let mut all = vcpus.map(|name| self.of_vcpu(name));
        let first = all.next().unwrap_or_else(|| Err(Absent::NotFound("vcpu0".into())))?;
        for other in all {
            if other? != first {
                return Err(Absent::NotApplicable("the vCPUs' time stamp counters differ".into()));
            }
        }
        Ok(first)
    }

    fn of_vcpu(&self, vcpu: &str) -> Reading<TscOffset> {
        let text = |name: &str| {
            let path = format!("{}/{vcpu}/{name}", self.folder);
            self.tree.read_text(&path).map_err(|error| Absent::from_io(&path, Need::Root, &error))
        };
        let bad = |text: &str| Absent::Malformed(text.to_owned().into());
        let offset = text("tsc-offset")?;
        let offset = offset.parse().map_err(|_| bad(&offset))?;
        // Without these files the CPU cannot scale.
        match (text("tsc-scaling-ratio"), text("tsc-scaling-ratio-frac-bits")) {
            (Ok(ratio), Ok(fraction)) => Ok(TscOffset {
                offset,
                ratio: ratio.parse().map_err(|_| bad(&ratio))?,
                fraction: fraction.parse().map_err(|_| bad(&fraction))?,
            }),
            (Err(Absent::NotFound(_)), Err(Absent::NotFound(_))) => {
                Ok(TscOffset { offset, ratio: 1, fraction: 0 })
            }
            (Err(absent), _) | (_, Err(absent)) => Err(absent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_vm_is_found_by_its_threads_and_its_vcpus_must_agree() {
        let place = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = place.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("proc/700/task/701/comm", "CPU 0/KVM\n");
        let find = || GuestCounter::find(place.path(), 700);
        assert!(matches!(find(), Err(Absent::NotFound(_))));
        put("sys/kernel/debug/kvm/600-9/vcpu0/tsc-offset", "-1\n");
        assert!(matches!(find(), Err(Absent::NotFound(_))));
        put("sys/kernel/debug/kvm/701-11/vcpu0/tsc-offset", "-123456789012\n");
        let counter = find().unwrap();
        let offset = -123_456_789_012;
        assert_eq!(counter.read(), Ok(TscOffset { offset, ratio: 1, fraction: 0 }));
        put("sys/kernel/debug/kvm/701-11/vcpu0/tsc-scaling-ratio", "4294967296\n");
        put("sys/kernel/debug/kvm/701-11/vcpu0/tsc-scaling-ratio-frac-bits", "32\n");
        assert_eq!(counter.read(), Ok(TscOffset { offset, ratio: 1 << 32, fraction: 32 }));
        put("sys/kernel/debug/kvm/701-11/vcpu1/tsc-offset", "-123456789013\n");
        assert!(matches!(counter.read(), Err(Absent::NotApplicable(_))));
        put("sys/kernel/debug/kvm/701-11/vcpu1/tsc-offset", "none\n");
        assert!(matches!(counter.read(), Err(Absent::Malformed(_))));
    }
}
