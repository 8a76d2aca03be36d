//! What the two ends say to each other: a preamble on each connection, then, on the control
//! connection, length-prefixed JSON. Everything that is read has a limit and a deadline.

use super::outcome::EndReport;
use super::plan::Plan;
use crate::{Control, Error};
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const MAGIC: &[u8; 10] = b"vmeter.tcp";
/// Changes with every message that an older end would not understand.
pub const VERSION: u16 = 1;
/// The longest message: a report of a day at a line a second, for many streams.
const LONGEST: usize = 32 << 20;
/// How long an end may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How often an end that waits looks whether it was stopped.
const STOP_INTERVAL: Duration = Duration::from_millis(50);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Messages.
    Control,
    /// The load.
    Data,
}

/// The first bytes on each connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preamble {
    /// The protocol that the other end speaks.
    pub version: u16,
    /// What the connection is for.
    pub purpose: Purpose,
    /// Which run it belongs to.
    pub run: u64,
}

const PREAMBLE: usize = MAGIC.len() + 2 + 1 + 8;

impl Preamble {
    /// Sends it.
    pub fn write(self, stream: &mut TcpStream) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(PREAMBLE);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.version.to_be_bytes());
        bytes.push(if self.purpose == Purpose::Control { b'c' } else { b'd' });
        bytes.extend_from_slice(&self.run.to_be_bytes());
        stream.write_all(&bytes)
    }

    /// Reads one: `InvalidData` where the other end is no vmeter.
    pub fn read(stream: &mut TcpStream, within: Duration, control: &Control) -> io::Result<Self> {
        let mut bytes = [0; PREAMBLE];
        read_whole(stream, &mut bytes, within, control)?;
        Self::parse(&bytes).ok_or_else(|| ErrorKind::InvalidData.into())
    }

    fn parse(bytes: &[u8; PREAMBLE]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (version, rest) = rest.split_first_chunk::<2>()?;
        let (purpose, rest) = rest.split_first()?;
        let purpose = match purpose {
            b'c' => Purpose::Control,
            b'd' => Purpose::Data,
            _ => return None,
        };
        let run = u64::from_be_bytes(rest.try_into().ok()?);
        Some(Self { version: u16::from_be_bytes(*version), purpose, run })
    }
}

/// A message on the control connection.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// To the listener: run this, over as many data connections, which carry this run's number.
    Run(Plan),
    /// From the listener: all data connections are there.
    Ready,
    /// The listener will not: why.
    Refused(String),
    /// From the sender, when everything that it sent is acknowledged: read your counters.
    Mark,
    /// They are read.
    Marked,
    /// End early.
    Stop,
    /// At the end, from both: what this end counted.
    Report(Box<EndReport>),
}

/// A control connection.
#[derive(Debug)]
pub struct Channel {
    stream: TcpStream,
    peer: String,
}

impl Channel {
    /// Takes a connection whose preambles are done.
    pub fn new(stream: TcpStream, peer: String) -> Self {
        Self { stream, peer }
    }

    /// The connection, to wait for.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends a message, and waits at most for [`PATIENCE`] until the other end takes it.
    pub fn send(&mut self, message: &Message, control: &Control) -> Result<(), Error> {
        let text = serde_json::to_vec(message)
            .map_err(|error| Error::Peer(format!("cannot write a message: {error}")))?;
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
        let whole = [length.as_slice(), &text].concat();
        write_whole(&self.stream, &whole, control).map_err(|error| self.lost(&error))
    }

    /// Reads the next message.
    pub fn receive(&mut self, within: Duration, control: &Control) -> Result<Message, Error> {
        let mut length = [0; 4];
        let until = Instant::now() + within;
        read_whole(&mut self.stream, &mut length, within, control)
            .map_err(|error| self.lost(&error))?;
        let length = u32::from_be_bytes(length) as usize;
        if length > LONGEST {
            return Err(self.nonsense());
        }
        let mut text = Vec::new();
        while text.len() < length {
            // In pieces, so that a length alone takes no memory.
            let from = text.len();
            text.resize(length.min(from + (64 << 10)), 0);
            let left = until.saturating_duration_since(Instant::now());
            read_whole(&mut self.stream, &mut text[from..], left, control)
                .map_err(|error| self.lost(&error))?;
        }
        serde_json::from_slice(&text).map_err(|_| self.nonsense())
    }

    fn nonsense(&self) -> Error {
        Error::Peer(format!("{} sent an invalid message", self.peer))
    }

    fn lost(&self, error: &io::Error) -> Error {
        let peer = &self.peer;
        Error::Peer(match error.kind() {
            ErrorKind::UnexpectedEof => format!("{peer} closed the connection"),
            ErrorKind::TimedOut => format!("{peer} timed out"),
            ErrorKind::ConnectionAborted => format!("interrupted before {peer} answered"),
            _ => format!("{peer}: {error}"),
        })
    }
}

/// Fills `bytes`, or fails with `TimedOut` when it takes longer than `within` in all, with
/// `ConnectionAborted` when it takes longer than a run that was stopped may.
fn read_whole(
    stream: &mut TcpStream,
    bytes: &mut [u8],
    within: Duration,
    control: &Control,
) -> io::Result<()> {
    let until = Instant::now() + within;
    let mut filled = 0;
    while filled < bytes.len() {
        stream.set_read_timeout(Some(turn(until, control)?))?;
        match stream.read(&mut bytes[filled..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// How long to wait for the other end until the next look around.
fn turn(until: Instant, control: &Control) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if control.overdue() {
        return Err(ErrorKind::ConnectionAborted.into());
    }
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    Ok(left.clamp(Duration::from_millis(1), STOP_INTERVAL))
}

/// Writes all of `bytes`, with the same limits.
fn write_whole(mut stream: &TcpStream, mut bytes: &[u8], control: &Control) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(turn(until, control)?))?;
        match stream.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::TcpListener;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn a_preamble_survives_the_wire() {
        let control = Control::default();
        let (mut near, mut far) = pair();
        let sent = Preamble { version: 7, purpose: Purpose::Data, run: 42 };
        sent.write(&mut near).unwrap();
        assert_eq!(Preamble::read(&mut far, PATIENCE, &control).unwrap(), sent);
        near.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let error = Preamble::read(&mut far, PATIENCE, &control).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn silence_and_lies_are_errors_within_their_time() {
        let control = Control::default();
        let (mut near, far) = pair();
        let mut channel = Channel::new(far, "near".to_owned());
        let before = Instant::now();
        let error = channel.receive(Duration::from_millis(50), &control).unwrap_err();
        assert_eq!(error.to_string(), "near timed out");
        assert!(before.elapsed() < Duration::from_secs(5));
        near.write_all(&[0xff; 64]).unwrap();
        assert!(
            channel
                .receive(PATIENCE, &control)
                .unwrap_err()
                .to_string()
                .contains("invalid message")
        );
        drop(near);
        let _ = channel.receive(PATIENCE, &control).unwrap_err();
    }

    /// The other end trickles a message that has no end, or reads nothing.
    #[test]
    fn an_end_that_was_stopped_waits_half_a_second_more() {
        let control = Control::default();
        let (mut near, far) = pair();
        let mut channel = Channel::new(far, "near".to_owned());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                near.write_all(&[0, 1, 0, 0]).unwrap();
                while near.write_all(b" ").is_ok() {
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            std::thread::sleep(Duration::from_millis(50));
            control.stop();
            let begun = Instant::now();
            let error = channel.receive(PATIENCE, &control).unwrap_err();
            assert_eq!(error.to_string(), "interrupted before near answered");
            assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
            drop(channel);
        });
        let (_near, far) = pair();
        let control = Control::default();
        std::thread::scope(|scope| {
            let stopped = scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(200));
                control.stop();
                Instant::now()
            });
            let error = write_whole(&far, &vec![0; 64 << 20], &control).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
            let took = stopped.join().unwrap().elapsed();
            assert!(took < Duration::from_secs(1), "{took:?}");
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn any_bytes_are_refused_or_understood(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (mut near, far) = pair();
            near.write_all(&bytes).unwrap();
            drop(near);
            let _ = Channel::new(far, "near".to_owned()).receive(PATIENCE, &Control::default());
        }

        #[test]
        fn any_preamble_is_refused_or_understood(bytes in any::<[u8; PREAMBLE]>()) {
            prop_assert_eq!(Preamble::parse(&bytes), None);
        }
    }
}
