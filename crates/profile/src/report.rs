//! What should be known of each stream before a profile is believed.

use crate::space::Dropped;
use model::{Nanos, Reading, Record, Role, Stream, What};
use std::collections::BTreeMap;

/// CPUs of one stream whose losses are told apart; those of others are added to the last.
const CPUS: usize = 4096;

/// What one stream gave, and what is missing in it.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamReport {
    /// `host`, or the VM's name, raw.
    pub name: String,
    /// Whose kernel it is, and what it sends.
    pub role: Role,
    /// Its events.
    pub events: Vec<StreamEvent>,
    /// Samples read.
    pub samples: u64,
    /// Other records read.
    pub others: u64,
    /// The first and the last sample's or switch's time, by the host's clock.
    pub span: Option<(Nanos, Nanos)>,
    /// CPU → records that its kernel lost.
    pub lost: BTreeMap<u32, u64>,
    /// When the first and the last loss was told, by the host's clock: when there was room again.
    pub lost_span: Option<(Nanos, Nanos)>,
    /// CPU → times that its kernel throttled an event.
    pub throttled: BTreeMap<u32, u64>,
    /// Of a guest: no alignment of clocks is off by more, in nanoseconds; the largest of all
    /// segments. `None` where clocks were not aligned.
    pub clock_bound: Option<u64>,
    /// Of a guest: parts in which its clock went evenly. Each but the first is a step.
    pub clock_segments: usize,
    /// Of a guest in mode A: samples that the host took so near a switch, by the clock's
    /// bound, or after a loss, that another process may have been running.
    pub uncertain: u64,
    /// Of a guest in mode A: samples before any switch was seen on their vCPU.
    pub unplaced: u64,
    /// Of a guest in mode A whose agent was lost: samples from then on until it came back.
    pub unheard: u64,
    /// Of a guest in mode A: samples that were told of its kernel, at addresses that the program
    /// that ran has mapped, and samples told of a program in the kernel's half of the space: their
    /// addresses decide.
    pub misread: u64,
    /// Of a guest that samples itself: the host's samples of the same event in it, which are
    /// not counted a second time.
    pub duplicates: u64,
    /// Records of a guest whose clock was not aligned with the host's.
    pub unaligned: u64,
    /// Samples of an event that the stream does not have.
    pub invalid: u64,
    /// What found no room.
    pub dropped: Dropped,
    /// Notes of the recording.
    pub notes: Vec<String>,
}

/// An event of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamEvent {
    /// Its number in [`crate::Profile::events`].
    pub event: u16,
    /// Events or nanoseconds for each sample, as asked for.
    pub period: u64,
    /// The part of the time in which it was counted.
    pub share: Reading<f64>,
}

impl StreamReport {
    /// Of a stream of which nothing was read yet.
    pub(crate) fn new(stream: &Stream, columns: &[u16]) -> Self {
        let events = stream.events.iter().zip(columns).map(|(event, &column)| StreamEvent {
            event: column,
            period: event.period,
            share: event.share.clone(),
        });
        Self {
            name: stream.name.clone(),
            role: stream.role,
            events: events.collect(),
            samples: 0,
            others: 0,
            span: None,
            lost: BTreeMap::new(),
            lost_span: None,
            throttled: BTreeMap::new(),
            clock_bound: stream.clock.iter().map(|segment| segment.bound).max(),
            clock_segments: stream.clock.len(),
            uncertain: 0,
            unplaced: 0,
            unheard: 0,
            misread: 0,
            duplicates: 0,
            unaligned: 0,
            invalid: 0,
            dropped: Dropped::default(),
            notes: stream.notes.clone(),
        }
    }

    /// Counts a record.
    pub(crate) fn saw(&mut self, record: &Record, time: Nanos) {
        // Maps and names of what was there before have no time of their own.
        if matches!(record.what, What::Sample(_) | What::Switch { .. }) {
            self.span = Some(over(self.span, time));
        }
        match record.what {
            What::Sample(_) => self.samples += 1,
            What::Lost { count } => {
                add(&mut self.lost, record.cpu, count);
                self.lost_span = Some(over(self.lost_span, time));
            }
            What::Throttle { on: true } => add(&mut self.throttled, record.cpu, 1),
            _ => self.others += 1,
        }
    }

    /// A span in seconds after the first sample or switch.
    #[must_use]
    pub fn since_begin(&self, span: Option<(Nanos, Nanos)>) -> Option<(f64, f64)> {
        let (begin, _) = self.span?;
        span.map(|(from, to)| {
            (from.saturating_sub(begin).seconds(), to.saturating_sub(begin).seconds())
        })
    }

    /// From the first sample or switch to the last, on the host's clock; `None` where there is none.
    #[must_use]
    pub fn duration(&self) -> Option<Nanos> {
        self.span.map(|(first, last)| last.saturating_sub(first))
    }
}

/// A span that has a moment in it too.
fn over(span: Option<(Nanos, Nanos)>, time: Nanos) -> (Nanos, Nanos) {
    let (first, last) = span.unwrap_or((time, time));
    (first.min(time), last.max(time))
}

fn add(counts: &mut BTreeMap<u32, u64>, cpu: u32, count: u64) {
    let full = counts.len() >= CPUS && !counts.contains_key(&cpu);
    let cpu = if full { counts.keys().next_back().copied().unwrap_or(cpu) } else { cpu };
    let sum = counts.entry(cpu).or_default();
    *sum = sum.saturating_add(count);
}
