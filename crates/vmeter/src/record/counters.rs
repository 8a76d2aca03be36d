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
const LARGEST: u64 = 256 << 20;
const WANT: Want = Want { vcpus: true, placement: false, exact_idle: true };

/// Counters that can be read.
pub struct Counters(Box<dyn Source>);

/// Counters that were read at the begin.
pub struct Begun {
    counters: Counters,
    begin: Snapshot,
}

impl Counters {
    /// Of the VMs and their host; of a machine without VMs, of itself.
    pub fn open(read: &ReadArgs) -> Result<Self> {
        Ok(Self(match read.open() {
            Err(OpenError::NotHere { .. }) => platform::open(Choice::Alone, "/".as_ref())?,
            opened => opened?,
        }))
    }

    /// Reads them now.
    pub fn read(&mut self) -> Result<Snapshot> {
        Ok(self.0.read(WANT)?)
    }

    /// Reads them at the begin. Where that is not possible they are not in the recording.
    pub fn begin(mut self) -> Option<Begun> {
        let begin = self.read().ok()?;
        Some(Begun { counters: self, begin })
    }
}

impl Begun {
    /// Reads them at the end, where that is possible, and keeps both.
    pub fn end(mut self, writer: &mut Writer) -> Result<()> {
        if let Ok(end) = self.counters.read() {
            writer.keep(FILE, moments::lines(&[&self.begin, &end])?.as_bytes())?;
        }
        Ok(())
    }
}

/// Busy time of the host and of each VM of a recording by its counters, for what its samples of
/// them are of (equation 4.8's B): nothing where it has none.
pub fn busy(recording: &Recording) -> BTreeMap<String, Reading<Nanos>> {
    let text = recording.kept(FILE, LARGEST).unwrap_or_default();
    let Ok((begin, end)) = moments::read(&text[..], Path::new(FILE)) else {
        return BTreeMap::new();
    };
    account::usage(&begin, &end).map(|usage| by_name(&usage)).unwrap_or_default()
}

fn by_name(usage: &Usage) -> BTreeMap<String, Reading<Nanos>> {
    let mut found: BTreeMap<String, Reading<Nanos>> =
        usage.vms.iter().map(|vm| (vm.name.clone(), sampled(vm))).collect();
    let domain = usage.vms.iter().any(|vm| vm.platform == Platform::Xen);
    let host = match usage.drivers.first() {
        // Samples of Domain-0's are of its own time.
        Some(driver) if domain => driver.total.clone(),
        _ => usage.host.busy.clone().map(|busy| {
            let theirs = found.values().filter_map(|time| time.as_ref().ok());
            theirs.fold(busy, |left, time| left.saturating_sub(*time))
        }),
    };
    found.insert("host".to_owned(), host);
    found
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
