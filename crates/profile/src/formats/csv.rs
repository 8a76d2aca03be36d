//! Comma-separated values (RFC 4180).

use super::event_name;
use crate::named::Named;
use crate::table::{Choice, tables};
use std::io::{self, Write};

/// Writes the tables of all chosen events as one: `event,samples,percent,events` and the
/// columns. A word with which a spreadsheet would begin to calculate has `'` before it.
///
/// # Errors
/// As of the writer.
pub fn csv(named: &Named<'_>, choice: &Choice, to: &mut dyn Write) -> io::Result<()> {
    let columns = choice.by.iter().map(|column| column.word());
    let header: Vec<_> =
        ["event", "samples", "percent", "events"].into_iter().chain(columns).collect();
    write!(to, "{}\r\n", header.join(","))?;
    for table in tables(named, choice) {
        let event = field(&event_name(named.profile, table.event));
        for row in &table.rows {
            let (samples, events) = (row.count.samples, row.count.events);
            write!(to, "{event},{samples},{:.4},{events}", row.percent)?;
            for cell in &row.cells {
                write!(to, ",{}", field(cell))?;
            }
            write!(to, "\r\n")?;
        }
    }
    Ok(())
}

fn field(text: &str) -> String {
    let calculates = text.starts_with(['=', '+', '-', '@']);
    let guard = if calculates { "'" } else { "" };
    if text.contains([',', '"']) {
        format!("\"{guard}{}\"", text.replace('"', "\"\""))
    } else {
        format!("{guard}{text}")
    }
}
