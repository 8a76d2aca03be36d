//! What a running workload shares with the one who runs it.

use crate::clock::{self, SECOND};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// How long a workload that was stopped may take to get its result so far from others.
pub(crate) const STOP_GRACE: u64 = SECOND / 2;

/// Ends a workload early and shows how far it is.
#[derive(Debug, Clone, Default)]
pub struct Control {
    stop: Arc<AtomicBool>,
    /// When it was first seen that it shall end.
    seen: Arc<OnceLock<clock::Instant>>,
    progress: Arc<Progress>,
}

/// How far a workload is; written now and then, never on the hot path.
#[derive(Debug, Default)]
pub struct Progress {
    /// Units of work done: packets, replies or passes.
    pub done: AtomicU64,
    /// Of those, failed.
    pub failed: AtomicU64,
    /// Whether the warm-up is over and what is measured has begun; it stays so to the end.
    pub measuring: AtomicBool,
}

impl Control {
    /// Asks the workload to end soon and give the result so far.
    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    /// Whether it shall end.
    #[must_use]
    pub fn stopped(&self) -> bool {
        let stopped = self.stop.load(Relaxed);
        if stopped {
            self.seen.get_or_init(clock::now);
        }
        stopped
    }

    /// Whether it shall end and half a second has passed since that was seen: whoever is waited
    /// for then is not waited for any longer.
    #[must_use]
    pub fn overdue(&self) -> bool {
        self.stopped() && self.seen.get().is_some_and(|seen| clock::now() >= seen + STOP_GRACE)
    }

    /// The flag itself, for a signal handler to set.
    #[must_use]
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Says that what is measured begins now.
    pub(crate) fn measure(&self) {
        self.progress.measuring.store(true, Relaxed);
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }
}
