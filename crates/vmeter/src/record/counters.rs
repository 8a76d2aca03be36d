//! The cumulative counters at both ends of a recording: what they say of the same time as its
//! samples.

use crate::args::ReadArgs;
use crate::cpu::moments;
use ::record::{Recording, Writer};
use account::{Usage, VmUsage};
use anyhow::Result;
use model::{Nanos, Platform, Reading, Snapshot};
use platform::{Choice, OpenError, Source, Want};
use std::collections::BTreeMap;
use std::path::Path;

/// The recording's file.
const FILE: &str = "counters.jsonl";
/// The largest that is read.
const LARGEST: usize = 64 << 20;
const WANT: Want = Want { vcpus: true, placement: false, exact_idle: true };

/// Counters that can be read.
pub struct Counters {
    source: Box<dyn Source>,
    begin: Option<Snapshot>,
}

impl Counters {
    /// Of the VMs and their host; of a machine without VMs, of itself.
    pub fn open(read: &ReadArgs) -> Result<Self> {
        let source = match read.open() {
            Err(OpenError::NotHere { .. }) => platform::open(Choice::Alone, "/".as_ref())?,
            opened => opened?,
        };
        Ok(Self { source, begin: None })
    }

    /// Reads them now.
    pub fn read(&mut self) -> Result<Snapshot> {
        Ok(self.source.read(WANT)?)
    }

    /// Reads them at the begin. Where that is not possible they are not in the recording.
    pub fn begin(&mut self) {
        self.begin = self.read().ok();
    }

    /// Keeps what was read at the begin, and this, which was read at the end.
    pub fn end(&self, end: &Snapshot, writer: &mut Writer) -> Result<()> {
        if let Some(begin) = &self.begin {
            writer.keep(FILE, moments::lines(&[begin, end])?.as_bytes())?;
        }
        Ok(())
    }
}

/// Busy time of the host and of each VM of a recording by its counters, for what its samples of
/// them are of (equation 4.8's B): nothing where it has none.
pub fn busy(recording: &Recording) -> profile::summary::Counters {
    let text = recording.kept(FILE, LARGEST).unwrap_or_default();
    let Ok((begin, end)) = moments::read(&text[..], Path::new(FILE)) else {
        return profile::summary::Counters::default();
    };
    account::usage(&begin, &end).map(|usage| by_name(&usage)).unwrap_or_default()
}

fn by_name(usage: &Usage) -> profile::summary::Counters {
    let vms: BTreeMap<String, Reading<Nanos>> =
        usage.vms.iter().map(|vm| (vm.name.clone(), sampled(vm))).collect();
    let domain = usage.vms.iter().any(|vm| vm.platform == Platform::Xen);
    let host = match usage.drivers.first() {
        // Samples of Domain-0's are of its own time.
        Some(driver) if domain => driver.total.clone(),
        _ => usage.host.busy.clone().map(|busy| {
            let theirs = vms.values().filter_map(|time| time.as_ref().ok());
            theirs.fold(busy, |left, time| left.saturating_sub(*time))
        }),
    };
    profile::summary::Counters { host: Some(host), vms }
}

/// The part of a VM's time that is sampled as its own: a domain's; on KVM what its vCPUs' threads
/// and those that serve it alone used, too.
fn sampled(vm: &VmUsage) -> Reading<Nanos> {
    let guest = vm.cpu.guest.clone();
    if vm.platform == Platform::Xen {
        return guest;
    }
    let more = [&vm.cpu.vmm, &vm.cpu.io_direct].into_iter().filter_map(|part| part.as_ref().ok());
    guest.map(|guest| more.fold(guest, |sum, part| sum + *part))
}
