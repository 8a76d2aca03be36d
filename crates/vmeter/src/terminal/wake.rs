//! Waiting for whatever comes first: a key, a signal, the next reading.

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Signals end the wait through a socket, so that none is lost between a check and the wait.
pub struct Wake {
    signals: UnixStream,
    /// The last signal that asks for the end; 0 while none did.
    ending: Arc<AtomicUsize>,
    /// Where keys come from while standard input is something else.
    tty: Option<File>,
}

/// What ended the wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// Keys, or another size of the terminal.
    Input,
    /// The time is over.
    Time,
    /// A signal asks for the end, or the terminal is gone (as SIGHUP would say).
    Signal(u8),
}

impl Wake {
    /// Catches the signals from now on.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> Result<Self> {
        let (signals, sender) = UnixStream::pair().context("cannot wait for signals")?;
        signals.set_nonblocking(true)?;
        let ending = Arc::new(AtomicUsize::new(0));
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            let number = usize::try_from(signal)?;
            signal_hook::flag::register_usize(signal, Arc::clone(&ending), number)?;
        }
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH] {
            signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        let tty = if io::stdin().is_terminal() {
            None
        } else {
            Some(File::open("/dev/tty").context("no terminal to read keys from")?)
        };
        Ok(Self { signals, ending, tty })
    }

    /// Waits at most for `time`, or without end.
    ///
    /// # Errors
    /// The system's.
    pub fn wait(&self, time: Option<Duration>) -> Result<Woken> {
        let stdin = io::stdin();
        let keys: BorrowedFd<'_> = self.tty.as_ref().map_or(stdin.as_fd(), AsFd::as_fd);
        let mut both = [
            PollFd::from_borrowed_fd(keys, PollFlags::IN),
            PollFd::new(&self.signals, PollFlags::IN),
        ];
        let time = time.and_then(|time| Timespec::try_from(time).ok());
        let ready = match poll(&mut both, time.as_ref()) {
            Err(Errno::INTR) => 1,
            ready => ready.context("cannot wait for input")?,
        };
        let hung_up = both[0].revents().intersects(PollFlags::HUP | PollFlags::ERR);
        let _ = (&self.signals).read(&mut [0; 64]);
        match u8::try_from(self.ending.load(Ordering::Relaxed)) {
            Ok(0) if hung_up => Ok(Woken::Signal(1)),
            Ok(0) if ready == 0 => Ok(Woken::Time),
            Ok(0) => Ok(Woken::Input),
            Ok(signal) => Ok(Woken::Signal(signal)),
            Err(_) => Ok(Woken::Signal(0)),
        }
    }
}
