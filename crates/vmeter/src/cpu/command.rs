//! Running the measured command as if it stood alone: its input, output and exit status.

use crate::failure::NotRun;
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use workload::CpuTime;

/// The command ran to its end.
pub struct Ran {
    /// Its status: a signal as 128 + its number, as a shell passes it on.
    pub status: ExitCode,
    /// CPU seconds that it and what it waited for used, user and system.
    pub cpu_s: f64,
}

/// Runs the command to its end.
///
/// # Errors
/// Where it cannot be started, with a shell's exit status: 127 where there is no such command,
/// 126 where it cannot be run.
pub fn run(command: &[OsString]) -> Result<Ran> {
    let (program, arguments) = command.split_first().context("missing command")?;
    // Ctrl-C is for the command, which shares the terminal; the report comes all the same.
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGQUIT] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    let mut child = Command::new(program).args(arguments).spawn().map_err(|error| {
        let status = if error.kind() == ErrorKind::NotFound { 127 } else { 126 };
        NotRun { status, reason: format!("cannot run {}: {error}", program.to_string_lossy()) }
    })?;
    let status = child.wait().context("cannot wait for the command")?;
    let cpu_s = CpuTime::of_children().total();
    Ok(Ran { status: ExitCode::from(code(status)), cpu_s })
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_passed_on_as_a_shell_does() {
        assert_eq!(code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(code(ExitStatus::from_raw(15)), 143);
    }
}
