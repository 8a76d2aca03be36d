//! A figure as the table that people read: its lines, parts or rings side by side.

use crate::tidy;
use study::figure::{Axis, Cell, Drawing, Line};

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

/// A row for each x that a line has a point at, by rising x. Of several points of one line at
/// the same x, each has a row.
fn of_lines(x: &Axis, lines: &[Line]) -> Grid {
    let mut points: Vec<(f64, usize, usize, Cell)> = Vec::new();
    for (column, line) in lines.iter().enumerate() {
        let (mut before, mut again) = (f64::NAN, 0);
        for point in &line.points {
            again = if point.x == before { again + 1 } else { 0 };
            before = point.x;
            points.push((point.x, again, column, Cell::Measured(point.y)));
        }
    }
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let rows = points.chunk_by(|a, b| a.0 == b.0 && a.1 == b.1).map(|same| {
        let mut row = vec![None; lines.len() + 1];
        row[0] = Some(Cell::Number(same[0].0));
        for (_, _, column, cell) in same {
            row[column + 1] = Some(cell.clone());
        }
        row
    });
    let heads = [tidy::title(x)].into_iter().chain(lines.iter().map(|line| line.name.clone()));
    Grid { heads: heads.collect(), rows: rows.collect() }
}
