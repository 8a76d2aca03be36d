//! What an agent is told when it starts.

use platform::Choice;
use std::path::PathBuf;

/// What an agent reads counters of.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Which platform.
    pub platform: Choice,
    /// Below which root: `/`, or a saved tree.
    pub root: PathBuf,
    /// The arguments that make this program an instance of the CPU load.
    pub instance: Vec<String>,
    /// Where controllers' files lie; `None` is a private folder that goes with the agent.
    pub dir: Option<PathBuf>,
    /// Whether it runs, sets and takes nothing, whoever asks.
    pub read_only: bool,
}
