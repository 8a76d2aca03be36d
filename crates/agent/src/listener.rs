//! Where an agent listens.

use crate::line::Line;
use crate::origin::Origin;
use crate::{Error, Security, Stream};
use rustix::fd::{AsFd, BorrowedFd};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The highest context identifier that is no other VM's: 0 is the hypervisor, 1 this machine, 2
/// the host (vsock(7)).
const HOST_CID: u32 = 2;
/// Any of this machine's identifiers (VMADDR_CID_ANY).
const ANY_CID: u32 = u32::MAX;
/// Connections that the kernel keeps until they are accepted: a flood shall not push others out
/// before they were looked at.
const WAITING: i32 = 4096;

/// Who connects.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// For the log.
    pub name: String,
    pub origin: Origin,
}

/// Where an agent listens.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket; its file's permissions say who may connect.
    Unix(UnixListener),
    /// Between a VM and its host.
    Vsock {
        /// The socket.
        socket: Socket,
        /// Whether other VMs than the host may connect: those need a key.
        keyed: bool,
    },
    /// A serial line, virtio port or pty, and its path: one controller after the other.
    Line(Box<Mutex<Line>>, PathBuf),
}

impl Listener {
    /// A TCP port.
    ///
    /// # Errors
    /// Where it is not on loopback and there is no key, or the address cannot be had.
    pub fn tcp(address: SocketAddr, security: &Security) -> Result<Self, Error> {
        if matches!(security, Security::Transport) && !address.ip().is_loopback() {
            return Err(Error::Key(format!(
                "{address} can be reached from other machines: use a key, or listen on loopback"
            )));
        }
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(WAITING)?;
        let listener = TcpListener::from(socket);
        // One who goes away between the two must not keep the agent waiting for another.
        listener.set_nonblocking(true)?;
        Ok(Self::Tcp(listener))
    }

    /// A unix socket.
    ///
    /// # Errors
    /// Where the path is taken or cannot be written.
    pub fn unix(path: &Path) -> Result<Self, Error> {
        let listener = match UnixListener::bind(path) {
            // An agent that was killed leaves its socket behind, at which nobody answers.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left(path) => {
                std::fs::remove_file(path)?;
                UnixListener::bind(path)
            }
            bound => bound,
        }?;
        listener.set_nonblocking(true)?;
        Ok(Self::Unix(listener))
    }

    /// A vsock port. Without a key only this machine and its host are heard, not other VMs.
    ///
    /// # Errors
    /// Where this kernel has no vsock, or the port is taken.
    pub fn vsock(port: u32, security: &Security) -> Result<Self, Error> {
        let socket = Socket::new(Domain::VSOCK, Type::STREAM, None)?;
        socket.bind(&SockAddr::vsock(ANY_CID, port))?;
        socket.listen(WAITING)?;
        socket.set_nonblocking(true)?;
        Ok(Self::Vsock { socket, keyed: matches!(security, Security::Keys(_)) })
    }

    /// A character device: a serial line (`/dev/ttyS1`), a virtio console or port, a pty.
    ///
    /// # Errors
    /// No such device, no right to it, or it is in use.
    pub fn serial(path: &Path) -> Result<Self, Error> {
        Ok(Self::Line(Box::new(Mutex::new(Line::open(path)?)), path.to_owned()))
    }

    /// The TCP address, where it is one.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            _ => None,
        }
    }

    /// Where it listens, as one who connects writes it; of vsock without the CID, which the one
    /// who connects knows.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(|it| it.to_string()),
            Self::Unix(listener) => listener.local_addr().map(|it| {
                it.as_pathname().map(|path| path.display().to_string()).unwrap_or_default()
            }),
            Self::Vsock { socket, .. } => socket.local_addr().map(|it| {
                let port = it.as_vsock_address().map(|(_, port)| port.to_string());
                format!("vsock:{}", port.unwrap_or_default())
            }),
            Self::Line(_, path) => Ok(path.display().to_string()),
        }
        .unwrap_or_default()
    }

    /// Whether the way itself shows that the other end may do more than read: any user of this
    /// machine can connect to loopback, any of the host to a VM's vsock.
    pub(crate) fn is_private(&self) -> bool {
        matches!(self, Self::Unix(_) | Self::Line(..))
    }

    /// What tells that a connection has come; a line has none.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Tcp(listener) => Some(listener.as_fd()),
            Self::Unix(listener) => Some(listener.as_fd()),
            Self::Vsock { socket, .. } => Some(socket.as_fd()),
            Self::Line(..) => None,
        }
    }

    /// A connection, and who it is from.
    ///
    /// # Errors
    /// The system's; [`Error::Key`] where who connects needs a key and this agent has none, with
    /// who it was.
    pub(crate) fn accept(&self) -> Result<(Stream, Peer), (Error, Option<Peer>)> {
        let failed = |error: io::Error| (error.into(), None);
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().map_err(failed)?;
                let peer = Peer { name: peer.to_string(), origin: Origin::of(peer) };
                (Stream::tcp(stream).map_err(failed)?, peer)
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().map_err(failed)?;
                let peer = Peer { name: "the unix socket".to_owned(), origin: Origin::Local };
                (Stream::unix(stream).map_err(failed)?, peer)
            }
            Self::Vsock { socket, keyed } => {
                let (stream, peer) = socket.accept().map_err(failed)?;
                let (cid, port) = peer.as_vsock_address().unwrap_or((ANY_CID, 0));
                let peer = Peer { name: format!("vsock:{cid}:{port}"), origin: Origin::Vsock(cid) };
                if cid > HOST_CID && !keyed {
                    let error = Error::Key(format!("{}: other VMs need a key", peer.name));
                    return Err((error, Some(peer)));
                }
                (Stream::vsock(stream).map_err(failed)?, peer)
            }
            Self::Line(..) => return Err(failed(io::ErrorKind::Unsupported.into())),
        })
    }
}

/// Whether a path is a socket at which nobody listens any more.
fn is_left(path: &Path) -> bool {
    let socket = std::fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    socket && UnixStream::connect(path).err().is_some_and(refused)
}
