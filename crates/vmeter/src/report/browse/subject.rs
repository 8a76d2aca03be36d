//! What is said of a recording above its rows.

use crate::terminal::fit;
use model::Role;
use profile::summary;
use profile::table::Column;
use profile::tree::Tree;
use profile::{Named, StreamReport};
use std::path::Path;

/// A recording, in words to show.
#[derive(Debug)]
pub struct Subject {
    /// What it is called.
    pub name: String,
    /// What is said of each tree's event.
    pub heads: Vec<Head>,
    /// What should be known before it is believed, a sentence each.
    pub notes: Vec<String>,
    /// What each stream is, a line each.
    pub streams: Vec<String>,
}

/// An event, in words to show.
#[derive(Debug)]
pub struct Head {
    /// Its name.
    pub event: String,
    /// Period, samples, losses, duration, clocks.
    pub fields: Vec<String>,
    /// Whether it is time, which events then are nanoseconds of.
    pub is_time: bool,
}

impl Subject {
    /// Of a recording that is at `path`; `damages` say what of it could not be read.
    pub fn new(path: &Path, named: &Named<'_>, trees: &[Tree], damages: &[String]) -> Self {
        let mut notes: Vec<_> = damages.iter().map(|damage| model::escape(damage)).collect();
        let streams = &named.profile.streams;
        for report in streams {
            let of = |warning| match streams.len() {
                1 => warning,
                _ => format!("{}: {warning}", fit::shown(&report.name)),
            };
            notes.extend(summary::warnings(report).into_iter().map(of));
        }
        let mut text = Vec::new();
        // Writing into memory does not fail.
        let _ = summary::write_streams(named, &mut text);
        let text = String::from_utf8_lossy(&text);
        // What is set in are the warnings, which are among the notes.
        let streams = text.lines().filter(|line| !line.starts_with(' ')).map(str::to_owned);
        let streams = streams.collect();
        let heads = trees.iter().map(|tree| Head::new(named, tree)).collect();
        Self { name: model::escape(&path.display().to_string()), heads, notes, streams }
    }
}

impl Head {
    fn new(named: &Named<'_>, tree: &Tree) -> Self {
        let name = named.profile.events().get(usize::from(tree.event));
        let event = name.map_or_else(String::new, |name| match name.asked == name.counted {
            true => fit::shown(&name.counted).into_owned(),
            false => format!("{} for {}", fit::shown(&name.counted), fit::shown(&name.asked)),
        });
        let is_time = name.is_some_and(|name| name.is_time);
        let has = |own: &profile::StreamEvent| own.event == tree.event;
        let streams = named.profile.streams.iter();
        let streams: Vec<_> = streams.filter(|stream| stream.events.iter().any(has)).collect();
        let events: Vec<_> =
            streams.iter().flat_map(|stream| &stream.events).filter(|own| has(own)).collect();
        let mut fields = vec![periods(events.iter().map(|event| event.period), is_time)];
        let idle = if tree.idle > 0 { format!(" (+{} idle)", tree.idle) } else { String::new() };
        fields.push(format!("{} samples{idle}", tree.nodes[0].count.samples));
        let lost: u64 = streams.iter().flat_map(|stream| stream.lost.values()).sum();
        fields.push(format!("{lost} lost"));
        if let Some(longest) = streams.iter().filter_map(|stream| stream.duration()).max() {
            fields.push(format!("in {:.3} s", longest.seconds()));
        }
        let shares = events.iter().filter_map(|event| event.share.clone().ok());
        let share = shares.fold(1.0, f64::min);
        if share < 1.0 {
            fields.push(format!("running {:.0} % of the time", 100.0 * share));
        }
        fields.extend(clocks(&named.profile.streams));
        Self { event, fields, is_time }
    }
}

/// The periods of an event's streams.
fn periods(all: impl Iterator<Item = u64>, is_time: bool) -> String {
    let mut all: Vec<_> = all.collect();
    all.sort_unstable();
    match (all.first(), all.last()) {
        (Some(first), Some(last)) if first == last => format!("period {}", period(*first, is_time)),
        (Some(first), Some(last)) => {
            format!("periods {} to {}", period(*first, is_time), period(*last, is_time))
        }
        _ => "period unknown".to_owned(),
    }
}

/// A period as it may be asked for: `1ms`, `10M`.
fn period(events: u64, is_time: bool) -> String {
    let units = if is_time { ["ns", "µs", "ms", "s"] } else { ["", "k", "M", "G"] };
    if events == 0 {
        return "varies".to_owned();
    }
    let (mut value, mut unit) = (events, units[0]);
    for next in &units[1..] {
        if value % 1000 != 0 {
            break;
        }
        (value, unit) = (value / 1000, next);
    }
    format!("{value}{unit}")
}

/// How far the guests' clocks may be off.
fn clocks(streams: &[StreamReport]) -> Option<String> {
    let bound = streams.iter().filter_map(|stream| stream.clock_bound).max();
    let lacks =
        |stream: &StreamReport| stream.role == Role::NamesOnly && stream.clock_bound.is_none();
    match bound {
        _ if streams.iter().any(lacks) => Some("a clock is not aligned".to_owned()),
        Some(bound) => Some(format!("clocks ±{}", summary::precision(bound))),
        None => None,
    }
}

/// The levels as a title: `VM › PROCESS`.
pub fn levels(by: &[Column]) -> String {
    let words: Vec<_> = by.iter().map(|column| column.word().to_uppercase()).collect();
    words.join(" › ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_written_as_it_may_be_asked_for() {
        assert_eq!(period(1_000_000, true), "1ms");
        assert_eq!(period(1_500_000, true), "1500µs");
        assert_eq!(period(10_000_000, false), "10M");
        assert_eq!(period(1_000_003, false), "1000003");
        assert_eq!(period(0, false), "varies");
        assert_eq!(periods([5, 5].into_iter(), false), "period 5");
        assert_eq!(periods([2000, 500].into_iter(), true), "periods 500ns to 2µs");
    }
}
