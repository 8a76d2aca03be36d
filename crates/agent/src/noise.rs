//! Noise over a byte stream: NNpsk0 with X25519, ChaCha20-Poly1305 and BLAKE2s.
//!
//! Both ends prove that they have the key; each session has fresh ephemeral keys, so a recorded
//! one cannot be played again: its first message is answered, its others do not decrypt.

use crate::{Error, Key};
use snow::{Builder, HandshakeState, TransportState};
use std::io::{self, ErrorKind, Read, Write};

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
/// Both ends mix it in: another protocol, or version of it, is another key.
const PROLOGUE: &[u8] = b"vmeter.agent/1";
/// The longest Noise message, and what of it is plain text.
const MESSAGE: usize = 65_535;
const PLAIN: usize = MESSAGE - 16;

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

    /// Agrees on a session as the one who listens.
    pub fn accept(key: &Key, stream: &mut (impl Read + Write)) -> Result<Self, Error> {
        let mut state = builder(key)?.build_responder().map_err(refused)?;
        hear(&mut state, stream)?;
        speak(&mut state, stream)?;
        Self::agreed(state)
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
