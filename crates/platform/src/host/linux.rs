//! The counters of this Linux that belong to no process.

use super::table::tick;
use super::tree::Tree;
use super::{clock, idle, irqtime, load, process, stat};
use crate::host::text::{fields, parse_number};
use model::{
    Absent, Bytes, Driver, Host, LoadKinds, Nanos, Need, OwnOperations, Reading, SelfUse, Tasks,
    Window,
};

/// Reads this Linux; keeps what does not change while it runs.
#[derive(Debug)]
pub struct Linux {
    release: String,
    irq_time_accounting: Reading<bool>,
    buffer: Vec<u8>,
}

impl Linux {
    /// Reads what does not change.
    #[must_use]
    pub fn new(tree: &Tree) -> Self {
        Self {
            release: tree.read_text("/proc/sys/kernel/osrelease").unwrap_or_default(),
            irq_time_accounting: irqtime::read(tree),
            buffer: Vec::new(),
        }
    }

    /// `Linux 6.1.0`.
    #[must_use]
    pub fn system(&self) -> String {
        format!("Linux {}", self.release).trim_end().to_owned()
    }

    /// Whether interrupt time is accounted apart from threads' time.
    ///
    /// # Errors
    /// Where the kernel's configuration is not to be found.
    pub fn irq_time_accounting(&self) -> Reading<bool> {
        self.irq_time_accounting.clone()
    }

    /// The machine as this Linux sees it. On Xen that is the driver domain's view only.
    ///
    /// `exact` reads idle time to the nanosecond where it may (root), at a cost that grows with
    /// the CPUs and their timers.
    pub fn host(&mut self, tree: &Tree, exact: bool) -> Host {
        let mut host = self.by_ticks(tree);
        if exact {
            if tree.is_live() {
                idle::run_everywhere(host.cpus);
            }
            let start = tree.now();
            let read = tree.read("/proc/timer_list", &mut self.buffer).ok().and_then(idle::parse);
            let each = read.filter(|each| host.idle.is_ok() && each.len() == host.cpus as usize);
            if let Some(each) = each {
                host.window = Window { start, end: tree.now() };
                host.idle = Ok(each.iter().copied().sum());
                host.idle_each = Ok(each);
                host.idle_step = process::ticks(1, tick(tree));
            }
        }
        host
    }

    fn by_ticks(&mut self, tree: &Tree) -> Host {
        let start = tree.now();
        let read = tree.read("/proc/stat", &mut self.buffer);
        let window = Window { start, end: tree.now() };
        let cpus = match read {
            Ok(bytes) => stat::parse_stat(bytes)
                .ok_or(Absent::Malformed("/proc/stat has no line of all CPUs".into())),
            Err(error) => Err(Absent::from_io("/proc/stat", Need::Root, &error)),
        };
        Host {
            window,
            cpus: cpus.as_ref().map_or(0, |cpus| cpus.online),
            steal: steal(&cpus, tree),
            idle: cpus.map(|cpus| process::ticks(cpus.idle, tick(tree))),
            // Idle and iowait, each cut to a tick.
            idle_step: process::ticks(2, tick(tree)),
            idle_each: Err(Absent::NotProvided("not requested".into())),
            system: self.system(),
            irq_time_accounting: self.irq_time_accounting.clone(),
            memory: self.memory(tree),
        }
    }

    /// Memory that this Linux manages (MemTotal).
    pub fn memory(&mut self, tree: &Tree) -> Reading<Bytes> {
        let path = "/proc/meminfo";
        let bytes = tree.read(path, &mut self.buffer);
        let bytes = bytes.map_err(|error| Absent::from_io(path, Need::Root, &error))?;
        stat::parse_meminfo(bytes, b"MemTotal")
            .ok_or(Absent::Malformed("/proc/meminfo has no MemTotal".into()))
    }

    /// Time in interrupts and softirqs.
    ///
    /// # Errors
    /// Where `/proc/stat` does not tell.
    pub fn interrupts(&mut self, tree: &Tree) -> Reading<Nanos> {
        let path = "/proc/stat";
        let bytes = tree.read(path, &mut self.buffer);
        let bytes = bytes.map_err(|error| Absent::from_io(path, Need::Root, &error))?;
        stat::parse_interrupts(bytes)
            .map(|count| process::ticks(count, tick(tree)))
            .ok_or(Absent::NotProvided("/proc/stat has no irq and softirq".into()))
    }

    /// What its interrupt work was about, and the I/O operations that it did for itself.
    pub fn io(&mut self, tree: &Tree) -> (Reading<LoadKinds>, Reading<OwnOperations>) {
        load::read(tree, &mut self.buffer)
    }

    /// The host as the driver domain of KVM's VMs and of containers. `host` is what
    /// [`Linux::host`] has just read.
    pub fn driver(&mut self, tree: &Tree, host: &Host, tasks: Reading<Tasks>) -> Driver {
        let start = tree.now();
        let (load, own) = self.io(tree);
        let interrupts = self.interrupts(tree);
        Driver {
            id: 0,
            name: "host".to_owned(),
            window: Window { start, end: tree.now() },
            cpu: Err(Absent::NotApplicable("a host's time follows from its idle time".into())),
            vcpus: match &host.idle {
                Ok(_) => Ok(host.cpus),
                Err(absent) => Err(absent.clone()),
            },
            vcpu_rows: Err(Absent::NotApplicable("the host's Linux has no vCPUs".into())),
            memory: host.memory.clone(),
            tasks,
            load,
            own,
            interrupts,
        }
    }

    /// What vmeter itself has used; of the live system also where a saved tree is read.
    pub fn me(&mut self) -> SelfUse {
        SelfUse { cpu: clock::own(), rss: own_memory().unwrap_or_default() }
    }
}

fn steal(cpus: &Reading<stat::Cpus>, tree: &Tree) -> Reading<Nanos> {
    let steal = cpus.as_ref().map_err(Clone::clone)?.steal;
    steal
        .map(|steal| process::ticks(steal, tick(tree)))
        .ok_or(Absent::NotProvided("/proc/stat has no steal".into()))
}

/// Resident memory from /proc/self/statm.
fn own_memory() -> Option<Bytes> {
    let text = std::fs::read("/proc/self/statm").ok()?;
    parse_resident(&text, rustix::param::page_size() as u64)
}

/// The second number of a `statm` file, resident pages.
pub(crate) fn parse_resident(statm: &[u8], page: u64) -> Option<Bytes> {
    Some(Bytes(parse_number(fields(statm).nth(1)?)?.saturating_mul(page)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostile::survives;
    use std::path::Path;

    #[test]
    fn the_live_host_is_read() {
        let tree = Tree::open(Path::new("/")).unwrap();
        let mut linux = Linux::new(&tree);
        let host = linux.host(&tree, false);
        assert!(host.cpus >= 1 && host.idle.is_ok() && host.memory.is_ok(), "{host:?}");
        assert!(host.system.starts_with("Linux "));
        let driver = linux.driver(&tree, &host, Err(Absent::Appeared));
        assert!(driver.load.is_ok() && driver.own.is_ok(), "{driver:?}");
        let me = linux.me();
        assert!(me.cpu > Nanos::ZERO && me.rss > Bytes::ZERO);
    }

    #[test]
    fn resident_memory_is_the_second_number() {
        assert_eq!(parse_resident(b"765 393 300 1 0 1 0\n", 4096), Some(Bytes(393 * 4096)));
        survives(b"765 393 300 1 0 1 0\n", |bytes| {
            let _ = parse_resident(bytes, 4096);
        });
    }
}
