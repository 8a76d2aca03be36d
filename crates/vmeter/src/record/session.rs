//! A guest's agent from its connection until it is lost: names alone (mode A), or samples (mode B),
//! as one stream of the recording.

use super::pings::Pings;
use super::symbols::{self, Kallsyms, Source};
use ::record::Writer;
use agent::{Handle, Opened, Sampling, SymbolFile};
use model::{Absent, Nanos, Reading, Record, Role, Stream as Recorded};
use platform::kvm::GuestCounter;
use sample::Decoder;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::info;

/// Its clock is asked so often, in bursts: the fastest answer tells most.
const PING: Duration = Duration::from_secs(1);
/// What is known of its clock is kept whenever so many parts of the time so far passed.
const SAVED_PARTS: u32 = 50;
/// Maximum rate at which a guest's agent may fill the recording, beyond a burst: 64 CPUs that are
/// sampled 10,000 times per second come to half of it.
const BYTES_PER_SECOND: u64 = 64_000_000;
const BURST_BYTES: u64 = 256_000_000;
/// What a piece of a ring counts for beside its bytes: each is a chunk of the recording, which takes time
/// and memory to write, find and read.
const PIECE_BYTES: u64 = 4096;
/// Maximum number of CPUs of a guest whose rings are recorded, two for each: who reads the recording has
/// a part of every ring in memory.
const MAX_CPUS: u32 = 256;
/// The largest kallsyms that is taken from a guest.
const MOST_SYMBOLS: u64 = 64 << 20;

/// An agent's connection.
pub type Connection = Handle<agent::Stream>;

/// An agent that records.
pub struct Session {
    name: String,
    /// `None` once it is lost.
    handle: Option<Connection>,
    opened: Opened,
    /// What its rings' bytes must be understood by.
    decoder: Option<Decoder>,
    role: Role,
    existing: Vec<Record>,
    number: usize,
    pings: Pings,
    asked: Option<Instant>,
    began: Instant,
    saved: Instant,
    until: Option<Nanos>,
    /// Bytes that came from its rings, each piece with [`PIECE_BYTES`] more.
    bytes: u64,
    kallsyms: Reading<Kallsyms>,
    notes: Vec<String>,
}

impl Session {
    /// An agent that has done nothing yet.
    pub fn new(name: &str, handle: Connection) -> Self {
        Self {
            name: name.to_owned(),
            handle: Some(handle),
            opened: nothing(),
            decoder: None,
            role: Role::Passive,
            existing: Vec::new(),
            number: 0,
            pings: Pings::default(),
            asked: None,
            began: Instant::now(),
            saved: Instant::now(),
            until: None,
            bytes: 0,
            kallsyms: Err(Absent::NotReported),
            notes: Vec::new(),
        }
    }

    /// Lets it begin: where the host samples the guest, with names alone, else, or where it cannot
    /// tell them, with samples.
    ///
    /// # Errors
    /// Where it can neither, and nobody else samples the guest.
    pub fn begin(&mut self, host_samples: bool, events: &[String]) -> Result<(), agent::Error> {
        let Some(handle) = &mut self.handle else { return Ok(()) };
        let itself = Sampling::Itself(events.to_vec());
        let begun = match host_samples.then(|| handle.sample(&Sampling::Names)) {
            Some(Ok(opened)) => Ok((Role::NamesOnly, opened)),
            Some(Err(error)) => {
                let why = error.to_string();
                info!(target: "record", vm = ?self.name, ?why, "no names: the agent samples the VM");
                self.notes.push(format!("its agent cannot report names: {error}"));
                handle.sample(&itself).map(|opened| (Role::SamplesItself, opened))
            }
            None => handle.sample(&itself).map(|opened| (Role::SamplesItself, opened)),
        };
        match begun {
            Ok((role, opened)) => {
                self.existing = handle.existing()?;
                self.notes.extend(opened.notes.iter().cloned());
                (self.role, self.opened) = (role, opened);
            }
            Err(error @ agent::Error::Failed(_)) if host_samples => {
                let why = error.to_string();
                info!(target: "record", vm = ?self.name, ?why, "agent cannot sample: host samples only");
                self.notes.push(format!("its agent cannot sample: {error}"));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Takes its kernel's symbols. At the end it might be lost.
    pub fn take_symbols(&mut self) {
        let Some(handle) = &mut self.handle else { return };
        let told = handle.symbols(&SymbolFile::Kallsyms, MOST_SYMBOLS).map(Kallsyms::Read);
        self.kallsyms = told.map_err(|error| Absent::Failed(error.to_string().into()));
    }

    /// Keeps them with the recording.
    ///
    /// # Errors
    /// As of the recording.
    pub fn draft_symbols(&mut self, writer: &mut Writer) -> Result<(), ::record::Error> {
        if let Ok(symbols) = &mut self.kallsyms {
            symbols.draft(self.number, writer);
        }
        writer.set_stream(self.number, self.stream())
    }

    /// What was given up.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Adds one.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// How the guest is sampled, in words.
    pub fn mode(&self) -> &'static str {
        match self.role {
            Role::NamesOnly => "sampled by the host, names reported by its agent (mode A)",
            Role::SamplesItself => "sampled by its agent (mode B)",
            Role::Passive | Role::Host => "sampled by the host, without names (passive)",
        }
    }

    fn stream(&self) -> Recorded {
        Recorded {
            name: self.name.clone(),
            role: self.role,
            events: self.opened.events.clone(),
            cpus: self.opened.cpus,
            serving: Vec::new(),
            clock: profile::clock::align(&self.pings.proofs()).segments,
            until: self.until,
            kallsyms: Kallsyms::file(&self.kallsyms, self.number),
            notes: self.notes.iter().cloned().chain(self.pings.note()).collect(),
        }
    }

    /// Adds its stream, with what is there already. Its clock is read by its CPUs' counter, too,
    /// where there is one.
    ///
    /// # Errors
    /// As of the recording.
    pub fn add(
        &mut self,
        counter: Option<GuestCounter>,
        writer: &mut Writer,
    ) -> Result<(), ::record::Error> {
        self.pings.counter = counter;
        let layout = (self.role != Role::Passive).then(|| self.opened.layout.clone());
        self.decoder = layout.as_ref().map(Decoder::new).transpose()?;
        self.number = writer.add_stream(self.stream(), layout)?;
        let existing = std::mem::take(&mut self.existing);
        writer.append_records(self.number, Nanos::ZERO, &existing)
    }

    /// Takes what the agent has; the `last` time it ends its sampling.
    ///
    /// # Errors
    /// In words, where it is lost, or what it told cannot be kept.
    pub fn turn(&mut self, writer: &Mutex<Writer>, last: bool) -> Result<(), String> {
        let Some(handle) = &mut self.handle else { return Ok(()) };
        let text = |error: agent::Error| error.to_string();
        if last || self.asked.is_none_or(|asked| asked.elapsed() >= PING) {
            self.asked = Some(Instant::now());
            self.pings.burst(handle).map_err(text)?;
        }
        // One that samples nothing has no rings.
        let Some(decoder) = &self.decoder else { return Ok(()) };
        if last {
            self.opened.events = handle.end_sampling().map_err(text)?;
        }
        loop {
            let drained = handle.drain().map_err(text)?;
            // What is malformed would be found, and said, only when the recording is read.
            for (ring, bytes) in &drained.pieces {
                check(decoder, self.opened.cpus, *ring, bytes)?;
            }
            let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            for (ring, bytes) in &drained.pieces {
                self.bytes += bytes.len() as u64 + PIECE_BYTES;
                let time = self.pings.last();
                writer.append(self.number, *ring, time, bytes).map_err(|e| e.to_string())?;
            }
            let seconds = self.began.elapsed().as_secs();
            if self.bytes > BURST_BYTES + BYTES_PER_SECOND.saturating_mul(seconds) {
                let mb = BYTES_PER_SECOND / 1_000_000;
                return Err(format!("it sends more than {mb} MB per second"));
            }
            if drained.is_stingy() {
                return Err("it has more data than it sends".to_owned());
            }
            if !drained.more {
                return Ok(());
            }
        }
    }

    /// Keeps what is known of its clock, should the recorder be killed: every second at first, then
    /// more seldom, as it takes longer the more was read.
    ///
    /// # Errors
    /// As of the recording.
    pub fn save(&mut self, writer: &Mutex<Writer>) -> Result<(), ::record::Error> {
        if self.saved.elapsed() < PING.max(self.began.elapsed() / SAVED_PARTS) {
            return Ok(());
        }
        self.saved = Instant::now();
        self.keep(writer)
    }

    fn keep(&self, writer: &Mutex<Writer>) -> Result<(), ::record::Error> {
        let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.set_stream(self.number, self.stream())
    }

    /// It is lost, and was heard last then, by the host's clock: what is known of its clock so far
    /// is kept, whatever comes.
    pub fn lose(&mut self, until: Nanos, note: String, writer: &Mutex<Writer>) {
        (self.handle, self.until) = (None, Some(until));
        self.notes.push(note);
        // A disk that is full is told of by who appends to it next.
        let _ = self.keep(writer);
    }

    /// Tells how its clock went; adds its stream and its kernel's symbols to the guest's, and the
    /// connection for its programs, where it is the last.
    ///
    /// # Errors
    /// As of the recording.
    pub fn finish(self, guest: &mut Source, writer: &mut Writer) -> Result<(), ::record::Error> {
        let file = self.kallsyms.as_ref().map(|_| symbols::kallsyms(self.number));
        let kallsyms = file.map_err(Clone::clone);
        writer.set_stream(self.number, Recorded { kallsyms, ..self.stream() })?;
        guest.streams.push((self.number, self.kallsyms.ok()));
        guest.agent = self.handle;
        Ok(())
    }
}

/// Whether bytes of a guest's ring are what a kernel writes.
fn check(decoder: &Decoder, cpus: u32, ring: u16, bytes: &[u8]) -> Result<(), String> {
    if u32::from(ring) >= 2 * cpus.min(MAX_CPUS) {
        return Err(format!("it sends ring {ring} of a VM of {cpus} CPUs"));
    }
    match decoder.decode(bytes).find_map(Result::err) {
        Some(damage) => Err(format!("its records are malformed: {damage}")),
        None => Ok(()),
    }
}

/// What an agent that samples nothing has opened.
fn nothing() -> Opened {
    let layout = sample::Layout { sample_type: 0, ids: Vec::new(), periods: Vec::new() };
    Opened { events: Vec::new(), layout, cpus: 0, notes: Vec::new() }
}
