//! Comma-separated values (RFC 4180).

use super::event_name;
use crate::named::Named;
use crate::table::{Choice, tables};
use csv::{Terminator, WriterBuilder};
use model::csv_text;
use std::io::{self, Write};

/// Writes the tables of all chosen events as one: `event,samples,percent,events` and the
/// columns. Names are those of [`csv_text`].
///
/// # Errors
/// As of the writer.
pub fn csv(named: &Named<'_>, choice: &Choice, to: &mut dyn Write) -> io::Result<()> {
    let mut to = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(to);
    let columns = choice.by.iter().map(|column| column.word());
    to.write_record(["event", "samples", "percent", "events"].into_iter().chain(columns))?;
    for table in tables(named, choice) {
        let event = event_name(named.profile, table.event);
        for row in &table.rows {
            let (samples, events) = (row.count.samples, row.count.events);
            to.write_field(csv_text(&event).as_bytes())?;
            to.write_field(samples.to_string())?;
            to.write_field(format!("{:.4}", row.percent))?;
            to.write_field(events.to_string())?;
            to.write_record(row.cells.iter().map(|cell| csv_text(cell).into_owned()))?;
        }
    }
    to.flush()
}
