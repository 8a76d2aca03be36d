//! A connection of either kind, at both ends.

use rustix::fd::{AsFd, BorrowedFd};
use rustix::net::sockopt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long the other end may take to say what it began to say.
const PATIENCE: Duration = Duration::from_secs(10);

/// A TCP or unix connection with its timeouts.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

impl Stream {
    /// Connects to `HOST:PORT`, or to the unix socket at a path, which has a slash.
    ///
    /// # Errors
    /// No such host or path, or nobody listens there.
    pub fn connect(address: &str) -> io::Result<Self> {
        if address.contains('/') {
            return Self::unix(UnixStream::connect(address)?);
        }
        let found = address.to_socket_addrs()?.next().ok_or(ErrorKind::AddrNotAvailable)?;
        Self::tcp(TcpStream::connect_timeout(&found, PATIENCE)?)
    }

    pub(crate) fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        // One whose network is gone must not hold its settings and workloads for ever.
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, PATIENCE)?;
        sockopt::set_tcp_keepintvl(&stream, PATIENCE / 2)?;
        sockopt::set_tcp_keepcnt(&stream, 3)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self::Tcp(stream))
    }

    pub(crate) fn unix(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self::Unix(stream))
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(bytes),
            Self::Unix(stream) => stream.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}
