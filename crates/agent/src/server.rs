//! The agent's loop: takes connections and answers requests, one after the other on each.

use crate::conversation::Conversation;
use crate::line::Line;
use crate::listener::Listener;
use crate::places::{LOOK, Places};
use crate::scratch::Scratch;
use crate::stream::Wait;
use crate::{Channel, Error, Security};
use platform::Choice;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;
use workload::clock;

/// What an agent reads counters of.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Which platform.
    pub platform: Choice,
    /// Below which root: `/`, or a saved tree.
    pub root: PathBuf,
    /// The arguments that make this program an instance of the CPU load.
    pub instance: Vec<String>,
    /// Where controllers' files lie; `None` is a private folder that goes with the agent.
    pub dir: Option<PathBuf>,
    /// Whether it runs, sets and takes nothing, whoever asks.
    pub read_only: bool,
}

/// What all connections of a serving agent share.
struct Service<'a> {
    agent: &'a Agent,
    security: &'a Security,
    scratch: Scratch,
    trusted: bool,
    stop: &'a AtomicBool,
    log: &'a (dyn Fn(&str) + Sync),
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
        let trusted = matches!(security, Security::Key(_)) || listener.is_private();
        let scratch = Scratch::new(self.dir.as_deref());
        let service = Service { agent: self, security, scratch, trusted, stop, log };
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
        thread::scope(|scope| {
            while !self.stop.load(SeqCst) {
                // Also while nobody comes: the time of those who are silent runs out.
                places.drop_late(clock::now());
                if !listener.comes(LOOK) {
                    continue;
                }
                let (stream, peer) = match listener.accept() {
                    Ok(accepted) => accepted,
                    Err(Error::Key(why)) => {
                        (self.log)(&why);
                        continue;
                    }
                    Err(_) => continue,
                };
                let place = match places.take(&stream, clock::now()) {
                    Ok(place) => place,
                    Err(why) => {
                        (self.log)(&format!("{peer}: turned away, {why}"));
                        continue;
                    }
                };
                let places = &places;
                scope.spawn(move || {
                    let ended = self.converse(stream, || places.is_known(place));
                    let dropped = places.leave(place);
                    match ended {
                        Err(error @ Error::NotRestored(_)) => {
                            (self.log)(&format!("{peer}: {error}"));
                        }
                        // The agent's own end is no other end's fault.
                        Ok(()) | Err(Error::Io(_)) if dropped && self.stop.load(SeqCst) => {}
                        Ok(()) | Err(Error::Io(_)) if dropped => {
                            (self.log)(&format!("{peer}: dropped, it said nothing"))
                        }
                        Err(error) => (self.log)(&format!("{peer}: {error}")),
                        Ok(()) => {}
                    }
                });
            }
            // Their settings are undone at once, whatever the other ends do.
            places.drop_all();
        });
    }

    /// A line has one controller after the other.
    fn take_turns(&self, line: &mut Line, name: &str) {
        while !self.stop.load(SeqCst) {
            if line.begun(Duration::from_nanos(LOOK)) {
                if let Err(error) = self.converse(&mut *line, || ()) {
                    (self.log)(&format!("{name}: {error}"));
                }
                line.end();
            }
        }
    }

    /// One connection, to its end; `known` is called when the other end has shown that it belongs
    /// here: it said something that only who has the key can say.
    fn converse(&self, stream: impl Read + Write + Wait, known: impl Fn()) -> Result<(), Error> {
        let mut channel = Channel::accept(stream, self.security)?;
        let Some(first) = self.next(&mut channel)? else { return Ok(()) };
        known();
        let mut conversation = Conversation::new(self.agent, &self.scratch, self.trusted);
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
