//! Words in a drawing. Plotly takes some HTML in them, and does not break lines itself.

use crate::number;
use model::{escape, shorten};
use study::figure::{Axis, Measured};

/// The longest text that a drawing shows whole; the table beneath has all of it.
const LONGEST: usize = 120;

/// A name in the legend, which a small screen has to hold with the line's sign.
pub fn legend(name: &str) -> String {
    wrapped(name, 28)
}

/// Words as plotly shows them, broken into lines of about `width` characters.
pub fn wrapped(outside: &str, width: usize) -> String {
    let shown = escape(outside);
    let shown = shorten(&shown, LONGEST);
    let mut lines = vec![String::new()];
    let mut length = 0;
    for word in shown.split(' ').flat_map(|word| pieces(word, width)) {
        let longer = length + 1 + word.chars().count();
        match lines.last_mut() {
            Some(line) if length > 0 && longer <= width => {
                line.push(' ');
                line.push_str(&word);
                length = longer;
            }
            Some(line) if length == 0 => {
                length = word.chars().count();
                *line = word;
            }
            _ => {
                length = word.chars().count();
                lines.push(word);
            }
        }
    }
    lines.iter().map(|line| escaped(line)).collect::<Vec<_>>().join("<br>")
}

/// A word, cut where it is wider than the line.
fn pieces(word: &str, width: usize) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    letters.chunks(width.max(1)).map(|piece| piece.iter().collect()).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// What a point says under the pointer: whose it is, where, and how much of what it rests on.
pub fn hover(name: &str, place: Option<String>, what: &str, value: &str) -> String {
    let place = place.map(|place| format!("<br>{place}")).unwrap_or_default();
    format!("<b>{}</b>{place}<br>{}: {value}", wrapped(name, 40), wrapped(what, 40))
}

/// A measured value with its unit, interval and samples, for the pointer.
pub fn value(measured: &Measured, axis: &Axis) -> String {
    let samples = match measured.samples {
        1 => "1 sample".to_owned(),
        samples => format!("{samples} samples"),
    };
    let interval = if measured.interval.is_some() { "" } else { ", no interval" };
    format!("{}{}<br>{samples}{interval}", number::line(measured), unit(axis))
}

/// A number with its unit, for the pointer.
pub fn quantity(value: f64, axis: &Axis) -> String {
    format!("{}{}", number::number(value), unit(axis))
}

/// The unit with the space before it; `/s` stands close.
pub fn unit(axis: &Axis) -> String {
    match axis.unit.as_str() {
        "" => String::new(),
        unit if unit.starts_with('/') => wrapped(unit, 40),
        unit => format!(" {}", wrapped(unit, 40)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_markup_and_breaks_into_lines() {
        assert_eq!(wrapped("<b>a</b> & c", 40), "&lt;b&gt;a&lt;/b&gt; &amp; c");
        assert_eq!(wrapped("one two three", 8), "one two<br>three");
        assert_eq!(wrapped("abcdefghij", 4), "abcd<br>efgh<br>ij");
        assert_eq!(wrapped("a\n\u{1b}b", 40), "a\\n\\u{1b}b");
        assert!(wrapped(&"x".repeat(1000), 40).len() < 150);
        assert_eq!(wrapped("", 0), "");
    }

    #[test]
    fn a_rate_has_no_gap() {
        assert_eq!(quantity(80.0, &Axis::new("x", "/s")), "80/s");
        assert_eq!(quantity(80.0, &Axis::new("x", "packets/s")), "80 packets/s");
        assert_eq!(quantity(80.0, &Axis::new("x", "")), "80");
    }
}
