//! From one reading to the next: what was used in between.

use account::Usage;
use anyhow::{Context, Result};
use model::Snapshot;
use platform::{Source, Want};

/// The platform, and what was read of it last.
pub struct Sampler<'a> {
    source: &'a mut dyn Source,
    last: Option<(Snapshot, Want)>,
}

/// What was used in an interval.
pub struct Sampled {
    /// The usage.
    pub usage: Usage,
    /// vCPUs were read at both ends.
    pub detailed: bool,
}

impl<'a> Sampler<'a> {
    /// A sampler that has read nothing yet.
    pub fn new(source: &'a mut dyn Source) -> Self {
        Self { source, last: None }
    }

    /// Starts an interval anew, forgetting what was read before.
    ///
    /// # Errors
    /// The reader's.
    pub fn start(&mut self, want: Want) -> Result<()> {
        self.last = None;
        self.last = Some((self.source.read(want)?, want));
        Ok(())
    }

    /// Ends the interval, and starts the next: what was used, or `None` where none had started.
    ///
    /// # Errors
    /// The reader's; and where the two readings have no interval in common terms.
    pub fn next(&mut self, want: Want) -> Result<Option<Sampled>> {
        let snapshot = self.source.read(want)?;
        let Some((from, before)) = self.last.replace((snapshot, want)) else { return Ok(None) };
        let Some((to, _)) = &self.last else { return Ok(None) };
        let usage = account::usage(&from, to).context("cannot compare two readings")?;
        Ok(Some(Sampled { usage, detailed: before.vcpus && want.vcpus }))
    }
}
