//! What was calibrated, kept for `vmeter record`, which warns where its period is shorter.

use serde::{Deserialize, Serialize};
use stats::Estimate;
use std::path::PathBuf;

/// The schema of [`Document`].
const SCHEMA: &str = "vmeter.calibration/1";

/// Bytes of what is kept.
const MAX_SAVED: usize = 16 << 20;

/// What `--json` writes, and what is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    schema: String,
    vmeter: String,
    places: Vec<Calibration>,
}

/// What was found at one place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// `host`, or the VM's name, raw.
    pub place: String,
    /// The event that was asked for.
    pub asked: String,
    /// The one that was counted.
    pub event: String,
    /// Whether periods are nanoseconds.
    pub is_time: bool,
    /// The bound, as a part of 1.
    pub bound: f64,
    /// Each period that was measured.
    pub rows: Vec<PeriodRow>,
    /// Seconds that a sample costs.
    pub cost_s: Option<Estimate>,
    /// The shortest period under the bound.
    pub shortest: Option<u64>,
}

/// One period.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeriodRow {
    /// The period.
    pub period: u64,
    /// How much longer the work took, as a part of 1.
    pub overhead: Option<Estimate>,
    /// The same in each block.
    pub blocks: Vec<f64>,
}

impl Document {
    /// Of these places.
    pub fn of(places: Vec<Calibration>) -> Self {
        let vmeter = env!("CARGO_PKG_VERSION").to_owned();
        Self { schema: SCHEMA.to_owned(), vmeter, places }
    }
}

/// Where calibrations are kept: below $XDG_STATE_HOME, else ~/.local/state.
fn path() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state"));
    Some(state.or_else(home)?.join("vmeter/calibration.json"))
}

fn read() -> Option<Document> {
    let found: Document =
        serde_json::from_str(&files::read_text(&path()?, MAX_SAVED).ok()?).ok()?;
    (found.schema == SCHEMA).then_some(found)
}

/// Keeps what was found beside what is known of other places and events. Where it cannot be
/// kept, `record` has nothing to warn by, and nothing else happens.
pub fn keep(found: &[Calibration]) {
    let mut places = read().map_or_else(Vec::new, |document| document.places);
    let is_new = |old: &Calibration| {
        found.iter().any(|new| (&new.place, &new.event) == (&old.place, &old.event))
    };
    places.retain(|old| !is_new(old));
    places.extend_from_slice(found);
    let write = || -> Option<()> {
        let path = path()?;
        files::make_folders(path.parent()?).ok()?;
        let text = serde_json::to_string(&Document::of(places)).ok()?;
        files::write(&path, text.as_bytes()).ok()
    };
    let _ = write();
}

/// The shortest period of an event that costs little at a place, and the bound: where it was
/// calibrated.
pub fn shortest(place: &str, event: &str) -> Option<(u64, f64)> {
    let places = read()?.places;
    let found = places.iter().find(|one| one.place == place && one.event == event)?;
    Some((found.shortest?, found.bound))
}
