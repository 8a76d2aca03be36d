//! A serial line, a virtio port or a pty: one controller after the other, without connections.

use crate::marks::{Event, Mark, Reader, escape, mark};
use crate::wait::{SLICE, Wait};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{ControlModes, OptionalActions, tcgetattr, tcsetattr};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use workload::clock;

/// How often the one who begins says so, and how often in all: what is on the line from before
/// has to be read first.
const AGAIN: Duration = Duration::from_secs(1);
const TRIES: u32 = 15;
/// A session in which nobody asks for so long, in nanoseconds, is over: a line does not tell that
/// the other end is gone.
const IDLE: u64 = 300 * clock::SECOND;
/// Bytes that are taken and given at a time.
const PIECE: usize = 4096;

/// One end of a line.
#[derive(Debug)]
pub struct Line {
    fd: OwnedFd,
    reader: Reader,
    /// What was read, and how much of it was looked at.
    raw: Vec<u8>,
    seen: usize,
    /// Whether this is the agent's end.
    agent: bool,
    session: Option<u64>,
    /// A session that the other end wants in place of this one.
    next: Option<u64>,
    /// What was given to the line and is not yet written to it.
    out: Vec<u8>,
}

impl Line {
    /// Opens a character device; a terminal is made raw.
    ///
    /// # Errors
    /// No such device, no right to it, or it is in use.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        Self::new(fd)
    }

    /// Over anything that carries bytes both ways: a device, the far side of a VM's port.
    ///
    /// # Errors
    /// Of a terminal that cannot be made raw.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        // What is no terminal, a virtio port or a socket, is raw.
        if let Ok(mut modes) = tcgetattr(&fd) {
            modes.make_raw();
            // No modem has to say that it is there.
            modes.control_modes |= ControlModes::CLOCAL | ControlModes::CREAD;
            tcsetattr(&fd, OptionalActions::Now, &modes)?;
        }
        let (raw, reader) = (Vec::new(), Reader::default());
        let (session, next, out) = (None, None, Vec::new());
        Ok(Self { fd, reader, raw, seen: 0, agent: false, session, next, out })
    }

    /// Begins a session as the controller: all that is on the line from before is passed over.
    ///
    /// # Errors
    /// Where no agent answers.
    pub fn begin(&mut self) -> io::Result<()> {
        let session = clock::now() ^ u64::from(std::process::id()) << 40;
        self.out.clear();
        for _ in 0..TRIES {
            self.say(Mark::Begin, session)?;
            let until = Instant::now() + AGAIN;
            while Instant::now() < until {
                match self.event() {
                    Some(Event::Mark(Mark::Begun, which)) if which == session => {
                        self.session = Some(session);
                        return Ok(());
                    }
                    Some(_) => {}
                    None => match self.fill(until.saturating_duration_since(Instant::now())) {
                        Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                        Ok(_) => {}
                        Err(error) if error.kind() == ErrorKind::TimedOut => {}
                        Err(error) => return Err(error),
                    },
                }
            }
        }
        Err(io::Error::new(ErrorKind::TimedOut, "no agent answers on this line"))
    }

    /// Waits up to `within` for a controller to begin a session, as the agent.
    pub(crate) fn begun(&mut self, within: Duration) -> bool {
        self.agent = true;
        let until = Instant::now() + within;
        let session = loop {
            if let Some(session) = self.next.take() {
                break session;
            }
            match self.event() {
                Some(Event::Mark(Mark::Begin, session)) => break session,
                Some(_) => {}
                None if Instant::now() >= until => return false,
                None => {
                    let left = until.saturating_duration_since(Instant::now());
                    if !matches!(self.fill(left), Ok(1..)) && Instant::now() < until {
                        // Nobody has the other end open: that shows at once, again and again.
                        std::thread::sleep(left.min(Duration::from_millis(50)));
                    }
                }
            }
        };
        self.session = Some(session);
        self.out.clear();
        self.say(Mark::Begun, session).is_ok()
    }

    /// Tells the other end that the session is over, where it is not by its own wish.
    pub(crate) fn end(&mut self) {
        if let Some(session) = self.session.take() {
            // A line that takes nothing has nobody who hears.
            let _ = self.say(Mark::End, session);
        }
    }

    /// The next thing that was read.
    fn event(&mut self) -> Option<Event> {
        while let Some(byte) = self.raw.get(self.seen) {
            self.seen += 1;
            if let Some(event) = self.reader.push(*byte) {
                return Some(event);
            }
        }
        None
    }

    /// Reads what is there; 0 where nobody has the other end open.
    fn fill(&mut self, within: Duration) -> io::Result<usize> {
        if !self.ready(PollFlags::IN, within) {
            return Err(ErrorKind::TimedOut.into());
        }
        self.raw.resize(PIECE, 0);
        self.seen = 0;
        let read = match rustix::io::read(&self.fd, &mut self.raw[..]) {
            Ok(read) => Ok(read),
            Err(Errno::AGAIN | Errno::INTR) => Err(ErrorKind::TimedOut.into()),
            // A pty whose other end is closed.
            Err(Errno::IO) => Ok(0),
            Err(error) => Err(error.into()),
        };
        self.raw.truncate(read.as_ref().map_or(0, |read| *read));
        read
    }

    fn ready(&self, what: PollFlags, within: Duration) -> bool {
        let within = clock::timespec(clock::length(within));
        poll(&mut [PollFd::new(&self.fd, what)], Some(&within)).is_ok_and(|ready| ready > 0)
    }

    fn say(&mut self, what: Mark, session: u64) -> io::Result<()> {
        self.out.extend(mark(what, session));
        self.drain(AGAIN)
    }

    /// Writes what was given, as far as the line takes it within a time.
    fn drain(&mut self, within: Duration) -> io::Result<()> {
        let until = Instant::now() + within;
        while !self.out.is_empty() {
            if !self.ready(PollFlags::OUT, until.saturating_duration_since(Instant::now())) {
                return Err(ErrorKind::TimedOut.into());
            }
            match rustix::io::write(&self.fd, &self.out) {
                Ok(written) => drop(self.out.drain(..written)),
                // Ready for less than this: not to be asked again at once.
                Err(Errno::AGAIN) => std::thread::sleep(Duration::from_millis(1)),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Read for Line {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let (mut read, mut filled) = (0, false);
        while self.session.is_some() && self.next.is_none() {
            match self.event() {
                Some(Event::Byte(byte)) => {
                    if let Some(place) = bytes.get_mut(read) {
                        *place = byte;
                        read += 1;
                    }
                    if read >= bytes.len() {
                        return Ok(read);
                    }
                }
                Some(Event::Mark(Mark::Begin, which)) if self.agent => {
                    if self.session == Some(which) {
                        // It was said twice before the first was heard.
                        self.say(Mark::Begun, which)?;
                    } else {
                        self.next = Some(which);
                    }
                }
                Some(Event::Mark(Mark::End, which)) if self.session == Some(which) => {
                    self.session = None;
                }
                Some(Event::Mark(..)) => {}
                None if read > 0 => return Ok(read),
                // What came was a part of a mark: whoever reads looks at its deadline.
                None if filled => return Err(ErrorKind::WouldBlock.into()),
                None => {
                    filled = true;
                    if self.fill(SLICE)? == 0 {
                        self.session = None;
                    }
                }
            }
        }
        Ok(read)
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.session.is_none() || self.next.is_some() {
            return Err(ErrorKind::BrokenPipe.into());
        }
        // Only what the line has taken makes room for more.
        self.drain(SLICE)?;
        let piece = bytes.get(..PIECE).unwrap_or(bytes);
        self.out = escape(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.drain(SLICE)
    }
}

impl Wait for &mut Line {
    fn comes(&self, within: u64) -> bool {
        let left = self.seen < self.raw.len() || self.session.is_none() || self.next.is_some();
        left || self.ready(PollFlags::IN, Duration::from_nanos(within))
    }

    fn idle(&self) -> u64 {
        IDLE
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.end();
    }
}
