//! A connection of any kind, at both ends.

use crate::line::Line;
use crate::wait::{PATIENCE, SLICE, Wait, readable};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::net::sockopt;
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use workload::address::{addresses, first_of};

/// A connection whose reads and writes last at most a quarter of a second each.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// Between a VM and its host.
    Vsock(Socket),
    /// A serial line.
    Line(Box<Line>),
}

impl Stream {
    /// Connects to `HOST:PORT` (the first of the host's addresses that answers), `vsock:CID:PORT`, the
    /// unix socket or character device at a path (which has a slash), or, as `serial:PATH`, to the unix
    /// socket that is the far side of a VM's serial line or virtio port.
    ///
    /// # Errors
    /// No such host or path, or nobody listens there.
    pub fn connect(address: &str) -> io::Result<Self> {
        Self::connect_within(address, PATIENCE)
    }

    /// The same; a network must make the connection within a time.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn connect_within(address: &str, within: Duration) -> io::Result<Self> {
        if let Some(path) = address.strip_prefix("serial:") {
            return Self::serial(Path::new(path));
        }
        if let Some(rest) = address.strip_prefix("vsock:") {
            return Self::vsock_to(rest, within);
        }
        if address.contains('/') {
            if fs::metadata(address)?.file_type().is_char_device() {
                return Self::serial(Path::new(address));
            }
            return Self::unix(UnixStream::connect(address)?);
        }
        let attempt = |at, within| TcpStream::connect_timeout(&at, within);
        let (stream, _) = first_of(&addresses(address)?, within, attempt)?;
        Self::tcp(stream)
    }

    fn serial(path: &Path) -> io::Result<Self> {
        let line = if fs::metadata(path)?.file_type().is_socket() {
            Line::new(UnixStream::connect(path)?.into())
        } else {
            Line::open(path)
        };
        Self::line(line?)
    }

    /// Begins a session on a line.
    ///
    /// # Errors
    /// Where no agent answers.
    pub fn line(mut line: Line) -> io::Result<Self> {
        line.begin()?;
        Ok(Self::Line(Box::new(line)))
    }

    fn vsock_to(address: &str, within: Duration) -> io::Result<Self> {
        let wrong = || {
            let text = "expected vsock:CID:PORT, two numbers; CID 1 is this machine, 2 the host";
            io::Error::new(ErrorKind::InvalidInput, text)
        };
        let (cid, port) = address.split_once(':').ok_or_else(wrong)?;
        let number = |text: &str| text.parse::<u32>().map_err(|_| wrong());
        let to = SockAddr::vsock(number(cid)?, number(port)?);
        let socket = Socket::new(Domain::VSOCK, Type::STREAM, None)?;
        socket.connect_timeout(&to, within)?;
        socket.set_nonblocking(false)?;
        Self::vsock(socket)
    }

    pub(crate) fn vsock(socket: Socket) -> io::Result<Self> {
        socket.set_read_timeout(Some(SLICE))?;
        socket.set_write_timeout(Some(SLICE))?;
        Ok(Self::Vsock(socket))
    }

    pub(crate) fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        // One whose network is gone must not hold its settings and workloads for ever.
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, PATIENCE)?;
        sockopt::set_tcp_keepintvl(&stream, PATIENCE / 2)?;
        sockopt::set_tcp_keepcnt(&stream, 3)?;
        stream.set_read_timeout(Some(SLICE))?;
        stream.set_write_timeout(Some(SLICE))?;
        Ok(Self::Tcp(stream))
    }

    pub(crate) fn unix(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(SLICE))?;
        stream.set_write_timeout(Some(SLICE))?;
        Ok(Self::Unix(stream))
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(bytes),
            Self::Unix(stream) => stream.read(bytes),
            Self::Vsock(socket) => socket.read(bytes),
            Self::Line(line) => line.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Vsock(socket) => socket.write(bytes),
            Self::Line(line) => line.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(_) | Self::Unix(_) | Self::Vsock(_) => Ok(()),
            Self::Line(line) => line.flush(),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
            Self::Vsock(socket) => socket.as_fd(),
            Self::Line(line) => line.as_fd(),
        }
    }
}

impl Wait for Stream {
    fn comes(&self, within: u64) -> bool {
        readable(self, within)
    }
}
