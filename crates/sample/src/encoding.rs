//! What an event's name is to the kernel: its type and config (perf_event_open(2)).

use crate::Error;
use crate::processor::Processor;
use crate::sysfs;
use perf_event_open_sys::bindings;
use std::path::Path;

/// An event, as perf_event_attr says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Encoding {
    /// perf_event_attr.type.
    pub kind: u32,
    /// perf_event_attr.config, config1 and config2.
    pub config: [u64; 3],
    /// The period where none is given.
    pub period: u64,
    /// Whether the period is nanoseconds.
    pub is_time: bool,
    /// Whether no program can run without it.
    pub is_in_any_loop: bool,
}

/// A clock's usual period, 1 ms: as a thousand samples a second.
const CLOCK_PERIOD: u64 = 1_000_000;
/// The dissertation's: it costs 0.25 % (section 5.2).
const CYCLES_PERIOD: u64 = 10_000_000;
/// Of what happens some hundred times less often than cycles.
const MISSES_PERIOD: u64 = 100_000;

const HARDWARE: u32 = bindings::PERF_TYPE_HARDWARE;
pub(crate) const SOFTWARE: u32 = bindings::PERF_TYPE_SOFTWARE;
const CACHE: u32 = bindings::PERF_TYPE_HW_CACHE;
const RAW: u32 = bindings::PERF_TYPE_RAW;

impl Encoding {
    /// The one that stands in for an event that cannot be counted here.
    pub(crate) fn cpu_clock() -> Self {
        Self::software(0, CLOCK_PERIOD)
    }

    fn of(kind: u32, config: u64, period: u64) -> Self {
        Self { kind, config: [config, 0, 0], period, is_time: false, is_in_any_loop: false }
    }

    /// An event that any program counts.
    fn basic(config: u64, period: u64) -> Self {
        Self { is_in_any_loop: true, ..Self::of(HARDWARE, config, period) }
    }

    fn software(config: u64, period: u64) -> Self {
        let is_time = config <= u64::from(bindings::PERF_COUNT_SW_TASK_CLOCK);
        Self { is_time, ..Self::of(SOFTWARE, config, period) }
    }

    /// Whether the kernel itself makes it, without counters of the CPU.
    pub(crate) fn is_software(&self) -> bool {
        self.kind == SOFTWARE
    }

    /// Whether it counts the cycles of a CPU.
    pub(crate) fn is_cycles(&self) -> bool {
        (self.kind, self.config[0]) == (HARDWARE, 0)
    }

    /// The event of this name, on the machine below `root`; `None` where no code of it is known
    /// for the processor: one that a CPU has not would count something else, as x86 masks it.
    ///
    /// # Errors
    /// [`Error::NoEvent`].
    pub(crate) fn named(name: &str, root: &Path) -> Result<Option<Self>, Error> {
        let miss_of = |cache: u32| u64::from(cache) | 1 << 16;
        let raw = |code| Self::of(RAW, code, MISSES_PERIOD);
        Ok(Some(match name {
            "cycles" | "cpu-cycles" => Self::basic(0, CYCLES_PERIOD),
            "instructions" => Self::basic(1, CYCLES_PERIOD),
            "cache-references" => Self::of(HARDWARE, 2, MISSES_PERIOD),
            "cache-misses" => Self::of(HARDWARE, 3, MISSES_PERIOD),
            "branches" => Self::basic(4, MISSES_PERIOD),
            "branch-misses" => Self::of(HARDWARE, 5, MISSES_PERIOD),
            "llc-misses" => match Processor::of(root).llc_misses() {
                Some(code) => raw(code),
                None => Self::of(CACHE, miss_of(bindings::PERF_COUNT_HW_CACHE_LL), MISSES_PERIOD),
            },
            "dtlb-misses" => {
                Self::of(CACHE, miss_of(bindings::PERF_COUNT_HW_CACHE_DTLB), MISSES_PERIOD)
            }
            "l2-misses" => return Ok(Processor::of(root).l2_misses().map(raw)),
            "cpu-clock" => Self::software(0, CLOCK_PERIOD),
            "task-clock" => Self::software(1, CLOCK_PERIOD),
            "page-faults" => Self::software(2, 1),
            "context-switches" => Self::software(3, 1),
            "cpu-migrations" => Self::software(4, 1),
            _ => Self::coded(name, root).ok_or_else(|| Error::NoEvent(name.to_owned()))?,
        }))
    }

    /// `r01c2` or `pmu/…/`.
    fn coded(name: &str, root: &Path) -> Option<Self> {
        if let Some(code) = name.strip_prefix('r') {
            let known =
                (1..=16).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_hexdigit());
            if known {
                return Some(Self::of(RAW, u64::from_str_radix(code, 16).ok()?, MISSES_PERIOD));
            }
        }
        let (kind, config) = sysfs::event(root, name)?;
        Some(Self { config, ..Self::of(kind, 0, MISSES_PERIOD) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_kernels_numbers() {
        let root = Path::new("/");
        let event = |name| Encoding::named(name, root).unwrap().map(|e| (e.kind, e.config[0]));
        assert_eq!(event("cycles"), Some((0, 0)));
        assert_eq!(event("dtlb-misses"), Some((3, 0x1_0003)));
        assert_eq!(event("cpu-clock"), Some((1, 0)));
        assert_eq!(event("r01c2"), Some((4, 0x1c2)));
        for wrong in ["", "r", "rxyz", "cycle", "nothing/event=1/", "../../etc/x/"] {
            assert!(matches!(Encoding::named(wrong, root), Err(Error::NoEvent(_))), "{wrong}");
        }
    }

    #[test]
    fn misses_are_the_processors_own() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("proc")).unwrap();
        let on = |name: &str, info: &str| {
            std::fs::write(place.path().join("proc/cpuinfo"), info).unwrap();
            Encoding::named(name, place.path()).unwrap().map(|e| (e.kind, e.config[0]))
        };
        let zen = "vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t: 17\n";
        assert_eq!(on("l2-misses", zen), Some((4, 0x0964)));
        assert_eq!(on("llc-misses", zen), Some((4, 0x5c43)));
        let intel = "vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t: 85\n";
        assert_eq!(on("l2-misses", intel), Some((4, 0x3f24)));
        assert_eq!(on("llc-misses", intel), Some((3, 0x1_0002)));
        // A raw code that a CPU has not would count something else (x86_pmu_hw_config masks it).
        assert_eq!(on("l2-misses", "vendor_id : Other\n"), None);
    }
}
