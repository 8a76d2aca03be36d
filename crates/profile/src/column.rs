//! The columns of tables: what rows are added up by.

use crate::label::sentence;
use serde::Serialize;
use std::str::FromStr;

/// What rows are added up by, and a column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Column {
    /// The VM.
    Vm,
    /// The mode.
    Layer,
    /// What the thread was doing for the VM.
    Part,
    /// The process.
    Process,
    /// The image.
    Image,
    /// The function.
    Symbol,
}

impl Column {
    /// All, from the widest to the narrowest.
    pub const ALL: [Self; 6] =
        [Self::Vm, Self::Layer, Self::Part, Self::Process, Self::Image, Self::Symbol];

    /// Its name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Vm => "vm",
            Self::Layer => "layer",
            Self::Part => "part",
            Self::Process => "process",
            Self::Image => "image",
            Self::Symbol => "symbol",
        }
    }
}

/// What is not a column.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid column {0:?}: expected vm, layer, part, process, image or symbol")]
pub struct NotAColumn(String);

impl FromStr for Column {
    type Err = NotAColumn;

    fn from_str(text: &str) -> Result<Self, NotAColumn> {
        let found = Self::ALL.into_iter().find(|column| column.word() == text.trim());
        found.ok_or_else(|| NotAColumn(sentence(text)))
    }
}
