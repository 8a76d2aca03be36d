//! What this machine's kernel lets be sampled, and on which CPUs.

use crate::kernel;
use model::Cpus;
use perf_event_open_sys::bindings::{PERF_COUNT_SW_DUMMY, PERF_TYPE_SOFTWARE, perf_event_attr};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::fs;
use std::path::Path;

/// PERF_FORMAT_LOST.
pub(crate) const FORMAT_LOST: u64 = 1 << 4;

/// What came into kernels later than perf itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Features {
    /// Maps with build ids, since Linux 5.12.
    pub build_id: bool,
    /// How much an event lost (PERF_FORMAT_LOST), since Linux 6.0.
    pub lost: bool,
}

impl Features {
    /// Tries each on an event that counts nothing. Only a kernel that knows a feature not says
    /// EINVAL; where another error comes in the way, opening the real events will meet it too.
    pub(crate) fn of_this_kernel() -> Self {
        let knows = |set: fn(&mut perf_event_attr)| {
            let mut attr = perf_event_attr::default();
            attr.type_ = PERF_TYPE_SOFTWARE;
            attr.config = u64::from(PERF_COUNT_SW_DUMMY);
            attr.size = u32::try_from(size_of::<perf_event_attr>()).unwrap_or_default();
            attr.set_exclude_kernel(1);
            attr.set_disabled(1);
            set(&mut attr);
            let invalid = Some(Errno::INVAL.raw_os_error());
            kernel::open(&attr, 0, None).err().is_none_or(|error| error.raw_os_error() != invalid)
        };
        Self {
            build_id: knows(|attr| {
                attr.set_mmap(1);
                attr.set_mmap2(1);
                attr.set_build_id(1);
            }),
            lost: knows(|attr| attr.read_format = FORMAT_LOST),
        }
    }
}

fn setting(name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?;
    Some(text.trim().to_owned())
}

/// kernel.perf_event_paranoid, as it is to be shown.
pub(crate) fn paranoid() -> String {
    setting("perf_event_paranoid").unwrap_or_else(|| "unknown".to_owned())
}

/// Samples a second that the kernel lets one CPU take.
pub(crate) fn most_samples() -> u64 {
    setting("perf_event_max_sample_rate")
        .and_then(|text| text.parse().ok())
        .unwrap_or(100_000)
        .max(1)
}

/// Raises the number of files that may be open as far as it goes: whether that is any further.
pub(crate) fn more_files() -> bool {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return false;
    }
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).is_ok()
}

/// The online CPUs of the machine below `root`; none where that is not reported.
pub(crate) fn online(root: &Path) -> Vec<u32> {
    let text = fs::read_to_string(root.join("sys/devices/system/cpu/online"));
    Cpus::parse(&text.unwrap_or_default()).unwrap_or_default().iter().collect()
}
