//! A figure as one tidy table: a row for each value, whatever is drawn of it.

use study::figure::{Axis, Bar, Cell, Drawing, Figure, Line, Measured, Point, Ring};

/// What the whole of a stacked bar is called.
pub const WHOLE: &str = "whole";

/// A value with the place that it has in the figure.
pub struct Row {
    /// The line, part or ring; of a table the words that its row begins with.
    pub series: String,
    /// The place in the series: a number on an axis, which is the planned one where there is a
    /// plan for it, or the name of a bar, axis or column.
    pub x: Cell,
    /// What was measured of a planned place.
    pub measured_x: Option<f64>,
    /// What is there.
    pub value: Cell,
}

/// What the columns are called.
pub struct Heads {
    pub series: &'static str,
    pub x: String,
    pub value: String,
}

/// The axis with its unit: `rate (packets/s)`.
pub fn title(axis: &Axis) -> String {
    if axis.unit.is_empty() {
        return axis.label.clone();
    }
    format!("{} ({})", axis.label, axis.unit)
}

/// The head of lines' places.
pub fn planned_title(x: &Axis, lines: &[Line]) -> String {
    let planned = lines.iter().flat_map(|line| &line.points).any(|point| point.planned.is_some());
    let label = if planned { format!("{}, planned", x.label) } else { x.label.clone() };
    title(&Axis { label, ..x.clone() })
}

/// Where a point is in tables: at what was planned, or else at what was measured. Points of the
/// same plan are beside each other so.
pub fn place(point: &Point) -> f64 {
    point.planned.unwrap_or(point.x)
}

/// What the columns of a figure's rows are called.
pub fn heads(figure: &Figure) -> Heads {
    let (series, x, value) = match &figure.drawing {
        Drawing::Lines { x, y, lines } => ("line", planned_title(x, lines), title(y)),
        Drawing::Stacks { y, .. } => ("part", "bar".to_owned(), title(y)),
        Drawing::Kiviat { .. } => ("ring", "axis".to_owned(), "value".to_owned()),
        Drawing::Table { .. } => ("row", "column".to_owned(), "value".to_owned()),
    };
    Heads { series, x, value }
}

/// Every value of a figure, in the figure's order.
pub fn rows(figure: &Figure) -> Vec<Row> {
    match &figure.drawing {
        Drawing::Lines { lines, .. } => lines.iter().flat_map(of_line).collect(),
        Drawing::Stacks { parts, bars, .. } => {
            bars.iter().flat_map(|bar| of_bar(parts, bar)).collect()
        }
        Drawing::Kiviat { axes, rings } => {
            rings.iter().flat_map(|ring| of_ring(axes, ring)).collect()
        }
        Drawing::Table { columns, rows } => {
            rows.iter().enumerate().flat_map(|(at, row)| of_row(columns, at, row)).collect()
        }
    }
}

fn of_line(line: &Line) -> impl Iterator<Item = Row> {
    line.points.iter().map(|point| Row {
        series: line.name.clone(),
        x: Cell::Number(place(point)),
        measured_x: point.planned.map(|_| point.x),
        value: Cell::Measured(point.y),
    })
}

fn of_bar(parts: &[String], bar: &Bar) -> Vec<Row> {
    let row = |series: &str, value| Row {
        series: series.to_owned(),
        x: Cell::Text(bar.name.clone()),
        measured_x: None,
        value,
    };
    let height = |at: usize| match bar.parts.get(at).copied().flatten() {
        Some(height) => Cell::Number(height),
        None => Cell::Unknown,
    };
    let known = parts.iter().enumerate().map(|(at, part)| row(part, height(at)));
    known.chain([row(WHOLE, Cell::Measured(bar.whole))]).collect()
}

fn of_ring<'a>(axes: &'a [Axis], ring: &'a Ring) -> impl Iterator<Item = Row> + 'a {
    axes.iter().enumerate().map(|(at, axis)| Row {
        series: ring.name.clone(),
        x: Cell::Text(title(axis)),
        measured_x: None,
        value: known(ring.values.get(at).copied().flatten()),
    })
}

/// A cell, or that it is not known.
pub fn known(value: Option<Measured>) -> Cell {
    value.map_or(Cell::Unknown, Cell::Measured)
}

/// The words that a row begins with name it; a row that begins with a number has its own number.
fn of_row(columns: &[Axis], at: usize, row: &[Cell]) -> Vec<Row> {
    let words: Vec<&str> = row
        .iter()
        .take(columns.len().saturating_sub(1))
        .map_while(|cell| match cell {
            Cell::Text(text) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    let series = if words.is_empty() { (at + 1).to_string() } else { words.join(", ") };
    let values = columns.iter().zip(row).skip(words.len());
    values
        .map(|(column, cell)| Row {
            series: series.clone(),
            x: Cell::Text(title(column)),
            measured_x: None,
            value: cell.clone(),
        })
        .collect()
}

/// Why a value is not known, where the figure says so: the reason of what is missing that names
/// the series or the place in it.
pub fn reason<'a>(figure: &'a Figure, series: &str, x: &str) -> Option<&'a str> {
    // "(%)" is of the axis' title, not of its name.
    let place = x.split(" (").next().unwrap_or(x).to_lowercase();
    let series = series.to_lowercase();
    let named = |what: &str, name: &str| !name.is_empty() && what.contains(name);
    let fits = figure.missing.iter().map(|missing| {
        let what = missing.what.to_lowercase();
        (u8::from(named(&what, &series)) + u8::from(named(&what, &place)), missing)
    });
    let best = fits.filter(|(fit, _)| *fit > 0).max_by_key(|(fit, _)| *fit)?;
    Some(&best.1.reason)
}
