//! Folded stacks, and the flame graph that is made of them: the VM at the base.

use super::{event_name, rows, stack};
use crate::named::Named;
use crate::table::Choice;
use inferno::flamegraph::{Options, color, from_lines};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Writes `vm;layer;process;image;symbol count` lines of an event, in the order of their words;
/// the counts are samples. A `;` in a name is written `:`.
///
/// # Errors
/// As of the writer.
pub fn folded(
    named: &Named<'_>,
    choice: &Choice,
    event: u16,
    to: &mut dyn Write,
) -> io::Result<()> {
    for (stack, samples) in lines(named, choice, event) {
        writeln!(to, "{stack} {samples}")?;
    }
    Ok(())
}

fn lines(named: &Named<'_>, choice: &Choice, event: u16) -> BTreeMap<String, u64> {
    let mut lines = BTreeMap::new();
    for row in rows(named, choice, event) {
        let words = stack(named, row).map(|word| word.replace(';', ":"));
        *lines.entry(words.join(";")).or_default() += row.count.samples;
    }
    lines
}

/// Writes an event's flame graph, a page of its own in SVG.
///
/// # Errors
/// As of the writer, and where no sample was let through.
pub fn flame_graph(
    named: &Named<'_>,
    choice: &Choice,
    event: u16,
    to: &mut dyn Write,
) -> io::Result<()> {
    let lines = lines(named, choice, event);
    if lines.is_empty() {
        return Err(io::Error::other("the selection has no samples of the event"));
    }
    let lines: Vec<_> = lines.iter().map(|(stack, samples)| format!("{stack} {samples}")).collect();
    let mut options = Options::default();
    options.title = format!(
        "{}: samples by VM, layer, process, image and function",
        event_name(named.profile, event)
    );
    options.colors = color::Palette::Basic(color::BasicPalette::Hot);
    // The same profile gives the same file.
    options.hash = true;
    options.deterministic = true;
    from_lines(&mut options, lines.iter().map(String::as_str), to)
}
