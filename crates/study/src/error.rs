//! Why a run could not be made.

/// Why a run has no result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An agent was lost, or refused.
    #[error("agent of {who}: {source}")]
    Agent {
        /// Whose.
        who: String,
        /// Why.
        source: agent::Error,
    },
    /// A load went wrong.
    #[error("{who}: {why}")]
    Load {
        /// Where.
        who: String,
        /// Why.
        why: String,
    },
    /// The machine did not come up.
    #[error("{0}")]
    Machine(String),
    /// It was asked to end.
    #[error("interrupted")]
    Stopped,
}

impl RunError {
    /// Whether the machine may be gone.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::Agent { source, .. } if !matches!(source, agent::Error::Failed(_)))
    }
}
