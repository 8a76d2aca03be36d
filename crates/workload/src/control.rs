//! What a running workload shares with the one who runs it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Ends a workload early and shows how far it is.
#[derive(Debug, Clone, Default)]
pub struct Control {
    stop: Arc<AtomicBool>,
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
        self.stop.load(Relaxed)
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
