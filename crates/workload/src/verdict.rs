//! Whether the figures of a run stand for what was asked for.

/// What a run that measured is worth to one who does not look at its figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It measured what was asked for.
    #[default]
    Good,
    /// The target failed the load: none, or too few, of the requests had a good reply.
    Failed,
    /// The figures are not those of the load that was asked for: this end was the limit.
    Invalid,
    /// It went wrong on the way; what was measured is incomplete.
    Broken,
}
