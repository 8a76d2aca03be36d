//! What the screen shows at the moment: the selection, the open rows, the mode.

use crate::top::rows::{self, Owner, Row, RowKey};
use crate::top::sampler::Sampled;
use crate::top::{Column, View};
use platform::Want;
use std::collections::BTreeSet;
use std::time::Duration;

/// What keys go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// The rows.
    Rows,
    /// The help text, scrolled by so many lines.
    Help(usize),
    /// The filter's prompt; what it was before.
    Filter(String),
    /// The interval's prompt, what was typed so far.
    Interval(String),
    /// The menu of columns to sort by, and the place in it.
    Sort(usize),
    /// The menu of columns to show, and the place in it.
    Columns(usize),
}

/// The screen's state.
#[derive(Debug)]
pub struct App {
    /// Columns, order, filter.
    pub view: View,
    /// T.
    pub interval: Duration,
    /// What keys go to.
    pub mode: Mode,
    /// No reading is taken.
    pub paused: bool,
    /// Rows with their details.
    pub expanded: BTreeSet<Owner>,
    /// The selected row, and its place when it was last seen.
    pub selected: Option<RowKey>,
    at: usize,
    /// The first row that is shown.
    pub top: usize,
    /// The first column after the name that is shown.
    pub first_column: usize,
    /// Rows that the screen holds.
    pub page: usize,
    /// Said once, until the next key.
    pub message: Option<String>,
}

impl App {
    /// The state at the start.
    pub fn new(view: View, interval: Duration) -> Self {
        Self {
            view,
            interval,
            mode: Mode::Rows,
            paused: false,
            expanded: BTreeSet::new(),
            selected: None,
            at: 0,
            top: 0,
            first_column: 0,
            page: 1,
            message: None,
        }
    }

    /// What must be read for what is shown.
    pub fn want(&self) -> Want {
        let open = !self.expanded.is_empty();
        Want {
            vcpus: open,
            placement: open || self.view.columns.contains(&Column::Cpupool),
            exact_idle: false,
        }
    }

    /// The rows that can be selected.
    pub fn rows<'a>(&self, sampled: Option<&'a Sampled>) -> Vec<Row<'a>> {
        match sampled {
            Some(s) => rows::list(&s.usage, &self.view, &self.expanded, s.detailed),
            None => Vec::new(),
        }
    }

    /// Finds the selected row again among the rows, or the one that took its place, and
    /// scrolls so that it is seen. Gives its index.
    pub fn settle(&mut self, rows: &[Row<'_>], page: usize) -> Option<usize> {
        self.page = page.max(1);
        let last = rows.len().checked_sub(1)?;
        let found = self
            .selected
            .as_ref()
            .and_then(|key| rows.iter().position(|row| row.key.as_ref() == Some(key)));
        self.at = found.unwrap_or(self.at.min(last));
        self.selected.clone_from(&rows[self.at].key);
        let lowest = rows.len().saturating_sub(self.page);
        self.top = self.top.clamp((self.at + 1).saturating_sub(self.page), self.at).min(lowest);
        Some(self.at)
    }

    /// Selects the row `by` rows further down (or up), or the one at the end.
    pub fn step(&mut self, by: isize, rows: &[Option<RowKey>]) {
        let Some(last) = rows.len().checked_sub(1) else { return };
        let at = rows
            .iter()
            .position(|key| key.is_some() && *key == self.selected)
            .unwrap_or(self.at.min(last));
        self.at = at.saturating_add_signed(by).min(last);
        self.selected.clone_from(&rows[self.at]);
    }

    /// Opens or closes the VM or driver domain that is selected, also from one of its details.
    pub fn toggle_expanded(&mut self) {
        let owner = match &self.selected {
            Some(
                RowKey::Owner(owner)
                | RowKey::Vcpu(owner, _)
                | RowKey::Thread(owner, _)
                | RowKey::Pending(owner),
            ) => owner.clone(),
            Some(RowKey::Hidden) | None => return,
        };
        self.selected = Some(RowKey::Owner(owner.clone()));
        if !self.expanded.remove(&owner) {
            self.expanded.insert(owner);
        }
    }

    /// Sorts by the column, in its usual direction.
    pub fn sort_by(&mut self, column: Column) {
        self.view.sort = Some(column);
        self.view.reverse = false;
    }

    /// Sorts by the next or the previous of the columns that are chosen.
    pub fn sort_next(&mut self, forward: bool) {
        let columns = &self.view.columns;
        let at = columns.iter().position(|column| Some(*column) == self.view.sort);
        let next = match (at, forward) {
            (Some(at), true) => (at + 1).min(columns.len().saturating_sub(1)),
            (Some(at), false) => at.saturating_sub(1),
            (None, _) => 0,
        };
        if let Some(column) = columns.get(next) {
            self.sort_by(*column);
        }
    }

    /// Shows a column, or shows it no more; it gets its usual place. The name stays.
    pub fn toggle_column(&mut self, column: Column) {
        let columns = &mut self.view.columns;
        if column == Column::Name {
            return;
        }
        match columns.iter().position(|shown| *shown == column) {
            Some(at) => {
                columns.remove(at);
            }
            None => {
                let later = columns.iter().position(|shown| *shown > column);
                columns.insert(later.unwrap_or(columns.len()), column);
            }
        }
    }
}
