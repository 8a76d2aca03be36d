//! The local monitors of figure 4.1: what they and the controller say to each other, and how.
//!
//! A message is a frame (length, CRC, postcard); frames travel plainly on transports that only
//! this machine or its hypervisor can touch, and inside Noise everywhere else. What a guest sends
//! is hostile until proven otherwise: everything that is read has a limit.

mod agent;
mod arrivals;
mod channel;
mod conversation;
mod deadline;
mod frame;
mod handle;
mod journal;
mod key;
mod line;
mod listener;
mod log;
mod marks;
mod message;
mod noise;
mod origin;
mod places;
mod sampling;
mod scratch;
mod server;
mod settings;
mod stream;
mod undo;
mod wait;
mod work;

pub use agent::Agent;
pub use channel::{Channel, Security};
pub use deadline::Deadline;
pub use frame::{Decoder, FrameError, LARGEST, encode};
pub use handle::{Handle, Offset};
pub use journal::restore_left;
pub use key::{Holder, Key, Keys, Role};
pub use line::Line;
pub use listener::Listener;
pub use message::{Hello, PROTOCOL, Reply, Request};
pub use sampling::{Checksum, Drained, Opened, Sampling, SymbolFile};
pub use scratch::{PIECE, ROOM};
pub use settings::{Changed, Setting};
pub use stream::Stream;
pub use wait::PATIENCE;
pub use work::{Stage, Work};

use std::io;

#[cfg(test)]
mod transport_tests;

/// Of a wait that took too long the system says that it is to be tried again.
fn told(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "timed out".to_owned(),
        _ => error.to_string(),
    }
}

/// Why two ends cannot talk, or not any more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection broke, or took too long.
    #[error("the connection to the other end: {}", told(.0))]
    Io(#[from] io::Error),
    /// What came is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The other end does not have this key, or what it sent was changed in transit.
    #[error("the other end has a different key or none, or the data was changed in transit")]
    Refused,
    /// The agent serves as many as it can, or has had too many without its key from this address.
    #[error("the agent is busy with other connections: try again")]
    Busy,
    /// The other end closed the connection, and not at once, before it said anything.
    #[error(
        "the other end closed the connection after some seconds: its machine is too busy to answer, \
         or it has a different key"
    )]
    Late,
    /// The key cannot be read, or there must be one.
    #[error("{0}")]
    Key(String),
    /// The other end speaks another version of the protocol.
    #[error(
        "the other end uses version {theirs} of the protocol, this vmeter {PROTOCOL}: use the same \
         vmeter at both ends"
    )]
    Version {
        /// Theirs.
        theirs: u32,
    },
    /// The agent could not do what it was asked.
    #[error("agent: {0}")]
    Failed(String),
    /// Settings that could not be undone, and why.
    #[error("the agent could not undo: {}", .0.join("; "))]
    NotRestored(Vec<String>),
    /// A reply that does not belong to the request.
    #[error("unexpected reply of the other end")]
    Unexpected,
}

impl Error {
    /// An agent that does not like how a connection begins closes it without a word.
    fn if_closed(self) -> Self {
        match self {
            Self::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => Self::Refused,
            Self::Io(error) if error.kind() == io::ErrorKind::ConnectionReset => Self::Refused,
            other => other,
        }
    }
}
