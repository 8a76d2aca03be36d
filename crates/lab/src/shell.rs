//! An interactive shell in the machine, on the caller's terminal.

use files::failed;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::error::LabError;
use crate::machine::Machine;

/// How long after the shell's end its last output may take.
const SETTLE: Duration = Duration::from_millis(100);

impl Machine {
    /// Gives the terminal on standard input and output to a shell in the machine, until it exits;
    /// returns its exit status.
    ///
    /// # Errors
    /// When standard input is no terminal, or the machine stops.
    pub fn shell(&mut self) -> Result<i32, LabError> {
        let port = self.shell_port()?;
        let terminal = RawTerminal::enter()?;
        let size = tcgetwinsize(std::io::stdin());
        let (rows, columns) = size.map_or((24, 80), |size| (size.ws_row, size.ws_col));
        let kind = std::env::var("TERM").unwrap_or_default();
        let safe = kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-+._".contains(&byte));
        let kind = if safe { kind.as_str() } else { "" };
        let ended = Arc::new(AtomicBool::new(false));
        let pump = {
            let ended = ended.clone();
            std::thread::spawn(move || pump(port, &ended))
        };
        let limit = self.replace_command_limit(None);
        let status =
            self.run(&format!("lab-shell {rows} {columns} {kind}"), &mut std::io::stderr());
        self.replace_command_limit(limit);
        std::thread::sleep(SETTLE);
        ended.store(true, Ordering::Relaxed);
        let _ = pump.join();
        drop(terminal);
        status
    }
}

/// Carries bytes between the terminal and the machine's serial port until told to stop.
fn pump(mut port: UnixStream, ended: &AtomicBool) -> std::io::Result<()> {
    let (input, mut output) = (std::io::stdin(), std::io::stdout());
    let tick = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    let mut buffer = [0; 4096];
    let mut input_open = true;
    while !ended.load(Ordering::Relaxed) {
        let keys = if input_open { PollFlags::IN } else { PollFlags::empty() };
        let (from_port, from_keys) = {
            let stdin = input.as_fd();
            let mut polled =
                [PollFd::new(&port, PollFlags::IN), PollFd::from_borrowed_fd(stdin, keys)];
            poll(&mut polled, Some(&tick))?;
            (!polled[0].revents().is_empty(), polled[1].revents().intersects(PollFlags::IN))
        };
        if from_port {
            match port.read(&mut buffer)? {
                0 => return Ok(()),
                n => output.write_all(&buffer[..n]).and_then(|()| output.flush())?,
            }
        }
        if from_keys {
            match rustix::io::read(&input, &mut buffer)? {
                0 => input_open = false,
                n => port.write_all(&buffer[..n])?,
            }
        }
    }
    Ok(())
}

/// The terminal in raw mode, so that keys like Ctrl-C reach the machine.
struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    fn enter() -> Result<Self, LabError> {
        let stdin = std::io::stdin();
        let refused = |errno: rustix::io::Errno| {
            failed("set up the terminal on", "standard input".as_ref())(errno.into())
        };
        let before = tcgetattr(&stdin).map_err(refused)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Flush, &raw).map_err(refused)?;
        Ok(RawTerminal { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // There is nothing to fall back on.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.before);
    }
}
