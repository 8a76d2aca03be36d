//! Logs: what vmeter decides and why, on standard error. Off unless `-v` or `VMETER_LOG` asks for it.

use crate::failure::Refused;
use anyhow::Result;
use clap::{ArgAction, Args};
use rustix::fs::fstat;
use std::io;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;

/// Selects what is logged; it takes precedence over `-v`.
const VARIABLE: &str = "VMETER_LOG";
/// What can be logged: the first parts of the events' targets.
const TARGETS: [&str; 6] = ["agent", "lab", "platform", "record", "sample", "study"];
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// How similar (Jaro-Winkler) a word must be to be suggested.
const SIMILAR: f64 = 0.7;

/// `-v`.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// Log decisions and fallbacks to standard error; -vv logs more
    ///
    /// The environment variable VMETER_LOG selects what is logged, for example
    /// VMETER_LOG=platform=debug,lab=info, and takes precedence.
    #[arg(long, short, action = ArgAction::Count, global = true, display_order = 900)]
    verbose: u8,
}

/// Starts logging, if asked for.
///
/// # Errors
/// A `VMETER_LOG` that cannot be parsed.
pub fn start(args: &LogArgs) -> Result<()> {
    let variable = std::env::var_os(VARIABLE).filter(|value| !value.is_empty());
    let filter = match (variable, args.verbose) {
        (None, 0) => return Ok(()),
        (None, 1) => Targets::new().with_default(LevelFilter::INFO),
        (None, _) => Targets::new().with_default(LevelFilter::DEBUG),
        (Some(value), _) => parse(&value.to_string_lossy()).map_err(Refused)?,
    };
    // A log that cannot be written must not end the program.
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).log_internal_errors(false);
    let lines = if is_journal() { lines.without_time().boxed() } else { lines.boxed() };
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter));
    // Only a second start in one process could fail.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

/// Whether standard error is systemd's journal, which adds the time itself.
fn is_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    fstat(io::stderr()).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// `LEVEL` or `TARGET=LEVEL`, separated by commas.
fn parse(text: &str) -> Result<Targets, String> {
    let mut targets = Targets::new();
    for directive in text.split(',').map(str::trim) {
        let (target, level) = match directive.split_once('=') {
            Some((target, level)) => (Some(target.trim()), level.trim()),
            None => (None, directive),
        };
        if let Some(target) = target {
            let part = target.split("::").next().unwrap_or_default();
            if !TARGETS.contains(&part) {
                return Err(invalid("target", part, &TARGETS));
            }
        }
        let lower = level.to_ascii_lowercase();
        let filter = lower.parse::<LevelFilter>().ok().filter(|_| LEVELS.contains(&&*lower));
        let filter = filter.ok_or_else(|| invalid("level", level, &LEVELS))?;
        targets = match target {
            Some(target) => targets.with_target(target, filter),
            None => targets.with_default(filter),
        };
    }
    Ok(targets)
}

fn invalid(what: &str, word: &str, expected: &[&str]) -> String {
    let likeness = |known: &&str| strsim::jaro_winkler(word, known);
    let nearest = expected
        .iter()
        .map(|known| (likeness(known), known))
        .filter(|(likeness, _)| *likeness >= SIMILAR)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let hint = nearest.map_or_else(String::new, |(_, known)| format!("; did you mean `{known}`?"));
    let word = model::escape(word);
    format!("invalid {what} `{word}` in {VARIABLE}: expected {}{hint}", expected.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn a_filter_selects_targets_and_levels() {
        let filter = parse("info, platform=debug,lab::machine=TRACE").unwrap();
        assert!(filter.would_enable("study::conduct", &Level::INFO));
        assert!(!filter.would_enable("study::conduct", &Level::DEBUG));
        assert!(filter.would_enable("platform::kvm::examine", &Level::DEBUG));
        assert!(filter.would_enable("lab::machine", &Level::TRACE));
        let filter = parse("platform=debug").unwrap();
        assert!(!filter.would_enable("study::conduct", &Level::ERROR));
    }

    #[test]
    fn a_filter_that_is_wrong_names_the_nearest_match() {
        for (wrong, parts) in [
            ("debgu", ["invalid level `debgu`", "did you mean `debug`?"]),
            ("platfrom=debug", ["invalid target `platfrom`", "did you mean `platform`?"]),
            ("platform=loud", ["invalid level `loud`", "expected off, error"]),
            ("platform", ["invalid level `platform`", "expected off"]),
            ("", ["invalid level ``", "VMETER_LOG"]),
            ("info,,debug", ["invalid level ``", "expected off"]),
            ("\u{1b}[2J=info", ["invalid target `\\u{1b}[2J`", "expected agent"]),
        ] {
            let problem = parse(wrong).unwrap_err();
            assert!(parts.iter().all(|part| problem.contains(part)), "{wrong}: {problem}");
        }
    }
}
