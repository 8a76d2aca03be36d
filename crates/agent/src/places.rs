//! How many connections are served at a time, how many of them may be unauthenticated, and which one is
//! dropped for a new one.

use crate::Holder;
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
    /// The key that the connection has proven; `None` if the agent has no keys.
    holder: Option<Holder>,
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
    Cut(Cut),
}

/// Why the agent ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It said nothing.
    Late,
    /// Another one took its place.
    Displaced,
    /// The agent ends.
    Over,
}

impl Places {
    /// A place for a new connection. If there are too many unauthenticated connections, or no place is
    /// free, the oldest unauthenticated connection is dropped; if there is none, a connection with a
    /// lower role, or one of a key with more places than the key of the new connection would have.
    pub(crate) fn take(
        &self,
        stream: &impl AsFd,
        holder: Option<Holder>,
        now: u64,
    ) -> Result<u64, String> {
        let fd = stream.as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
        let mut inner = self.lock();
        let count = |inner: &Inner, state| inner.taken.iter().filter(|p| p.state == state).count();
        let strangers = count(&inner, State::Stranger);
        if inner.taken.len() >= MOST_THREADS {
            return Err("too many new connections".to_owned());
        }
        if strangers >= MOST_STRANGERS || strangers + count(&inner, State::Known) >= MOST {
            let at = inner.stranger().or_else(|| inner.gives_way_to(holder?));
            match at.and_then(|at| inner.taken.get_mut(at)) {
                Some(place) => place.cut(Cut::Displaced),
                None => return Err(format!("{MOST} connections are open")),
            }
        }
        let number = inner.next;
        inner.next += 1;
        let (since, age, state) = (now, 0, State::Stranger);
        inner.taken.push(Place { number, holder, since, age, state, fd });
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
                place.cut(Cut::Late);
            }
        }
    }

    /// Ends all connections: whoever waits for the other end of one waits no longer.
    pub(crate) fn drop_all(&self) {
        self.lock().taken.iter_mut().for_each(|place| place.cut(Cut::Over));
    }

    /// A place is free again; why its connection was ended, where it was from here.
    pub(crate) fn leave(&self, number: u64) -> Option<Cut> {
        let mut inner = self.lock();
        let at = inner.taken.iter().position(|place| place.number == number)?;
        match inner.taken.remove(at).state {
            State::Cut(why) => Some(why),
            State::Stranger | State::Known => None,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The oldest unauthenticated connection.
    fn stranger(&self) -> Option<usize> {
        self.taken.iter().position(|place| place.state == State::Stranger)
    }

    /// The authenticated connection to drop for a new one: the newest of those with the lowest role, if
    /// that is below the new one's; else the newest of the key with the most places, if it has at least
    /// two more than the new one's key and no higher role.
    fn gives_way_to(&self, holder: Holder) -> Option<usize> {
        let known = |place: &Place| place.holder.filter(|_| place.state == State::Known);
        let all = || self.taken.iter().enumerate().filter_map(|(at, p)| Some((at, known(p)?)));
        let count = |key: usize| all().filter(|(_, other)| other.key == key).count();
        let lower = all().filter(|(_, other)| other.role < holder.role);
        let lowest = lower.min_by_key(|(at, other)| (other.role, std::cmp::Reverse(*at)));
        let has_most = |other: &Holder| count(other.key) >= count(holder.key) + 2;
        let more = all().filter(|(_, other)| other.role <= holder.role && has_most(other));
        let most = || more.max_by_key(|(at, other)| (count(other.key), *at));
        lowest.or_else(most).map(|(at, _)| at)
    }
}

impl Place {
    fn cut(&mut self, why: Cut) {
        self.state = State::Cut(why);
        // One that is closed already has ended by itself.
        let _ = shutdown(&self.fd, Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;
    use std::os::unix::net::UnixStream;

    #[test]
    fn attack_by_one_key_that_takes_all_places_leaves_room_for_others() {
        let (end, _other) = UnixStream::pair().unwrap();
        let places = Places::default();
        let take = |key: usize, role: Role| {
            let taken = places.take(&end, Some(Holder { key, role }), 0);
            taken.inspect(|number| places.is_known(*number))
        };
        let held: Vec<u64> = (0..MOST).map(|_| take(0, Role::Read).unwrap()).collect();
        assert!(take(0, Role::Read).is_err(), "its own do not give way to it");
        // Another key of the same role gets its share, and no more.
        let others: Vec<_> = (0..MOST).map(|_| take(1, Role::Read)).collect();
        assert_eq!(others.iter().filter(|taken| taken.is_ok()).count(), MOST / 2);
        // The youngest go first.
        let cut = |number: &u64| {
            let inner = places.lock();
            let place = inner.taken.iter().find(|place| place.number == *number).unwrap();
            place.state == State::Cut(Cut::Displaced)
        };
        assert!(!cut(&held[0]) && cut(&held[MOST - 1]));
        // A higher role takes any place of a lower one, and never the other way round.
        for _ in 0..MOST {
            take(2, Role::Configure).unwrap();
        }
        assert!(cut(&held[0]) && take(0, Role::Read).is_err() && take(3, Role::Measure).is_err());
        assert_eq!(places.leave(held[0]), Some(Cut::Displaced));
    }

    /// A machine that lets the agent run every 10 s only: a stranger still has twenty turns.
    #[test]
    fn the_machines_delay_is_not_a_strangers() {
        let (end, _other) = UnixStream::pair().unwrap();
        let cut_after = |step: u64| {
            let places = Places::default();
            places.drop_late(0);
            let place = places.take(&end, None, step / 2).unwrap();
            let cut = |at: u64| {
                places.drop_late(at * step);
                places.lock().taken.iter().any(|one| one.state == State::Cut(Cut::Late))
            };
            let at = (1..).find(|at| cut(*at)).unwrap();
            assert_eq!(places.leave(place), Some(Cut::Late));
            at
        };
        assert_eq!(cut_after(10 * clock::SECOND), 21);
        assert_eq!(cut_after(LOOK), 21);
        assert_eq!(cut_after(LOOK / 10), 201);
    }
}
