//! When to read: at fixed moments, whatever drawing takes.

use std::time::{Duration, Instant};

/// Deadlines at a fixed distance. One that was missed is left out, not made up for.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    interval: Duration,
    next: Instant,
}

impl Schedule {
    /// The first deadline is one interval after `now`.
    pub fn starting(now: Instant, interval: Duration) -> Self {
        Self { interval, next: now + interval }
    }

    /// The time left until the next deadline.
    pub fn left(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }

    /// Moves to the next deadline, after a reading that has ended `now`. One that is nearer than half
    /// an interval is left out: two readings so close show no rates.
    pub fn advance(&mut self, now: Instant) {
        self.next += self.interval;
        let soonest = now + self.interval / 2;
        if self.next < soonest {
            let late = soonest.duration_since(self.next).as_nanos();
            let missed = late.div_ceil(self.interval.as_nanos().max(1));
            self.next += self.interval * u32::try_from(missed).unwrap_or(u32::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_do_not_drift_and_missed_ones_are_left_out() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut schedule = Schedule::starting(start, second);
        assert_eq!(schedule.left(start), second);
        schedule.advance(start + second.mul_f64(1.2));
        assert_eq!(schedule.left(start + second.mul_f64(1.2)), second.mul_f64(0.8));
        schedule.advance(start + second.mul_f64(5.5));
        assert_eq!(schedule.left(start + second.mul_f64(5.5)), second.mul_f64(0.5));
    }

    #[test]
    fn a_reading_that_came_late_is_followed_by_no_short_interval() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut schedule = Schedule::starting(start, second);
        let late = start + second.mul_f64(1.989);
        schedule.advance(late);
        assert_eq!(schedule.left(late), second.mul_f64(1.011));
        let later = start + second.mul_f64(7.6);
        schedule.advance(later);
        assert_eq!(schedule.left(later), second.mul_f64(1.4));
    }
}
