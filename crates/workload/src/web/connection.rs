//! One connection and the request on it.

use super::reply::Reply;
use crate::clock::Instant;
use crate::fileset::File;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt::socket_error,
};
use std::net::SocketAddr;

/// A connection.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub fd: OwnedFd,
    /// Tells its events from those of an earlier one in the same place.
    pub generation: u32,
    /// What it is doing.
    pub state: State,
    /// The request that it is busy with.
    pub request: Request,
    /// Calls that come after this one.
    pub calls: u32,
    /// The reply to it, as far as it came.
    pub reply: Reply,
    /// Bytes that were looked at and are still in the socket.
    pub unread: usize,
    /// Where it waits for another turn to read: its events since.
    pub turn: Option<epoll::EventFlags>,
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The server has not accepted yet.
    Connecting,
    /// So many bytes of the request are written.
    Sending(usize),
    /// The reply is on its way.
    Waiting,
    /// Kept alive.
    Idle,
    /// All is done; the server closes.
    Closing,
}

/// One request and its times.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// The file asked for; `None` is the URL.
    pub file: Option<File>,
    /// When its connection's first request was due: that decides whether it counts.
    pub arrival: Instant,
    /// When it was due.
    pub intended: Instant,
    /// When the generator did its part: wrote it, or began to connect for it.
    pub begun: Instant,
}

impl Connection {
    /// Begins to connect.
    pub fn open(
        to: SocketAddr,
        generation: u32,
        request: Request,
        calls: u32,
    ) -> Result<Self, Errno> {
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = socket_with(family, SocketType::STREAM, flags, None)?;
        match connect(&fd, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error),
        }
        let (state, reply) = (State::Connecting, Reply::default());
        Ok(Self { fd, generation, state, request, calls, reply, unread: 0, turn: None })
    }

    /// Whether a request is on it that has to be answered.
    pub fn is_busy(&self) -> bool {
        matches!(self.state, State::Connecting | State::Sending(_) | State::Waiting)
    }

    /// The error that the socket holds.
    pub fn error(&self) -> Option<Errno> {
        match socket_error(&self.fd) {
            Ok(Ok(())) => None,
            Ok(Err(error)) | Err(error) => Some(error),
        }
    }
}

/// Events that a connection waits for, once and for all: edges, so that no call is needed when
/// its state changes.
pub fn interest() -> epoll::EventFlags {
    epoll::EventFlags::IN
        | epoll::EventFlags::OUT
        | epoll::EventFlags::RDHUP
        | epoll::EventFlags::ET
}
