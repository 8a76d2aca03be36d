//! Text and numbers in a given number of terminal columns.

use std::borrow::Cow;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The longest name, in characters, that is looked at: guests may choose endless ones.
const LONGEST_NAME: usize = 256;

/// A name from outside, fit to be shown: escaped, and cut where it is absurdly long.
pub fn shown(name: &str) -> Cow<'_, str> {
    let plain = name.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'\\');
    match (plain, name.len() <= LONGEST_NAME) {
        (true, true) => Cow::Borrowed(name),
        _ => Cow::Owned(model::escape(&model::shorten(name, LONGEST_NAME))),
    }
}

/// The columns that a text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text in at most `most` columns: its start and its end (numbered names differ there)
/// with `…` for what is left out between them.
pub fn elide(text: &str, most: usize) -> Cow<'_, str> {
    if width(text) <= most {
        return Cow::Borrowed(text);
    }
    let Some(room) = most.checked_sub(1) else { return Cow::Borrowed("") };
    let tail_room = room / 2;
    let (tail, tail_width) = last(text, tail_room);
    let head = first(text, room - tail_width);
    Cow::Owned(format!("{head}…{tail}"))
}

/// The text's start, in at most `most` columns, `…` standing for the rest.
pub fn cut(text: &str, most: usize) -> Cow<'_, str> {
    if width(text) <= most {
        return Cow::Borrowed(text);
    }
    match most.checked_sub(1) {
        Some(room) => Cow::Owned(format!("{}…", first(text, room))),
        None => Cow::Borrowed(""),
    }
}

/// As much of the start as `most` columns hold.
fn first(text: &str, most: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > most {
            return &text[..at];
        }
    }
    text
}

/// As much of the end as `most` columns hold, and its width.
fn last(text: &str, most: usize) -> (&str, usize) {
    let mut used = 0;
    for (at, c) in text.char_indices().rev() {
        let with = used + c.width().unwrap_or(0);
        if with > most {
            return (&text[at + c.len_utf8()..], used);
        }
        used = with;
    }
    (text, used)
}

/// Appends the text in exactly `columns` columns, to the left or to the right.
pub fn pad(out: &mut String, text: &str, columns: usize, left: bool) {
    let text = cut(text, columns);
    let blank = columns - width(&text);
    if left {
        out.push_str(&text);
    }
    out.extend(std::iter::repeat_n(' ', blank));
    if !left {
        out.push_str(&text);
    }
}

/// The words of a text in lines of at most `most` columns, what goes before the first line and
/// before the others included; a word that is longer has a line of its own.
pub fn wrap(text: &str, most: usize, (first, others): (&str, &str)) -> Vec<String> {
    let mut lines = vec![first.to_owned()];
    let mut begun = false;
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { break };
        if begun && width(line) + 1 + width(word) > most {
            lines.push(format!("{others}{word}"));
            continue;
        }
        if begun {
            line.push(' ');
        }
        line.push_str(word);
        begun = true;
    }
    lines
}

/// A percentage in at most five columns: one decimal while there is room for it.
pub fn percent(value: f64) -> String {
    match value {
        v if v < 999.95 => format!("{v:.1}"),
        v if v < 99_999.5 => format!("{v:.0}"),
        v => short(v),
    }
}

/// A number in at most five columns: `0.5`, `999`, `12.3k`, `4.0M`.
pub fn short(value: f64) -> String {
    if value > 0.0 && value < 9.95 && value.fract() != 0.0 {
        return format!("{value:.1}");
    }
    scaled(value, 1000.0, ['k', 'M', 'G', 'T', 'P', 'E'])
}

/// Bytes in at most five columns, in powers of 1024: `512`, `4.0M`, `128G`.
pub fn bytes(value: f64) -> String {
    scaled(value, 1024.0, ['K', 'M', 'G', 'T', 'P', 'E'])
}

fn scaled(value: f64, step: f64, units: [char; 6]) -> String {
    if value < 999.5 {
        return format!("{value:.0}");
    }
    let mut value = value;
    let mut unit = units[0];
    for next in units {
        value /= step;
        unit = next;
        if value < 999.5 {
            break;
        }
    }
    if value < 99.95 { format!("{value:.1}{unit}") } else { format!("{value:.0}{unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fit_in_five_columns() {
        for (value, text) in [
            (0.0, "0"),
            (0.25, "0.2"),
            (7.0, "7"),
            (999.0, "999"),
            (999.7, "1.0k"),
            (12_345.0, "12.3k"),
            (99_960.0, "100k"),
            (4_000_000.0, "4.0M"),
            (999_600.0, "1.0M"),
        ] {
            assert_eq!(short(value), text);
        }
        assert_eq!(bytes(512.0 * 1024.0 * 1024.0), "512M");
        assert_eq!(bytes(1000.0), "1.0K");
        assert_eq!(percent(99.94), "99.9");
        assert_eq!(percent(999.96), "1000");
        assert_eq!(percent(6400.0), "6400");
        for power in 0..19 {
            let value = 9.996 * 10f64.powi(power);
            assert!(short(value).len() <= 5 && bytes(value).len() <= 5, "{value}");
            assert!(percent(value).len() <= 5, "{value}");
        }
    }

    #[test]
    fn a_long_name_keeps_its_start_and_its_end() {
        assert_eq!(elide("web-frontend-production-01", 13), "web-fr…ion-01");
        assert_eq!(elide("web", 3), "web");
        assert_eq!(elide("web1", 1), "…");
        assert_eq!(elide("web1", 0), "");
        assert_eq!(elide("東京大阪京都", 7), "東京…都");
    }

    #[test]
    fn words_go_to_the_next_line_where_one_is_full() {
        let lines = wrap("one two three-and-four five", 9, ("! ", "  "));
        assert_eq!(lines, ["! one two", "  three-and-four", "  five"]);
        assert_eq!(wrap("", 9, ("", "")), [""]);
    }

    #[test]
    fn wide_characters_never_overflow_their_cell() {
        for columns in 0..12 {
            let mut out = String::new();
            pad(&mut out, "東京-web", columns, true);
            assert_eq!(width(&out), columns);
            assert!(width(&elide("東京大阪京都名古屋", columns)) <= columns);
        }
    }

    #[test]
    fn a_name_is_escaped_and_cut() {
        assert_eq!(shown("web"), "web");
        assert_eq!(shown("a\u{1b}[2J"), "a\\u{1b}[2J");
        assert!(shown(&"x".repeat(10_000)).chars().count() <= LONGEST_NAME);
    }
}
