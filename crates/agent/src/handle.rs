//! The controller's side of an agent.

use crate::deadline::wait_for;
use crate::message::{Hello, PROTOCOL, Reply, Request};
use crate::places::INTRODUCTION;
use crate::sampling::{MOST_NAMES, weight};
use crate::scratch::{PIECE, ROOM};
use crate::{
    Changed, Channel, Checksum, Deadline, Drained, Error, Opened, Sampling, Security, Setting,
    Stage, Stream, SymbolFile, Work,
};
use model::{Event, Inside, Interrupts, Pinged, Record, Snapshot};
use serde::Serialize;
use std::io::{Read, Write};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;
use workload::clock;

/// A connection to an agent that has introduced itself.
pub struct Handle<S> {
    channel: Channel<S>,
    hello: Hello,
}

/// How an agent's clock relates to this machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    /// The agent's CLOCK_MONOTONIC less this machine's, in nanoseconds.
    pub nanos: i64,
    /// The offset is off by this at most: half of the shortest round trip, in nanoseconds.
    pub bound: u64,
}

/// Maximum size in bytes of the names and maps of before that an agent may report: a busy machine
/// has some MB.
const MAX_EXISTING: usize = 64 << 20;
/// Pings of a burst; the fastest one counts.
const PINGS: usize = 16;
/// Maximum length of an agent's reason in characters.
const MAX_REASON: usize = 1000;

impl Handle<Stream> {
    /// Connects to an agent at an address ([`Stream::connect`]), where a network must make the
    /// connection within a time. All of it, looking up names included, and what is asked later, ends
    /// with the deadline.
    ///
    /// # Errors
    /// As [`Stream::connect`] and [`Self::connect`]; where the deadline has passed.
    pub fn reach(
        address: &str,
        within: Duration,
        security: &Security,
        deadline: &Deadline,
    ) -> Result<Self, Error> {
        let (send, found) = channel();
        let (address, security) = (address.to_owned(), security.clone());
        let its = deadline.clone();
        // A thread that nothing can wake, such as one that looks up a name, is left behind.
        thread::Builder::new().name("connect".to_owned()).spawn(move || {
            let stream = Stream::connect_within(&address, within).map_err(Error::from);
            let _ = send.send(stream.and_then(|stream| Self::connect(stream, &security, &its)));
        })?;
        wait_for(&found, deadline)?
    }
}

impl<S: Read + Write> Handle<S> {
    /// Agrees with an agent and asks who it is.
    ///
    /// # Errors
    /// Another key, an end that closes late ([`Error::Late`]), another version, or what the stream
    /// says.
    pub fn connect(stream: S, security: &Security, deadline: &Deadline) -> Result<Self, Error> {
        let begun = clock::now();
        Self::agree(stream, security, deadline).map_err(|error| match error {
            // Who has another key is refused at once.
            Error::Refused if clock::now() - begun > INTRODUCTION / 2 => Error::Late,
            error => error,
        })
    }

    fn agree(stream: S, security: &Security, deadline: &Deadline) -> Result<Self, Error> {
        let mut channel = Channel::connect(stream, security, deadline)?;
        let hello = Request::Hello { protocol: PROTOCOL };
        channel.send(&hello)?;
        match channel.receive(hello.longest_reply()).map_err(Error::if_closed)? {
            Reply::Hello(hello) if hello.protocol == PROTOCOL => {
                Ok(Self { channel, hello: *hello })
            }
            Reply::Hello(hello) => Err(Error::Version { theirs: hello.protocol }),
            _ => Err(Error::Unexpected),
        }
    }

    /// Who it is.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Reads the agent's clock against this machine's, in a burst of pings.
    ///
    /// # Errors
    /// Where the agent is lost.
    pub fn offset(&mut self) -> Result<Offset, Error> {
        let mut best: Option<Offset> = None;
        for _ in 0..PINGS {
            let sent = clock::now();
            let Reply::Clock { monotonic: theirs, .. } = self.ask(&Request::Clock)? else {
                return Err(Error::Unexpected);
            };
            let came = clock::now();
            // The agent read its clock between the two: it is the middle, give or take half.
            let bound = (came - sent).div_ceil(2);
            let middle = sent + (came - sent) / 2;
            let nanos = theirs.wrapping_sub(middle) as i64;
            if best.is_none_or(|best| bound < best.bound) {
                best = Some(Offset { nanos, bound });
            }
        }
        best.ok_or(Error::Unexpected)
    }

    /// The agent's clock of samples between two moments of this machine's: when it was asked, and
    /// when it had answered.
    ///
    /// # Errors
    /// Where the agent is lost.
    pub fn ping(&mut self) -> Result<Pinged, Error> {
        let sent = sample::stamp();
        let Reply::Clock { stamp: guest, .. } = self.ask(&Request::Clock)? else {
            return Err(Error::Unexpected);
        };
        Ok(Pinged { sent, guest, received: sample::stamp() })
    }

    /// Lets the agent sample its machine, or tell names, until this connection ends.
    ///
    /// # Errors
    /// Where it may not or cannot, with its reason, or is lost.
    pub fn sample(&mut self, what: &Sampling) -> Result<Opened, Error> {
        match self.ask(&Request::Sample(what.clone()))? {
            Reply::Sampling(opened) => Ok(*opened),
            _ => Err(Error::Unexpected),
        }
    }

    /// Names and maps of before it began to sample.
    ///
    /// # Errors
    /// Where nothing is sampled, or the agent is lost.
    pub fn existing(&mut self) -> Result<Vec<Record>, Error> {
        let (mut found, mut size) = (Vec::new(), 0);
        loop {
            let from = u32::try_from(found.len()).unwrap_or(u32::MAX);
            let Reply::Existing { records, all } = self.ask(&Request::Existing { from })? else {
                return Err(Error::Unexpected);
            };
            let none = records.is_empty();
            let here = records.iter().map(weight).sum::<usize>();
            size += here;
            if size > MAX_EXISTING {
                let mb = MAX_EXISTING >> 20;
                return Err(Error::Failed(format!("names of processes of more than {mb} MiB")));
            }
            found.extend(records);
            if none || found.len() >= all as usize {
                return Ok(found);
            }
            if here < MOST_NAMES {
                return Err(Error::Failed("names of processes in small pieces".to_owned()));
            }
        }
    }

    /// What came into the rings since the last time; ask again where there is more.
    ///
    /// # Errors
    /// Where nothing is sampled, or the agent is lost.
    pub fn drain(&mut self) -> Result<Drained, Error> {
        match self.ask(&Request::Drain)? {
            Reply::Drained(drained) => Ok(drained),
            _ => Err(Error::Unexpected),
        }
    }

    /// Ends sampling; the rings can be drained once more. The events, with the part of the time
    /// that each was counted.
    ///
    /// # Errors
    /// Where nothing is sampled, or the agent is lost.
    pub fn end_sampling(&mut self) -> Result<Vec<Event>, Error> {
        match self.ask(&Request::EndSampling)? {
            Reply::Sampled { events } => Ok(events),
            _ => Err(Error::Unexpected),
        }
    }

    /// Fetches a file that tells what addresses are, of at most `most` bytes.
    ///
    /// # Errors
    /// Where there is none, it is no program or larger, and where the agent is lost.
    pub fn symbols(&mut self, file: &SymbolFile, most: u64) -> Result<Vec<u8>, Error> {
        self.pieces(most, |offset| Request::Symbols { file: file.clone(), offset })
    }

    /// Lets the agent read such a file and report its checksum, by which a file that is here
    /// already need not be fetched.
    ///
    /// # Errors
    /// As [`Self::symbols`].
    pub fn checksum(&mut self, file: &SymbolFile) -> Result<Checksum, Error> {
        match self.ask(&Request::Checksum(file.clone()))? {
            Reply::Checksum(found) => Ok(found),
            _ => Err(Error::Unexpected),
        }
    }

    /// Lets the agent read all its counters.
    ///
    /// # Errors
    /// Where it cannot, with its reason, or is lost.
    pub fn snapshot(&mut self, vcpus: bool) -> Result<Snapshot, Error> {
        match self.ask(&Request::Snapshot { vcpus })? {
            Reply::Snapshot(snapshot) => Ok(*snapshot),
            _ => Err(Error::Unexpected),
        }
    }

    /// What the agent's kernel counts of its CPUs' time: in a guest, what only the guest can tell.
    ///
    /// # Errors
    /// Where it cannot be read, with the reason, or the agent is lost.
    pub fn inside(&mut self) -> Result<Inside, Error> {
        match self.ask(&Request::Inside)? {
            Reply::Inside(inside) => Ok(*inside),
            _ => Err(Error::Unexpected),
        }
    }

    /// Starts a workload, which ends with this connection; its number, and where it listens.
    ///
    /// # Errors
    /// Where it cannot be run there, with the reason, or the agent is lost.
    pub fn start(&mut self, work: &Work) -> Result<(u32, Option<String>), Error> {
        match self.ask(&Request::Start { work: json(work)? })? {
            Reply::Started { job, address } => Ok((job, address)),
            _ => Err(Error::Unexpected),
        }
    }

    /// How far a workload is.
    ///
    /// # Errors
    /// Where there is no such workload, or the agent is lost.
    pub fn stage(&mut self, job: u32) -> Result<Stage, Error> {
        self.ask_for_stage(&Request::Stage { job })
    }

    /// Asks a workload to end with what it has.
    ///
    /// # Errors
    /// Where there is no such workload, or the agent is lost.
    pub fn stop(&mut self, job: u32) -> Result<Stage, Error> {
        self.ask_for_stage(&Request::Stop { job })
    }

    /// Sets something on the agent's machine until this connection ends, however it does.
    ///
    /// # Errors
    /// Where it cannot be set, with the reason: nothing of it is set then. Where the agent is
    /// lost.
    pub fn set(&mut self, setting: &Setting) -> Result<Vec<Changed>, Error> {
        match self.ask(&Request::Set { setting: json(setting)? })? {
            Reply::Set { was } => Ok(was),
            _ => Err(Error::Unexpected),
        }
    }

    /// Undoes all that this connection has set, the last first.
    ///
    /// # Errors
    /// [`Error::NotRestored`] with what could not be undone; where the agent is lost.
    pub fn restore(&mut self) -> Result<(), Error> {
        match self.ask(&Request::Restore)? {
            Reply::Restored { failed } if failed.is_empty() => Ok(()),
            Reply::Restored { failed } => Err(Error::NotRestored(failed)),
            _ => Err(Error::Unexpected),
        }
    }

    /// The machine's interrupts: who handles them, how often each CPU took them, and may.
    ///
    /// # Errors
    /// Where the agent cannot read them, or is lost.
    pub fn interrupts(&mut self) -> Result<Interrupts, Error> {
        match self.ask(&Request::Interrupts)? {
            Reply::Interrupts(table) => Ok(*table),
            _ => Err(Error::Unexpected),
        }
    }

    /// Puts a file into the agent's folder, in place of one of that name; its path there.
    ///
    /// # Errors
    /// Where the name is not plain or there is no room, and where the agent is lost.
    pub fn put(&mut self, name: &str, bytes: &[u8]) -> Result<String, Error> {
        let mut pieces = bytes.chunks(PIECE);
        // A file without bytes is one, too.
        let mut piece = pieces.next().unwrap_or_default();
        let (mut offset, size) = (0, bytes.len() as u64);
        loop {
            let (name, bytes) = (name.to_owned(), piece.to_vec());
            let request = Request::Put { name, offset, size, bytes };
            let Reply::Put { path } = self.ask(&request)? else { return Err(Error::Unexpected) };
            offset += piece.len() as u64;
            match pieces.next() {
                Some(next) => piece = next,
                None => return Ok(path),
            }
        }
    }

    /// Fetches a file from the agent's folder.
    ///
    /// # Errors
    /// Where there is no such file, it changes meanwhile or has more than [`ROOM`] bytes, and
    /// where the agent is lost.
    pub fn fetch(&mut self, name: &str) -> Result<Vec<u8>, Error> {
        self.pieces(ROOM, |offset| Request::Fetch { name: name.to_owned(), offset })
    }

    /// A file, piece by piece.
    fn pieces(&mut self, most: u64, ask: impl Fn(u64) -> Request) -> Result<Vec<u8>, Error> {
        let mut found = Vec::new();
        loop {
            let Reply::Piece { bytes, size } = self.ask(&ask(found.len() as u64))? else {
                return Err(Error::Unexpected);
            };
            found.extend_from_slice(&bytes);
            let now = found.len() as u64;
            if now == size && now <= most {
                return Ok(found);
            }
            // Whatever the other end says, this one's memory and patience have an end.
            if bytes.len() != PIECE || now > size || size > most {
                return Err(Error::Failed(format!(
                    "a file of {size} bytes, or one that changes while it is read"
                )));
            }
        }
    }

    fn ask_for_stage(&mut self, request: &Request) -> Result<Stage, Error> {
        match self.ask(request)? {
            Reply::Stage(stage) => Ok(stage),
            _ => Err(Error::Unexpected),
        }
    }

    /// The reply to a request, unless it is that the agent cannot.
    fn ask(&mut self, request: &Request) -> Result<Reply, Error> {
        self.channel.send(request)?;
        match self.channel.receive(request.longest_reply())? {
            Reply::Failed(reason) => {
                Err(Error::Failed(model::shorten(&reason, MAX_REASON).into_owned()))
            }
            reply => Ok(reply),
        }
    }
}

fn json(what: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(what).map_err(|error| Error::Failed(error.to_string()))
}

#[cfg(test)]
#[path = "handle_tests.rs"]
mod tests;
