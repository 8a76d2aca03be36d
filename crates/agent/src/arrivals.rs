//! Connections that have not yet shown that they belong here.
//!
//! They have no thread and no place among those that are served: only once a connection's first
//! message has come, which nobody without a key can make, it is let in. Until then it may wait, in
//! numbers that are limited for each address, as sshd(8) does with PerSourceMaxStartups: whoever
//! opens many connections puts out their own.

use crate::listener::{Listener, Peer};
use crate::log::Log;
use crate::noise::{Ephemeral, FIRST, Proven};
use crate::origin::Origin;
use crate::places::{INTRODUCTION, LOOK};
use crate::{Error, Security, Stream};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::collections::{HashMap, HashSet, VecDeque};
use workload::clock;

/// Maximum number of connections that wait.
const MAX_WAITING: usize = 256;
/// Of them, from one address.
const MAX_OF_ORIGIN: usize = 64;
/// Connections that are accepted before the others are looked at.
const MAX_ACCEPTS: usize = 64;
/// First messages of an address that are looked at in a row, good or not: each costs the agent some CPU.
/// After that it may try [`TRIES_PER_SECOND`].
const MAX_TRIES: f64 = 50.0;
const TRIES_PER_SECOND: f64 = 20.0;
/// Addresses whose tries are remembered.
const MAX_REMEMBERED: usize = 1024;
/// First messages that are remembered, to be good only once.
const MAX_SEEN: usize = 16 << 10;

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
    gate: Gate,
    looked: u64,
}

/// Who may try, and which first messages were good already.
#[derive(Debug, Default)]
struct Gate {
    tries: HashMap<Origin, Tries>,
    seen: HashSet<Ephemeral>,
    /// The same, the oldest first.
    order: VecDeque<Ephemeral>,
}

/// First messages of an address that were looked at: how many, less what time has forgiven.
#[derive(Debug, Clone, Copy)]
struct Tries {
    count: f64,
    at: u64,
}

impl<'a> Arrivals<'a> {
    pub(crate) fn new(security: &'a Security) -> Self {
        Self { security, waiting: Vec::new(), gate: Gate::default(), looked: clock::now() }
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
                        log.tell(peer.origin, clock::now(), || why);
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
            match next(&mut one, self.security, &mut self.gate, now) {
                Next::Arrived(proven) => {
                    arrived.push(Arrived { stream: one.stream, peer: one.peer, proven });
                }
                Next::Waits if one.age > INTRODUCTION => {
                    log.tell(origin, now, || {
                        format!("{}: dropped, it sent nothing", one.peer.name)
                    });
                }
                Next::Waits => rest.push(one),
                Next::Refused(why) => {
                    log.tell(origin, now, || format!("{}: {why}", one.peer.name));
                }
                Next::Busy => {
                    busy(&one.stream);
                    let why = "refused, too many connections from its address";
                    log.tell(origin, now, || format!("{}: {why}", one.peer.name));
                }
                Next::Closed => {}
            }
        }
        self.looked = now;
        self.waiting = rest;
        arrived
    }
}

fn next(one: &mut Waiting, security: &Security, gate: &mut Gate, now: u64) -> Next {
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
    if !gate.may_try(one.peer.origin, now) {
        return Next::Busy;
    }
    match Proven::by(keys, &one.first[2..]) {
        Ok(proven) if gate.is_new(proven.ephemeral()) => Next::Arrived(Some(Box::new(proven))),
        Ok(_) => Next::Refused("a first message that was sent before".to_owned()),
        Err(error) => Next::Refused(error.to_string()),
    }
}

impl Gate {
    /// Whether a first message of this address is looked at; it counts then.
    fn may_try(&mut self, origin: Origin, now: u64) -> bool {
        let known = self.tries.get(&origin);
        let count = known.map_or(0.0, |known| known.left(now));
        if count >= MAX_TRIES {
            return false;
        }
        if known.is_none() && self.tries.len() >= MAX_REMEMBERED {
            self.tries.retain(|_, known| known.left(now) > 0.0);
        }
        if self.tries.len() < MAX_REMEMBERED || self.tries.contains_key(&origin) {
            self.tries.insert(origin, Tries { count: count + 1.0, at: now });
        }
        true
    }

    /// Whether a first message was not seen before: who listens on the way can play it again.
    fn is_new(&mut self, ephemeral: Ephemeral) -> bool {
        if !self.seen.insert(ephemeral) {
            return false;
        }
        self.order.push_back(ephemeral);
        if self.order.len() > MAX_SEEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }
}

impl Tries {
    fn left(self, now: u64) -> f64 {
        let seconds = now.saturating_sub(self.at) as f64 / clock::SECOND as f64;
        (self.count - TRIES_PER_SECOND * seconds).max(0.0)
    }
}

/// Tells the other end that there was no room for it. Nothing waits for that.
pub(crate) fn busy(stream: &Stream) {
    let _ = send(stream, &BUSY, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_by_tries_is_slowed_for_its_address_alone() {
        let mut gate = Gate::default();
        let (one, other) = (Origin::Vsock(3), Origin::Vsock(4));
        let tried = (0..1000).filter(|_| gate.may_try(one, 0)).count();
        assert_eq!(tried, MAX_TRIES as usize);
        assert!(gate.may_try(other, 0));
        let later = (0..1000).filter(|_| gate.may_try(one, clock::SECOND)).count();
        assert_eq!(later, TRIES_PER_SECOND as usize);
    }

    #[test]
    fn attack_by_a_recorded_first_message_is_refused_within_bounded_memory() {
        let mut gate = Gate::default();
        let message = |number: usize| {
            let mut ephemeral = [0; 32];
            ephemeral[..8].copy_from_slice(&number.to_le_bytes());
            ephemeral
        };
        assert!((0..3 * MAX_SEEN).all(|number| gate.is_new(message(number))));
        assert!(!gate.is_new(message(3 * MAX_SEEN - 1)) && !gate.is_new(message(2 * MAX_SEEN)));
        assert_eq!((gate.seen.len(), gate.order.len()), (MAX_SEEN, MAX_SEEN));
    }
}
