//! How an error ends the program: what is said, and the exit status.

use platform::OpenError;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

/// The exit status of an error, given to it as context (`error.context(Exit(2))`). It says
/// nothing by itself.
#[derive(Debug, Clone, Copy)]
pub struct Exit(pub u8);

impl fmt::Display for Exit {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

/// Says what went wrong on standard error and gives the exit status: the error's own, 2 where
/// there is nothing to measure, else 1. A reader that closed the pipe has had enough, which is
/// no failure.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS;
    }
    // Where even standard error is closed, the status alone has to tell.
    let _ = writeln!(io::stderr().lock(), "vmeter: {}", sentence(error));
    match error.downcast_ref::<Exit>() {
        Some(Exit(status)) => ExitCode::from(*status),
        None if error.is::<OpenError>() => ExitCode::from(2),
        None => ExitCode::FAILURE,
    }
}

/// The error and its causes; what they quote from outside must not drive the terminal.
fn sentence(error: &anyhow::Error) -> String {
    let parts: Vec<String> =
        error.chain().map(ToString::to_string).filter(|part| !part.is_empty()).collect();
    let lines: Vec<String> = parts.join(": ").lines().map(model::escape).collect();
    lines.join("\n")
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
    fn a_status_says_nothing_by_itself() {
        let error = anyhow!("bad \u{1b}[2J name").context("cannot run").context(Exit(126));
        assert_eq!(sentence(&error), "cannot run: bad \\u{1b}[2J name");
        assert_eq!(error.downcast_ref::<Exit>().map(|exit| exit.0), Some(126));
    }
}
