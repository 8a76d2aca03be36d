//! When a reading was taken.

use crate::Nanos;
use serde::{Deserialize, Serialize};

/// The time in which a group of counters was read: from just before the first of them to just
/// after the last, in nanoseconds of the clock that the counters themselves go by: the machine's
/// monotonic clock (CLOCK_MONOTONIC), Xen's own for what Xen counts.
///
/// A rate divides a counter's increase by the distance of the two windows' middles, so that
/// two readings that take unequal time do not bend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Window {
    /// Just before the first counter was read.
    pub start: Nanos,
    /// Just after the last counter was read.
    pub end: Nanos,
}

impl Window {
    /// The middle of the window.
    #[must_use]
    pub fn middle(self) -> Nanos {
        Nanos(self.start.0 + self.end.0.saturating_sub(self.start.0) / 2)
    }

    /// The wall time between two windows (T); `None` where `later` is not later.
    #[must_use]
    pub fn interval_to(self, later: Self) -> Option<Nanos> {
        later.middle().checked_sub(self.middle()).filter(|t| t.0 > 0)
    }

    /// The window that holds both.
    #[must_use]
    pub fn cover(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// A point in calendar time, and the boot whose monotonic clock the windows use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Moment {
    /// Nanoseconds since the Unix epoch, UTC.
    pub unix: Nanos,
    /// `/proc/sys/kernel/random/boot_id`; empty where it is not known. Counters of two
    /// different boots cannot be subtracted.
    pub boot: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_runs_between_the_middles() {
        let a = Window { start: Nanos(0), end: Nanos(10) };
        let b = Window { start: Nanos(100), end: Nanos(130) };
        assert_eq!(a.interval_to(b), Some(Nanos(110)));
        assert_eq!(b.interval_to(a), None);
        assert_eq!(a.interval_to(a), None);
    }
}
