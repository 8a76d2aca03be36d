//! How an error ends the program: what is said, and the exit status.

use crate::pending::is_full as is_full_disk;
use platform::OpenError;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

/// What was asked cannot even start, for a reason that the user can change: exit status 2, as
/// for wrong arguments.
#[derive(Debug)]
pub struct Refused(pub String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// A command that was to be measured cannot be run: `status` is what a shell would give.
#[derive(Debug)]
pub struct NotRun {
    /// 127 where there is no such command, 126 where it cannot be run.
    pub status: u8,
    /// Which, and why.
    pub reason: String,
}

impl fmt::Display for NotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for NotRun {}

/// The exit status of what Ctrl-C or TERM ended, as a shell has it for Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// Ctrl-C or TERM ended it before there was a result.
#[derive(Debug)]
pub struct Interrupted(pub String);

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Interrupted {}

/// Says what went wrong on standard error and gives the exit status: 2 where the program could
/// not start as asked, or found nothing to measure, else 1. A reader that closed the pipe has
/// had enough, which is no failure.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS;
    }
    say(error);
    if let Some(not_run) = error.downcast_ref::<NotRun>() {
        ExitCode::from(not_run.status)
    } else if error.is::<Interrupted>() {
        ExitCode::from(INTERRUPTED)
    } else if error.is::<Refused>() || error.is::<OpenError>() || is_wrong_plan(error) {
        ExitCode::from(2)
    } else {
        ExitCode::FAILURE
    }
}

/// Says what went wrong on standard error, and goes on.
pub fn say(error: &anyhow::Error) {
    // Where even standard error is closed, the status alone has to tell.
    let _ = writeln!(io::stderr().lock(), "vmeter: {}", sentence(error));
}

/// Whether no room was left on a disk.
pub fn is_full(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let full = cause.downcast_ref::<::record::Error>().is_some_and(::record::Error::is_full);
        full || cause.downcast_ref::<io::Error>().is_some_and(is_full_disk)
    })
}

/// A load that cannot be as it was asked for.
fn is_wrong_plan(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(workload::Error::Plan(_)))
}

/// The error and its causes, each once; what they quote from outside must not drive the terminal.
pub fn sentence(error: &anyhow::Error) -> String {
    let text = causes(error.chain().map(ToString::to_string));
    let lines: Vec<String> = text.lines().map(model::escape).collect();
    lines.join("\n")
}

/// That something that the command line names does not exist, and what exists; `none` is said if nothing
/// does.
pub fn not_found(what: &str, name: &str, known: &[impl AsRef<str>], none: &str) -> String {
    let known: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
    let others = match &known[..] {
        [] => none.to_owned(),
        _ => format!("expected one of {}", known.join(", ")),
    };
    format!("{what} `{}` not found: {others}", model::escape(name))
}

/// A chain of causes as one text. Some errors end with the text of their cause, others start with
/// the path that their context names: neither is printed twice.
fn causes(chain: impl Iterator<Item = String>) -> String {
    let mut said: Vec<String> = Vec::new();
    for cause in chain {
        match said.last_mut() {
            Some(last) if *last == cause || last.ends_with(&format!(": {cause}")) => {}
            Some(last) if cause.starts_with(&format!("{last}: ")) => *last = cause,
            _ => said.push(cause),
        }
    }
    said.join(": ")
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let closed: io::Result<()> = Err(ErrorKind::BrokenPipe.into());
        assert!(is_broken_pipe(&closed.context("standard output").unwrap_err()));
        let full: io::Result<()> = Err(ErrorKind::StorageFull.into());
        assert!(!is_broken_pipe(&full.context("standard output").unwrap_err()));
    }

    #[test]
    fn each_cause_is_printed_once() {
        let text = |chain: &[&str]| causes(chain.iter().map(ToString::to_string));
        assert_eq!(
            text(&["x.data", "x.data: not a perf.data file"]),
            "x.data: not a perf.data file"
        );
        assert_eq!(text(&["agent of g1: refused", "refused"]), "agent of g1: refused");
        assert_eq!(
            text(&["agent of g1: lost: reset", "lost: reset", "reset"]),
            "agent of g1: lost: reset"
        );
        assert_eq!(text(&["a", "a", "b"]), "a: b");
        // Another cause is not taken for the same one.
        assert_eq!(text(&["cannot read ab", "b", "c"]), "cannot read ab: b: c");
        assert_eq!(text(&["x", "xy: z"]), "x: xy: z");
    }

    #[test]
    fn what_an_error_quotes_cannot_drive_the_terminal() {
        let error = anyhow!("bad \u{1b}[2J name").context("cannot run");
        assert_eq!(sentence(&error), "cannot run: bad \\u{1b}[2J name");
    }
}
