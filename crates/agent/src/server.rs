//! The agent's loop: takes connections and answers requests, one after the other on each.

use crate::agent::Agent;
use crate::arrivals::{Arrivals, Arrived, busy};
use crate::conversation::Conversation;
use crate::line::Line;
use crate::listener::{Listener, Peer};
use crate::log::Log;
use crate::places::{LOOK, Places};
use crate::scratch::Scratch;
use crate::wait::Wait;
use crate::{Channel, Error, Role, Security};
use std::io::{self, Read, Write};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;
use workload::clock;

/// What all connections of a serving agent share.
struct Service<'a> {
    agent: &'a Agent,
    security: &'a Security,
    scratch: Scratch,
    /// What those may ask who come without a key.
    role: Role,
    stop: &'a AtomicBool,
    log: Log<'a>,
}

impl Agent {
    /// Serves until `stop`; `log` gets a line for each connection that was refused or broke.
    pub fn serve(
        &self,
        listener: &Listener,
        security: &Security,
        stop: &AtomicBool,
        log: &(dyn Fn(&str) + Sync),
    ) {
        let role = if listener.is_private() { Role::Configure } else { Role::Read };
        let scratch = Scratch::new(self.dir.as_deref());
        let log = Log::new(log);
        let service = Service { agent: self, security, scratch, role, stop, log };
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
                    match places.take(&arrived.stream, now) {
                        Ok(place) => {
                            let places = &places;
                            scope.spawn(move || self.attend(arrived, places, place));
                        }
                        Err(why) => {
                            busy(&arrived.stream);
                            let Peer { name, origin } = arrived.peer;
                            let line = format!("{name}: turned away, {why}");
                            if arrived.proven.is_some() {
                                self.log.say(&line);
                            } else {
                                self.log.refused(origin, now, || line);
                            }
                        }
                    }
                }
                self.log.sum_up(now);
            }
            // Their settings are undone at once, whatever the other ends do.
            places.drop_all();
        });
    }

    /// Serves a connection in its place, to its end.
    fn attend(&self, arrived: Arrived, places: &Places, place: u64) {
        let Arrived { stream, peer, proven } = arrived;
        let has_key = proven.is_some();
        let agreed = Channel::of_arrived(stream, proven);
        let ended = agreed
            .and_then(|(channel, role)| self.converse(channel, role, || places.is_known(place)));
        let dropped = places.leave(place);
        let name = &peer.name;
        let say = |line: String| {
            if has_key {
                self.log.say(&line);
            } else {
                self.log.refused(peer.origin, clock::now(), || line);
            }
        };
        match ended {
            Err(error @ Error::NotRestored(_)) => self.log.say(&format!("{name}: {error}")),
            // The agent's own end is no other end's fault.
            Ok(()) | Err(Error::Io(_)) if dropped && self.stop.load(SeqCst) => {}
            Ok(()) | Err(Error::Io(_)) if dropped => {
                say(format!("{name}: dropped, it said nothing"));
            }
            Err(error) => say(format!("{name}: {error}")),
            Ok(()) => {}
        }
    }

    /// A line has one controller after the other.
    fn take_turns(&self, line: &mut Line, name: &str) {
        while !self.stop.load(SeqCst) {
            if line.begun(Duration::from_nanos(LOOK)) {
                let agreed = Channel::accept(&mut *line, self.security);
                let ended = agreed.and_then(|(channel, role)| self.converse(channel, role, || ()));
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
        first: crate::Request,
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
    ) -> Result<Option<crate::Request>, Error> {
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
        match channel.receive() {
            Ok(request) => Ok(Some(request)),
            // The other end is done.
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}
