//! What a study shows as a page, as tables and as data. Pure: a report goes in, text comes out.
//!
//! Names and reasons come from outside: each format escapes them in its own way, and nowhere else
//! is it done. What is not known is shown as `–`, in data as an empty field, never as 0.

mod csv;
mod grid;
mod html;
mod markdown;
mod number;
mod palette;
mod plot;
#[cfg(test)]
mod sample;
mod tidy;

pub use csv::{csv, csv_all};
pub use html::html;
pub use markdown::markdown;

use study::figure::Report;

/// The report as JSON, indented: `vmeter.study.report/1`.
#[must_use]
pub fn json(report: &Report) -> String {
    // Of names, numbers and lists only: there is nothing in it that JSON cannot hold.
    serde_json::to_string_pretty(report).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_again_as_it_was() {
        for report in [sample::report(), sample::hostile(), sample::empty()] {
            let text = json(&report);
            assert!(text.contains("\"schema\": \"vmeter.study.report/1\""));
            let read: Report = serde_json::from_str(&text).unwrap();
            assert!(read == report, "{text}");
        }
    }
}
