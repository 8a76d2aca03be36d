//! Which numbers, and how many lines of each kind, a terminal's size holds.

use profile::table::Sort;

/// A column before the names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// Samples.
    Samples,
    /// Samples as a percentage of all.
    Percent,
    /// Busy time in seconds.
    Busy,
    /// Events.
    Events,
}

impl Number {
    /// Its title.
    pub fn title(self) -> &'static str {
        match self {
            Self::Samples => "SAMPLES",
            Self::Percent => "%",
            Self::Busy => "BUSY s",
            Self::Events => "EVENTS",
        }
    }

    /// Its width, a blank before it included.
    pub fn width(self) -> usize {
        match self {
            Self::Samples | Self::Busy => 9,
            Self::Percent => 7,
            Self::Events => 8,
        }
    }

    /// The numbers that leave room for names. Events that are time, and busy time that is none,
    /// are not shown unasked.
    pub fn fit(width: usize, order: Sort, is_time: bool, has_busy: bool) -> Vec<Self> {
        let by_events = order == Sort::Events;
        let wide = width >= 60;
        let all = [
            (Self::Samples, wide || (width >= 30 && !by_events)),
            (Self::Percent, width >= 16),
            (Self::Busy, wide && has_busy),
            (Self::Events, if wide { by_events || !is_time } else { by_events && width >= 30 }),
        ];
        all.into_iter().filter(|(_, shown)| *shown).map(|(number, _)| number).collect()
    }
}

/// Lines of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lines {
    /// Above the titles.
    pub header: usize,
    /// Titles of the columns.
    pub titles: usize,
    /// Rows.
    pub list: usize,
    /// What there is to say of the selected row.
    pub details: usize,
    /// Keys, or the prompt.
    pub footer: usize,
}

impl Lines {
    /// Shares `height` lines out; `header` is what there is to say above the rows, which get at
    /// least half of what is left.
    pub fn fit(height: usize, header: usize) -> Self {
        let titles = usize::from(height >= 2);
        let footer = usize::from(height >= 3);
        let details = match height {
            20.. => 3,
            12.. => 2,
            8.. => 1,
            _ => 0,
        };
        let left = height.saturating_sub(titles + footer + details);
        let header = header.min(left / 2);
        Self { header, titles, list: left - header, details, footer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_shared_out_whole() {
        for height in 0..60 {
            let l = Lines::fit(height, 6);
            assert_eq!(l.header + l.titles + l.list + l.details + l.footer, height);
        }
    }

    #[test]
    fn names_keep_half_of_the_width() {
        for order in [Sort::Samples, Sort::Events, Sort::Names] {
            for width in 0..200 {
                let numbers = Number::fit(width, order, false, true);
                let taken: usize = numbers.iter().map(|number| number.width()).sum();
                assert!(taken * 9 <= width * 5, "{width}: {numbers:?}");
            }
        }
        assert!(Number::fit(30, Sort::Events, true, true).contains(&Number::Events));
    }
}
