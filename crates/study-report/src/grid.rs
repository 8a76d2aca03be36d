//! A figure as the table that people read: its lines, parts or rings side by side.

use crate::number::number;
use crate::tidy;
use study::figure::{Axis, Cell, Drawing, Line, Point};

/// A table.
pub struct Grid {
    /// The columns' heads.
    pub heads: Vec<String>,
    /// The rows; `None` where there is nothing to know, as a line has no point there.
    pub rows: Vec<Vec<Option<Cell>>>,
}

/// The figure as a table.
pub fn grid(drawing: &Drawing) -> Grid {
    match drawing {
        Drawing::Lines { x, lines, .. } => of_lines(x, lines),
        Drawing::Stacks { parts, bars, .. } => {
            let heads = [String::new()].into_iter().chain(parts.iter().cloned());
            let rows = bars.iter().map(|bar| {
                let part = |at| match bar.parts.get(at).copied().flatten() {
                    Some(height) => Some(Cell::Number(height)),
                    None => Some(Cell::Unknown),
                };
                let name = Some(Cell::Text(bar.name.clone()));
                let whole = Some(Cell::Measured(bar.whole));
                [name].into_iter().chain((0..parts.len()).map(part)).chain([whole]).collect()
            });
            Grid { heads: heads.chain([tidy::WHOLE.to_owned()]).collect(), rows: rows.collect() }
        }
        Drawing::Kiviat { axes, rings } => {
            let heads = [String::new()].into_iter().chain(rings.iter().map(|r| r.name.clone()));
            let rows = axes.iter().enumerate().map(|(at, axis)| {
                let value = |values: &[_]| Some(tidy::known(values.get(at).copied().flatten()));
                let values = rings.iter().map(|ring| value(&ring.values));
                [Some(Cell::Text(tidy::title(axis)))].into_iter().chain(values).collect()
            });
            Grid { heads: heads.collect(), rows: rows.collect() }
        }
        Drawing::Table { columns, rows } => {
            let heads = columns.iter().map(tidy::title).collect();
            let rows = rows.iter().map(|row| row.iter().cloned().map(Some).collect());
            Grid { heads, rows: rows.collect() }
        }
    }
}

/// A row for each place that a line has a point at, by rising x: the planned one, where there is a
/// plan, with what was measured of it beside it. Of several points of one line at the same place,
/// each has a row.
fn of_lines(x: &Axis, lines: &[Line]) -> Grid {
    let mut points: Vec<(f64, usize, usize, &Point)> = Vec::new();
    for (column, line) in lines.iter().enumerate() {
        let (mut before, mut again) = (f64::NAN, 0);
        for point in &line.points {
            let place = tidy::place(point);
            again = if place == before { again + 1 } else { 0 };
            before = place;
            points.push((place, again, column, point));
        }
    }
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let planned = points.iter().any(|(.., point)| point.planned.is_some());
    let rows = points.chunk_by(|a, b| a.0 == b.0 && a.1 == b.1).map(|same| {
        let mut values = vec![None; lines.len()];
        for (_, _, column, point) in same {
            values[*column] = Some(Cell::Measured(point.y));
        }
        let place = Some(Cell::Number(same[0].0));
        let measured = planned.then(|| measured(same.iter().map(|(.., point)| *point)));
        [place].into_iter().chain(measured).chain(values).collect()
    });
    let heads = [tidy::planned_title(x, lines)].into_iter();
    let heads = heads.chain(planned.then(|| "measured".to_owned()));
    Grid {
        heads: heads.chain(lines.iter().map(|l| l.name.clone())).collect(),
        rows: rows.collect(),
    }
}

/// What was measured of a planned place, over all lines: a number, or from which to which.
fn measured<'a>(points: impl Iterator<Item = &'a Point>) -> Option<Cell> {
    let known = points.filter(|point| point.planned.is_some()).map(|point| point.x);
    let (low, high) =
        known.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(x), h.max(x)));
    let (first, last) = (number(low), number(high));
    match (low <= high, first == last) {
        (false, _) => None,
        (true, true) => Some(Cell::Number(low)),
        (true, false) => Some(Cell::Text(format!("{first} to {last}"))),
    }
}
