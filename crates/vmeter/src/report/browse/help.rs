//! The help text.

use super::app::App;
use super::subject::levels;
use crate::terminal::fit;

const KEYS: [(&str, &str); 9] = [
    ("Up Down PgUp PgDn Home End", "select a row (also j k g G)"),
    ("Enter Space", "open a row, or close it"),
    ("Right", "open a row; from an open one, go into it (also l)"),
    ("Left Backspace Esc", "close a row, or go to what it is in (also h)"),
    ("s", "sort by samples, by events, by name"),
    ("e", "next event, same row"),
    ("/ f", "show only rows that contain a text; Esc: all"),
    ("? F1", "this help"),
    ("q F10 Ctrl-C", "quit"),
];

const COLUMNS: [(&str, &str); 4] = [
    ("SAMPLES", "samples of the event"),
    ("%", "of all samples that are shown"),
    ("BUSY s", "CPU seconds by equation 4.9, of clocks and of cycles (--hertz)"),
    ("EVENTS", "events: the sum of the samples' periods; of clocks nanoseconds"),
];

/// The lines, at most `width` columns wide where words allow.
pub fn lines(app: &App, width: usize) -> Vec<String> {
    let mut lines = table("KEYS", &KEYS, 27, width);
    lines.push(String::new());
    lines.extend(table("COLUMNS", &COLUMNS, 8, width));
    let by = levels(&app.place().tree().by);
    let text = format!(
        "{by}: choose others with --by. The lines above the keys say, of the selected row, \
         where it is, why names are missing in it, and its layers. Samples of idle CPUs are \
         left out (--idle). After ± stands how far the guests' clocks may be off."
    );
    lines.extend([String::new(), "LEVELS".to_owned()]);
    lines.extend(fit::wrap(&text, width, ("  ", "  ")));
    if !app.subject.notes.is_empty() {
        lines.extend([String::new(), "NOTES".to_owned()]);
        for note in &app.subject.notes {
            lines.extend(fit::wrap(note, width, ("  ! ", "    ")));
        }
    }
    lines.extend([String::new(), "STREAMS".to_owned()]);
    for stream in &app.subject.streams {
        lines.extend(fit::wrap(stream, width, ("  ", "    ")));
    }
    lines
}

/// Words and what they mean: beside one another, or below where that does not fit.
fn table(title: &str, all: &[(&str, &str)], column: usize, width: usize) -> Vec<String> {
    let mut lines = vec![title.to_owned()];
    for (what, meaning) in all {
        if width >= 80 {
            lines.push(format!("  {what:<column$} {meaning}"));
        } else {
            lines.push(format!("  {what}"));
            lines.extend(fit::wrap(meaning, width, ("    ", "    ")));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::browse::fixture;

    #[test]
    fn the_help_fits_80_columns() {
        let lines = lines(&fixture::app(), 80);
        assert!(lines.iter().any(|line| line.contains("12 records lost")), "{lines:?}");
        for line in lines {
            assert!(fit::width(&line) <= 80, "{line}");
        }
    }
}
