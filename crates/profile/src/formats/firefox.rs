//! The Firefox profiler's processed profile: a track for each thread, coloured by layer.

use super::words;
use crate::label::sentence;
use crate::place::{Layer, Placed, VmIndex};
use crate::profile::Profile;
use crate::symbols::Symbols;
use ahash::AHashMap;
use fxprof_processed_profile as fx;
use model::Nanos;
use std::io::{self, Write};
use std::time::SystemTime;

/// Threads that are told apart: a guest may have any number. Those of others share one of their
/// VM's.
const THREADS: usize = 4096;

/// A process, by its stream's VM and number; a guest's unknown one has none.
type ProcessKey = (VmIndex, bool, Option<u32>);

/// One event's samples as they come, and their profile at the end.
pub struct Firefox<'a> {
    profile: &'a Profile,
    symbols: &'a Symbols,
    event: u16,
    is_time: bool,
    made: fx::Profile,
    categories: AHashMap<Layer, fx::CategoryPairHandle>,
    processes: AHashMap<ProcessKey, fx::ProcessHandle>,
    threads: AHashMap<(ProcessKey, Option<u32>), fx::ThreadHandle>,
    /// The first sample's time, from which all are counted.
    origin: Nanos,
}

impl<'a> Firefox<'a> {
    /// One event's samples, with names from a profile of the same streams. `began` is the time
    /// of day of the first sample of all streams.
    #[must_use]
    pub fn new(profile: &'a Profile, symbols: &'a Symbols, event: u16, began: SystemTime) -> Self {
        let spans = profile.streams.iter().filter_map(|stream| stream.span).map(|span| span.0);
        let is_time = profile.events().get(usize::from(event)).is_some_and(|e| e.is_time);
        let own = |stream: &crate::StreamReport| {
            stream.events.iter().find(|own| own.event == event).map(|own| own.period)
        };
        let period = profile.streams.iter().find_map(own).filter(|&period| is_time && period > 0);
        let interval = fx::SamplingInterval::from_nanos(period.unwrap_or(1_000_000));
        let mut made = fx::Profile::new("vmeter", began.into(), interval);
        let colours = [
            (Layer::GuestUser, fx::CategoryColor::Green),
            (Layer::GuestKernel, fx::CategoryColor::Yellow),
            (Layer::Hypervisor, fx::CategoryColor::Purple),
            (Layer::HostKernel, fx::CategoryColor::Red),
            (Layer::HostUser, fx::CategoryColor::Blue),
            (Layer::Unknown, fx::CategoryColor::Gray),
        ];
        let categories = colours
            .map(|(layer, colour)| (layer, made.add_category(layer.word(), colour).into()))
            .into_iter()
            .collect();
        Self {
            profile,
            symbols,
            event,
            is_time,
            made,
            categories,
            processes: AHashMap::new(),
            threads: AHashMap::new(),
            origin: spans.min().unwrap_or(Nanos::ZERO),
        }
    }

    /// Adds a sample, if it is of the event and its CPU was not idle.
    pub fn sample(&mut self, placed: &Placed) {
        if placed.event != self.event || placed.idle {
            return;
        }
        let since = placed.time.saturating_sub(self.origin);
        let time = fx::Timestamp::from_nanos_since_reference(since.0);
        let words = words(self.profile, self.symbols, placed, false);
        let thread = self.thread(placed, &words.vm, time);
        let category_pair =
            *self.categories.get(&words.layer).unwrap_or(&fx::CategoryHandle::OTHER.into());
        let frames = [words.image, words.symbol].map(|word| fx::FrameInfo {
            frame: fx::Frame::Label(self.made.intern_string(&word)),
            category_pair,
            flags: fx::FrameFlags::empty(),
        });
        let stack = self.made.intern_stack_frames(thread, frames.into_iter());
        let used = if self.is_time { placed.period } else { 0 };
        self.made.add_sample(thread, time, stack, fx::CpuDelta::from_nanos(used), 1);
    }

    /// Writes the profile.
    ///
    /// # Errors
    /// As of the writer.
    pub fn finish(self, to: &mut dyn Write) -> io::Result<()> {
        Ok(serde_json::to_writer(to, &self.made)?)
    }

    fn thread(&mut self, placed: &Placed, vm: &str, time: fx::Timestamp) -> fx::ThreadHandle {
        // A host's thread that works for a VM is another than the guest's of that number.
        let in_guest = matches!(placed.layer, Layer::GuestUser | Layer::GuestKernel);
        let full = self.threads.len() >= THREADS;
        let mut key = ((placed.vm, in_guest, placed.pid), placed.tid);
        if full && !self.threads.contains_key(&key) {
            key = ((placed.vm, in_guest, None), None);
        }
        if let Some(&thread) = self.threads.get(&key) {
            return thread;
        }
        let ((_, _, pid), tid) = key;
        let name = |known: Option<u32>, name| match known {
            Some(_) => self.profile.shown_name(name),
            None => "[unknown]".to_owned(),
        };
        let (process_name, thread_name) = (name(pid, placed.process), name(tid, placed.thread));
        let made = &mut self.made;
        let process = *self.processes.entry(key.0).or_insert_with(|| {
            made.add_process(&sentence(&format!("{vm}: {process_name}")), pid.unwrap_or(0), time)
        });
        let is_main = pid == tid;
        let thread = made.add_thread(process, tid.unwrap_or(0), time, is_main);
        made.set_thread_name(thread, &thread_name);
        self.threads.insert(key, thread);
        thread
    }
}
