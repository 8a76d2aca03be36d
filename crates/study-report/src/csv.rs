//! Figures as CSV (RFC 4180), whole numbers and all digits, for other programs.

use crate::tidy;
use ::csv::{Terminator, WriterBuilder};
use model::{csv_text, escape};
use study::figure::{Cell, Figure, Report};

type Table = ::csv::Writer<Vec<u8>>;

/// The columns of a figure's tidy table.
const COLUMNS: [&str; 7] = ["series", "x", "measured_x", "value", "low", "high", "samples"];

/// A figure's values as one tidy table: `series,x,measured_x,value,low,high,samples`.
///
/// `x` is what was planned where there is a plan for it, `measured_x` what was measured of that;
/// empty elsewhere. An empty field is not known. Words that a spreadsheet would take for a formula have a `'`
/// before them.
#[must_use]
pub fn csv(figure: &Figure) -> String {
    written(|table| {
        table.write_record(COLUMNS)?;
        add(table, figure, None)
    })
}

/// The values of all figures, with the figure's id before each: `figure,series,x,…`.
#[must_use]
pub fn csv_all(report: &Report) -> String {
    written(|table| {
        table.write_record(["figure"].into_iter().chain(COLUMNS))?;
        report.figures.iter().try_for_each(|figure| add(table, figure, Some(&figure.id)))
    })
}

fn written(rows: impl FnOnce(&mut Table) -> Result<(), ::csv::Error>) -> String {
    let mut table = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
    // Writing to memory does not fail, and each record has as many fields as the first.
    let _ = rows(&mut table);
    String::from_utf8(table.into_inner().unwrap_or_default()).unwrap_or_default()
}

fn add(table: &mut Table, figure: &Figure, id: Option<&str>) -> Result<(), ::csv::Error> {
    for row in tidy::rows(figure) {
        let (low, high, samples) = match &row.value {
            Cell::Measured(measured) => {
                let (low, high) = measured.interval.unzip();
                (low.map(digits), high.map(digits), Some(measured.samples.to_string()))
            }
            _ => (None, None, None),
        };
        let ends = [low, high, samples].map(Option::unwrap_or_default);
        let measured = row.measured_x.map(digits).unwrap_or_default();
        let fields = [words(&row.series), field(&row.x), measured, field(&row.value)];
        table.write_record(id.map(words).into_iter().chain(fields).chain(ends))?;
    }
    Ok(())
}

fn field(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => words(text),
        Cell::Number(value) => digits(*value),
        Cell::Measured(measured) => digits(measured.value),
        Cell::Unknown => String::new(),
    }
}

/// All digits that tell the number from its neighbours; of what is no number, nothing.
fn digits(value: f64) -> String {
    if !value.is_finite() {
        return String::new();
    }
    let text = format!("{value:?}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// Words from outside as a field: no control character, no formula.
fn words(outside: &str) -> String {
    csv_text(&escape(outside)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use ::csv::ReaderBuilder;
    use proptest::prelude::*;
    use study::figure::{Axis, Drawing, Line, Measured, Point};

    #[test]
    fn the_sample_is_as_it_was() {
        insta::assert_snapshot!(csv_all(&sample::report()));
    }

    #[test]
    fn a_name_is_no_formula() {
        assert_eq!(words("=1+1"), "'=1+1");
        assert_eq!(words("@SUM(A1,\"x\")"), "'@SUM(A1,\"x\")");
        assert_eq!(words("a\r\n\u{1b}[2Jb"), "a\\r\\n\\u{1b}[2Jb");
        assert_eq!(digits(-3.0), "-3", "a number is not a name");
    }

    #[test]
    fn numbers_keep_all_their_digits() {
        assert_eq!(digits(0.1 + 0.2), "0.30000000000000004");
        assert_eq!(digits(1e300), "1e300");
        assert_eq!(digits(f64::NAN), "");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(name in "\\PC*|.*", x: f64, value: f64) {
            let axis = Axis { label: "x".into(), unit: String::new(), log: false };
            let y = Measured { value, interval: None, samples: 1 };
            let lines = vec![Line { name: name.clone(), points: vec![Point { x, planned: None, y }] }];
            let drawing = Drawing::Lines { x: axis.clone(), y: axis, lines };
            let figure = Figure { drawing, ..sample::figure() };
            let text = csv(&figure);
            let mut reader = ReaderBuilder::new().from_reader(text.as_bytes());
            let record = reader.records().next().unwrap().unwrap();
            prop_assert_eq!(record.len(), 7);
            let read = record[0].strip_prefix('\'').unwrap_or(&record[0]);
            let written = escape(&name);
            prop_assert_eq!(read, written.strip_prefix('\'').unwrap_or(&written));
            if value.is_finite() {
                prop_assert_eq!(record[3].parse::<f64>().unwrap(), value);
            }
        }
    }
}
