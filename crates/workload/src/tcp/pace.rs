//! Absolute deadlines: the k-th write is due at t0 + k·Δ, however late the one before was.

use super::plan::Pace;
use crate::Latency;
use crate::clock::{self, Instant, SECOND};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The longest sleep at once: a stage that ends early is not slept through.
const LONGEST_SLEEP: u64 = SECOND / 5;
/// How long before its deadline a hybrid sender wakes up and spins.
const SPIN: u64 = 100_000;

/// One stream's schedule, and how well it was kept.
#[derive(Debug)]
pub struct Pacer {
    pace: Pace,
    start: Instant,
    step: f64,
    end: Instant,
    next: u64,
    /// From the deadline to the moment before the write.
    pub lateness: Latency,
    /// CPU nanoseconds spent spinning.
    pub spun: u64,
}

impl Pacer {
    /// Writes `step` nanoseconds apart from `start` on, none due at `end` or later.
    pub fn new(pace: Pace, start: Instant, step: f64, end: Instant) -> Self {
        Self { pace, start, step, end, next: 0, lateness: Latency::new(), spun: 0 }
    }

    fn due(&self, write: u64) -> Instant {
        self.start + (write as f64 * self.step) as u64
    }

    /// Waits for the next deadline; false where there is none any more, where the sender is so far
    /// behind that the window is over, or when `over` is set.
    pub fn wait(&mut self, over: &AtomicBool) -> bool {
        let due = self.due(self.next);
        let mut now = clock::now();
        if due >= self.end || now > self.end {
            return false;
        }
        if now < due {
            match self.pace {
                Pace::Sleep => sleep_until(due, over),
                Pace::Hybrid => {
                    sleep_until(due.saturating_sub(SPIN), over);
                    self.spin_until(due, over);
                }
                Pace::Spin => self.spin_until(due, over),
            }
            now = clock::now();
            if now < due {
                return false;
            }
        }
        self.lateness.record_nanos(now.saturating_sub(due));
        self.next += 1;
        true
    }

    fn spin_until(&mut self, due: Instant, over: &AtomicBool) {
        let before = clock::thread_cpu();
        while clock::now() < due && !over.load(Relaxed) {
            std::hint::spin_loop();
        }
        self.spun += clock::thread_cpu() - before;
    }

    /// Deadlines of the window that were never reached.
    pub fn missed(&self) -> u64 {
        let all = ((self.end - self.start) as f64 / self.step).ceil() as u64;
        all.saturating_sub(self.next)
    }
}

/// Sleeps until `due`, in parts, or until `over` is set.
fn sleep_until(due: Instant, over: &AtomicBool) {
    let mut now = clock::now();
    while now < due && !over.load(Relaxed) {
        clock::sleep_until(due.min(now + LONGEST_SLEEP));
        now = clock::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static GO_ON: AtomicBool = AtomicBool::new(false);

    #[test]
    fn deadlines_do_not_drift() {
        for pace in [Pace::Sleep, Pace::Spin, Pace::Hybrid] {
            let start = clock::now();
            let mut pacer = Pacer::new(pace, start, 1e9 / 3000.0, start + 100_000_000);
            let mut writes = 0;
            while pacer.wait(&GO_ON) {
                writes += 1;
                if writes == 10 {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
            }
            assert_eq!(writes + pacer.missed(), 300, "{pace:?}");
            assert_eq!(pacer.lateness.count(), writes);
            assert!(pacer.lateness.percentiles().max >= 0.004, "the pause shows");
            assert_eq!(pacer.spun > 0, pace != Pace::Sleep);
        }
    }

    #[test]
    fn a_deadline_far_away_is_not_waited_for_when_the_stage_is_over() {
        for pace in [Pace::Sleep, Pace::Spin, Pace::Hybrid] {
            let start = clock::now();
            let mut pacer = Pacer::new(pace, start, 60e9, start + 600 * SECOND);
            assert!(pacer.wait(&GO_ON), "the first is due at once");
            let over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(std::time::Duration::from_millis(50));
                    over.store(true, Relaxed);
                });
                assert!(!pacer.wait(&over));
            });
            assert!(clock::now() - start < SECOND, "{pace:?}");
        }
    }

    #[test]
    fn what_cannot_be_kept_is_missed() {
        let start = clock::now();
        let mut pacer = Pacer::new(Pace::Sleep, start, 1000.0, start + 10_000_000);
        while pacer.wait(&GO_ON) {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        assert!(pacer.missed() > 9000, "{}", pacer.missed());
    }
}
