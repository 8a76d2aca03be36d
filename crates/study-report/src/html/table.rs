//! A figure's data as tables.

use crate::grid::{Grid, grid};
use crate::number::{self, UNKNOWN};
use crate::tidy::{self, Row};
use maud::{Markup, html as markup};
use model::escape;
use study::figure::{Cell, Figure, Measured};

/// The table that a figure is.
pub fn plain(figure: &Figure) -> Markup {
    let grid = grid(&figure.drawing);
    markup! {
        div.scroll tabindex="0" {
            table {
                thead {
                    tr {
                        @for (at, head) in grid.heads.iter().enumerate() {
                            th.number[is_numeric(&grid, at)] { (escape(head)) }
                        }
                    }
                }
                tbody {
                    @for row in &grid.rows {
                        tr {
                            @for (cell, head) in row.iter().zip(&grid.heads) {
                                (plain_cell(cell.as_ref(), figure, label(row), head))
                            }
                        }
                    }
                }
            }
        }
        @if grid.rows.is_empty() { p.note { "The table is empty." } }
    }
}

/// Whether a column has numbers, and no words.
fn is_numeric(grid: &Grid, column: usize) -> bool {
    let mut cells = grid.rows.iter().filter_map(|row| row.get(column));
    !grid.rows.is_empty() && cells.all(|cell| !matches!(cell, Some(Cell::Text(_))))
}

/// What a row is about: its first words.
fn label(row: &[Option<Cell>]) -> &str {
    match row.first() {
        Some(Some(Cell::Text(text))) => text,
        _ => "",
    }
}

fn plain_cell(cell: Option<&Cell>, figure: &Figure, series: &str, x: &str) -> Markup {
    match cell {
        None => markup! { td {} },
        Some(Cell::Text(text)) => markup! { td { (escape(text)) } },
        Some(Cell::Number(value)) => markup! { td.number { (number::number(*value)) } },
        Some(Cell::Measured(measured)) => {
            let (value, ends) = number::measured(measured);
            markup! {
                td.number title={ (samples(measured)) } {
                    (value)
                    @if let Some((low, high)) = ends {
                        span.interval { " [" (low) ", " (high) "]" }
                    }
                }
            }
        }
        Some(Cell::Unknown) => unknown(tidy::reason(figure, series, x)),
    }
}

fn samples(measured: &Measured) -> String {
    match measured.samples {
        1 => "1 sample".to_owned(),
        samples => format!("{samples} samples"),
    }
}

/// What is not known, with the reason where the figure has one for it.
fn unknown(reason: Option<&str>) -> Markup {
    let reason = reason.map_or_else(|| "not known".to_owned(), escape);
    markup! { td.number title=(reason) { (UNKNOWN) span.why { " " (reason) } } }
}

/// Every value of the figure with its interval and samples.
pub fn data(figure: &Figure) -> Markup {
    let heads = tidy::heads(figure);
    let rows = tidy::rows(figure);
    let planned = rows.iter().any(|row| row.measured_x.is_some());
    markup! {
        details {
            summary { "Data (" (rows.len()) @if rows.len() == 1 { " value)" } @else { " values)" } }
            div.scroll tabindex="0" {
                table {
                    thead {
                        tr {
                            th { (heads.series) }
                            th.number[is_number(rows.first())] { (escape(&heads.x)) }
                            @if planned { th.number { "measured" } }
                            th.number { (escape(&heads.value)) }
                            th.number { "low" }
                            th.number { "high" }
                            th.number { "samples" }
                        }
                    }
                    tbody { @for row in &rows { (data_row(row, figure, planned)) } }
                }
            }
        }
    }
}

fn is_number(row: Option<&Row>) -> bool {
    matches!(row, Some(Row { x: Cell::Number(_), .. }))
}

fn data_row(row: &Row, figure: &Figure, planned: bool) -> Markup {
    let measured = match &row.value {
        Cell::Measured(measured) => Some(measured),
        _ => None,
    };
    let ends = measured.and_then(|measured| number::measured(measured).1).unzip();
    let place = match &row.x {
        Cell::Text(text) => text,
        _ => "",
    };
    markup! {
        tr {
            td { (escape(&row.series)) }
            (plain_cell(Some(&row.x), figure, "", ""))
            @if planned {
                td.number { @if let Some(x) = row.measured_x { (number::number(x)) } }
            }
            @match &row.value {
                Cell::Measured(measured) => td.number { (number::measured(measured).0) },
                Cell::Unknown => (unknown(tidy::reason(figure, &row.series, place))),
                other => (plain_cell(Some(other), figure, "", "")),
            }
            (end(measured, ends.0))
            (end(measured, ends.1))
            td.number { @if let Some(measured) = measured { (measured.samples) } }
        }
    }
}

/// An end of an interval: where a measured value has none, it is not known.
fn end(measured: Option<&Measured>, end: Option<String>) -> Markup {
    markup! {
        @match (measured, end) {
            (None, _) => td {},
            (Some(_), Some(end)) => td.number { (end) },
            (Some(_), None) => td.number title="too few samples for an interval" { (UNKNOWN) },
        }
    }
}
