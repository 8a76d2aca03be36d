//! Mode A: which of a guest's processes ran on a vCPU when the host sampled it.
//!
//! The guest sends its own clock's times; they are brought to the host's clock, within a bound.
//! The guest's records are read as far ahead as the bound reaches, so that a switch that may
//! have been before the sample is seen too.

use crate::image::ImageId;
use crate::known::Known;
use crate::records::Records;
use crate::report::StreamReport;
use crate::space::{Limits, Spaces};
use model::{ClockSegment, Nanos, Record, Stream, What};
use std::collections::{BTreeMap, VecDeque};

/// No further than this is read ahead, whatever the bound.
const FARTHEST: u64 = 100_000_000;
/// Records and, for each CPU, switches that are held at one time.
const HELD: usize = 1 << 14;
/// CPUs of one guest that are told apart.
const CPUS: usize = 4096;

/// A stretch of a guest CPU's time with one thread: until the next begins.
#[derive(Debug, Clone, Copy)]
struct Turn {
    from: Nanos,
    pid: u32,
    tid: u32,
    /// No records were lost since it began.
    sure: bool,
}

#[derive(Debug, Default)]
struct Lane {
    before: Option<Turn>,
    /// The one that runs, and those that were read ahead.
    turns: VecDeque<Turn>,
}

/// Who ran on a vCPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    /// Nobody else could have been there, by the clock's bound.
    pub(crate) certain: bool,
}

/// A guest's clock, by the segments in which it goes evenly.
#[derive(Debug)]
pub(crate) struct Clock {
    segments: Vec<ClockSegment>,
    at: usize,
    last: Nanos,
    last_host: Nanos,
}

impl Clock {
    pub(crate) fn new(segments: &[ClockSegment]) -> Self {
        Self { segments: segments.to_vec(), at: 0, last: Nanos::ZERO, last_host: Nanos::ZERO }
    }

    /// The host's time at a time of the guest's; `None` where no alignment is known. Times are
    /// asked for in the order of the stream. What has no time, as records have not that tell
    /// what was there before, is of the time of the one before it.
    pub(crate) fn host(&mut self, guest: Nanos) -> Option<Nanos> {
        if guest == Nanos::ZERO {
            return (!self.segments.is_empty()).then_some(self.last_host);
        }
        while let (Some(now), Some(next)) =
            (self.segments.get(self.at), self.segments.get(self.at + 1))
        {
            let slack = Nanos(now.bound.saturating_add(next.bound));
            let ends = end(now, next);
            let over = if ends > next.from + slack {
                // It steps back: when the times do, or where the segment must have ended.
                let after = next.host(guest).is_some_and(|host| host + slack >= self.last_host);
                guest >= ends || (guest < self.last && after)
            } else {
                // It steps forward before the ping that saw it: what the old segment would have
                // after that ping's time is the new one's.
                guest >= ends.min(next.from)
            };
            if !over {
                break;
            }
            self.at += 1;
            self.last = Nanos::ZERO;
        }
        self.last = guest;
        let host = self.segments.get(self.at)?.host(guest).unwrap_or(Nanos::ZERO);
        self.last_host = self.last_host.max(host);
        Some(host)
    }

    /// The host's time when it was read first.
    fn begin(&self) -> Option<Nanos> {
        let first = self.segments.first()?;
        first.host(first.from)
    }

    /// How far off the host's times may be now.
    fn bound(&self) -> u64 {
        self.segments.get(self.at).map_or(u64::MAX, |segment| segment.bound)
    }
}

/// The guest's time at the end of a segment that another follows.
fn end(now: &ClockSegment, next: &ClockSegment) -> Nanos {
    let Some(host) = next.host(next.from) else { return next.from };
    let since = host.0 as f64 + now.offset as f64 - now.from.0 as f64;
    let guest = now.from.0 as f64 + since / (1.0 - now.drift.clamp(-0.5, 0.5));
    Nanos(guest.max(0.0) as u64)
}

/// A guest that sends names only.
pub(crate) struct Guest<'a> {
    /// Its stream.
    pub(crate) stream: u16,
    /// Its kernel's image.
    pub(crate) kernel: ImageId,
    pub(crate) spaces: Spaces,
    pub(crate) report: StreamReport,
    /// When its agent came back, by the host's clock; of one that was there from the begin, 0.
    from: Nanos,
    /// When its agent was lost, by the host's clock.
    until: Option<Nanos>,
    records: Records<'a>,
    /// Those of them that were given and not read yet.
    batch: std::vec::IntoIter<Record>,
    clock: Clock,
    /// Read ahead, with the host's time.
    ahead: VecDeque<(Nanos, Record)>,
    lanes: BTreeMap<u32, Lane>,
    now: Nanos,
    /// The latest host's time that was read.
    read: Nanos,
    ended: bool,
}

impl<'a> Guest<'a> {
    pub(crate) fn new(
        stream: u16,
        kernel: ImageId,
        told: &Stream,
        records: Records<'a>,
        report: StreamReport,
    ) -> Self {
        Self {
            stream,
            kernel,
            spaces: Spaces::new(Limits::default()),
            report,
            from: Nanos::ZERO,
            until: told.until,
            records,
            batch: Vec::new().into_iter(),
            clock: Clock::new(&told.clock),
            ahead: VecDeque::new(),
            lanes: BTreeMap::new(),
            now: Nanos::ZERO,
            read: Nanos::ZERO,
            ended: false,
        }
    }

    /// It is the agent of a VM whose agent was lost: until its clock was read it told nothing.
    pub(crate) fn came_back(&mut self) {
        self.from = self.clock.begin().unwrap_or(Nanos(u64::MAX));
    }

    /// Whether it told, at a time of the host's, what ran.
    pub(crate) fn tells(&self, at: Nanos) -> bool {
        self.from <= at && !self.is_lost(at)
    }

    /// Whether it was lost before.
    pub(crate) fn is_lost(&self, at: Nanos) -> bool {
        self.until.is_some_and(|until| until < at)
    }

    /// Brings the guest to a time of the host's.
    pub(crate) fn advance(&mut self, to: Nanos, known: &mut Known) {
        self.now = self.now.max(to);
        loop {
            let until = self.now + Nanos(self.clock.bound().min(FARTHEST));
            while !self.ended && self.read <= until && self.ahead.len() < HELD {
                self.read_one();
            }
            let full = self.ahead.len() >= HELD;
            while self.ahead.front().is_some_and(|(time, _)| *time <= self.now) {
                if let Some((_, record)) = self.ahead.pop_front() {
                    known.apply(&mut self.spaces, self.stream, self.kernel, record);
                }
            }
            if self.ended || !full || self.ahead.len() >= HELD {
                return;
            }
        }
    }

    /// Reads what is left, for its losses.
    pub(crate) fn finish(&mut self, known: &mut Known) {
        self.advance(Nanos(u64::MAX - FARTHEST), known);
    }

    fn next(&mut self) -> Option<Record> {
        loop {
            if let Some(record) = self.batch.next() {
                return Some(record);
            }
            let mut batch = Vec::new();
            if !(self.records)(&mut batch) {
                return None;
            }
            self.batch = batch.into_iter();
        }
    }

    fn read_one(&mut self) {
        let Some(record) = self.next() else {
            self.ended = true;
            return;
        };
        let Some(time) = self.clock.host(record.time) else {
            self.report.unaligned += 1;
            return;
        };
        // Times that go back within a segment are out of order: they hold from now on.
        let time = time.max(self.read);
        self.read = time;
        self.report.saw(&record, time);
        match record.what {
            What::Switch { pid, tid } => {
                self.turn(record.cpu, Turn { from: time, pid, tid, sure: true });
            }
            What::Lost { .. } => {
                let running = self.lanes.get(&record.cpu).and_then(|lane| lane.turns.back());
                if let Some(&running) = running {
                    self.turn(record.cpu, Turn { from: time, sure: false, ..running });
                }
            }
            What::Sample(_) | What::Throttle { .. } => {}
            _ => self.ahead.push_back((time, record)),
        }
    }

    fn turn(&mut self, cpu: u32, turn: Turn) {
        if self.lanes.len() >= CPUS && !self.lanes.contains_key(&cpu) {
            self.report.dropped.tasks += 1;
            return;
        }
        let lane = self.lanes.entry(cpu).or_default();
        lane.turns.push_back(turn);
        lane.forget(self.now);
        if lane.turns.len() > HELD {
            lane.before = lane.turns.pop_front();
        }
    }

    /// Who ran on a vCPU at a time that the guest was brought to; `None` where no switch was
    /// seen before. `user` is the address at which a program of it was, else its kernel was.
    pub(crate) fn running(&mut self, cpu: u32, at: Nanos, user: Option<u64>) -> Option<Running> {
        let bound = self.clock.bound();
        let lane = self.lanes.get_mut(&cpu)?;
        lane.forget(at);
        let now = lane.turns.front().filter(|turn| turn.from <= at).copied();
        let next = lane.turns.get(usize::from(now.is_some())).copied();
        let next = next.filter(|turn| turn.from.0.saturating_sub(at.0) <= bound);
        let before = lane
            .before
            .filter(|_| now.is_none_or(|turn| at.0.saturating_sub(turn.from.0) <= bound));
        let others = [before, next].into_iter().flatten();
        let alone = others.clone().all(|other| now.is_some_and(|now| now.pid == other.pid));
        let spaces = &mut self.spaces;
        let mut fits = |turn: &Turn| match user {
            Some(address) => turn.pid != 0 && spaces.find(turn.pid, address).is_some(),
            None => true,
        };
        let mut near = now.into_iter().chain(others);
        let best = near.clone().find(|turn| fits(turn));
        let best = best.or_else(|| near.find(|turn| user.is_none() || turn.pid != 0)).or(now)?;
        // A program's address in the idle thread: a switch is missing.
        let sure = now.is_some_and(|turn| turn.sure && (user.is_none() || turn.pid != 0));
        Some(Running { pid: best.pid, tid: best.tid, certain: alone && sure })
    }
}

impl Lane {
    /// Leaves the turn that runs at a time at the front.
    fn forget(&mut self, at: Nanos) {
        while self.turns.get(1).is_some_and(|next| next.from <= at) {
            self.before = self.turns.pop_front();
        }
    }
}

#[cfg(test)]
#[path = "guest_tests.rs"]
mod tests;
