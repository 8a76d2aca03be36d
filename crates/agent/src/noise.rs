//! Noise over a byte stream: NNpsk0 with X25519, ChaCha20-Poly1305 and BLAKE2s.
//!
//! Both ends prove that they have the key; each session has fresh ephemeral keys, so a recorded
//! one cannot be played again: its first message is answered once, its others do not decrypt.

use crate::{Error, Holder, Key, Keys};
use snow::{Builder, HandshakeState, TransportState};
use std::io::{self, ErrorKind, Read, Write};

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
/// Both ends mix it in: another protocol, or version of it, is another key.
const PROLOGUE: &[u8] = b"vmeter.agent/1";
/// The longest Noise message, and what of it is plain text.
const MESSAGE: usize = 65_535;
const PLAIN: usize = MESSAGE - 16;

/// Bytes of the first message with its length: an ephemeral key of 32 bytes and a tag of 16.
pub(crate) const FIRST: usize = 2 + 32 + 16;
/// An ephemeral key: every first message has a new one.
pub(crate) type Ephemeral = [u8; 32];

/// A session that both ends have agreed on.
pub struct Session {
    state: TransportState,
    buffer: Vec<u8>,
}

impl Session {
    /// Agrees on a session as the one who connects.
    pub fn connect(key: &Key, stream: &mut (impl Read + Write)) -> Result<Self, Error> {
        let mut state = builder(key)?.build_initiator().map_err(refused)?;
        speak(&mut state, stream)?;
        hear(&mut state, stream).map_err(Error::if_closed)?;
        Self::agreed(state)
    }

    /// Agrees on a session as the one who listens; and whose key it is.
    pub fn accept(keys: &Keys, stream: &mut (impl Read + Write)) -> Result<(Self, Holder), Error> {
        let proven = Proven::by(keys, &read(stream)?)?;
        let holder = proven.holder();
        Ok((proven.agree(stream)?, holder))
    }

    fn agreed(state: HandshakeState) -> Result<Self, Error> {
        let state = state.into_transport_mode().map_err(refused)?;
        Ok(Self { state, buffer: vec![0; MESSAGE] })
    }

    /// Encrypts and sends bytes, in as many messages as they need.
    pub fn send(&mut self, bytes: &[u8], stream: &mut impl Write) -> Result<(), Error> {
        for piece in bytes.chunks(PLAIN) {
            let length = self.state.write_message(piece, &mut self.buffer).map_err(refused)?;
            write(&self.buffer[..length], stream)?;
        }
        Ok(())
    }

    /// The bytes of the next message.
    pub fn receive(&mut self, stream: &mut impl Read) -> Result<Vec<u8>, Error> {
        let message = read(stream)?;
        let length = self.state.read_message(&message, &mut self.buffer).map_err(refused)?;
        Ok(self.buffer[..length].to_vec())
    }
}

/// One who connects and has shown in its first message that it has a key.
pub struct Proven {
    state: HandshakeState,
    holder: Holder,
    ephemeral: Ephemeral,
}

impl Proven {
    /// Tries each key on a first message: only who has one of them can make it. A recorded one can be
    /// played again ([`Self::ephemeral`] is the same then); what follows it cannot.
    pub fn by(keys: &Keys, message: &[u8]) -> Result<Self, Error> {
        let ephemeral = *message.first_chunk().ok_or(Error::Refused)?;
        for (number, key) in keys.iter().enumerate() {
            let mut state = builder(key)?.build_responder().map_err(refused)?;
            // Nobody has proven anything yet: what the message carries is not looked at.
            if state.read_message(message, &mut [0; MESSAGE]).is_ok() {
                let holder = Holder { key: number, role: key.role() };
                return Ok(Self { state, holder, ephemeral });
            }
        }
        Err(Error::Refused)
    }

    /// Whose key it is.
    pub(crate) fn holder(&self) -> Holder {
        self.holder
    }

    /// The ephemeral key of the first message, by which a repeated one is recognised.
    pub(crate) fn ephemeral(&self) -> Ephemeral {
        self.ephemeral
    }

    /// Agrees on a session.
    pub fn agree(mut self, stream: &mut (impl Read + Write)) -> Result<Session, Error> {
        speak(&mut self.state, stream)?;
        Session::agreed(self.state)
    }
}

fn builder(key: &Key) -> Result<Builder<'_>, Error> {
    let parameters = PATTERN.parse().map_err(refused)?;
    let builder = Builder::new(parameters).psk(0, key.bytes()).map_err(refused)?;
    builder.prologue(PROLOGUE).map_err(refused)
}

/// Noise says no more than that, on purpose: an attacker shall learn nothing.
fn refused(_: snow::Error) -> Error {
    Error::Refused
}

fn speak(state: &mut HandshakeState, stream: &mut impl Write) -> Result<(), Error> {
    let mut buffer = [0; 256];
    let length = state.write_message(&[], &mut buffer).map_err(refused)?;
    write(&buffer[..length], stream)
}

fn hear(state: &mut HandshakeState, stream: &mut impl Read) -> Result<(), Error> {
    let message = read(stream)?;
    if message.is_empty() {
        return Err(Error::Busy);
    }
    // Nobody has proven anything yet: what the message carries is not looked at.
    state.read_message(&message, &mut vec![0; MESSAGE]).map_err(refused)?;
    Ok(())
}

/// Two bytes of length, then the message.
fn write(message: &[u8], stream: &mut impl Write) -> Result<(), Error> {
    let length = u16::try_from(message.len())
        .map_err(|_| io::Error::from(ErrorKind::InvalidInput))?
        .to_le_bytes();
    stream.write_all(&[&length, message].concat())?;
    Ok(stream.flush()?)
}

fn read(stream: &mut impl Read) -> Result<Vec<u8>, Error> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_le_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}
