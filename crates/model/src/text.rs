//! Text that came from outside (guests name themselves) made fit to be shown.

use std::borrow::Cow;
use std::fmt::Write;

/// The text with every control character, and every character that changes the direction or
/// is invisible, written as an escape (`\n`, `\u{1b}`), so that it cannot drive a terminal.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => shown.push_str("\\\\"),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            c if c.is_control() || is_invisible(c) => {
                // Writing to a String cannot fail.
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
            }
            c => shown.push(c),
        }
    }
    shown
}

/// Bidirectional controls, zero-width characters, tags and other format characters.
fn is_invisible(c: char) -> bool {
    matches!(u32::from(c),
        0xad | 0x61c | 0x115f | 0x1160 | 0x17b4 | 0x17b5 | 0x180b..=0x180f
        | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0x3164 | 0xfe00..=0xfe0f
        | 0xfeff | 0xffa0 | 0xfff0..=0xfffb | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a
        | 0xe0000..=0xe0fff)
}

/// A VM's name where rows of the host stand beside it: one that looks like such a row, which its
/// owner can choose, is marked as a VM's (`VM "host total"`).
#[must_use]
pub fn vm_name(name: &str) -> Cow<'_, str> {
    let words: Vec<String> = name.split_whitespace().map(str::to_lowercase).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let is_like_a_row = matches!(
        words[..],
        ["host" | "unattributed"]
            | ["host", "total"]
            | [.., "(own)" | "itself"]
            | [.., "filtered", "out"]
            | ["vm", ..]
    );
    if is_like_a_row { format!("VM \"{name}\"").into() } else { name.into() }
}

/// Text for a field of a CSV file: with a `'` in front where a spreadsheet would take it for a formula.
#[must_use]
pub fn csv_text(text: &str) -> Cow<'_, str> {
    // The last four are the full-width forms of the first.
    let is_formula =
        text.starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}']);
    if is_formula { format!("'{text}").into() } else { text.into() }
}

/// The text cut to at most `most` characters, `…` standing for what was cut.
#[must_use]
pub fn shorten(text: &str, most: usize) -> Cow<'_, str> {
    // A character has at least one byte.
    if text.len() <= most || text.chars().count() <= most {
        return text.into();
    }
    let mut cut: String = text.chars().take(most.saturating_sub(1)).collect();
    cut.push('…');
    cut.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_cannot_drive_the_terminal() {
        assert_eq!(escape("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(escape("x\u{202e}y\u{9b}"), "x\\u{202e}y\\u{9b}");
        assert_eq!(escape("café 東京"), "café 東京");
    }

    #[test]
    fn attack_by_a_name_like_a_sum_row_is_marked() {
        for name in [
            "host total",
            "Host  Total ",
            "host\u{a0}total",
            "unattributed",
            "host",
            "Domain-0 (own)",
            "host itself",
            "3 filtered out",
            "VM \"host\"",
        ] {
            assert_eq!(vm_name(name), format!("VM \"{name}\""));
        }
        for name in ["web", "host1", "the host", "host total 2", "own", "unattributed-1", ""] {
            assert_eq!(vm_name(name), name);
        }
    }

    #[test]
    fn attack_by_a_name_that_is_a_formula_is_text_to_a_spreadsheet() {
        for name in ["=1+1", "+1", "-1", "@SUM(A1)", "\u{ff1d}1"] {
            assert_eq!(csv_text(name), format!("'{name}"));
        }
        for name in ["web", "1+1", "", " =1"] {
            assert_eq!(csv_text(name), name);
        }
    }

    #[test]
    fn a_long_name_is_cut_with_a_mark() {
        assert_eq!(shorten("abcdef", 6), "abcdef");
        assert_eq!(shorten("abcdefg", 6), "abcde…");
        assert_eq!(shorten("abc", 0), "…");
    }

    proptest! {
        #[test]
        fn escaped_text_holds_no_control_character(text in "\\PC*|.*|[\\x00-\\xff]*") {
            prop_assert!(!escape(&text).chars().any(char::is_control));
        }
    }
}
