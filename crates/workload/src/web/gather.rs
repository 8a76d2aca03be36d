//! How long a closed loop lets replies gather before it looks for them.
//!
//! Many connections that wait for a busy server are answered one by one, and waking up for each
//! is a quarter of what a request costs here. A short sleep lets a few come together. It costs no
//! throughput where the server is the limit; where it is not, it would, so the loop tries both in
//! turn and sleeps only where that does not slow it down.

use crate::clock::{Instant, SECOND};

/// How long one way is tried before the rates are compared.
const PERIOD: u64 = SECOND / 50;
/// One period in so many tries the other way.
const TRIAL: u32 = 16;
/// The part of the rate that must be left.
const KEPT: f64 = 0.98;
/// The sleep, as a part of the mean service time, and its limits in nanoseconds.
const PART: u64 = 4;
const SHORTEST: u64 = 30_000;
const LONGEST: u64 = 200_000;
/// Below so many requests under way there is nothing to gather.
const CROWD: usize = 16;
/// Where so many come together by themselves, no sleep is needed.
const ENOUGH: usize = 8;

/// Whether sleeping pays, as far as it is known.
#[derive(Debug, Default)]
pub struct Gather {
    /// Mean service time of the last replies, in nanoseconds.
    service: u64,
    /// When this period ends.
    end: Instant,
    began: Instant,
    replies: u64,
    periods: u32,
    /// Whether this period sleeps.
    sleeping: bool,
    /// Replies a second with and without, smoothed.
    with: f64,
    without: f64,
}

impl Gather {
    /// A reply took so long.
    pub fn reply(&mut self, service: u64) {
        self.service = (self.service * 15 + service) / 16;
        self.replies += 1;
    }

    /// How long to sleep, with so many requests under way after so many events at once.
    pub fn sleep(&mut self, now: Instant, busy: usize, events: usize) -> Option<u64> {
        if now >= self.end {
            self.compare(now);
        }
        let time = (self.service / PART).min(LONGEST);
        (self.sleeping && busy >= CROWD && events < ENOUGH && time >= SHORTEST).then_some(time)
    }

    fn compare(&mut self, now: Instant) {
        if self.began > 0 {
            let rate = self.replies as f64 * SECOND as f64 / (now - self.began) as f64;
            let mean = if self.sleeping { &mut self.with } else { &mut self.without };
            *mean = if *mean == 0.0 { rate } else { *mean * 0.75 + rate * 0.25 };
        }
        let pays = self.with >= self.without * KEPT;
        self.periods += 1;
        self.sleeping = pays != self.periods.is_multiple_of(TRIAL);
        (self.began, self.end, self.replies) = (now, now + PERIOD, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Part of the last periods that slept, where a sleep leaves this part of the rate.
    fn slept(left: f64) -> f64 {
        let mut gather = Gather::default();
        let (mut now, mut slept) = (SECOND, 0);
        for period in 0..2000 {
            let sleeping = gather.sleep(now, 64, 1).is_some();
            slept += u32::from(period >= 1000 && sleeping);
            let replies = if sleeping { 1000.0 * left } else { 1000.0 };
            for _ in 0..replies as u32 {
                gather.reply(600_000);
            }
            now += PERIOD;
        }
        f64::from(slept) / 1000.0
    }

    #[test]
    fn it_sleeps_where_that_costs_nothing() {
        assert!(slept(1.0) > 0.9 && slept(1.1) > 0.9);
        assert!(slept(0.9) < 0.1, "{}", slept(0.9));
    }

    #[test]
    fn few_requests_or_fast_ones_are_not_waited_for() {
        let mut gather = Gather::default();
        gather.sleep(1, 64, 1);
        for _ in 0..1000 {
            gather.reply(600_000);
        }
        assert!(gather.sleep(2, 64, 1).is_some_and(|time| time <= LONGEST));
        assert_eq!(gather.sleep(2, 4, 1), None);
        assert_eq!(gather.sleep(2, 64, 20), None);
        for _ in 0..1000 {
            gather.reply(50_000);
        }
        assert_eq!(gather.sleep(2, 64, 1), None);
    }
}
