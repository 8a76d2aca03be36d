//! Finding out how an event can be opened on this machine, and opening it.

use crate::encoding::Encoding;
use crate::kernel;
use crate::machine::{self, FORMAT_LOST, Features};
use crate::processor::Processor;
use crate::sysfs;
use crate::{Error, Scope, Wanted, Word};
use model::{Absent, Event};
use perf_event_open_sys::bindings::{
    PERF_COUNT_SW_DUMMY, PERF_TYPE_HARDWARE, PERF_TYPE_HW_CACHE, PERF_TYPE_SOFTWARE,
    perf_event_attr,
};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::hint::black_box;
use std::io;
use std::path::Path;

/// CLOCK_MONOTONIC_RAW.
const RAW_CLOCK: i32 = 4;
/// PERF_SAMPLE_IDENTIFIER, IP, TID, TIME and CPU. A period is the same for all samples of an event.
pub(crate) const SAMPLE_TYPE: u64 = 1 << 16 | 1 | 1 << 1 | 1 << 2 | 1 << 7;
/// PERF_FORMAT_TOTAL_TIME_ENABLED and _RUNNING.
const FORMAT_TIMES: u64 = 1 | 1 << 1;
/// The kernel keeps no shorter period of a clock (perf_swevent_start_hrtimer).
const SHORTEST_CLOCK: u64 = 10_000;
/// Times that the loop of a trial goes round: far more than any event of which it must see one.
const ROUNDS: u32 = 100_000;

/// An event that can be opened here on any CPU.
pub(crate) struct Opening {
    pub event: Event,
    attr: perf_event_attr,
    scope: Scope,
}

impl Opening {
    /// Finds out, on one CPU, how the event can be opened.
    ///
    /// # Errors
    /// No such event, a period that the kernel would not keep, no permission.
    pub(crate) fn of(
        word: &Word,
        wanted: &Wanted,
        features: Features,
        cpu: u32,
        notes: &mut Vec<String>,
    ) -> Result<Self, Error> {
        let asked = Encoding::named(&word.name, Path::new("/"))?;
        let why = if let Some(asked) = asked {
            let opening = Self::with(word, &word.name, &asked, wanted, features)?;
            match opening.probe(cpu, notes) {
                Ok(opening) if !asked.is_in_any_loop || opening.counts() => return Ok(opening),
                Ok(_) => "it does not count while a program runs".to_owned(),
                Err(Error::Open { source, .. }) if is_absent(&source) && !asked.is_software() => {
                    source.to_string()
                }
                Err(error) => return Err(error),
            }
        } else {
            "its code for this processor is unknown".to_owned()
        };
        tracing::info!(event = ?word.name, ?why, cpu, "event not supported: using cpu-clock");
        notes.push(format!("{} is not supported here ({why}): using cpu-clock instead", word.name));
        // A period of cycles is none of nanoseconds.
        let word = Word { name: word.name.clone(), period: None };
        Self::with(&word, "cpu-clock", &Encoding::cpu_clock(), wanted, features)?.probe(cpu, notes)
    }

    fn with(
        word: &Word,
        counted: &str,
        encoding: &Encoding,
        wanted: &Wanted,
        features: Features,
    ) -> Result<Self, Error> {
        let period = word.period.unwrap_or(encoding.period);
        let least = shortest(encoding);
        if period < least {
            return Err(Error::Period { event: word.name.clone(), period, least });
        }
        let event = Event {
            asked: word.name.clone(),
            counted: counted.to_owned(),
            kind: encoding.kind,
            config: encoding.config[0],
            period,
            is_time: encoding.is_time,
            share: Err(Absent::NotProvided("sampling was not stopped".into())),
        };
        let mut attr = base(features);
        attr.type_ = encoding.kind;
        attr.config = encoding.config[0];
        attr.config1 = encoding.config[1];
        attr.config2 = encoding.config[2];
        attr.sample_period = period;
        // A clock goes on in idle CPUs, where counters of the CPU stand.
        attr.set_exclude_idle(u64::from(encoding.is_software()));
        Ok(Self { event, attr, scope: wanted.scope })
    }

    /// Opens it once; what stands in the way and can be left out is left out, and noted.
    fn probe(mut self, cpu: u32, notes: &mut Vec<String>) -> Result<Self, Error> {
        match self.open(cpu, Wanted::RING) {
            Err(Error::NotPermitted { .. }) if self.scope != Scope::Machine => {
                self.attr.set_exclude_kernel(1);
                self.attr.set_exclude_hv(1);
                self.open(cpu, Wanted::RING)?;
                tracing::info!(event = ?self.event.asked, "not permitted: excluding the kernel");
                notes.push(format!("{}: not permitted to sample the kernel", self.event.asked));
            }
            // Where KVM hands the counters over to guests (mediated vPMU), the host must say that
            // it does without them.
            Err(Error::Open { source, .. })
                if source.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) =>
            {
                self.attr.set_exclude_guest(1);
                self.open(cpu, Wanted::RING)?;
                tracing::info!(event = ?self.event.asked, "guests own the counters: excluding them");
                notes.push(format!("{}: not counted in guests by the host", self.event.asked));
            }
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        Ok(self)
    }

    /// Whether it counts anything in a known loop of this thread's: in some clouds' machines it
    /// can be opened and stands still. What cannot be tried is believed.
    fn counts(&self) -> bool {
        let mut attr = self.attr;
        attr.sample_period = 0;
        attr.read_format = 0;
        attr.wakeup_watermark = 0;
        attr.set_watermark(0);
        attr.set_exclude_kernel(1);
        attr.set_exclude_hv(1);
        attr.set_inherit(0);
        attr.set_enable_on_exec(0);
        let Ok(event) = kernel::open(&attr, 0, None) else { return true };
        if kernel::enable(&event, true).is_err() {
            return true;
        }
        for round in 0..ROUNDS {
            black_box(round);
        }
        let mut count = [0; 8];
        let read = rustix::io::read(&event, &mut count);
        read != Ok(8) || u64::from_ne_bytes(count) != 0
    }

    /// Opens it on a CPU, stopped, for a ring of so many bytes.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn open(&self, cpu: u32, ring: usize) -> Result<OwnedFd, Error> {
        let mut attr = self.attr;
        attr.wakeup_watermark = watermark(ring);
        attr.config |= of_core(Path::new("/"), attr.type_, cpu);
        open(attr, self.scope, cpu, &self.event.asked)
    }
}

/// The shortest period at which the kernel neither lengthens it nor throttles the event, where
/// that is known beforehand: of clocks and of cycles.
fn shortest(encoding: &Encoding) -> u64 {
    let most = machine::most_samples();
    if encoding.is_time {
        return SHORTEST_CLOCK.max(1_000_000_000_u64.div_ceil(most));
    }
    let hertz = encoding.is_cycles().then(|| Processor::of(Path::new("/")).hertz).flatten();
    hertz.map_or(1, |hertz| hertz.div_ceil(most).max(1))
}

/// Where CPUs are of several kinds, each kind has a PMU of its own, which the upper half of a
/// generic event's config names (PERF_PMU_TYPE_SHIFT).
fn of_core(root: &Path, kind: u32, cpu: u32) -> u64 {
    if ![PERF_TYPE_HARDWARE, PERF_TYPE_HW_CACHE].contains(&kind) {
        return 0;
    }
    sysfs::core(root, cpu).map_or(0, |pmu| u64::from(pmu) << 32)
}

/// Bytes that wake the reader: there is room for as many while it comes.
fn watermark(ring: usize) -> u32 {
    u32::try_from(ring / 2).unwrap_or(u32::MAX)
}

/// What all events have in common.
fn base(features: Features) -> perf_event_attr {
    let mut attr = perf_event_attr::default();
    attr.size = u32::try_from(size_of::<perf_event_attr>()).unwrap_or_default();
    attr.sample_type = SAMPLE_TYPE;
    attr.read_format = FORMAT_TIMES | if features.lost { FORMAT_LOST } else { 0 };
    attr.clockid = RAW_CLOCK;
    attr.set_disabled(1);
    attr.set_sample_id_all(1);
    attr.set_use_clockid(1);
    attr.set_watermark(1);
    attr
}

/// The event of names: it counts nothing, and is told of maps, names, births and ends; of a whole
/// machine from now on.
///
/// # Errors
/// The kernel's.
pub(crate) fn open_names(wanted: &Wanted, features: Features, cpu: u32) -> Result<OwnedFd, Error> {
    let mut attr = base(features);
    attr.wakeup_watermark = watermark(wanted.ring);
    attr.type_ = PERF_TYPE_SOFTWARE;
    attr.config = u64::from(PERF_COUNT_SW_DUMMY);
    attr.set_mmap(1);
    attr.set_mmap2(1);
    attr.set_build_id(u64::from(features.build_id));
    attr.set_comm(1);
    attr.set_comm_exec(1);
    attr.set_task(1);
    if wanted.scope == Scope::Machine {
        attr.set_disabled(0);
        attr.set_context_switch(u64::from(wanted.switches));
    } else {
        attr.set_exclude_kernel(1);
        attr.set_exclude_hv(1);
    }
    open(attr, wanted.scope, cpu, "the event of names")
}

fn open(mut attr: perf_event_attr, scope: Scope, cpu: u32, event: &str) -> Result<OwnedFd, Error> {
    let (pid, what, needed) = match scope {
        Scope::Machine => (-1, "all CPUs", 0),
        Scope::Command(pid) => {
            attr.set_inherit(1);
            attr.set_enable_on_exec(1);
            (i32::try_from(pid).unwrap_or(i32::MAX), "a process", 2)
        }
    };
    let mut opened = kernel::open(&attr, pid, Some(cpu));
    if matches!(&opened, Err(error) if is(error, Errno::MFILE)) && machine::more_files() {
        opened = kernel::open(&attr, pid, Some(cpu));
    }
    opened.map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => {
            Error::NotPermitted { what, needed, paranoid: machine::paranoid() }
        }
        _ if is(&source, Errno::MFILE) => Error::Files,
        _ => match scope {
            Scope::Command(pid) if is(&source, Errno::SRCH) => Error::NoProcess(pid),
            _ => Error::Open { event: event.to_owned(), source },
        },
    })
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// Whether an error says that the event does not exist, on this machine or this CPU.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    let absent = [Errno::NOENT, Errno::NODEV, Errno::NXIO, Errno::OPNOTSUPP, Errno::INVAL];
    absent.iter().any(|&errno| is(error, errno))
}
