//! What is reported: a recording, or a perf.data that is read as it is.

use crate::record::{GuestFiles, VIEW};
use crate::samples::{read, sources};
use ::record::Recording;
use anyhow::{Context, Result};
use profile::summary::Counters;
use profile::{Options, Placed, Profile};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The longest list of VMs to show.
const LONGEST_VIEW: usize = 1 << 20;

/// An opened recording.
pub struct Input {
    path: PathBuf,
    recording: Recording,
}

impl Input {
    /// Opens what is there.
    pub fn open(path: &Path) -> Result<Self> {
        let recording = Recording::open(path).with_context(|| path.display().to_string())?;
        Ok(Self { path: path.to_owned(), recording })
    }

    /// Reads all samples; with what was damaged.
    pub fn profile(&self, options: Options) -> Result<(Profile, Vec<String>)> {
        read(&self.recording, options)
    }

    /// Reads all samples once more, one by one.
    pub fn replay(&self, sink: &mut dyn FnMut(&Placed)) -> Result<()> {
        // Damage was told the first time.
        Profile::replay(self.recording.streams(), sources(&self.recording, &|_| ())?, sink);
        Ok(())
    }

    /// Writes every sample into columns; with what was damaged.
    pub fn export(&self, path: &Path) -> Result<Vec<String>> {
        let damages = ::record::export_parquet(&self.recording, path)?;
        Ok(damages.iter().map(ToString::to_string).collect())
    }

    /// Where symbols come from.
    pub fn files(&self) -> GuestFiles<'_> {
        GuestFiles::of(&self.recording, &self.path)
    }

    /// Busy times by the counters at both ends; none of a perf.data.
    pub fn counters(&self) -> Counters {
        crate::record::busy(&self.recording)
    }

    /// The VMs that it was recorded to show; all where it is empty.
    pub fn view(&self) -> Vec<String> {
        let text = self.recording.kept(VIEW, LONGEST_VIEW).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// When it was begun; now, where that is not known.
    pub fn began(&self) -> SystemTime {
        let created = self.recording.head().created.parse::<jiff::Timestamp>();
        created.map_or_else(|_| SystemTime::now(), SystemTime::from)
    }
}
