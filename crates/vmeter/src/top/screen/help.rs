//! The help text.

use crate::terminal::fit;
use crate::top::Column;
use crate::top::note::Note;

/// More lines than the text has.
pub const LONGEST: usize = 200;

const KEYS: [(&str, &str); 13] = [
    ("Up Down PgUp PgDn Home End", "select a row (also j k g G)"),
    ("Left Right", "show the columns that do not fit"),
    ("Enter Space e", "show a row's vCPUs and threads, or hide them"),
    ("P M N", "sort by CPU, memory, name"),
    ("< >", "sort by the column before or after"),
    ("F6 S", "choose the column to sort by"),
    ("r R I", "sort in reverse order"),
    ("/ f F4", "show only VMs with a text in their name; Esc: all"),
    ("c F2", "choose the columns"),
    ("+ -  d s", "a longer or shorter interval; type one"),
    ("p z", "pause"),
    ("? h F1", "this help"),
    ("q F10 Ctrl-C", "quit"),
];

const SUM: [&str; 8] = [
    "CPU% adds up: VMs + the driver domain's own work + unattributed = host total,",
    "in percent of one CPU. A VM's CPU% holds the I/O work that the driver domain",
    "(Domain-0, or the host) does for it: IODIR by threads that serve this VM",
    "alone, IOSHR its share of interrupt work, by its packets and disk requests.",
    "Unattributed time belongs to no known VM or process.",
    "Error: the difference between the sum of the parts and the measured total.",
    "A dash is an unknown value; the line above the keys gives the reason, for",
    "the selected row.",
];

/// The lines, with the notes on what is shown.
pub fn lines(notes: &[Note]) -> Vec<String> {
    let mut lines = vec!["KEYS".to_owned()];
    lines.extend(KEYS.iter().map(|(keys, what)| format!("  {keys:<27} {what}")));
    lines.extend([String::new(), "THE SUM".to_owned()]);
    lines.extend(SUM.iter().map(|line| format!("  {line}")));
    if !notes.is_empty() {
        lines.extend([String::new(), "NOTES".to_owned()]);
        for note in notes {
            lines.extend(fit::wrap(&model::escape(&note.to_string()), 76, ("  ! ", "    ")));
        }
    }
    lines.extend([String::new(), "COLUMNS".to_owned()]);
    lines.extend(
        Column::all().map(|column| {
            format!("  {:<5} {:<15} {}", column.title(), column.key(), column.what())
        }),
    );
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_fits_80_columns() {
        let note = Note::NotPermitted {
            columns: Column::usual(),
            vms: 100_000,
            need: model::Need::Ptrace,
        };
        let lines = lines(&[note, Note::InterruptsUncounted]);
        assert!(lines.len() < LONGEST);
        for line in lines {
            assert!(fit::width(&line) <= 80, "{line}");
        }
    }
}
