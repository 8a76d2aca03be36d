//! How something that was set was before.

use platform::tune::Placed;
use serde::{Deserialize, Serialize};
use workload::Feature;

/// Something that can be undone.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Undo {
    Placed(Placed),
    Offload { device: String, feature: Feature, was: bool },
}

impl Undo {
    /// Undoes it.
    pub(crate) fn undo(&self) -> Result<(), String> {
        match self {
            Self::Placed(placed) => placed.restore().map_err(|error| error.to_string()),
            Self::Offload { device, feature, was } => {
                feature.set(device, *was).map(|_| ()).map_err(|error| error.to_string())
            }
        }
    }

    /// What it is, and how it was; names from outside are raw.
    pub(crate) fn what(&self) -> String {
        match self {
            Self::Placed(placed) => format!("{}: {}", placed.what, placed.was),
            Self::Offload { device, feature, was } => {
                format!("{} of {device}: {}", feature.word(), if *was { "on" } else { "off" })
            }
        }
    }
}
