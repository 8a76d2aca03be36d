//! The agent's log of connections that were refused or failed. Whoever floods it with connections
//! shall not fill its disk with lines, with a key or without.

use crate::origin::Origin;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use workload::clock;

/// Lines on refused connections that are written as they come.
const BURST: u32 = 20;
/// Then what was held back is summed up once in this time, in nanoseconds; after as long without a
/// refusal there is a new burst.
const SUMMARY: u64 = 10 * clock::SECOND;
/// Maximum number of origins that are counted apart.
const MAX_ORIGINS: usize = 256;

/// A log with a limit.
pub(crate) struct Log<'a> {
    write: &'a (dyn Fn(&str) + Sync),
    /// What was done to the connections that it is about.
    what: &'static str,
    held: Mutex<Held>,
}

/// What was not written.
#[derive(Debug, Default)]
struct Held {
    /// Lines of the present burst.
    written: u32,
    /// When the present burst, or the present sum, began.
    since: u64,
    /// When a connection was last refused.
    last: u64,
    count: u64,
    origins: HashMap<Origin, u64>,
}

impl<'a> Log<'a> {
    pub(crate) fn new(what: &'static str, write: &'a (dyn Fn(&str) + Sync)) -> Self {
        Self { write, what, held: Mutex::default() }
    }

    /// A line that is always written: that settings could not be undone.
    pub(crate) fn say(&self, line: &str) {
        (self.write)(line);
    }

    /// It was done to a connection; `line` says why.
    pub(crate) fn tell(&self, origin: Origin, now: u64, line: impl FnOnce() -> String) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(held.last) > SUMMARY && held.count == 0 {
            *held = Held { since: now, ..Held::default() };
        }
        held.last = now;
        if held.written < BURST {
            held.written += 1;
            drop(held);
            (self.write)(&line());
            return;
        }
        if held.count == 0 {
            held.since = now;
        }
        held.count += 1;
        if held.origins.len() < MAX_ORIGINS || held.origins.contains_key(&origin) {
            *held.origins.entry(origin).or_default() += 1;
        }
    }

    /// Writes the sum of what was held back, where it is time for it.
    pub(crate) fn sum_up(&self, now: u64) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.count == 0 || now.saturating_sub(held.since) < SUMMARY {
            return;
        }
        let origins = std::mem::take(&mut held.origins);
        let count = std::mem::take(&mut held.count);
        drop(held);
        let most = origins.iter().max_by_key(|(_, count)| **count);
        let most =
            most.map_or(String::new(), |(origin, of)| format!(", {of} of them from {origin}"));
        let addresses = match origins.len() {
            1 => "1 address".to_owned(),
            many if many >= MAX_ORIGINS => format!("{many} addresses or more"),
            many => format!("{many} addresses"),
        };
        (self.write)(&format!("{count} more connections {} from {addresses}{most}", self.what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_by_many_connections_leaves_few_lines() {
        let lines = Mutex::new(Vec::new());
        let write = |line: &str| lines.lock().unwrap().push(line.to_owned());
        let log = Log::new("refused", &write);
        let origin = |number: u64| Origin::Vsock((number % 3) as u32);
        // 30,000 a second for a minute.
        for number in 0..1_800_000_u64 {
            let now = number * (clock::SECOND / 30_000);
            log.tell(origin(number), now, || format!("line {number}"));
            log.sum_up(now);
        }
        let found = lines.lock().unwrap().clone();
        assert!(found.len() < 30, "{found:?}");
        assert_eq!(found[0], "line 0");
        let sum = "connections refused from 3 addresses, ";
        assert!(found.last().unwrap().contains(sum), "{found:?}");
        // A single one an hour later is a line again.
        let later = 3600 * clock::SECOND;
        log.sum_up(later);
        log.tell(origin(0), later + SUMMARY + 1, || "late".to_owned());
        assert_eq!(lines.lock().unwrap().last().unwrap(), "late");
    }
}
