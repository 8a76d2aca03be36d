//! Events opened on all CPUs, and their rings.

use crate::encoding::Encoding;
use crate::kernel::{self, Ring};
use crate::{Error, Layout, Word};
use model::{Absent, Event, Reading};
use perf_event_open_sys::bindings::perf_event_attr;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::time::Timespec;
use std::io;
use std::path::Path;
use std::time::Duration;

/// What is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything on all CPUs.
    Machine,
    /// A process that is about to exec, and what it starts; from that exec on.
    Command(u32),
}

/// What to capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The events; none where only names are wanted.
    pub events: Vec<Word>,
    /// Of what.
    pub scope: Scope,
    /// Which thread goes on, at each switch (of a whole machine only).
    pub switches: bool,
    /// Bytes of each CPU's ring, a power of two.
    pub ring: usize,
}

impl Wanted {
    /// Half a megabyte for each CPU, as perf has.
    pub const RING: usize = 512 << 10;
}

/// CLOCK_MONOTONIC_RAW.
const RAW_CLOCK: i32 = 4;
/// PERF_SAMPLE_IDENTIFIER, IP, TID, TIME and CPU. A period is the same for all samples of an event.
const SAMPLE_TYPE: u64 = 1 << 16 | 1 | 1 << 1 | 1 << 2 | 1 << 7;
/// PERF_FORMAT_TOTAL_TIME_ENABLED and _RUNNING.
const READ_FORMAT: u64 = 1 | 1 << 1;
/// The kernel keeps no shorter period of a clock (perf_swevent_start_hrtimer).
const SHORTEST_CLOCK: u64 = 10_000;

/// One CPU's events and rings.
#[derive(Debug)]
struct Cpu {
    number: u32,
    events: Vec<OwnedFd>,
    names: OwnedFd,
    rings: Vec<Ring>,
}

/// Events that write into rings.
#[derive(Debug)]
pub struct Capture {
    cpus: Vec<Cpu>,
    events: Vec<Event>,
    ids: Vec<(u64, u16)>,
    scope: Scope,
    notes: Vec<String>,
}

/// What is opened on every CPU.
struct Opening {
    event: Event,
    attr: perf_event_attr,
}

impl Capture {
    /// Opens the events, stopped, on every online CPU. An event that cannot be counted here gives
    /// way to `cpu-clock`; what was given up otherwise is in [`Capture::notes`].
    ///
    /// # Errors
    /// No such event, a period that the kernel would not keep, no permission.
    pub fn open(wanted: &Wanted) -> Result<Self, Error> {
        let mut notes = Vec::new();
        let numbers = online(Path::new("/"))?;
        let first = *numbers.first().ok_or(Error::NoCpu)?;
        let mut openings: Vec<Opening> = Vec::new();
        for word in &wanted.events {
            let opening = Opening::of(word, wanted.scope, first, &mut notes)?;
            // Two events that gave way to the same clock are one.
            let is = |other: &Opening| other.event.counted == opening.event.counted;
            if opening.event.counted == opening.event.asked || !openings.iter().any(is) {
                openings.push(opening);
            }
        }
        let mut capture = Self {
            cpus: Vec::new(),
            events: Vec::new(),
            ids: Vec::new(),
            scope: wanted.scope,
            notes,
        };
        for number in numbers {
            match capture.open_on(number, &openings, wanted) {
                Ok(()) => {}
                // Gone offline meanwhile.
                Err(Error::Open { source, .. })
                    if source.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => {}
                Err(error) => return Err(error),
            }
        }
        if capture.cpus.is_empty() {
            return Err(Error::NoCpu);
        }
        capture.events = openings.into_iter().map(|opening| opening.event).collect();
        Ok(capture)
    }

    fn open_on(&mut self, number: u32, openings: &[Opening], wanted: &Wanted) -> Result<(), Error> {
        let ring = |source| Error::Ring { cpu: number, source };
        let names = open_names(wanted, number)?;
        let mut rings = vec![Ring::map(&names, wanted.ring).map_err(ring)?];
        let mut events: Vec<OwnedFd> = Vec::new();
        for (place, opening) in openings.iter().enumerate() {
            let event = opening.open(wanted.scope, number)?;
            match events.first() {
                None => rings.push(Ring::map(&event, wanted.ring).map_err(ring)?),
                Some(first) => kernel::write_to(&event, first).map_err(ring)?,
            }
            let place = u16::try_from(place).unwrap_or(u16::MAX);
            self.ids.push((kernel::id(&event).map_err(ring)?, place));
            events.push(event);
        }
        self.cpus.push(Cpu { number, events, names, rings });
        Ok(())
    }

    /// The events, with what they turned out to be and, so far, which part of the time each was
    /// counted.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        let mut events = self.events.clone();
        for (place, event) in events.iter_mut().enumerate() {
            event.share = self.share(place);
        }
        events
    }

    /// What was given up: kernel samples without permission, build ids on an old kernel.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// CPUs that are sampled.
    #[must_use]
    pub fn cpus(&self) -> u32 {
        u32::try_from(self.cpus.len()).unwrap_or(u32::MAX)
    }

    /// How the rings are to be read.
    #[must_use]
    pub fn layout(&self) -> Layout {
        Layout {
            sample_type: SAMPLE_TYPE,
            ids: self.ids.clone(),
            periods: self.events.iter().map(|event| event.period).collect(),
        }
    }

    /// Lets the events count, or stops them. Those of a command begin by themselves.
    ///
    /// # Errors
    /// The kernel's.
    pub fn enable(&self, on: bool) -> Result<(), Error> {
        for cpu in &self.cpus {
            for event in cpu.events.iter().chain([&cpu.names]) {
                kernel::enable(event, on)
                    .map_err(|source| Error::Ring { cpu: cpu.number, source })?;
            }
        }
        Ok(())
    }

    /// Waits until a ring is half full, a signal comes, or so much time has passed.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait(&self, timeout: Duration) -> io::Result<()> {
        let first = self.cpus.iter().filter_map(|cpu| cpu.events.first());
        let all = first.chain(self.cpus.iter().map(|cpu| &cpu.names));
        let mut fds: Vec<PollFd<'_>> = all.map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives what each ring holds, by the ring's number: whole records, in two pieces where the
    /// ring's end lies between.
    ///
    /// # Errors
    /// That of `take`.
    pub fn drain(
        &mut self,
        mut take: impl FnMut(u16, &[u8], &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let rings = self.cpus.iter_mut().flat_map(|cpu| &mut cpu.rings);
        for (number, ring) in (0..).zip(rings) {
            ring.drain(|first, second| take(number, first, second))?;
        }
        Ok(())
    }

    /// The part of the time in which an event was really counted, of all CPUs.
    fn share(&self, place: usize) -> Reading<f64> {
        let (mut enabled, mut running) = (0_u64, 0_u64);
        let together = self.scope == Scope::Machine;
        for event in self.cpus.iter().filter_map(|cpu| cpu.events.get(place)) {
            let mut bytes = [0; 24];
            let read = rustix::io::read(event, &mut bytes);
            if read != Ok(24) {
                return Err(Absent::Failed("its counter cannot be read".into()));
            }
            let word =
                |at: usize| bytes[at..].first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
            // A command is on one CPU at a time: its events are enabled on all of them, and run
            // on one.
            enabled = if together { enabled.saturating_add(word(8)) } else { enabled.max(word(8)) };
            running = running.saturating_add(word(16));
        }
        if enabled == 0 {
            return Err(Absent::NotProvided("it was never enabled".into()));
        }
        Ok(running as f64 / enabled as f64)
    }
}

impl Opening {
    /// Finds out, on one CPU, how the event can be opened.
    fn of(word: &Word, scope: Scope, cpu: u32, notes: &mut Vec<String>) -> Result<Self, Error> {
        let root = Path::new("/");
        let asked = Encoding::named(&word.name, root)?;
        let opening = Self::with(word, &word.name, &asked)?;
        match opening.probe(scope, cpu, notes) {
            Err(Error::Open { source, .. }) if is_absent(&source) && !asked.is_software() => {
                notes.push(format!(
                    "{} cannot be counted here ({source}): cpu-clock in its place",
                    word.name
                ));
                // A period of cycles is none of nanoseconds.
                let word = Word { name: word.name.clone(), period: None };
                Self::with(&word, "cpu-clock", &Encoding::cpu_clock())?.probe(scope, cpu, notes)
            }
            opened => opened,
        }
    }

    fn with(word: &Word, counted: &str, encoding: &Encoding) -> Result<Self, Error> {
        let period = word.period.unwrap_or(encoding.period);
        if encoding.is_time {
            let least = SHORTEST_CLOCK.max(1_000_000_000 / most_samples());
            if period < least {
                return Err(Error::Period { event: word.name.clone(), period, least });
            }
        }
        let event = Event {
            asked: word.name.clone(),
            counted: counted.to_owned(),
            kind: encoding.kind,
            config: encoding.config[0],
            period,
            is_time: encoding.is_time,
            share: Err(Absent::NotProvided("it was never enabled".into())),
        };
        let mut attr = base();
        attr.type_ = encoding.kind;
        attr.config = encoding.config[0];
        attr.config1 = encoding.config[1];
        attr.config2 = encoding.config[2];
        attr.sample_period = period;
        attr.read_format = READ_FORMAT;
        attr.set_exclude_idle(u64::from(encoding.is_software()));
        Ok(Self { event, attr })
    }

    /// Opens it once; without permission for the kernel's part, without it.
    fn probe(mut self, scope: Scope, cpu: u32, notes: &mut Vec<String>) -> Result<Self, Error> {
        match self.open(scope, cpu) {
            Err(Error::NotPermitted { .. }) if scope != Scope::Machine => {
                self.attr.set_exclude_kernel(1);
                self.attr.set_exclude_hv(1);
                self.open(scope, cpu)?;
                notes.push(format!("{}: the kernel's part may not be sampled", self.event.asked));
            }
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        Ok(self)
    }

    fn open(&self, scope: Scope, cpu: u32) -> Result<OwnedFd, Error> {
        let mut attr = self.attr;
        open(&mut attr, scope, cpu, &self.event.asked)
    }
}

/// What all events have in common.
fn base() -> perf_event_attr {
    let mut attr = perf_event_attr::default();
    attr.size = u32::try_from(size_of::<perf_event_attr>()).unwrap_or_default();
    attr.sample_type = SAMPLE_TYPE;
    attr.clockid = RAW_CLOCK;
    attr.set_disabled(1);
    attr.set_sample_id_all(1);
    attr.set_use_clockid(1);
    attr.set_watermark(1);
    attr
}

/// The event of names: it counts nothing, and is told of maps, names, births and ends.
fn open_names(wanted: &Wanted, cpu: u32) -> Result<OwnedFd, Error> {
    let mut attr = base();
    attr.type_ = perf_event_open_sys::bindings::PERF_TYPE_SOFTWARE;
    attr.config = u64::from(perf_event_open_sys::bindings::PERF_COUNT_SW_DUMMY);
    attr.wakeup_watermark = half(wanted.ring);
    attr.set_mmap(1);
    attr.set_mmap2(1);
    attr.set_build_id(1);
    attr.set_comm(1);
    attr.set_comm_exec(1);
    attr.set_task(1);
    attr.set_context_switch(u64::from(wanted.switches && wanted.scope == Scope::Machine));
    if wanted.scope != Scope::Machine {
        attr.set_exclude_kernel(1);
        attr.set_exclude_hv(1);
    }
    match open(&mut attr, wanted.scope, cpu, "the event of names") {
        // Before Linux 5.12 maps come with device and inode, without build ids.
        Err(Error::Open { source, .. })
            if source.raw_os_error() == Some(Errno::INVAL.raw_os_error()) =>
        {
            attr.set_build_id(0);
            open(&mut attr, wanted.scope, cpu, "the event of names")
        }
        opened => opened,
    }
}

fn open(attr: &mut perf_event_attr, scope: Scope, cpu: u32, event: &str) -> Result<OwnedFd, Error> {
    let (pid, what, needed) = match scope {
        Scope::Machine => (-1, "all CPUs", -1),
        Scope::Command(pid) => {
            attr.set_inherit(1);
            attr.set_enable_on_exec(1);
            // Of what is inherited nobody can read a sum; so the times are the parent's.
            (i32::try_from(pid).unwrap_or(i32::MAX), "a process", 2)
        }
    };
    if attr.wakeup_watermark == 0 {
        attr.wakeup_watermark = half(Wanted::RING);
    }
    kernel::open(attr, pid, cpu).map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => {
            Error::NotPermitted { what, needed, paranoid: paranoid() }
        }
        _ => Error::Open { event: event.to_owned(), source },
    })
}

fn half(ring: usize) -> u32 {
    u32::try_from(ring / 2).unwrap_or(u32::MAX)
}

/// Whether an error says that the event does not exist on this machine.
fn is_absent(error: &io::Error) -> bool {
    let absent = [Errno::NOENT, Errno::NODEV, Errno::NXIO, Errno::OPNOTSUPP, Errno::INVAL];
    absent.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn setting(name: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?;
    Some(text.trim().to_owned())
}

fn paranoid() -> String {
    setting("perf_event_paranoid").unwrap_or_else(|| "unknown".to_owned())
}

/// Samples a second that the kernel lets one CPU take.
fn most_samples() -> u64 {
    setting("perf_event_max_sample_rate")
        .and_then(|text| text.parse().ok())
        .unwrap_or(100_000)
        .max(1)
}

/// The online CPUs: `0-3,8`.
fn online(root: &Path) -> Result<Vec<u32>, Error> {
    let text = std::fs::read_to_string(root.join("sys/devices/system/cpu/online"));
    let mut numbers = Vec::new();
    for range in text.unwrap_or_default().trim().split(',') {
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(low), Ok(high)) = (low.parse::<u32>(), high.parse::<u32>()) {
            numbers.extend(low..=high.min(low.saturating_add(1 << 16)));
        }
    }
    if numbers.is_empty() { Err(Error::NoCpu) } else { Ok(numbers) }
}
