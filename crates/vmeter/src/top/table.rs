//! `--format table`: the screen's columns, all of them, as lines of text.

use super::figure::figure;
use super::note::notes;
use super::rows::{self, Row};
use super::{Column, View, fit, header, json};
use account::Usage;
use std::collections::BTreeSet;

/// A name takes no more columns than this.
const WIDEST_NAME: usize = 32;

/// The interval's table, its header lines before it.
pub fn text(usage: &Usage, view: &View) -> String {
    let mut rows = rows::list(usage, view, &BTreeSet::new(), true);
    rows.extend(rows::ends());
    let names: Vec<_> = rows.iter().map(|row| name(row, usage)).collect();
    let widest = names.iter().map(|name| fit::width(name)).max().unwrap_or(0).min(WIDEST_NAME);

    let mut text = String::with_capacity((rows.len() + 5) * (view.columns.len() + 4) * 6);
    above(&mut text, usage);
    for (place, column) in view.columns.iter().enumerate() {
        cell(&mut text, place, *column, column.title(), widest);
    }
    end_line(&mut text);
    for (row, name) in rows.iter().zip(&names) {
        for (place, column) in view.columns.iter().enumerate() {
            match column {
                Column::Name => cell(&mut text, place, *column, name, widest),
                _ => cell(&mut text, place, *column, &figure(row.item, *column, usage).text(), 0),
            }
        }
        end_line(&mut text);
    }
    text
}

fn name(row: &Row<'_>, usage: &Usage) -> String {
    let name = figure(row.item, Column::Name, usage);
    let name = name.text();
    fit::elide(&name, WIDEST_NAME).into_owned()
}

fn above(text: &mut String, usage: &Usage) {
    let seconds = usage.interval.seconds();
    let lines = [
        format!("{}  {}, {seconds:.2} s", json::time(usage.moment.unix), header::system(usage)),
        header::sum(usage),
    ];
    let drivers = usage.drivers.iter().map(|driver| header::driver(driver, usage, usize::MAX));
    let notes =
        notes(usage).into_iter().map(|note| format!("! {}", model::escape(&note.to_string())));
    for line in lines.into_iter().chain(drivers).chain(notes) {
        text.push_str(&line);
        text.push('\n');
    }
}

fn cell(text: &mut String, place: usize, column: Column, content: &str, name: usize) {
    if place > 0 {
        text.push(' ');
    }
    let width = if column == Column::Name { name } else { column.width() };
    fit::pad(text, content, width, column.is_text());
}

/// Ends the line without the blanks of its last cells.
fn end_line(text: &mut String) {
    text.truncate(text.trim_end_matches(' ').len());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::fixture;

    #[test]
    fn the_table_is_as_documented() {
        crate::golden::check("top/xen.txt", &text(&fixture::xen(), &View::default()));
        crate::golden::check(
            "top/unprivileged.txt",
            &text(&fixture::unprivileged(), &View::default()),
        );
        let filtered = View {
            columns: vec![Column::Name, Column::Id, Column::Cpu, Column::Ready],
            filter: "db".to_owned(),
            ..View::default()
        };
        crate::golden::check("top/filtered.txt", &text(&fixture::xen(), &filtered));
    }

    #[test]
    fn a_hostile_name_stays_in_its_cell() {
        let mut usage = fixture::xen();
        usage.vms[0].name = "\u{1b}]0;x\u{7}\r\n".repeat(2_000);
        let text = text(&usage, &View::default());
        assert_eq!(text.lines().count(), 4 + 6);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
    }
}
