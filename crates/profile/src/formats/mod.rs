//! Files for other programs, and for people: each writes one event's rows, or all.
//!
//! All names are escaped and cut as they are in tables. What needs samples one by one
//! ([`Script`], [`Firefox`]) takes them in a second pass, [`crate::Profile::replay`].

mod csv;
mod firefox;
mod folded;
mod json;
mod pprof;
mod script;

pub use csv::csv;
pub use firefox::Firefox;
pub use folded::{flame_graph, folded};
pub use json::{SCHEMA, json};
pub use pprof::pprof;
pub use script::Script;

use crate::named::{Named, Row};
use crate::place::Placed;
use crate::profile::Profile;
use crate::symbols::Symbols;
use crate::table::Choice;
use crate::{Layer, label};

/// The rows of an event that a choice lets through.
fn rows<'a>(named: &'a Named<'_>, choice: &'a Choice, event: u16) -> impl Iterator<Item = &'a Row> {
    let lets = move |row: &&Row| {
        row.event == event && (choice.idle || !row.idle) && choice.lets(named, row)
    };
    named.rows.iter().filter(lets)
}

/// From the VM at the base to the function at the tip.
fn stack(named: &Named<'_>, row: &Row) -> [String; 5] {
    [
        named.profile.shown_vm(row.vm),
        row.layer.word().to_owned(),
        named.shown_process(row),
        named.shown_image(row, false),
        named.shown_symbol(row),
    ]
}

/// An event's name as it is shown.
fn event_name(profile: &Profile, event: u16) -> String {
    let event = profile.events().get(usize::from(event));
    event.map_or_else(String::new, |event| label::sentence(&event.counted))
}

/// The words of a sample that was placed in a second pass.
struct Words {
    vm: String,
    layer: Layer,
    image: String,
    symbol: String,
}

fn words(profile: &Profile, symbols: &Symbols, placed: &Placed, full: bool) -> Words {
    let naming = symbols.get(placed.image, placed.address);
    Words {
        vm: profile.shown_vm(placed.vm),
        layer: placed.layer,
        image: label::image(profile, placed.image, naming, full),
        symbol: label::symbol(profile, placed.image, placed.address, naming),
    }
}

#[cfg(test)]
mod tests;
