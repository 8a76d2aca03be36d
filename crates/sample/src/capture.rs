//! Events opened on all CPUs, and their rings.

use crate::encoding::SOFTWARE;
use crate::kernel::{self, Ring};
use crate::machine::{self, Features};
use crate::opening::{self, Opening, SAMPLE_TYPE};
use crate::{Error, Layout, Word};
use model::{Absent, Event, Reading};
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
    /// Bytes of each of a CPU's two rings, a power of two.
    pub ring: usize,
}

impl Wanted {
    /// Half a megabyte, as perf has.
    pub const RING: usize = 512 << 10;
    /// Where memory that may be locked is short, rings are made smaller, down to so much.
    pub const SMALLEST_RING: usize = 16 << 10;
}

/// Records that had no room in a CPU's rings, since they were opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// The CPU.
    pub cpu: u32,
    /// Samples, of all events.
    pub samples: u64,
    /// Names, maps, births and ends of threads, switches.
    pub names: u64,
}

/// One CPU's events and rings.
#[derive(Debug)]
struct Cpu {
    number: u32,
    /// In the order of the capture's; `None` for one that this CPU has not.
    events: Vec<Option<OwnedFd>>,
    names: OwnedFd,
    rings: Vec<Ring>,
    /// Samples can come no more: what was sampled ended, or the CPU went.
    is_done: bool,
}

/// What the kernel counted of an event.
struct Count {
    enabled: u64,
    running: u64,
    lost: Option<u64>,
}

/// Events that write into rings.
#[derive(Debug)]
pub struct Capture {
    cpus: Vec<Cpu>,
    events: Vec<Event>,
    ids: Vec<(u64, u16)>,
    scope: Scope,
    notes: Vec<String>,
    /// The ring that is drained first.
    next: u16,
}

impl Capture {
    /// Opens the events, stopped, on every online CPU. Of a whole machine names are told from now
    /// on: read [`crate::existing`] before [`Capture::enable`], as no ring is drained while it
    /// takes its time, and nothing is missed between the two. An event that cannot be counted here gives
    /// way to `cpu-clock`; what was given up otherwise is in [`Capture::notes`].
    ///
    /// # Errors
    /// No such event, a period that the kernel would not keep, no permission.
    pub fn open(wanted: &Wanted) -> Result<Self, Error> {
        let mut notes = Vec::new();
        let asked = wanted.ring;
        let numbers = machine::online(Path::new("/"));
        let first = *numbers.first().ok_or(Error::NoCpu)?;
        let features = Features::of_this_kernel();
        if !features.build_id {
            notes.push(
                "this kernel does not report build ids of maps (requires Linux 5.12)".to_owned(),
            );
        }
        let mut openings: Vec<Opening> = Vec::new();
        for word in &wanted.events {
            let opening = Opening::of(word, wanted, features, first, &mut notes)?;
            // What gave way to a clock that is counted already, or stands in for this, is one.
            let is = |other: &&Opening| {
                let (this, other) = (&opening.event, &other.event);
                let gave_way = this.counted != this.asked || other.counted != other.asked;
                other.counted == this.counted && other.period == this.period && gave_way
            };
            match openings.iter().find(is).map(|other| other.event.asked.clone()) {
                Some(other) => notes.push(format!(
                    "{} omitted: {} is already counted for {other}",
                    opening.event.asked, opening.event.counted
                )),
                None => openings.push(opening),
            }
        }
        let mut wanted = wanted.clone();
        let mut capture = loop {
            match Self::on(&numbers, &openings, &wanted, features) {
                Err(Error::Ring { source, .. })
                    if source.kind() == io::ErrorKind::PermissionDenied
                        && wanted.ring > Wanted::SMALLEST_RING =>
                {
                    wanted.ring /= 2;
                }
                opened => break opened?,
            }
        };
        if wanted.ring < asked {
            notes.push(format!(
                "rings reduced to {} KiB, the limit of kernel.perf_event_mlock_kb and RLIMIT_MEMLOCK",
                wanted.ring >> 10
            ));
        }
        notes.append(&mut capture.notes);
        capture.notes = notes;
        capture.events = openings.into_iter().map(|opening| opening.event).collect();
        Ok(capture)
    }

    /// The events on these CPUs, with rings of the size that is wanted.
    fn on(
        numbers: &[u32],
        openings: &[Opening],
        wanted: &Wanted,
        features: Features,
    ) -> Result<Self, Error> {
        let mut capture = Self {
            cpus: Vec::new(),
            events: Vec::new(),
            ids: Vec::new(),
            scope: wanted.scope,
            notes: Vec::new(),
            next: 0,
        };
        for number in numbers {
            match capture.open_on(*number, openings, wanted, features) {
                Ok(()) => {}
                // Gone offline meanwhile.
                Err(Error::Open { source, .. })
                    if source.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => {}
                Err(error) => return Err(error),
            }
        }
        if capture.cpus.is_empty() { Err(Error::NoCpu) } else { Ok(capture) }
    }

    fn open_on(
        &mut self,
        number: u32,
        openings: &[Opening],
        wanted: &Wanted,
        features: Features,
    ) -> Result<(), Error> {
        let ring = |source| Error::Ring { cpu: number, source };
        let names = opening::open_names(wanted, features, number)?;
        let mut rings = vec![Ring::map(&names, wanted.ring).map_err(ring)?];
        let mut events: Vec<Option<OwnedFd>> = Vec::new();
        let mut ids = Vec::new();
        for (place, opening) in (0..).zip(openings) {
            let event = match opening.open(number, wanted.ring) {
                // The first CPU has it: this one is of another kind.
                Err(Error::Open { event, source }) if opening::is_absent(&source) => {
                    self.notes.push(format!("CPU {number} cannot count {event}: {source}"));
                    events.push(None);
                    continue;
                }
                opened => opened?,
            };
            match events.iter().flatten().next() {
                None => rings.push(Ring::map(&event, wanted.ring).map_err(ring)?),
                Some(first) => kernel::write_to(&event, first).map_err(ring)?,
            }
            ids.push((kernel::id(&event).map_err(ring)?, place));
            events.push(Some(event));
        }
        self.ids.extend(ids);
        self.cpus.push(Cpu { number, events, names, rings, is_done: false });
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

    /// CPUs that are online now and were not when the events were opened: nothing is known of
    /// what ran on them.
    #[must_use]
    pub fn late_cpus(&self) -> Vec<u32> {
        let is_known = |number: &u32| self.cpus.iter().any(|cpu| cpu.number == *number);
        let mut online = machine::online(Path::new("/"));
        online.retain(|number| !is_known(number));
        online
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
            for event in cpu.events.iter().flatten().chain([&cpu.names]) {
                kernel::enable(event, on)
                    .map_err(|source| Error::Ring { cpu: cpu.number, source })?;
            }
        }
        Ok(())
    }

    /// Waits until a ring is half full, a signal comes, or so much time has passed. Whether what
    /// was sampled has ended is not for this to find: it waits then for the time to pass.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let mut watched: Vec<&mut Cpu> = self.cpus.iter_mut().filter(|cpu| !cpu.is_done).collect();
        let fds = watched.iter().flat_map(|cpu| cpu.events.iter().flatten().take(1));
        let fds = fds.chain(watched.iter().map(|cpu| &cpu.names));
        let mut fds: Vec<PollFd<'_>> = fds.map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // An event that hung up would end every further wait at once. Names end as it does.
        let names = fds.split_off(fds.len().saturating_sub(watched.len()));
        let over = PollFlags::HUP | PollFlags::ERR;
        let done: Vec<bool> = names.iter().map(|fd| fd.revents().intersects(over)).collect();
        drop((fds, names));
        for (cpu, done) in watched.iter_mut().zip(done) {
            cpu.is_done = done;
        }
        Ok(())
    }

    /// Gives what each ring holds, by the ring's number: whole records, in two pieces where the
    /// ring's end lies between (a record may begin in one and end in the other).
    ///
    /// # Errors
    /// That of `take`.
    pub fn drain(
        &mut self,
        mut take: impl FnMut(u16, &[u8], &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let rings = self.cpus.iter_mut().flat_map(|cpu| &mut cpu.rings);
        let mut rings: Vec<_> = (0..).zip(rings).collect();
        // Where `take` refused a ring the last time, that one comes first.
        let first = rings.iter().position(|(number, _)| *number == self.next).unwrap_or(0);
        rings.rotate_left(first);
        for (number, ring) in rings {
            self.next = number;
            ring.drain(|first, second| take(number, first, second))?;
        }
        Ok(())
    }

    /// What each CPU's rings had no room for. The rings' own records of it come with the next that
    /// has room: the last of them may be missing.
    ///
    /// # Errors
    /// A kernel before Linux 6.0, which does not count it.
    pub fn lost(&self) -> Reading<Vec<Lost>> {
        let of = |event: &OwnedFd| {
            let none =
                || Absent::NotProvided("not reported by this kernel (requires Linux 6.0)".into());
            Count::of(event)?.lost.ok_or_else(none)
        };
        let each = self.cpus.iter().map(|cpu| {
            let mut samples = 0_u64;
            for event in cpu.events.iter().flatten() {
                samples = samples.saturating_add(of(event)?);
            }
            Ok(Lost { cpu: cpu.number, samples, names: of(&cpu.names)? })
        });
        each.collect()
    }

    /// The part of the time in which an event was really counted, of all CPUs.
    fn share(&self, place: usize) -> Reading<f64> {
        let (mut enabled, mut running) = (0_u64, 0_u64);
        let together = self.scope == Scope::Machine;
        for event in self.cpus.iter().filter_map(|cpu| cpu.events.get(place)?.as_ref()) {
            let count = Count::of(event)?;
            // A command is on one CPU at a time: its events are enabled on all of them, and run
            // on one.
            enabled = if together {
                enabled.saturating_add(count.enabled)
            } else {
                enabled.max(count.enabled)
            };
            running = running.saturating_add(count.running);
        }
        if enabled == 0 {
            // The kernel's own events take no turns; of others nobody knows before they were on.
            if self.events.get(place).is_some_and(|event| event.kind == SOFTWARE) {
                return Ok(1.0);
            }
            return Err(Absent::NotProvided("it was not enabled".into()));
        }
        Ok((running as f64 / enabled as f64).min(1.0))
    }
}

impl Count {
    /// value, time_enabled, time_running and, where the kernel knows it, lost.
    fn of(event: &OwnedFd) -> Reading<Self> {
        let mut bytes = [0; 32];
        let read = rustix::io::read(event, &mut bytes)
            .map_err(|error| Absent::Failed(format!("cannot read its counter: {error}").into()))?;
        let words: Vec<u64> =
            bytes[..read].as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word)).collect();
        match words[..] {
            [_, enabled, running] => Ok(Self { enabled, running, lost: None }),
            [_, enabled, running, lost] => Ok(Self { enabled, running, lost: Some(lost) }),
            // An event that the kernel could not put on the CPU reads as nothing.
            _ => Err(Absent::Failed("its counter returned no data".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_command_that_ended_wakes_nobody_any_more() {
        let mut command = Command::new("sh");
        let mut child =
            command.args(["-c", "read go; exec true"]).stdin(Stdio::piped()).spawn().unwrap();
        let events = vec!["cpu-clock".parse().unwrap()];
        let scope = Scope::Command(child.id());
        let wanted = Wanted { events, scope, switches: false, ring: Wanted::SMALLEST_RING };
        let mut capture = Capture::open(&wanted).unwrap();
        assert!(capture.lost().is_err() || capture.lost().unwrap().len() == capture.cpus.len());
        assert_eq!(capture.late_cpus(), []);
        drop(child.stdin.take());
        child.wait().unwrap();
        capture.wait(Duration::ZERO).unwrap();
        assert!(capture.cpus.iter().all(|cpu| cpu.is_done));
        // There is nothing left to poll.
        capture.wait(Duration::from_millis(1)).unwrap();
    }
}
