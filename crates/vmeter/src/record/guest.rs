//! A guest's part of a recording, by its agent: names alone (mode A), or samples (mode B).

use super::pings::Pings;
use super::symbols::{self, Source};
use crate::monitor::Monitor;
use ::record::Writer;
use agent::{Handle, Opened, Sampling, Security, SymbolFile};
use anyhow::Result;
use model::{Absent, Nanos, Reading, Record, Role, Stream as Recorded};
use platform::kvm::GuestCounter;
use profile::clock::align;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use workload::Control;

/// The guest's rings are emptied so often.
const DRAIN: Duration = Duration::from_millis(200);
/// Its clock is asked so often, in bursts: the fastest answer tells most.
const PING: Duration = Duration::from_secs(1);
/// The largest kallsyms that is taken from a guest.
const MOST_SYMBOLS: u64 = 64 << 20;

/// An agent's connection.
pub type Connection = Handle<agent::Stream>;

/// A guest whose agent records.
pub struct Guest {
    name: String,
    /// `None` once it is lost.
    handle: Option<Connection>,
    opened: Opened,
    role: Role,
    existing: Vec<Record>,
    number: usize,
    pings: Pings,
    notes: Vec<String>,
}

impl Guest {
    /// Connects, and lets the agent begin: where the host samples the guest, with names alone,
    /// else, or where it cannot tell them, with samples.
    pub fn connect(
        monitor: &Monitor,
        security: &Security,
        host_samples: bool,
        events: &[String],
    ) -> Result<Self> {
        let (name, mut handle) = monitor.connect(security)?;
        let itself = Sampling::Itself(events.to_vec());
        let mut notes = Vec::new();
        let begun = match host_samples.then(|| handle.sample(&Sampling::Names)) {
            Some(Ok(opened)) => Ok((Role::NamesOnly, opened)),
            Some(Err(error)) => {
                notes.push(format!("its agent cannot tell names: {error}"));
                handle.sample(&itself).map(|opened| (Role::SamplesItself, opened))
            }
            None => handle.sample(&itself).map(|opened| (Role::SamplesItself, opened)),
        };
        let (role, opened) = match begun {
            Ok(begun) => begun,
            Err(error @ agent::Error::Failed(_)) if host_samples => {
                notes.push(format!("its agent cannot sample: {error}"));
                (Role::Passive, nothing())
            }
            Err(error) => return Err(anyhow::Error::from(error).context(name)),
        };
        let existing = if role == Role::Passive { Vec::new() } else { handle.existing()? };
        notes.extend(opened.notes.iter().cloned());
        let handle = Some(handle);
        let pings = Pings::default();
        Ok(Self { name, handle, opened, role, existing, number: 0, pings, notes })
    }

    /// The VM's name, raw.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was given up.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How it is sampled, in words.
    pub fn mode(&self) -> &'static str {
        match self.role {
            Role::NamesOnly => "the host samples it, its agent tells names (mode A)",
            Role::SamplesItself => "it samples itself (mode B)",
            Role::Passive | Role::Host => "the host samples it, nobody tells names (passive)",
        }
    }

    fn stream(&self, kallsyms: Reading<String>) -> Recorded {
        Recorded {
            name: self.name.clone(),
            role: self.role,
            events: self.opened.events.clone(),
            cpus: self.opened.cpus,
            serving: Vec::new(),
            clock: align(&self.pings.proofs()).segments,
            kallsyms,
            notes: self.notes.iter().cloned().chain(self.pings.note()).collect(),
        }
    }

    /// Adds its stream, with what is there already. Its clock is read by its CPUs' counter, too,
    /// where there is one.
    pub fn add(mut self, counter: Option<GuestCounter>, writer: &mut Writer) -> Result<Self> {
        self.pings.counter = counter;
        let unread = Err(Absent::NotProvided("the recording was not ended".into()));
        let layout = (self.role != Role::Passive).then(|| self.opened.layout.clone());
        self.number = writer.add_stream(self.stream(unread), layout)?;
        let existing = std::mem::take(&mut self.existing);
        writer.append_records(self.number, Nanos::ZERO, &existing)?;
        Ok(self)
    }

    /// Takes what the agent has until all is over; an agent that is lost ends its part, with a
    /// note that says when.
    pub fn record(&mut self, writer: &Mutex<Writer>, control: &Control) {
        let began = Instant::now();
        let mut asked = None;
        // One that is gone without a word is missed some seconds later: what counts is its last.
        let mut heard = began;
        loop {
            let over = control.stopped();
            if let Err(why) = self.turn(writer, &mut asked, over) {
                let after = heard.duration_since(began).as_secs_f64();
                self.notes.push(format!(
                    "{after:.1} s after the begin its agent was lost: {why}; what it did later is \
                     not named"
                ));
                self.handle = None;
                // What is known of its clock so far is kept, whatever comes.
                let stream = self.stream(Err(Absent::NotReported));
                let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
                let _ = writer.set_stream(self.number, stream);
                return;
            }
            if over {
                return;
            }
            heard = Instant::now();
            let next = Instant::now() + DRAIN;
            while Instant::now() < next && !control.stopped() {
                std::thread::sleep(DRAIN / 10);
            }
        }
    }

    fn turn(
        &mut self,
        writer: &Mutex<Writer>,
        asked: &mut Option<Instant>,
        last: bool,
    ) -> Result<(), String> {
        let Some(handle) = &mut self.handle else { return Ok(()) };
        let text = |error: agent::Error| error.to_string();
        if last || asked.is_none_or(|asked| asked.elapsed() >= PING) {
            *asked = Some(Instant::now());
            self.pings.burst(handle).map_err(text)?;
        }
        if self.role == Role::Passive {
            return Ok(());
        }
        if last {
            self.opened.events = handle.end_sampling().map_err(text)?;
        }
        loop {
            let drained = handle.drain().map_err(text)?;
            let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            for (ring, bytes) in &drained.pieces {
                let time = self.pings.last();
                writer.append(self.number, *ring, time, bytes).map_err(|e| e.to_string())?;
            }
            if !drained.more {
                return Ok(());
            }
        }
    }

    /// Tells how its clock went; gives its kernel's symbols, and the connection for its programs.
    pub fn finish(mut self, writer: &mut Writer) -> Result<Source> {
        let mut kallsyms = Err(Absent::NotReported);
        let mut text = None;
        if let Some(handle) = &mut self.handle {
            match handle.symbols(&SymbolFile::Kallsyms, MOST_SYMBOLS) {
                Ok(found) => {
                    text = Some(found);
                    kallsyms = Ok(symbols::kallsyms(self.number));
                }
                Err(error) => kallsyms = Err(Absent::Failed(error.to_string().into())),
            }
        }
        writer.set_stream(self.number, self.stream(kallsyms))?;
        Ok(Source { stream: self.number, kallsyms: text, agent: self.handle })
    }
}

/// What an agent that samples nothing has opened.
fn nothing() -> Opened {
    let layout = sample::Layout { sample_type: 0, ids: Vec::new(), periods: Vec::new() };
    Opened { events: Vec::new(), layout, cpus: 0, notes: Vec::new() }
}
