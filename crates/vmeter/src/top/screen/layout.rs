//! Which columns, and how many lines of each kind, a terminal's size holds.

use crate::top::Column;

/// The name's column is at least this wide where the terminal is, and no wider unless a name
/// needs it and nothing else does.
const NAME: usize = 16;
/// No name takes more.
const WIDEST_NAME: usize = 40;

/// The columns that fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// The width of the name's column.
    pub name: usize,
    /// The first of the others that is shown; smaller than asked for where all the rest fit.
    pub first: usize,
    /// The others that are shown.
    pub shown: Vec<Column>,
}

impl Columns {
    /// Lays out the columns after the name: from `first` on as many as fit in `width`, the
    /// widest name being `longest` wide.
    pub fn fit(width: usize, longest: usize, others: &[Column], first: usize) -> Self {
        let least = longest.clamp(Column::Name.width(), NAME);
        let room = width.saturating_sub(least);
        let mut first = first.min(others.len().saturating_sub(1));
        while first > 0 && taken(&others[first - 1..]) <= room {
            first -= 1;
        }
        let rest = others.get(first..).unwrap_or_default();
        let mut count = rest.len();
        while taken(&rest[..count]) > room {
            count -= 1;
        }
        let left = width.saturating_sub(taken(&rest[..count]));
        let name = longest.clamp(least, WIDEST_NAME).min(left);
        Self { name, first, shown: rest[..count].to_vec() }
    }
}

/// The width of columns with a blank before each.
fn taken(columns: &[Column]) -> usize {
    columns.iter().map(|column| column.width() + 1).sum()
}

/// Lines of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lines {
    /// Above the titles.
    pub header: usize,
    /// Titles of the columns.
    pub titles: usize,
    /// Rows that can be selected.
    pub list: usize,
    /// The two last rows.
    pub ends: usize,
    /// What the selected row's dashes mean.
    pub reason: usize,
    /// Keys, or the prompt.
    pub footer: usize,
}

impl Lines {
    /// Shares `height` lines out; the rows get theirs first, `header` is what there is to say.
    pub fn fit(height: usize, header: usize) -> Self {
        let titles = usize::from(height >= 2);
        let footer = usize::from(height >= 3);
        let ends = if height >= 6 { 2 } else { 0 };
        let reason = usize::from(height >= 16);
        let fixed = titles + footer + ends + reason;
        let left = height.saturating_sub(fixed);
        let header = header.min(left.saturating_sub(3));
        Self { header, titles, list: left - header, ends, reason, footer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual() -> Vec<Column> {
        Column::usual().split_off(1)
    }

    #[test]
    fn the_most_useful_columns_fit_in_80() {
        let columns = Columns::fit(80, 30, &usual(), 0);
        assert_eq!(columns.shown.last(), Some(&Column::Memory));
        assert_eq!(columns.name, 19);
    }

    #[test]
    fn a_column_that_is_scrolled_to_is_shown() {
        let others = usual();
        for first in 0..others.len() + 3 {
            let columns = Columns::fit(80, 12, &others, first);
            let shown = columns.first + columns.shown.len();
            assert!(shown == others.len() || columns.first == first);
            assert!(taken(&columns.shown) + columns.name <= 80);
        }
        assert_eq!(Columns::fit(500, 12, &others, 9).first, 0);
    }

    #[test]
    fn every_size_is_shared_out_whole() {
        for height in 0..60 {
            let l = Lines::fit(height, 6);
            assert_eq!(l.header + l.titles + l.list + l.ends + l.reason + l.footer, height);
        }
        for width in 0..30 {
            let columns = Columns::fit(width, 30, &usual(), 4);
            assert!(taken(&columns.shown) + columns.name <= width);
        }
        assert!(Columns::fit(10, 5, &[], 3).shown.is_empty());
    }
}
