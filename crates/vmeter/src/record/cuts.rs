//! The connections to guests' agents, to be cut when a recording ends: however a guest behaves, the
//! recording is closed.

use agent::Cutter;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// All connections of a recording.
#[derive(Debug, Default)]
pub struct Cuts {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    all: Vec<Cutter>,
    /// Whether what they were waited for is done.
    done: bool,
    /// Whether they were cut: a later one is cut at once.
    cut: bool,
}

impl Cuts {
    /// Takes note of a connection.
    pub fn add(&self, cutter: Cutter) {
        let mut state = self.lock();
        if state.cut {
            cutter.cut();
        }
        state.all.push(cutter);
    }

    /// What is done with the connections is done: whoever waits to cut them ends.
    pub fn done(&self) {
        self.lock().done = true;
        self.changed.notify_all();
    }

    /// Waits until it is done, for so long; then cuts all connections. Whether it had to.
    pub fn cut_after(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut state = self.lock();
        while !state.done {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.cut = true;
                state.all.iter().for_each(Cutter::cut);
                return true;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }

    /// Something else is to be done with them.
    pub fn again(&self) {
        self.lock().done = false;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
