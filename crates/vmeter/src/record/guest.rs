//! A guest's part of a recording: its agent, and after a reboot the agent that is there then.

use super::host::Vmms;
use super::session::Session;
use super::symbols::Source;
use crate::failure::Refused;
use crate::monitor::Monitor;
use ::record::Writer;
use agent::{Deadline, Security};
use anyhow::{Context, Result};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::{debug, info};
use workload::Control;

/// The guest's rings are emptied so often.
const DRAIN: Duration = Duration::from_millis(200);
/// An agent that is lost is looked for so often.
const RETRY: Duration = Duration::from_secs(1);
/// Streams of one guest: one that boots for ever, or is lost at once each time, ends here.
const MOST: usize = 100;

/// How agents are reached, and what is wanted of them.
pub struct Wanted<'a> {
    /// What keeps others out.
    pub security: &'a Security,
    /// Whether the host samples its guests.
    pub host_samples: bool,
    /// What a guest that samples itself counts.
    pub events: &'a [String],
    /// The VMs of this host.
    pub vmms: &'a Vmms,
    /// When agents are given up.
    pub deadline: &'a Deadline,
}

/// A guest whose agent records.
pub struct Guest<'a> {
    wanted: &'a Wanted<'a>,
    monitor: &'a Monitor,
    name: String,
    /// The guest's own name, which another one behind the same address has not.
    host: String,
    /// Those that were lost, and the one that may still record.
    sessions: Vec<Session>,
}

impl<'a> Guest<'a> {
    /// Connects, and takes what may not be there at the end.
    pub fn connect(monitor: &'a Monitor, wanted: &'a Wanted<'a>) -> Result<Self> {
        let (name, handle) = monitor.connect(wanted.security, wanted.deadline)?;
        let name = wanted.vmms.meant(&name).map_err(Refused)?;
        let host = handle.hello().host.clone();
        let mut session = Session::new(&name, handle);
        session.take_symbols();
        Ok(Self { wanted, monitor, name, host, sessions: vec![session] })
    }

    /// Lets the agent begin.
    pub fn begin(&mut self) -> Result<()> {
        let Some(session) = self.sessions.last_mut() else { return Ok(()) };
        let begun = session.begin(self.wanted.host_samples, self.wanted.events);
        begun.with_context(|| self.name.clone())
    }

    /// The VM's name, raw.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was given up.
    pub fn notes(&self) -> &[String] {
        self.sessions.last().map_or(&[], Session::notes)
    }

    /// How it is sampled, in words.
    pub fn mode(&self) -> &'static str {
        self.sessions.last().map_or("not sampled", Session::mode)
    }

    /// Adds its stream.
    pub fn add(&mut self, writer: &mut Writer) -> Result<()> {
        let Some(session) = self.sessions.last_mut() else { return Ok(()) };
        session.add(self.wanted.vmms.counter(&self.name), writer)?;
        Ok(session.draft_symbols(writer)?)
    }

    /// Takes what the agent has until all is over. Where it is lost, a note says when, and it is
    /// looked for until it is there again: another kernel then, maybe, and another stream.
    pub fn record(&mut self, writer: &Mutex<Writer>, control: &Control) {
        let began = Instant::now();
        loop {
            self.listen(began, writer, control);
            loop {
                if control.stopped() || self.sessions.len() >= MOST {
                    return;
                }
                if self.comes_back(began, writer) {
                    break;
                }
                pause(RETRY, control);
            }
        }
    }

    /// Takes what the agent has until all is over or it is lost.
    fn listen(&mut self, began: Instant, writer: &Mutex<Writer>, control: &Control) {
        let Some(session) = self.sessions.last_mut() else { return };
        // One that is gone without a word is missed some seconds later: what counts is its last.
        let mut heard = (Instant::now(), sample::now());
        loop {
            let over = control.stopped();
            let saved = |session: &mut Session| session.save(writer).map_err(|e| e.to_string());
            if let Err(why) = session.turn(writer, over).and_then(|()| saved(session)) {
                let after = heard.0.duration_since(began).as_secs_f64();
                let note = format!(
                    "{after:.1} s after the start its agent was lost: {why}; later samples have no \
                     names unless it was reconnected"
                );
                info!(target: "record", vm = ?self.name, ?why, "agent lost: reconnecting");
                session.lose(heard.1, note, writer);
                return;
            }
            if over {
                return;
            }
            heard = (Instant::now(), sample::now());
            pause(DRAIN, control);
        }
    }

    /// Looks for the agent again, and lets it begin; whether it does.
    fn comes_back(&mut self, began: Instant, writer: &Mutex<Writer>) -> bool {
        let handle = match self.monitor.connect_again(self.wanted.security, self.wanted.deadline) {
            Ok(handle) => handle,
            Err(error) => {
                let error = error.to_string();
                debug!(target: "record", vm = ?self.name, ?error, "cannot reconnect yet");
                return false;
            }
        };
        if handle.hello().host != self.host {
            let host = &handle.hello().host;
            info!(target: "record", vm = ?self.name, ?host, "not reconnected: another host name");
            return false;
        }
        let mut session = Session::new(&self.name, handle);
        if session.begin(self.wanted.host_samples, self.wanted.events).is_err() {
            return false;
        }
        let after = began.elapsed().as_secs_f64();
        session.note(format!("{after:.1} s after the start its agent was reconnected"));
        info!(target: "record", vm = ?self.name, "agent reconnected");
        let counter = self.wanted.vmms.counter(&self.name);
        let mut file = writer.lock().unwrap_or_else(PoisonError::into_inner);
        if session.add(counter, &mut file).is_err() {
            // A disk that is full is told of by who appends to it next.
            return false;
        }
        drop(file);
        session.take_symbols();
        let mut file = writer.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = session.draft_symbols(&mut file);
        self.sessions.push(session);
        true
    }

    /// Tells how its clock went; gives its kernels' symbols, and the connection for its programs.
    pub fn finish(self, writer: &mut Writer) -> Result<Source> {
        let mut source = Source { streams: Vec::new(), agent: None };
        self.sessions.into_iter().try_for_each(|session| session.finish(&mut source, writer))?;
        Ok(source)
    }
}

fn pause(time: Duration, control: &Control) {
    let until = Instant::now() + time;
    while Instant::now() < until && !control.stopped() {
        std::thread::sleep(DRAIN / 10);
    }
}
