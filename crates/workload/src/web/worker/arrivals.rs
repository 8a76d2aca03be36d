//! Requests as they become due: each is given to a connection, or held back until one is free.

use super::Worker;
use crate::clock::{self, Instant, SECOND};
use crate::fileset::File;
use crate::web::connection::{Request, State};
use crate::web::plan::Load;

/// Requests that one turn sends, of those that are due: between turns, replies are read and the
/// stop flag is looked at.
const REQUESTS_PER_TURN: usize = 256;
/// Requests that may wait for a connection; a rate far beyond what this machine can send would else
/// take all memory.
const MAX_HELD: usize = 1 << 20;
/// How long a closed loop waits before it tries a failed connection again.
pub(super) const RETRY: u64 = SECOND / 100;

impl Worker<'_> {
    /// Sends what is due by now, a turn's worth at most; when the next is.
    pub(super) fn arrive(&mut self, now: Instant) -> Option<Instant> {
        for turn in 0.. {
            let Some(schedule) = &mut self.schedule else { break };
            let due = schedule.due();
            match due {
                Some(due) if due <= now && turn < REQUESTS_PER_TURN => schedule.advance(),
                _ => return due,
            }
            let intended = due.unwrap_or(now);
            self.tally.due(self.window, intended, self.plan.requests_of_an_arrival());
            let file = self.requests.draw();
            self.dispatch(intended, file);
        }
        if matches!(self.plan.load, Load::Closed) {
            if now < self.window.start {
                return Some(self.window.start);
            }
            return self.fill(now).then_some(now);
        }
        None
    }

    /// A closed loop keeps all its connections busy; whether this takes another turn.
    fn fill(&mut self, now: Instant) -> bool {
        let idle = |worker: &Self| {
            worker.busy < worker.most && now < worker.window.to && now >= worker.retry
        };
        for _ in 0..REQUESTS_PER_TURN {
            if !idle(self) {
                break;
            }
            let (errors, file) = (self.tally.errors.total, self.requests.draw());
            self.tally.due(self.window, now, 1);
            self.dispatch(now, file);
            if self.tally.errors.total > errors {
                self.retry = now + RETRY;
            }
        }
        idle(self)
    }

    /// Gives a request to a connection, or holds it back until one is free.
    fn dispatch(&mut self, intended: Instant, file: Option<File>) {
        if !self.place(intended, file) {
            let counts = u64::from(intended >= self.window.from);
            self.tally.held_back += counts;
            if self.held.len() < MAX_HELD {
                self.held.push_back((intended, file));
            } else {
                self.tally.unsent += counts * self.plan.requests_of_an_arrival();
            }
        }
    }

    /// Gives a request to a kept connection or a new one; false where there may be no more.
    pub(super) fn place(&mut self, intended: Instant, file: Option<File>) -> bool {
        if !self.plan.load.closes_connections() {
            while let Some((place, generation)) = self.idle.pop() {
                if let Some(Some(c)) = self.places.get_mut(place)
                    && c.generation == generation
                    && c.state == State::Idle
                {
                    let begun = clock::now();
                    c.request = Request { file, arrival: intended, intended, begun };
                    self.busy += 1;
                    self.tally.sent(self.window, &c.request);
                    self.transmit(place);
                    return true;
                }
            }
        }
        while self.open >= self.most && self.close_oldest() {}
        let room = self.open < self.most;
        if room {
            self.connect(intended, file);
        }
        room
    }
}
