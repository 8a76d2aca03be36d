//! The agent's loop: takes connections and answers requests, one after the other on each.

use crate::agent::Agent;
use crate::arrivals::{Arrivals, Arrived, busy};
use crate::conversation::Conversation;
use crate::line::Line;
use crate::listener::{Listener, Peer};
use crate::log::Log;
use crate::places::{Cut, LOOK, Places};
use crate::scratch::Scratch;
use crate::wait::Wait;
use crate::{Channel, Deadline, Error, Request, Role, Security};
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;
use tracing::{debug, info};
use workload::clock;

/// What all connections of a serving agent share.
struct Service<'a> {
    agent: &'a Agent,
    security: &'a Security,
    scratch: Scratch,
    /// What those may ask who come without a key.
    role: Role,
    stop: &'a AtomicBool,
    /// When what is exchanged has to be over, once the agent is to end.
    deadline: Deadline,
    /// Of connections that have not shown a key, and of those that have.
    log: Log<'a>,
    holders: Log<'a>,
}

impl Agent {
    /// Serves until `stop`; `log` gets a line for each connection that was refused or broke.
    pub fn serve(
        &self,
        listener: &Listener,
        security: &Security,
        stop: &Arc<AtomicBool>,
        log: &(dyn Fn(&str) + Sync),
    ) {
        let role = if listener.is_private() { Role::Configure } else { Role::Read };
        let scratch = Scratch::new(self.dir.as_deref());
        let (log, holders) = (Log::new("refused", log), Log::new("with a key failed", log));
        info!(at = ?listener.place(), %role, read_only = self.read_only, "serving");
        let deadline = Deadline::hurried_by(Arc::clone(stop));
        let agent = self;
        let service = Service { agent, security, scratch, role, stop, deadline, log, holders };
        match listener {
            Listener::Line(line, path) => {
                let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
                service.take_turns(&mut line, &path.display().to_string());
            }
            listener => service.take_connections(listener),
        }
    }
}

impl Service<'_> {
    fn take_connections(&self, listener: &Listener) {
        let places = Places::default();
        let mut arrivals = Arrivals::new(self.security);
        thread::scope(|scope| {
            while !self.stop.load(SeqCst) {
                arrivals.wait(listener);
                arrivals.accept(listener, &self.log);
                let now = clock::now();
                // Also while nobody comes: the time of those who are silent runs out.
                places.drop_late(now);
                for arrived in arrivals.arrived(&self.log) {
                    let holder = arrived.proven.as_ref().map(|proven| proven.holder());
                    match places.take(&arrived.stream, holder, now) {
                        Ok(place) => {
                            let places = &places;
                            scope.spawn(move || self.attend(arrived, places, place));
                        }
                        Err(why) => {
                            busy(&arrived.stream);
                            let Peer { name, origin } = arrived.peer;
                            let log = self.log_of(holder.is_some());
                            log.tell(origin, now, || format!("{name}: refused, {why}"));
                        }
                    }
                }
                self.log.sum_up(now);
                self.holders.sum_up(now);
            }
            // Their settings are undone at once, whatever the other ends do.
            places.drop_all();
        });
    }

    /// Serves a connection in its place, to its end.
    fn attend(&self, arrived: Arrived, places: &Places, place: u64) {
        let Arrived { stream, peer, proven } = arrived;
        let holder = proven.as_ref().map(|proven| proven.holder());
        let agreed = Channel::of_arrived(stream, proven, &self.deadline);
        let role = holder.map(|holder| holder.role);
        debug!(peer = ?peer.name, role = %role.unwrap_or(self.role), place, "connection accepted");
        let ended =
            agreed.and_then(|channel| self.converse(channel, role, || places.is_known(place)));
        let cut = places.leave(place);
        debug!(peer = ?peer.name, ?cut, "connection ended");
        let name = &peer.name;
        let tell = |why: &dyn std::fmt::Display| {
            let log = self.log_of(holder.is_some());
            log.tell(peer.origin, clock::now(), || format!("{name}: {why}"));
        };
        match (ended, cut) {
            (Err(error @ Error::NotRestored(_)), _) => self.log.say(&format!("{name}: {error}")),
            // The agent's own end is not the other end's fault.
            (Ok(()) | Err(Error::Io(_)), Some(Cut::Over)) | (Ok(()), None) => {}
            (Ok(()) | Err(Error::Io(_)), Some(Cut::Late)) => tell(&"dropped, it sent nothing"),
            (Ok(()) | Err(Error::Io(_)), Some(Cut::Displaced)) => {
                tell(&"dropped for another connection");
            }
            (Err(error), _) => tell(&error),
        }
    }

    fn log_of(&self, has_key: bool) -> &Log<'_> {
        if has_key { &self.holders } else { &self.log }
    }

    /// A line has one controller after the other.
    fn take_turns(&self, line: &mut Line, name: &str) {
        while !self.stop.load(SeqCst) {
            if line.begun(Duration::from_nanos(LOOK)) {
                let agreed = Channel::accept(&mut *line, self.security, &self.deadline);
                let ended = agreed.and_then(|(channel, holder)| {
                    self.converse(channel, holder.map(|holder| holder.role), || ())
                });
                if let Err(error) = ended {
                    self.log.say(&format!("{name}: {error}"));
                }
                line.end();
            }
        }
    }

    /// One connection, to its end; `known` is called when the other end has shown that it belongs
    /// here: it said something that only who has the key can say.
    fn converse(
        &self,
        mut channel: Channel<impl Read + Write + Wait>,
        role: Option<Role>,
        known: impl Fn(),
    ) -> Result<(), Error> {
        let Some(first) = self.next(&mut channel)? else { return Ok(()) };
        known();
        let mut conversation =
            Conversation::new(self.agent, &self.scratch, role.unwrap_or(self.role));
        let ended = self.answer(&mut channel, &mut conversation, first);
        let failed = conversation.end();
        if failed.is_empty() { ended } else { Err(Error::NotRestored(failed)) }
    }

    fn answer(
        &self,
        channel: &mut Channel<impl Read + Write + Wait>,
        conversation: &mut Conversation<'_>,
        first: Request,
    ) -> Result<(), Error> {
        let mut request = first;
        loop {
            let (reply, last) = conversation.answer(request);
            channel.send(&reply)?;
            if let Some(error) = last {
                return Err(error);
            }
            match self.next(channel)? {
                Some(next) => request = next,
                None => return Ok(()),
            }
        }
    }

    /// The next request; `None` at the end of the connection or of the agent.
    fn next(
        &self,
        channel: &mut Channel<impl Read + Write + Wait>,
    ) -> Result<Option<Request>, Error> {
        let since = clock::now();
        while !channel.has_more() && !channel.stream().comes(LOOK) {
            let idle = clock::now() - since;
            if self.stop.load(SeqCst) || idle > channel.stream().idle() {
                return Ok(None);
            }
        }
        if self.stop.load(SeqCst) {
            return Ok(None);
        }
        match channel.receive(Request::LONGEST) {
            Ok(request) => Ok(Some(request)),
            // The other end is done.
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}
