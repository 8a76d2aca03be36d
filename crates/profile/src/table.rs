//! Tables, as opreport's: samples, their percentage, and what they have in common.

pub use crate::column::{Column, NotAColumn};
use crate::label::sentence;
use crate::named::{Named, Row};
use crate::profile::{Count, Profile};
use crate::words::{WordId, Words};
use account::equations::percentages;
use ahash::AHashMap;
use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

/// The order of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    /// Most samples first.
    #[default]
    Samples,
    /// Most events first: where streams had other periods, the order may be another.
    Events,
    /// By the columns' words.
    Names,
}

impl Sort {
    /// Which of two counts comes first; equal where their names decide.
    #[must_use]
    pub fn compare(self, one: &Count, other: &Count) -> Ordering {
        match self {
            Self::Samples => other.samples.cmp(&one.samples),
            Self::Events => other.events.cmp(&one.events),
            Self::Names => Ordering::Equal,
        }
    }
}

/// Which rows, added up by what, in what order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The columns; of more than there are different ones, the first.
    pub by: Vec<Column>,
    /// The order.
    pub sort: Sort,
    /// VMs' names, raw, `host` being the host; all, where it is empty.
    pub vms: Vec<String>,
    /// Events' names, as asked for or as counted; all, where it is empty.
    pub events: Vec<String>,
    /// Idle time is work too.
    pub idle: bool,
    /// Images with their directories.
    pub full_paths: bool,
}

impl Default for Choice {
    fn default() -> Self {
        let by = [Column::Vm, Column::Layer, Column::Process, Column::Image, Column::Symbol];
        Self {
            by: by.to_vec(),
            sort: Sort::default(),
            vms: vec![],
            events: vec![],
            idle: false,
            full_paths: false,
        }
    }
}

/// The table of one event.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The event, by its number in [`crate::Profile::events`].
    pub event: u16,
    /// The columns.
    pub by: Vec<Column>,
    /// The rows.
    pub rows: Vec<TableRow>,
    /// All rows together.
    pub total: Count,
    /// Samples of idle CPUs, which are in no row.
    pub idle: u64,
    /// Why functions have no names → images of which that is so, with their samples.
    pub missing: BTreeMap<String, BTreeMap<String, u64>>,
}

/// A row of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct TableRow {
    /// How much.
    pub count: Count,
    /// Samples as a percentage of the table's.
    pub percent: f64,
    /// What the columns say: shown words, escaped and cut.
    pub cells: Vec<Arc<str>>,
}

/// The tables of a profile, one for each event that the choice lets through.
#[must_use]
pub fn tables(named: &Named<'_>, choice: &Choice) -> Vec<Table> {
    choice.chosen_events(named.profile).map(|event| table(named, choice, event)).collect()
}

impl Choice {
    /// The events that were chosen, by their numbers.
    pub fn chosen_events(&self, profile: &Profile) -> impl Iterator<Item = u16> {
        let events = profile.events().iter().zip(0..).filter(|(event, _)| {
            let is = |name: &String| *name == event.asked || *name == event.counted;
            self.events.is_empty() || self.events.iter().any(is)
        });
        events.map(|(_, number)| number)
    }

    /// Whether a row is of a VM that was chosen.
    #[must_use]
    pub fn lets(&self, named: &Named<'_>, row: &Row) -> bool {
        self.vms.is_empty() || self.vms.iter().any(|vm| vm == named.profile.vm(row.vm))
    }
}

fn table(named: &Named<'_>, choice: &Choice, event: u16) -> Table {
    let mut words = Words::new(named, choice.full_paths);
    let mut sums: AHashMap<[WordId; Column::ALL.len()], Count> = AHashMap::new();
    let (mut idle, mut missing, mut total) = (0, BTreeMap::new(), Count::default());
    for row in named.rows.iter().filter(|row| row.event == event && choice.lets(named, row)) {
        if row.idle && !choice.idle {
            idle += row.count.samples;
            continue;
        }
        if let Err(reason) = &row.naming {
            let images: &mut BTreeMap<_, u64> = missing.entry(Arc::clone(reason)).or_default();
            *images.entry(row.image).or_default() += row.count.samples;
        }
        let mut cells = [WordId::default(); Column::ALL.len()];
        for (cell, &column) in cells.iter_mut().zip(&choice.by) {
            *cell = words.id(column, row);
        }
        let sum = sums.entry(cells).or_default();
        *sum = sum.and(row.count);
        total = total.and(row.count);
    }
    let mut rows: Vec<_> = sums.into_iter().collect();
    rows.sort_unstable_by(|(a, counted), (b, other)| {
        choice
            .sort
            .compare(counted, other)
            .then_with(|| a.map(|id| words.get(id)).cmp(&b.map(|id| words.get(id))))
    });
    let samples: Vec<_> = rows.iter().map(|(_, count)| count.samples).collect();
    let rows = rows.into_iter().zip(percentages(&samples)).map(|((cells, count), percent)| {
        let cells = cells.iter().take(choice.by.len());
        TableRow { count, percent, cells: cells.map(|&id| words.shared(id)).collect() }
    });
    let rows = rows.collect();
    let missing = missing.into_iter().map(|(reason, images)| {
        let images = images.into_iter();
        let images =
            images.map(|(image, samples)| (named.profile.shown_image(image, true), samples));
        let mut sums = BTreeMap::new();
        images.for_each(|(image, samples)| *sums.entry(image).or_default() += samples);
        (sentence(&reason.to_string()), sums)
    });
    let by = choice.by.iter().take(Column::ALL.len()).copied().collect();
    Table { event, by, rows, total, idle, missing: missing.collect() }
}

impl Table {
    /// Writes it as text, at most `most` rows.
    ///
    /// # Errors
    /// As of the writer.
    pub fn write(&self, most: usize, to: &mut dyn Write) -> io::Result<()> {
        let shown = self.rows.get(..most).unwrap_or(&self.rows);
        let width = |column: usize| {
            let cells = shown.iter().filter_map(|row| row.cells.get(column));
            let header = self.by.get(column).map_or(0, |column| column.word().len());
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(header)
        };
        let widths: Vec<_> = (0..self.by.len()).map(width).collect();
        let mut line = |samples: &dyn fmt::Display, percent: &str, cells: &[&str]| {
            let mut text = format!("{samples:>9}  {percent:>8}");
            for (cell, width) in cells.iter().zip(&widths) {
                text.push_str(&format!("  {cell:<width$}"));
            }
            writeln!(to, "{}", text.trim_end())
        };
        let words: Vec<_> = self.by.iter().map(|column| column.word()).collect();
        line(&"samples", "%", &words)?;
        for row in shown {
            let cells: Vec<_> = row.cells.iter().map(AsRef::as_ref).collect();
            line(&row.count.samples, &format!("{:.4}", row.percent), &cells)?;
        }
        if shown.len() < self.rows.len() {
            let rest = &self.rows[shown.len()..];
            let samples: u64 = rest.iter().map(|row| row.count.samples).sum();
            let percent: f64 = rest.iter().map(|row| row.percent).sum();
            line(&samples, &format!("{percent:.4}"), &[&format!("… {} more rows", rest.len())])?;
        }
        Ok(())
    }

    /// Writes as text what the rows leave out, and why addresses in them have no names, the most
    /// samples first; at most `most` images of each reason.
    ///
    /// # Errors
    /// As of the writer.
    pub fn write_notes(&self, most: usize, to: &mut dyn Write) -> io::Result<()> {
        if self.idle > 0 {
            writeln!(to, "{} samples of idle CPUs omitted", self.idle)?;
        }
        let sum = |images: &BTreeMap<String, u64>| images.values().sum::<u64>();
        let mut reasons: Vec<_> = self.missing.iter().collect();
        reasons.sort_by_key(|(_, images)| Reverse(sum(images)));
        for (reason, images) in reasons {
            let mut largest: Vec<_> = images.iter().collect();
            largest.sort_by_key(|(_, samples)| Reverse(**samples));
            let shown = largest.iter().take(most);
            let mut list: Vec<_> =
                shown.map(|(image, samples)| format!("{image} ({samples})")).collect();
            if largest.len() > most {
                list.push(format!("{} more", largest.len() - most));
            }
            writeln!(to, "{} samples without names: {reason}: {}", sum(images), list.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
