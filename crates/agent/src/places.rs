//! How many may be served at a time, and how many of them may be strangers.

use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{Shutdown, shutdown};
use std::sync::{Mutex, PoisonError};
use workload::clock;

/// Connections that are served at a time; a guest could else take all memory.
const MOST: usize = 8;
/// Of them, those that have not yet shown that they belong here.
const MOST_STRANGERS: usize = 4;
/// How long a stranger may be one, in nanoseconds: between machines whose CPUs others have, its two
/// round trips take seconds.
pub(crate) const INTRODUCTION: u64 = 5 * clock::SECOND;
/// The agent looks for those who are late at least so often where it has a CPU to run on. Where its
/// machine has too much to do, what passed beyond that is the machine's delay and not a stranger's.
pub(crate) const LOOK: u64 = clock::SECOND / 4;
/// Threads at most, those that are about to end among them.
const MOST_THREADS: usize = 32;

/// The connections that there are.
#[derive(Debug, Default)]
pub(crate) struct Places(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    taken: Vec<Place>,
    next: u64,
    /// When those who are late were looked for.
    looked: u64,
}

#[derive(Debug)]
struct Place {
    number: u64,
    since: u64,
    /// How long it could have been served, in nanoseconds.
    age: u64,
    state: State,
    /// Another descriptor of the connection, to end it from without.
    fd: OwnedFd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Stranger,
    Known,
    Dropped,
}

impl Places {
    /// A place for a new connection. Where there are too many strangers, or all places are taken,
    /// the oldest stranger has to go.
    pub(crate) fn take(&self, stream: &impl AsFd, now: u64) -> Result<u64, String> {
        let fd = stream.as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
        let mut inner = self.lock();
        let count = |inner: &Inner, state| inner.taken.iter().filter(|p| p.state == state).count();
        let strangers = count(&inner, State::Stranger);
        if inner.taken.len() >= MOST_THREADS {
            return Err("too many connections come at once".to_owned());
        }
        if strangers >= MOST_STRANGERS || strangers + count(&inner, State::Known) >= MOST {
            let oldest = inner.taken.iter_mut().find(|place| place.state == State::Stranger);
            match oldest {
                Some(place) => place.cut(),
                None => return Err(format!("{MOST} connections are open")),
            }
        }
        let number = inner.next;
        inner.next += 1;
        inner.taken.push(Place { number, since: now, age: 0, state: State::Stranger, fd });
        Ok(number)
    }

    /// The one at a place belongs here.
    pub(crate) fn is_known(&self, number: u64) {
        let mut inner = self.lock();
        let place = inner.taken.iter_mut().find(|place| place.number == number);
        if let Some(place) = place.filter(|place| place.state == State::Stranger) {
            place.state = State::Known;
        }
    }

    /// Ends the connections of those who have been strangers for too long.
    pub(crate) fn drop_late(&self, now: u64) {
        let mut inner = self.lock();
        let looked = std::mem::replace(&mut inner.looked, now);
        for place in &mut inner.taken {
            place.age += now.saturating_sub(looked.max(place.since)).min(LOOK);
            if place.state == State::Stranger && place.age > INTRODUCTION {
                place.cut();
            }
        }
    }

    /// Ends all connections: whoever waits for the other end of one waits no longer.
    pub(crate) fn drop_all(&self) {
        self.lock().taken.iter_mut().for_each(Place::cut);
    }

    /// A place is free again; whether its connection was ended from here.
    pub(crate) fn leave(&self, number: u64) -> bool {
        let mut inner = self.lock();
        let at = inner.taken.iter().position(|place| place.number == number);
        at.is_some_and(|at| inner.taken.remove(at).state == State::Dropped)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn cut(&mut self) {
        self.state = State::Dropped;
        // One that is closed already has ended by itself.
        let _ = shutdown(&self.fd, Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    /// A machine that lets the agent run every 10 s only: a stranger still has twenty turns.
    #[test]
    fn the_machines_delay_is_not_a_strangers() {
        let (end, _other) = UnixStream::pair().unwrap();
        let cut_after = |step: u64| {
            let places = Places::default();
            places.drop_late(0);
            let place = places.take(&end, step / 2).unwrap();
            let cut = |at: u64| {
                places.drop_late(at * step);
                places.lock().taken.iter().any(|one| one.state == State::Dropped)
            };
            let at = (1..).find(|at| cut(*at)).unwrap();
            assert!(places.leave(place));
            at
        };
        assert_eq!(cut_after(10 * clock::SECOND), 21);
        assert_eq!(cut_after(LOOK), 21);
        assert_eq!(cut_after(LOOK / 10), 201);
    }
}
