//! Messages over a byte stream, plain or inside Noise.

use crate::deadline::{Deadline, Timed};
use crate::noise::{Proven, Session};
use crate::{Decoder, Error, Holder, Key, Keys, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, ErrorKind, Read, Write};
use workload::clock;

/// What keeps others out.
#[derive(Debug, Clone)]
pub enum Security {
    /// The transport itself: a unix socket, loopback, a VM's own vsock or serial line.
    Transport,
    /// Keys, of which the other end must have one.
    Keys(Keys),
}

impl Security {
    /// With the one key that is for an agent of these names (a VM's name, an address).
    #[must_use]
    pub fn of_agent(&self, names: &[&str]) -> Self {
        match self {
            Self::Keys(keys) => keys.of_agent(names).cloned().map_or(Self::Transport, Self::from),
            Self::Transport => Self::Transport,
        }
    }
}

impl From<Key> for Security {
    fn from(key: Key) -> Self {
        Self::Keys(key.into())
    }
}

/// A connection between agent and controller.
pub struct Channel<S> {
    stream: S,
    session: Option<Session>,
    decoder: Decoder,
    deadline: Deadline,
}

impl<S: Read + Write> Channel<S> {
    /// Agrees with the other end, as the one who connects.
    ///
    /// # Errors
    /// [`Error::Refused`] where it has another key; what the stream says.
    pub fn connect(mut stream: S, security: &Security, deadline: &Deadline) -> Result<Self, Error> {
        let mut timed = Timed::new(&mut stream, HANDSHAKE_TIMEOUT, deadline);
        let session = match security {
            Security::Transport => None,
            Security::Keys(keys) => {
                let key = keys.of_agent(&[]).ok_or(Error::Refused)?;
                Some(Session::connect(key, &mut timed)?)
            }
        };
        Ok(Self::of(stream, session, deadline))
    }

    /// Agrees with the other end, as the one who listens; and whose key it has, where there are keys.
    ///
    /// # Errors
    /// [`Error::Refused`] where it has another key; what the stream says.
    pub fn accept(
        mut stream: S,
        security: &Security,
        deadline: &Deadline,
    ) -> Result<(Self, Option<Holder>), Error> {
        let mut timed = Timed::new(&mut stream, HANDSHAKE_TIMEOUT, deadline);
        let agreed = match security {
            Security::Transport => None,
            Security::Keys(keys) => Some(Session::accept(keys, &mut timed)?),
        };
        let (session, holder) = agreed.unzip();
        Ok((Self::of(stream, session, deadline), holder))
    }

    /// Agrees with the other end, whose first message was read; `None` where there are no keys.
    pub(crate) fn of_arrived(
        mut stream: S,
        proven: Option<Box<Proven>>,
        deadline: &Deadline,
    ) -> Result<Self, Error> {
        let mut timed = Timed::new(&mut stream, HANDSHAKE_TIMEOUT, deadline);
        let session = proven.map(|proven| proven.agree(&mut timed)).transpose()?;
        Ok(Self::of(stream, session, deadline))
    }

    fn of(stream: S, session: Option<Session>, deadline: &Deadline) -> Self {
        Self { stream, session, decoder: Decoder::default(), deadline: deadline.clone() }
    }

    /// The stream, to wait for.
    pub(crate) fn stream(&self) -> &S {
        &self.stream
    }

    /// Whether bytes came that are no whole message yet, or more than one.
    pub(crate) fn has_more(&self) -> bool {
        self.decoder.has_more()
    }

    /// Sends a message.
    ///
    /// # Errors
    /// A message that is too long or that the other end does not take in time, or what the stream says.
    pub fn send(&mut self, message: &impl Serialize) -> Result<(), Error> {
        let frame = encode(message)?;
        let mut stream = Timed::new(&mut self.stream, MESSAGE_TIMEOUT, &self.deadline);
        match &mut self.session {
            Some(session) => session.send(&frame, &mut stream),
            None => {
                stream.write_all(&frame)?;
                Ok(stream.flush()?)
            }
        }
    }

    /// Waits for the next message, of at most `most` bytes: no longer than [`MESSAGE_TIMEOUT`] for all
    /// of it, however it trickles in, and not beyond the deadline.
    ///
    /// # Errors
    /// No frame, a changed or longer one, or what the stream says; the channel is of no use after that.
    pub fn receive<T: DeserializeOwned>(&mut self, most: usize) -> Result<T, Error> {
        let mut stream = Timed::new(&mut self.stream, MESSAGE_TIMEOUT, &self.deadline);
        loop {
            if let Some(message) = self.decoder.message(most)? {
                return Ok(message);
            }
            match &mut self.session {
                Some(session) => self.decoder.push(&session.receive(&mut stream)?),
                None => self.decoder.push(&read_some(&mut stream)?),
            }
        }
    }
}

/// How long a message may take, in nanoseconds: one of some MB over a slow line takes seconds.
const MESSAGE_TIMEOUT: u64 = 30 * clock::SECOND;
/// How long the handshake may take: between machines whose CPUs others have, it takes seconds.
const HANDSHAKE_TIMEOUT: u64 = 10 * clock::SECOND;

fn read_some(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 64 << 10];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                bytes.truncate(read);
                return Ok(bytes);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FrameError, LARGEST, Role};
    use std::os::unix::net::UnixStream;
    use std::thread;
    use std::time::Duration;

    fn key(byte: u8) -> Security {
        Key::new([byte; 32], Role::Measure).into()
    }

    fn pair() -> (UnixStream, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        for end in [&near, &far] {
            end.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        }
        (near, far)
    }

    /// Both ends' agreement with their keys.
    fn agree(
        near: Security,
        far: Security,
    ) -> (Result<Channel<UnixStream>, Error>, Result<Channel<UnixStream>, Error>) {
        let (one, other) = pair();
        thread::scope(|scope| {
            let accepted = scope
                .spawn(move || Channel::accept(other, &far, &Deadline::default()).map(|it| it.0));
            let connected = Channel::connect(one, &near, &Deadline::default());
            (connected, accepted.join().unwrap())
        })
    }

    #[test]
    fn messages_cross_with_and_without_noise() {
        for security in [Security::Transport, key(1)] {
            let (near, far) = agree(security.clone(), security);
            let (mut near, mut far) = (near.unwrap(), far.unwrap());
            let large = vec![7_u8; 3 << 20];
            thread::scope(|scope| {
                scope.spawn(|| {
                    near.send(&large).unwrap();
                    near.send(&"second").unwrap();
                });
                assert_eq!(far.receive::<Vec<u8>>(LARGEST).unwrap(), large);
                assert_eq!(far.receive::<String>(LARGEST).unwrap(), "second");
            });
        }
    }

    #[test]
    fn another_key_or_none_is_refused_before_any_message() {
        let (_, far) = agree(key(1), key(2));
        assert!(matches!(far, Err(Error::Refused)));
        let (one, other) = pair();
        let mut plain = Channel::connect(one, &Security::Transport, &Deadline::default()).unwrap();
        plain.send(&"take this").unwrap();
        drop(plain);
        let refused = Channel::accept(other, &key(1), &Deadline::default());
        assert!(matches!(refused, Err(Error::Refused | Error::Io(_))));
    }

    /// A stream that keeps what is written to it.
    struct Tap<'a>(UnixStream, &'a mut Vec<u8>);

    impl Read for Tap<'_> {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            self.0.read(bytes)
        }
    }

    impl Write for Tap<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let written = self.0.write(bytes)?;
            self.1.extend_from_slice(&bytes[..written]);
            Ok(written)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }

    #[test]
    fn a_recorded_session_cannot_be_played_again() {
        let mut recorded = Vec::new();
        let (one, other) = pair();
        thread::scope(|scope| {
            let first = scope.spawn(move || {
                Channel::accept(other, &key(1), &Deadline::default())
                    .unwrap()
                    .0
                    .receive::<String>(LARGEST)
                    .unwrap()
            });
            let tap = Tap(one, &mut recorded);
            Channel::connect(tap, &key(1), &Deadline::default())
                .unwrap()
                .send(&"stop everything")
                .unwrap();
            assert_eq!(first.join().unwrap(), "stop everything");
        });
        let (mut one, other) = pair();
        one.write_all(&recorded).unwrap();
        let mut played = Channel::accept(other, &key(1), &Deadline::default()).unwrap();
        assert!(matches!(played.0.receive::<String>(LARGEST), Err(Error::Refused)));
    }

    #[test]
    fn changed_bytes_and_silence_end_the_channel() {
        let (near, far) = agree(Security::Transport, Security::Transport);
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        near.stream.write_all(&[0xff; 100]).unwrap();
        let error = far.receive::<String>(LARGEST).unwrap_err();
        assert!(matches!(error, Error::Frame(FrameError::TooLong { .. })), "{error}");
        drop(near);
        let (near, far) = agree(key(3), key(3));
        let mut far = far.unwrap();
        near.unwrap().stream.write_all(&[9; 200]).unwrap();
        assert!(matches!(far.receive::<String>(LARGEST), Err(Error::Refused | Error::Io(_))));
    }
}
