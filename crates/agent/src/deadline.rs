//! A time limit for exchanges with other ends, whatever those do.

use crate::wait::{PATIENCE, SLICE};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;
use workload::clock;

/// After the program was asked to end, connections have this long, in nanoseconds.
const GRACE: u64 = 2 * clock::SECOND;

/// A deadline that connections share: after it none of them waits. It can be set from another thread, and
/// a flag (that of Ctrl-C) moves it to two seconds later. The default is no deadline.
#[derive(Debug, Clone, Default)]
pub struct Deadline(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// By CLOCK_MONOTONIC, in nanoseconds.
    at: AtomicU64,
    hurry: Arc<AtomicBool>,
    missed: AtomicBool,
}

impl Default for Inner {
    fn default() -> Self {
        Self { at: AtomicU64::new(u64::MAX), hurry: Arc::default(), missed: AtomicBool::default() }
    }
}

impl Deadline {
    /// No deadline until the flag is set, then two seconds after that.
    #[must_use]
    pub fn hurried_by(flag: Arc<AtomicBool>) -> Self {
        Self(Arc::new(Inner { hurry: flag, ..Inner::default() }))
    }

    /// Sets it to this time from now.
    pub fn set_within(&self, time: Duration) {
        self.0.missed.store(false, SeqCst);
        self.0.at.store(clock::now().saturating_add(clock::length(time)), SeqCst);
    }

    /// Whether an exchange was given up because of it since it was last set.
    #[must_use]
    pub fn was_missed(&self) -> bool {
        self.0.missed.load(SeqCst)
    }

    /// Whether it has passed.
    pub(crate) fn passed(&self) -> bool {
        let now = clock::now();
        if self.0.hurry.load(SeqCst) {
            self.0.at.fetch_min(now + GRACE, SeqCst);
        }
        let passed = now >= self.0.at.load(SeqCst);
        if passed {
            self.0.missed.store(true, SeqCst);
        }
        passed
    }
}

/// A stream that is read and written until a moment and a deadline, and as long as the other end shows
/// signs of life. A single call of the stream lasts at most [`SLICE`], by its own timeouts.
pub(crate) struct Timed<'a, S> {
    stream: &'a mut S,
    until: u64,
    deadline: &'a Deadline,
    /// When bytes last went one way or the other.
    lived: u64,
}

impl<'a, S> Timed<'a, S> {
    /// `time` from now at most, in nanoseconds.
    pub(crate) fn new(stream: &'a mut S, time: u64, deadline: &'a Deadline) -> Self {
        let now = clock::now();
        Self { stream, until: now.saturating_add(time), deadline, lived: now }
    }

    /// Repeats a call until it succeeds, fails, or the time is over.
    fn patiently<T>(&mut self, mut call: impl FnMut(&mut S) -> io::Result<T>) -> io::Result<T> {
        loop {
            let now = clock::now();
            let silent = now.saturating_sub(self.lived) > clock::length(PATIENCE);
            if now > self.until || silent || self.deadline.passed() {
                return Err(ErrorKind::TimedOut.into());
            }
            match call(self.stream) {
                Err(error) if is_late(&error) => {}
                Ok(done) => {
                    self.lived = clock::now();
                    return Ok(done);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether a call ended by the stream's own timeout.
fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

impl<S: Read> Read for Timed<'_, S> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.patiently(|stream| stream.read(bytes))
    }
}

impl<S: Write> Write for Timed<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.patiently(|stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.patiently(Write::flush)
    }
}

/// Waits for what another thread finds, until the deadline.
pub(crate) fn wait_for<T>(found: &Receiver<T>, deadline: &Deadline) -> io::Result<T> {
    loop {
        match found.recv_timeout(SLICE) {
            Ok(found) => return Ok(found),
            Err(RecvTimeoutError::Timeout) if deadline.passed() => {
                return Err(ErrorKind::TimedOut.into());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("its thread ended"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::thread;
    use std::time::Instant;

    #[test]
    fn attack_by_silence_ends_with_the_deadline_or_soon_after_the_flag() {
        let (mut near, _far) = UnixStream::pair().unwrap();
        near.set_read_timeout(Some(SLICE)).unwrap();
        let deadline = Deadline::default();
        deadline.set_within(Duration::from_millis(300));
        let began = Instant::now();
        let mut timed = Timed::new(&mut near, u64::MAX, &deadline);
        assert_eq!(timed.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(deadline.was_missed() && began.elapsed() < Duration::from_secs(5));
        let flag = Arc::new(AtomicBool::new(false));
        let hurried = Deadline::hurried_by(Arc::clone(&flag));
        thread::scope(|scope| {
            let read = scope.spawn(|| {
                Timed::new(&mut near, u64::MAX, &hurried).read(&mut [0; 1]).map_err(|e| e.kind())
            });
            flag.store(true, SeqCst);
            assert_eq!(read.join().unwrap(), Err(ErrorKind::TimedOut));
        });
    }

    /// One that does not read what it asked for.
    #[test]
    fn attack_by_not_reading_ends_with_the_deadline() {
        let (mut near, _far) = UnixStream::pair().unwrap();
        near.set_write_timeout(Some(SLICE)).unwrap();
        let deadline = Deadline::default();
        deadline.set_within(Duration::from_millis(300));
        let mut timed = Timed::new(&mut near, u64::MAX, &deadline);
        let sent = timed.write_all(&vec![0; 64 << 20]);
        assert_eq!(sent.unwrap_err().kind(), ErrorKind::TimedOut);
    }
}
