//! The report as Markdown: figures as tables, with intervals.

use crate::grid::{Grid, grid};
use crate::number::{self, UNKNOWN};
use crate::tidy;
use model::escape;
use std::fmt::Write;
use study::figure::{Cell, Drawing, Figure, Report, Runs};

/// What Markdown, or HTML within it, would read as more than a sign.
const SIGNS: [char; 14] = ['\\', '`', '*', '_', '[', ']', '<', '>', '|', '&', '~', '$', '#', '!'];

/// The report as Markdown (CommonMark with tables).
#[must_use]
pub fn markdown(report: &Report) -> String {
    let mut page = format!("# {}\n", words(&report.title));
    if !report.question.is_empty() {
        paragraph(&mut page, &report.question);
    }
    list(&mut page, "Findings", &report.findings);
    list(&mut page, "Before you believe the figures", &report.warnings);
    for figure in &report.figures {
        add_figure(&mut page, figure);
    }
    remarks(&mut page, report);
    if !report.method.is_empty() {
        page.push_str("\n## Method\n");
    }
    for text in &report.method {
        paragraph(&mut page, text);
    }
    if !report.machines.is_empty() {
        page.push_str("\n## Machines\n");
    }
    for machine in &report.machines {
        let _ = writeln!(page, "\n### {}\n", words(&machine.name));
        for (name, value) in &machine.facts {
            let _ = writeln!(page, "- {}: {}", begin(name), words(value));
        }
    }
    list(&mut page, "Changed for the study, and given back", &report.changes);
    failures(&mut page, report);
    runs(&mut page, report);
    page
}

fn add_figure(page: &mut String, figure: &Figure) {
    let _ = writeln!(page, "\n## {} ({})\n", words(&figure.title), words(&figure.id));
    if let Drawing::Lines { y, .. } | Drawing::Stacks { y, .. } = &figure.drawing {
        let _ = writeln!(page, "{}:\n", words(&tidy::title(y)));
    }
    table(page, &grid(&figure.drawing));
    if !figure.caption.is_empty() {
        paragraph(page, &figure.caption);
    }
    if let Some(found) = &figure.found {
        let _ = writeln!(page, "\n> The dissertation found: {}", words(found));
    }
    if !figure.missing.is_empty() {
        page.push_str("\nNot measured:\n\n");
    }
    for missing in &figure.missing {
        let _ = writeln!(page, "- {}: {}", begin(&missing.what), words(&missing.reason));
    }
}

fn table(page: &mut String, grid: &Grid) {
    let heads: Vec<String> = grid.heads.iter().map(|head| words(head)).collect();
    if heads.is_empty() {
        return;
    }
    let _ = writeln!(page, "| {} |", heads.join(" | "));
    let sides = (0..heads.len()).map(|column| {
        let texts = |row: &Vec<Option<Cell>>| matches!(row.get(column), Some(Some(Cell::Text(_))));
        if grid.rows.iter().any(texts) { "---" } else { "---:" }
    });
    let _ = writeln!(page, "| {} |", sides.collect::<Vec<_>>().join(" | "));
    for row in &grid.rows {
        let cells: Vec<String> = row.iter().map(|cell| shown(cell.as_ref())).collect();
        let _ = writeln!(page, "| {} |", cells.join(" | "));
    }
}

fn shown(cell: Option<&Cell>) -> String {
    match cell {
        None => String::new(),
        Some(Cell::Text(text)) => words(text),
        Some(Cell::Number(value)) => number::number(*value),
        // No link ends here, so brackets may stay as they are.
        Some(Cell::Measured(measured)) => {
            format!("{} (n = {})", number::line(measured), measured.samples)
        }
        Some(Cell::Unknown) => UNKNOWN.to_owned(),
    }
}

fn list(page: &mut String, title: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    let _ = writeln!(page, "\n## {title}\n");
    for item in items {
        let _ = writeln!(page, "- {}", begin(item));
    }
}

fn remarks(page: &mut String, report: &Report) {
    if report.remarks.is_empty() {
        return;
    }
    page.push_str("\n## Runs to look at\n\nThey count in the figures like all others.\n\n");
    page.push_str("| run | block | what | to look at |\n| ---: | ---: | --- | --- |\n");
    for remark in &report.remarks {
        let reasons: Vec<String> = remark.reasons.iter().map(|reason| words(reason)).collect();
        let (what, reasons) = (words(&remark.what), reasons.join("; "));
        let _ = writeln!(page, "| {} | {} | {what} | {reasons} |", remark.run, remark.block);
    }
}

fn failures(page: &mut String, report: &Report) {
    if report.failures.is_empty() {
        return;
    }
    page.push_str("\n## Runs that failed\n\n| run | what | reason |\n| ---: | --- | --- |\n");
    for failure in &report.failures {
        let (what, reason) = (words(&failure.what), words(&failure.reason));
        let _ = writeln!(page, "| {} | {what} | {reason} |", failure.run);
    }
}

fn runs(page: &mut String, report: &Report) {
    let Runs { planned, valid, invalid, again, failed } = report.runs;
    let _ = writeln!(
        page,
        "\n## Runs\n\n{planned} planned; {valid} measured and used ({again} of them at a later \
         attempt, as the first was not valid), {invalid} measured but not valid, {failed} failed."
    );
    if let Some((began, ended)) = &report.measured {
        let _ = writeln!(page, "\nMeasured from {} to {}.", words(began), words(ended));
    }
    let _ = writeln!(page, "\nvmeter {}", words(&report.vmeter));
}

fn paragraph(page: &mut String, text: &str) {
    let _ = writeln!(page, "\n{}", begin(text));
}

/// Words from outside as words: one line, in which nothing is a sign of Markdown.
fn words(outside: &str) -> String {
    let plain = escape(outside.trim());
    let mut shown = String::with_capacity(plain.len());
    for c in plain.chars() {
        if SIGNS.contains(&c) {
            shown.push('\\');
        }
        shown.push(c);
    }
    shown
}

/// Words at the begin of a line, where `-` and `1.` make a list and `=` a title of what is above.
fn begin(outside: &str) -> String {
    let mut shown = words(outside);
    let digits = shown.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
    if shown.starts_with(['-', '+', '=']) {
        shown.insert(0, '\\');
    } else if digits > 0 && shown[digits..].starts_with(['.', ')']) {
        shown.insert(digits, '\\');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn the_sample_is_as_it_was() {
        insta::assert_snapshot!(markdown(&sample::report()));
    }

    #[test]
    fn hostile_names_stay_words() {
        insta::assert_snapshot!(markdown(&sample::hostile()));
    }

    #[test]
    fn an_empty_report_is_a_page() {
        insta::assert_snapshot!(markdown(&sample::empty()));
    }

    #[test]
    fn words_are_no_markup() {
        assert_eq!(words("a|b\n<i>*x*"), "a\\|b\\\\n\\<i\\>\\*x\\*");
        assert_eq!(begin("- 1"), "\\- 1");
        assert_eq!(begin("1. x"), "1\\. x");
        assert_eq!(begin("2.5 times"), "2\\.5 times");
        assert_eq!(begin("12"), "12");
    }
}
