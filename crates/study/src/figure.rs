//! What a study shows: figures and tables as data, for `report` to draw.

use serde::{Deserialize, Serialize};
use stats::Estimate;

/// The schema's name.
pub const SCHEMA: &str = "vmeter.study.report/1";

/// Everything that a study's page holds, made from stored runs alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// `vmeter.study.report/1`.
    pub schema: String,
    /// The plan's id, such as `fig-6.1`.
    pub id: String,
    /// The plan's title.
    pub title: String,
    /// What the study asks, in a sentence or two.
    pub question: String,
    /// What came out, in sentences, the most important first.
    pub findings: Vec<String>,
    /// vmeter's version that made this report.
    pub vmeter: String,
    /// When the first run began and the last one ended (RFC 3339), where there is one.
    pub measured: Option<(String, String)>,
    /// How many runs there are of each kind.
    pub runs: Runs,
    /// The figures, in the plan's order.
    pub figures: Vec<Figure>,
    /// How it was measured, in paragraphs.
    pub method: Vec<String>,
    /// The machines that were measured, and those that made the load.
    pub machines: Vec<Machine>,
    /// What was changed on machines for the study, and given back.
    pub changes: Vec<String>,
    /// What to know before believing the figures.
    pub warnings: Vec<String>,
    /// Runs that count and have something to be looked at: a disturbance, a warning of their own,
    /// or a value far from those of the other runs of their point.
    #[serde(default)]
    pub remarks: Vec<Remark>,
    /// Runs that failed, each with its reason.
    pub failures: Vec<Failure>,
}

/// What to look at in a run that counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remark {
    /// Its number in the schedule.
    pub run: usize,
    /// Its block.
    pub block: usize,
    /// What it measured: the machine and the load.
    pub what: String,
    /// What is to be looked at.
    pub reasons: Vec<String>,
}

/// Counts of runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runs {
    /// In the plan.
    pub planned: usize,
    /// Measured, and used in the figures.
    pub valid: usize,
    /// Measured, but not valid for a reason that the run itself gives.
    pub invalid: usize,
    /// Valid at a later attempt only: an earlier one was not, by its own account.
    #[serde(default)]
    pub again: usize,
    /// Failed.
    pub failed: usize,
}

/// A machine, as its agent described it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Its name in the plan.
    pub name: String,
    /// What is known of it: name and value.
    pub facts: Vec<(String, String)>,
}

/// A run without a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its number in the schedule.
    pub run: usize,
    /// What it was to measure.
    pub what: String,
    /// Why there is no result.
    pub reason: String,
}

/// One figure or table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Its id, such as `fig-6.1`: of letters, digits, `-` and `.`.
    pub id: String,
    /// Its title.
    pub title: String,
    /// What is drawn and how to read it.
    pub caption: String,
    /// What the dissertation found, where it has this figure.
    pub found: Option<String>,
    /// What is drawn.
    pub drawing: Drawing,
    /// What could not be measured, with the reason.
    pub missing: Vec<Missing>,
}

/// Something that a platform cannot measure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// What.
    pub what: String,
    /// Why.
    pub reason: String,
}

/// How a figure is drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Drawing {
    /// Lines over a number, each with its band of confidence.
    Lines {
        /// Across.
        x: Axis,
        /// Up.
        y: Axis,
        /// The lines.
        lines: Vec<Line>,
    },
    /// Stacked bars: the parts of a whole.
    Stacks {
        /// Up.
        y: Axis,
        /// The parts, from the bottom.
        parts: Vec<String>,
        /// The bars.
        bars: Vec<Bar>,
    },
    /// A Kiviat graph: an axis for each quantity, a ring for each configuration.
    Kiviat {
        /// The axes; each is scaled by its largest value.
        axes: Vec<Axis>,
        /// The rings.
        rings: Vec<Ring>,
    },
    /// A table.
    Table {
        /// The columns' heads.
        columns: Vec<Axis>,
        /// The rows.
        rows: Vec<Vec<Cell>>,
    },
}

/// A quantity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Axis {
    /// What it is.
    pub label: String,
    /// Its unit; empty where it has none.
    pub unit: String,
    /// On a logarithmic scale.
    pub log: bool,
}

impl Axis {
    /// On a linear scale; the unit is empty where it has none.
    #[must_use]
    pub fn new(label: &str, unit: &str) -> Self {
        Self { label: label.to_owned(), unit: unit.to_owned(), log: false }
    }
}

/// A line of a figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// Its points, by rising x.
    pub points: Vec<Point>,
}

/// A point of a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Where: what was measured, or, where nothing was, what was planned.
    pub x: f64,
    /// What the plan asked for there, where `x` is what was measured of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<f64>,
    /// How much.
    pub y: Measured,
}

/// A stacked bar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// Its name.
    pub name: String,
    /// Each part's height; `None` where it is not known.
    pub parts: Vec<Option<f64>>,
    /// The whole.
    pub whole: Measured,
}

/// A ring of a Kiviat graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ring {
    /// Its name.
    pub name: String,
    /// A value on each axis; `None` where it is not known.
    pub values: Vec<Option<Measured>>,
}

/// A cell of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cell {
    /// Words.
    Text(String),
    /// A number as it is.
    Number(f64),
    /// A measured number.
    Measured(Measured),
    /// It is not known.
    Unknown,
}

/// A measured value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The estimate.
    pub value: f64,
    /// Lower and upper end of its confidence interval; `None` where the samples cannot give one.
    pub interval: Option<(f64, f64)>,
    /// The samples that it rests on.
    pub samples: usize,
}

impl From<Estimate> for Measured {
    fn from(estimate: Estimate) -> Self {
        let interval = Some((estimate.low, estimate.high));
        Self { value: estimate.value, interval, samples: estimate.samples }
    }
}
