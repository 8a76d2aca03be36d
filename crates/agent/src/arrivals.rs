//! Connections that have not yet shown that they belong here.
//!
//! They have no thread and no place among those that are served: only once a connection's first
//! message has come, which nobody without a key can make, it is let in. Until then it may wait, in
//! numbers that are limited for each address, as sshd(8) does with PerSourceMaxStartups: whoever
//! opens many connections puts out their own.

use crate::listener::{Listener, Peer};
use crate::log::Log;
use crate::noise::{FIRST, Proven};
use crate::origin::Origin;
use crate::places::{INTRODUCTION, LOOK};
use crate::{Error, Security, Stream};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::collections::HashMap;
use workload::clock;

/// Maximum number of connections that wait.
const MAX_WAITING: usize = 256;
/// Of them, from one address.
const MAX_OF_ORIGIN: usize = 64;
/// Connections that are accepted before the others are looked at.
const MAX_ACCEPTS: usize = 64;
/// First messages of an address that fail in a row; after that it may try [`TRIES_PER_SECOND`].
const MAX_FAILURES: f64 = 50.0;
const TRIES_PER_SECOND: f64 = 20.0;
/// Addresses whose failures are remembered.
const MAX_REMEMBERED: usize = 1024;

/// What an agent that has no room for a connection says before it closes it: a message of no bytes,
/// which no session has.
pub(crate) const BUSY: [u8; 2] = [0, 0];

/// A connection that may be served.
pub(crate) struct Arrived {
    pub stream: Stream,
    pub peer: Peer,
    /// What it has shown; `None` where there are no keys.
    pub proven: Option<Box<Proven>>,
}

/// A connection that waits.
struct Waiting {
    stream: Stream,
    peer: Peer,
    /// When it came, and how long it could have been served, in nanoseconds.
    since: u64,
    age: u64,
    first: Vec<u8>,
}

/// How a waiting connection goes on.
enum Next {
    Waits,
    Arrived(Option<Box<Proven>>),
    Refused(String),
    /// Not looked at: its address had too many tries.
    Busy,
    Closed,
}

/// All that wait.
pub(crate) struct Arrivals<'a> {
    security: &'a Security,
    waiting: Vec<Waiting>,
    failures: HashMap<Origin, Failures>,
    looked: u64,
}

/// Failed first messages of an address: how many, less what time has forgiven.
#[derive(Debug, Clone, Copy)]
struct Failures {
    count: f64,
    at: u64,
}

impl<'a> Arrivals<'a> {
    pub(crate) fn new(security: &'a Security) -> Self {
        Self { security, waiting: Vec::new(), failures: HashMap::new(), looked: clock::now() }
    }

    /// Waits, for [`LOOK`] at most, until one comes or says something.
    pub(crate) fn wait(&self, listener: &Listener) {
        let mut all: Vec<PollFd<'_>> = Vec::with_capacity(self.waiting.len() + 1);
        all.extend(listener.fd().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let each = self.waiting.iter().map(|it| it.stream.as_fd());
        all.extend(each.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        // Where it fails, both are looked at all the same.
        let _ = poll(&mut all, Some(&clock::timespec(LOOK)));
    }

    /// Accepts those who have come.
    pub(crate) fn accept(&mut self, listener: &Listener, log: &Log<'_>) {
        for _ in 0..MAX_ACCEPTS {
            match listener.accept() {
                Ok((stream, peer)) => self.add(stream, peer),
                Err((Error::Key(why), peer)) => {
                    if let Some(peer) = peer {
                        log.refused(peer.origin, clock::now(), || why);
                    }
                }
                Err(_) => return,
            }
        }
    }

    fn add(&mut self, stream: Stream, peer: Peer) {
        let of = |origin: Origin| self.waiting.iter().filter(move |it| it.peer.origin == origin);
        if of(peer.origin).count() >= MAX_OF_ORIGIN {
            self.put_out(peer.origin);
        } else if self.waiting.len() >= MAX_WAITING {
            let origins = self.waiting.iter().map(|it| it.peer.origin);
            if let Some(most) = origins.max_by_key(|origin| of(*origin).count()) {
                self.put_out(most);
            }
        }
        let (since, age) = (clock::now(), 0);
        self.waiting.push(Waiting { stream, peer, since, age, first: Vec::new() });
    }

    /// Closes the connection of this address that has waited for longest.
    fn put_out(&mut self, origin: Origin) {
        if let Some(at) = self.waiting.iter().position(|it| it.peer.origin == origin) {
            busy(&self.waiting.remove(at).stream);
        }
    }

    /// Takes those who have shown that they belong here, and closes those who cannot or are late.
    pub(crate) fn arrived(&mut self, log: &Log<'_>) -> Vec<Arrived> {
        let now = clock::now();
        let passed = |since: u64| now.saturating_sub(self.looked.max(since)).min(LOOK);
        let mut arrived = Vec::new();
        let mut rest = Vec::with_capacity(self.waiting.len());
        for mut one in std::mem::take(&mut self.waiting) {
            one.age += passed(one.since);
            let origin = one.peer.origin;
            match next(&mut one, self.security, &mut self.failures, now) {
                Next::Arrived(proven) => {
                    arrived.push(Arrived { stream: one.stream, peer: one.peer, proven });
                }
                Next::Waits if one.age > INTRODUCTION => {
                    log.refused(origin, now, || {
                        format!("{}: dropped, it said nothing", one.peer.name)
                    });
                }
                Next::Waits => rest.push(one),
                Next::Refused(why) => {
                    log.refused(origin, now, || format!("{}: {why}", one.peer.name));
                }
                Next::Busy => {
                    busy(&one.stream);
                    let why = "turned away, too many connections without the key";
                    log.refused(origin, now, || format!("{}: {why}", one.peer.name));
                }
                Next::Closed => {}
            }
        }
        self.looked = now;
        self.waiting = rest;
        arrived
    }
}

fn next(
    one: &mut Waiting,
    security: &Security,
    failures: &mut HashMap<Origin, Failures>,
    now: u64,
) -> Next {
    let Security::Keys(keys) = security else {
        // Whoever may connect belongs here; it need but say something.
        let mut byte = [0; 1];
        return match recv(&one.stream, &mut byte, RecvFlags::DONTWAIT | RecvFlags::PEEK) {
            Ok((1.., _)) => Next::Arrived(None),
            Ok(_) => Next::Closed,
            Err(Errno::AGAIN | Errno::INTR) => Next::Waits,
            Err(_) => Next::Closed,
        };
    };
    let mut bytes = [0; FIRST];
    let wanted = FIRST - one.first.len();
    match recv(&one.stream, &mut bytes[..wanted], RecvFlags::DONTWAIT) {
        Ok((count @ 1.., _)) => one.first.extend_from_slice(&bytes[..count]),
        Ok(_) if one.first.is_empty() => return Next::Closed,
        Ok(_) => return Next::Refused(Error::Refused.to_string()),
        Err(Errno::AGAIN | Errno::INTR) => return Next::Waits,
        Err(_) => return Next::Closed,
    }
    let length = one.first.first_chunk().map(|length| usize::from(u16::from_le_bytes(*length)));
    if length.is_some_and(|length| length != FIRST - 2) {
        return Next::Refused(Error::Refused.to_string());
    }
    if one.first.len() < FIRST {
        return Next::Waits;
    }
    if !may_try(failures, one.peer.origin, now) {
        return Next::Busy;
    }
    match Proven::by(keys, &one.first[2..]) {
        Ok(proven) => {
            failures.remove(&one.peer.origin);
            Next::Arrived(Some(Box::new(proven)))
        }
        Err(error) => {
            failed(failures, one.peer.origin, now);
            Next::Refused(error.to_string())
        }
    }
}

/// Whether a first message of this address is looked at: each costs the agent some CPU.
fn may_try(failures: &HashMap<Origin, Failures>, origin: Origin, now: u64) -> bool {
    failures.get(&origin).is_none_or(|known| known.left(now) < MAX_FAILURES)
}

fn failed(failures: &mut HashMap<Origin, Failures>, origin: Origin, now: u64) {
    if failures.len() >= MAX_REMEMBERED {
        failures.retain(|_, known| known.left(now) > 0.0);
    }
    if failures.len() < MAX_REMEMBERED || failures.contains_key(&origin) {
        let known = failures.entry(origin).or_insert(Failures { count: 0.0, at: now });
        *known = Failures { count: known.left(now) + 1.0, at: now };
    }
}

impl Failures {
    fn left(self, now: u64) -> f64 {
        let seconds = now.saturating_sub(self.at) as f64 / clock::SECOND as f64;
        (self.count - TRIES_PER_SECOND * seconds).max(0.0)
    }
}

/// Tells the other end that there was no room for it. Nothing waits for that.
pub(crate) fn busy(stream: &Stream) {
    let _ = send(stream, &BUSY, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
}
