//! vmeter as the first process of a guest or container: it reaps what others leave behind and
//! keeps another vmeter running that does the work.

use crate::failure::Refused;
use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

/// Before one that failed is started again: what it lacks (a network, a device) may come.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether this process is its system's or container's first.
pub fn is_first() -> bool {
    std::process::id() == 1
}

/// Runs this program with the same arguments, which is then not the first; ends as it ends. One
/// that failed is started again unless it was asked to end: the end of a guest's first process
/// is the guest's.
///
/// # Errors
/// Where no process can be started or signals cannot be caught.
pub fn run() -> Result<ExitCode> {
    let asked = Asked::default();
    asked.listen()?;
    loop {
        let status = start(&asked)?;
        let code = code(status);
        if code == 0 || asked.to_end.load(SeqCst) {
            return Ok(ExitCode::from(code));
        }
        say(&format!("the agent {}: restarting it", ending(status)));
        thread::sleep(PAUSE);
    }
}

/// What signals asked for.
#[derive(Debug, Default, Clone)]
struct Asked {
    to_end: Arc<AtomicBool>,
    /// The process that does the work; 0 while there is none.
    worker: Arc<AtomicI32>,
}

impl Asked {
    /// Passes TERM and INT on. Nobody sends those to a first process that has no handler.
    fn listen(&self) -> Result<()> {
        let mut signals = Signals::new([SIGTERM, SIGINT]).context("cannot catch signals")?;
        let asked = self.clone();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in signals.forever() {
                asked.to_end.store(true, SeqCst);
                asked.pass(if signal == SIGINT { Signal::INT } else { Signal::TERM });
            }
        })?;
        Ok(())
    }

    fn pass(&self, signal: Signal) {
        if let Some(worker) = Pid::from_raw(self.worker.load(SeqCst)) {
            // Where it has just ended, that is what was wanted.
            let _ = kill_process(worker, signal);
        }
    }
}

/// Starts the worker and reaps every child until it is the worker's turn.
fn start(asked: &Asked) -> Result<WaitStatus> {
    // A guest's first process may run before /proc is there.
    let program = env::current_exe().ok().or_else(|| env::args_os().next().map(PathBuf::from));
    let program =
        program.ok_or_else(|| Refused("cannot find the executable of this program".to_owned()))?;
    let child = Command::new(&program)
        .args(env::args_os().skip(1))
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let worker = Pid::from_child(&child);
    asked.worker.store(worker.as_raw_nonzero().get(), SeqCst);
    if asked.to_end.load(SeqCst) {
        // The signal came before there was anybody to have it.
        asked.pass(Signal::TERM);
    }
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == worker => {
                asked.worker.store(0, SeqCst);
                return Ok(status);
            }
            // An orphan.
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error)).context("cannot wait for processes"),
        }
    }
}

/// The exit status, as a shell gives it.
fn code(status: WaitStatus) -> u8 {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, signal) => 128 + signal.unwrap_or(0),
    };
    u8::try_from(code).unwrap_or(u8::MAX)
}

fn ending(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "exited".to_owned(),
    }
}

/// To the console, where there is one.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "vmeter: {line}");
}
