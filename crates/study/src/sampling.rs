//! Samples that the agents of a machine take of it and of its guests during a run, each of itself
//! (mode B of docs/record.md): figures 5.2 and 6.11 and table 5.2.

use crate::error::RunError;
use crate::fleet::Peer;
use crate::record::{Function, Sampled};
use crate::symbols::{Asked, Files, Nothing};
use agent::{Error, Handle, Opened, Stream};
use model::{Absent, Record, Role};
use profile::symbols::Symbols;
use profile::{Count, Layer, Named, Options, Profile};
use sample::Decoder;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

/// How often rings are emptied, and how soon an end is seen.
const DRAIN: Duration = Duration::from_millis(250);
const LOOK: Duration = Duration::from_millis(20);
/// Bytes of rings that are kept of one machine's run.
const MOST_BYTES: usize = 512 << 20;

/// Agents that sample while a run goes on. Dropped, they end.
pub(crate) struct Samplers {
    all: Vec<Sampler>,
    stop: Arc<AtomicBool>,
}

struct Sampler {
    who: String,
    thread: JoinHandle<Result<Taken, Error>>,
}

/// What an agent's rings gave.
struct Taken {
    handle: Handle<Stream>,
    opened: Opened,
    records: Vec<Record>,
    pieces: Vec<Vec<u8>>,
}

impl Samplers {
    /// Begins on all of them, each by a connection of its own.
    pub fn begin<'a>(
        peers: impl Iterator<Item = &'a mut Peer>,
        words: &[String],
    ) -> Result<Self, RunError> {
        let mut begun = Self { all: Vec::new(), stop: Arc::default() };
        for peer in peers {
            let lost = |source| RunError::Agent { who: peer.who.clone(), source };
            let mut handle = peer.another().map_err(lost)?;
            let opened = handle.sample(&agent::Sampling::Itself(words.to_vec())).map_err(lost)?;
            let records = handle.existing().map_err(lost)?;
            let stop = Arc::clone(&begun.stop);
            let taken = Taken { handle, opened, records, pieces: Vec::new() };
            let thread = thread::spawn(move || taken.until(&stop));
            begun.all.push(Sampler { who: peer.who.clone(), thread });
        }
        Ok(begun)
    }

    /// Ends it; what was sampled of each, with functions' names where `files` are given to keep
    /// their symbols in.
    pub fn end(
        mut self,
        mut files: Option<&mut Files>,
    ) -> Result<BTreeMap<String, Sampled>, RunError> {
        self.stop.store(true, Relaxed);
        let mut found = BTreeMap::new();
        for Sampler { who, thread } in self.all.drain(..) {
            let panicked = || Err(Error::Failed("it was not sampled".to_owned()));
            let taken = thread.join().unwrap_or_else(|_| panicked());
            let lost = |source| RunError::Agent { who: who.clone(), source };
            let sampled = taken.map_err(lost)?.sampled(&who, files.as_deref_mut()).map_err(lost)?;
            found.insert(who, sampled);
        }
        Ok(found)
    }
}

impl Drop for Samplers {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

impl Taken {
    fn until(mut self, stop: &AtomicBool) -> Result<Self, Error> {
        loop {
            self.drain()?;
            if stop.load(Relaxed) {
                self.opened.events = self.handle.end_sampling()?;
                self.drain()?;
                return Ok(self);
            }
            let next = Instant::now() + DRAIN;
            while Instant::now() < next && !stop.load(Relaxed) {
                sleep(LOOK);
            }
        }
    }

    fn drain(&mut self) -> Result<(), Error> {
        loop {
            let drained = self.handle.drain()?;
            self.pieces.extend(drained.pieces.into_iter().map(|(_, bytes)| bytes.into_vec()));
            if self.pieces.iter().map(Vec::len).sum::<usize>() > MOST_BYTES {
                let why = "too many samples for a run: use a longer period";
                return Err(Error::Failed(why.to_owned()));
            }
            if !drained.more {
                return Ok(());
            }
        }
    }

    /// Adds the samples up by their functions.
    fn sampled(mut self, who: &str, files: Option<&mut Files>) -> Result<Sampled, Error> {
        let unfit = |why: &dyn std::fmt::Display| Error::Failed(format!("its samples: {why}"));
        let decoder = Decoder::new(&self.opened.layout).map_err(|why| unfit(&why))?;
        for piece in &self.pieces {
            for record in decoder.decode(piece) {
                self.records.push(record.map_err(|why| unfit(&why))?);
            }
        }
        // What was there before has no time of its own and comes first.
        self.records.sort_by_key(|record| record.time);
        let streams = [self.stream(who)];
        let records = vec![profile::in_memory(self.records)];
        let profile = Profile::read(&streams, records, Options::default());
        let symbols = match files {
            Some(files) => {
                let mut images = Asked { who, handle: &mut self.handle, files };
                Symbols::find(&profile, &mut images)
            }
            None => Symbols::find(&profile, &mut Nothing),
        };
        let report = &profile.streams[0];
        let lost = report.lost.values().sum();
        let notes = [self.opened.notes, report.notes.clone()].concat();
        let named = Named::new(&profile, &symbols);
        Ok(Sampled { events: self.opened.events, functions: functions(&named), lost, notes })
    }

    fn stream(&self, who: &str) -> model::Stream {
        model::Stream {
            name: who.to_owned(),
            role: Role::Host,
            events: self.opened.events.clone(),
            cpus: self.opened.cpus,
            serving: Vec::new(),
            clock: Vec::new(),
            until: None,
            kallsyms: Err(Absent::NotReported),
            notes: Vec::new(),
        }
    }
}

/// The rows of what the machine did itself: a guest's samples in its host's are its own to tell.
fn functions(named: &Named<'_>) -> Vec<Function> {
    let guests = [Layer::GuestUser, Layer::GuestKernel];
    let mut sums: BTreeMap<_, Count> = BTreeMap::new();
    for row in named.rows.iter().filter(|row| !row.idle && !guests.contains(&row.layer)) {
        let symbol = row.naming.is_ok().then(|| named.shown_symbol(row));
        let key = (row.event, named.shown_process(row), named.shown_image(row, false), symbol);
        let sum = sums.entry(key).or_default();
        sum.samples += row.count.samples;
        sum.events += row.count.events;
    }
    let asked = |event: u16| named.profile.events()[usize::from(event)].asked.clone();
    sums.into_iter()
        .map(|((event, process, image, symbol), Count { samples, events })| Function {
            event: asked(event),
            process,
            image,
            symbol,
            samples,
            events,
        })
        .collect()
}
