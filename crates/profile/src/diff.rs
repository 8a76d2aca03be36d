//! Two profiles side by side: what of the second is not as it is in the first (native against
//! VM is the study's question).

use crate::label::sentence;
use crate::named::Named;
use crate::profile::Count;
use crate::table::{Choice, Column, Table, tables};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// What one side has of a row.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Side {
    /// How much; nothing is a known nothing, as the whole was sampled.
    pub count: Count,
    /// Samples as a percentage of the side's.
    pub percent: f64,
    /// Events for each second of wall time; `None` where the time is not known.
    pub rate: Option<f64>,
}

/// A row of both.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What the columns say.
    pub cells: Vec<String>,
    /// The first's.
    pub a: Side,
    /// The second's.
    pub b: Side,
}

/// The changes in one event.
#[derive(Debug, Clone, PartialEq)]
pub struct Diff {
    /// What was counted, as it is shown.
    pub event: String,
    /// The columns.
    pub by: Vec<Column>,
    /// The rows: the largest change first, of rates where both are known, else of percentages.
    pub changes: Vec<Change>,
}

impl Change {
    /// In percentage points.
    #[must_use]
    pub fn percent(&self) -> f64 {
        self.b.percent - self.a.percent
    }

    /// In events for each second.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        Some(self.b.rate? - self.a.rate?)
    }
}

/// Compares two profiles by the events that both counted. A guest's kernel and a native one are
/// one image, and so are files of one name.
#[must_use]
pub fn diff(a: &Named<'_>, b: &Named<'_>, choice: &Choice) -> Vec<Diff> {
    let choice = &Choice { full_paths: false, ..choice.clone() };
    let (first, second) = (tables(a, choice), tables(b, choice));
    let counted = |named: &Named<'_>, table: &Table| {
        named.profile.events().get(usize::from(table.event)).map(|event| event.counted.clone())
    };
    let pairs = first.iter().filter_map(|one| {
        let event = counted(a, one)?;
        let other = second.iter().find(|other| counted(b, other).as_ref() == Some(&event))?;
        Some(Diff {
            event: sentence(&event),
            by: choice.by.clone(),
            changes: changes((one, seconds(a, one.event)), (other, seconds(b, other.event))),
        })
    });
    pairs.collect()
}

/// How long the streams of an event were sampled: the longest of them.
fn seconds(named: &Named<'_>, event: u16) -> Option<f64> {
    let has = |own: &crate::StreamEvent| own.event == event;
    let streams = named.profile.streams.iter().filter(|stream| stream.events.iter().any(has));
    let longest = streams.filter_map(crate::StreamReport::duration).max()?;
    (longest.0 > 0).then(|| longest.seconds())
}

fn changes(a: (&Table, Option<f64>), b: (&Table, Option<f64>)) -> Vec<Change> {
    let mut rows: BTreeMap<Vec<String>, (Side, Side)> = BTreeMap::new();
    for (second, (table, _)) in [a, b].into_iter().enumerate() {
        for row in &table.rows {
            let cells = row.cells.iter().map(|cell| alike(cell)).collect();
            let sides = rows.entry(cells).or_default();
            let side = if second == 1 { &mut sides.1 } else { &mut sides.0 };
            side.count = side.count.and(row.count);
            side.percent += row.percent;
        }
    }
    let rate = |side: Side, seconds: Option<f64>| Side {
        rate: seconds.map(|seconds| side.count.events as f64 / seconds),
        ..side
    };
    let rows = rows.into_iter().map(|(cells, sides)| Change {
        cells,
        a: rate(sides.0, a.1),
        b: rate(sides.1, b.1),
    });
    let mut changes: Vec<Change> = rows.collect();
    let size = |change: &Change| change.rate().unwrap_or_else(|| change.percent()).abs();
    changes.sort_by(|one, other| {
        size(other).total_cmp(&size(one)).then_with(|| one.cells.cmp(&other.cells))
    });
    changes
}

/// What is one thing natively and in a guest has one word.
fn alike(cell: &str) -> String {
    match cell {
        "[guest kernel]" => "[kernel]".to_owned(),
        "guest kernel" | "host kernel" => "kernel".to_owned(),
        "guest user" | "host user" => "user".to_owned(),
        _ => cell.to_owned(),
    }
}

impl Diff {
    /// Writes it as text, at most `most` rows.
    ///
    /// # Errors
    /// As of the writer.
    pub fn write(&self, most: usize, to: &mut dyn Write) -> io::Result<()> {
        writeln!(to, "event {}", self.event)?;
        write!(to, "{:>9}  {:>9}  {:>9}", "A %", "B %", "change")?;
        write!(to, "  {:>12}  {:>12}  {:>12}", "A /s", "B /s", "change /s")?;
        let words: Vec<_> = self.by.iter().map(|column| column.word()).collect();
        writeln!(to, "  {}", words.join("  "))?;
        let rate = |rate: Option<f64>| rate.map_or("-".to_owned(), |rate| format!("{rate:.4e}"));
        for change in self.changes.iter().take(most) {
            let (a, b, moved) = (change.a.percent, change.b.percent, change.percent());
            write!(to, "{a:>9.4}  {b:>9.4}  {moved:>+9.4}")?;
            let (a, b) = (rate(change.a.rate), rate(change.b.rate));
            let moved = change.rate().map_or("-".to_owned(), |rate| format!("{rate:+.4e}"));
            writeln!(to, "  {a:>12}  {b:>12}  {moved:>12}  {}", change.cells.join("  "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
