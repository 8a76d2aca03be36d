//! How a kernel laid out the records of its rings: what decoding them takes, on any machine.

use serde::{Deserialize, Serialize};

/// The layout of all rings of one capture (perf_event_open(2)): every event, the one of names too,
/// has the same `sample_type`, `sample_id_all` is set, and the first field is the event's number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// perf_event_attr.sample_type, PERF_SAMPLE_IDENTIFIER among it.
    pub sample_type: u64,
    /// The kernel's number of each opened event, and its place in [`model::Stream::events`].
    pub ids: Vec<(u64, u16)>,
    /// The period of each event, as it is the same for all of its samples.
    pub periods: Vec<u64>,
}
