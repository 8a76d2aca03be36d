//! Messages over a byte stream, plain or inside Noise.

use crate::noise::Session;
use crate::{Decoder, Error, Key, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, ErrorKind, Read, Write};

/// What keeps others out.
#[derive(Debug, Clone)]
pub enum Security {
    /// The transport itself: a unix socket, loopback, a VM's own vsock or serial line.
    Transport,
    /// A key that both ends have.
    Key(Key),
}

/// A connection between agent and controller.
pub struct Channel<S> {
    stream: S,
    session: Option<Session>,
    decoder: Decoder,
}

impl<S: Read + Write> Channel<S> {
    /// Agrees with the other end, as the one who connects.
    ///
    /// # Errors
    /// [`Error::Refused`] where it has another key; what the stream says.
    pub fn connect(mut stream: S, security: &Security) -> Result<Self, Error> {
        let session = match security {
            Security::Transport => None,
            Security::Key(key) => Some(Session::connect(key, &mut stream)?),
        };
        Ok(Self { stream, session, decoder: Decoder::default() })
    }

    /// Agrees with the other end, as the one who listens.
    ///
    /// # Errors
    /// [`Error::Refused`] where it has another key; what the stream says.
    pub fn accept(mut stream: S, security: &Security) -> Result<Self, Error> {
        let session = match security {
            Security::Transport => None,
            Security::Key(key) => Some(Session::accept(key, &mut stream)?),
        };
        Ok(Self { stream, session, decoder: Decoder::default() })
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
    /// A message that is too long, or what the stream says.
    pub fn send(&mut self, message: &impl Serialize) -> Result<(), Error> {
        let frame = encode(message)?;
        match &mut self.session {
            Some(session) => session.send(&frame, &mut self.stream),
            None => {
                self.stream.write_all(&frame)?;
                Ok(self.stream.flush()?)
            }
        }
    }

    /// Waits for the next message, as long as the stream's own timeout lets it.
    ///
    /// # Errors
    /// No frame, a changed one, or what the stream says; the channel is of no use after that.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        loop {
            if let Some(message) = self.decoder.message()? {
                return Ok(message);
            }
            match &mut self.session {
                Some(session) => self.decoder.push(&session.receive(&mut self.stream)?),
                None => self.decoder.push(&read_some(&mut self.stream)?),
            }
        }
    }
}

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
    use crate::FrameError;
    use std::os::unix::net::UnixStream;
    use std::thread;
    use std::time::Duration;

    fn key(byte: u8) -> Security {
        Security::Key(Key::new([byte; 32]))
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
            let accepted = scope.spawn(move || Channel::accept(other, &far));
            let connected = Channel::connect(one, &near);
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
                assert_eq!(far.receive::<Vec<u8>>().unwrap(), large);
                assert_eq!(far.receive::<String>().unwrap(), "second");
            });
        }
    }

    #[test]
    fn another_key_or_none_is_refused_before_any_message() {
        let (_, far) = agree(key(1), key(2));
        assert!(matches!(far, Err(Error::Refused)));
        let (one, other) = pair();
        let mut plain = Channel::connect(one, &Security::Transport).unwrap();
        plain.send(&"take this").unwrap();
        drop(plain);
        let refused = Channel::accept(other, &key(1));
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
                Channel::accept(other, &key(1)).unwrap().receive::<String>().unwrap()
            });
            let tap = Tap(one, &mut recorded);
            Channel::connect(tap, &key(1)).unwrap().send(&"stop everything").unwrap();
            assert_eq!(first.join().unwrap(), "stop everything");
        });
        let (mut one, other) = pair();
        one.write_all(&recorded).unwrap();
        let mut played = Channel::accept(other, &key(1)).unwrap();
        assert!(matches!(played.receive::<String>(), Err(Error::Refused)));
    }

    #[test]
    fn changed_bytes_and_silence_end_the_channel() {
        let (near, far) = agree(Security::Transport, Security::Transport);
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        near.stream.write_all(&[0xff; 100]).unwrap();
        let error = far.receive::<String>().unwrap_err();
        assert!(matches!(error, Error::Frame(FrameError::TooLong(_))), "{error}");
        drop(near);
        let (near, far) = agree(key(3), key(3));
        let mut far = far.unwrap();
        near.unwrap().stream.write_all(&[9; 200]).unwrap();
        assert!(matches!(far.receive::<String>(), Err(Error::Refused | Error::Io(_))));
    }
}
