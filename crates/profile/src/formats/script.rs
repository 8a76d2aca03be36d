//! Text as perf script's: a line for each sample.

use super::{event_name, words};
use crate::place::{Placed, VmIndex};
use crate::profile::Profile;
use crate::symbols::Symbols;
use std::io::{self, Write};

/// Writes samples as they come: `comm tid [cpu] seconds: period event: address symbol (image)`.
/// The name of a thread that works for a VM has the VM's before it, `web1:httpd`; an unknown
/// thread is -1. Times are the host's; the samples are in each stream's order.
pub struct Script<'a> {
    profile: &'a Profile,
    symbols: &'a Symbols,
    events: Vec<String>,
    to: &'a mut dyn Write,
}

impl<'a> Script<'a> {
    /// Names from a profile of the same streams.
    pub fn new(profile: &'a Profile, symbols: &'a Symbols, to: &'a mut dyn Write) -> Self {
        let count = u16::try_from(profile.events().len()).unwrap_or(u16::MAX);
        let events = (0..count).map(|event| event_name(profile, event)).collect();
        Self { profile, symbols, events, to }
    }

    /// Writes a sample's line.
    ///
    /// # Errors
    /// As of the writer.
    pub fn sample(&mut self, placed: &Placed) -> io::Result<()> {
        let words = words(self.profile, self.symbols, placed, true);
        let vm = if placed.vm == VmIndex::HOST { String::new() } else { format!("{}:", words.vm) };
        let comm = self.profile.shown_name(placed.thread);
        let tid = placed.tid.map_or(-1, i64::from);
        let (seconds, micros) = (placed.time.0 / 1_000_000_000, placed.time.0 / 1000 % 1_000_000);
        let event = self.events.get(usize::from(placed.event)).map_or("", String::as_str);
        let known = self.symbols.get(placed.image, placed.address).is_some_and(Result::is_ok);
        let symbol = if known { words.symbol.as_str() } else { "[unknown]" };
        writeln!(
            self.to,
            "{vm}{comm} {tid:>5} [{:03}] {seconds}.{micros:06}: {:>10} {event}: {:>16x} {symbol} ({})",
            placed.cpu, placed.period, placed.instruction, words.image
        )
    }
}
