//! Reading xenstore: over xenstored's socket, by the kernel's device, or from a record.
//!
//! The protocol is `xen/include/public/io/xs_wire.h` (MIT): a header of four u32 (type,
//! request, transaction, length) and at most 4096 bytes. Guests write parts of xenstore, so
//! nothing that comes out of it is trusted: lengths are bounded and waits are short.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// xenstored's socket; on a system where /run is not /var/run, either may be it.
const SOCKETS: [&str; 2] = ["/run/xenstored/socket", "/var/run/xenstored/socket"];
/// The kernel's own way to xenstored, which may run in another domain.
const DEVICE: &str = "/dev/xen/xenbus";
/// `XENSTORE_PAYLOAD_MAX`.
const MOST: usize = 4096;
/// How long an answer may take. xenstored is a single thread that answers within a
/// millisecond; longer means that it is stuck, and vmeter must not be.
const PATIENCE: Duration = Duration::from_millis(500);
const DIRECTORY: u32 = 1;
const READ: u32 = 2;
const WATCH_EVENT: u32 = 15;
const ERROR: u32 = 16;

/// What vmeter asks xenstore.
pub(crate) trait Store {
    /// The value at `path`; `None` where there is none.
    fn read(&mut self, path: &str) -> io::Result<Option<Vec<u8>>>;

    /// The names below `path`, none where it is not there.
    fn list(&mut self, path: &str) -> io::Result<Vec<String>>;
}

/// A connection to xenstored.
pub(crate) struct Client<C> {
    connection: C,
    request: u32,
    /// An answer was late or made no sense: what comes next could belong to another question.
    broken: bool,
}

/// A live connection of either kind.
pub(crate) enum Connection {
    Socket(UnixStream),
    Device(File),
}

impl Client<Connection> {
    /// Connects to the running xenstored.
    ///
    /// # Errors
    /// Of the last way that was tried; only root may connect.
    pub(crate) fn connect() -> io::Result<Self> {
        let socket = SOCKETS.iter().find_map(|path| UnixStream::connect(path).ok());
        let connection = match socket {
            Some(socket) => {
                socket.set_nonblocking(true)?;
                Connection::Socket(socket)
            }
            None => Connection::Device(
                File::options()
                    .read(true)
                    .write(true)
                    .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
                    .open(DEVICE)?,
            ),
        };
        Ok(Self::new(connection))
    }
}

impl<C> Client<C> {
    pub(crate) fn new(connection: C) -> Self {
        Self { connection, request: 0, broken: false }
    }

    /// Whether nothing more can be asked by this connection.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }
}

impl<C: Wire> Client<C> {
    /// Sends one question and gives its answer; `None` for xenstored's ENOENT.
    fn ask(&mut self, kind: u32, path: &str) -> io::Result<Option<Vec<u8>>> {
        if self.broken {
            return Err(io::Error::other("unexpected reply of xenstored"));
        }
        let answer = self.exchange(kind, path);
        self.broken = answer.is_err();
        let (answered, body) = answer?;
        match answered {
            answered if answered == kind => Ok(Some(body)),
            ERROR if body.starts_with(b"ENOENT") => Ok(None),
            ERROR => {
                let error = String::from_utf8_lossy(&body);
                Err(io::Error::other(format!("{path}: {}", error.trim_end_matches('\0'))))
            }
            other => {
                self.broken = true;
                Err(io::Error::other(format!("xenstored answered {kind} with {other}")))
            }
        }
    }

    fn exchange(&mut self, kind: u32, path: &str) -> io::Result<(u32, Vec<u8>)> {
        self.request = self.request.wrapping_add(1);
        let length = u32::try_from(path.len() + 1).unwrap_or(u32::MAX);
        if length as usize > MOST {
            return Err(io::Error::other("a xenstore path is too long"));
        }
        let mut message = Vec::with_capacity(16 + path.len() + 1);
        for field in [kind, self.request, 0, length] {
            message.extend_from_slice(&field.to_le_bytes());
        }
        message.extend_from_slice(path.as_bytes());
        message.push(0);
        let until = Instant::now() + PATIENCE;
        self.connection.send(&message, until)?;
        loop {
            let mut header = [0; 16];
            self.connection.receive(&mut header, until)?;
            let field = |at| model::u32_at(&header, at).unwrap_or_default();
            let length = field(12) as usize;
            if length > MOST {
                return Err(io::Error::other(format!("xenstored announced {length} bytes")));
            }
            let mut body = vec![0; length];
            self.connection.receive(&mut body, until)?;
            match field(0) {
                // Nothing is watched, but an event would be no reason to fail.
                WATCH_EVENT => {}
                kind if field(4) == self.request => return Ok((kind, body)),
                _ => return Err(io::Error::other("reply of xenstored to a different request")),
            }
        }
    }
}

impl<C: Wire> Store for Client<C> {
    fn read(&mut self, path: &str) -> io::Result<Option<Vec<u8>>> {
        self.ask(READ, path)
    }

    fn list(&mut self, path: &str) -> io::Result<Vec<String>> {
        let names = self.ask(DIRECTORY, path)?.unwrap_or_default();
        Ok(names
            .split(|byte| *byte == 0)
            .filter_map(|name| std::str::from_utf8(name).ok())
            .filter(|name| !name.is_empty() && !name.contains('/'))
            .map(str::to_owned)
            .collect())
    }
}

/// Bytes to and from xenstored, each transfer whole and in time.
pub(crate) trait Wire {
    fn send(&mut self, bytes: &[u8], until: Instant) -> io::Result<()>;
    fn receive(&mut self, bytes: &mut [u8], until: Instant) -> io::Result<()>;
}

impl Wire for Connection {
    fn send(&mut self, bytes: &[u8], until: Instant) -> io::Result<()> {
        let mut sent = 0;
        while sent < bytes.len() {
            let result = match self {
                Self::Socket(socket) => socket.write(&bytes[sent..]),
                Self::Device(device) => device.write(&bytes[sent..]),
            };
            sent += self.settle(result, PollFlags::OUT, until)?;
        }
        Ok(())
    }

    fn receive(&mut self, bytes: &mut [u8], until: Instant) -> io::Result<()> {
        let mut received = 0;
        while received < bytes.len() {
            let result = match self {
                Self::Socket(socket) => socket.read(&mut bytes[received..]),
                Self::Device(device) => device.read(&mut bytes[received..]),
            };
            received += self.settle(result, PollFlags::IN, until)?;
        }
        Ok(())
    }
}

impl Connection {
    /// How much was transferred: nothing, after a wait, where the other side was not ready.
    fn settle(
        &self,
        result: io::Result<usize>,
        wanted: PollFlags,
        until: Instant,
    ) -> io::Result<usize> {
        match result {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let left = until.saturating_duration_since(Instant::now());
                let left = Timespec::try_from(left).map_err(io::Error::other)?;
                match poll(&mut [PollFd::from_borrowed_fd(self.descriptor(), wanted)], Some(&left))
                {
                    Ok(0) => Err(io::ErrorKind::TimedOut.into()),
                    Ok(_) | Err(rustix::io::Errno::INTR) => Ok(0),
                    Err(error) => Err(error.into()),
                }
            }
            other => other,
        }
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Self::Socket(socket) => socket.as_fd(),
            Self::Device(device) => device.as_fd(),
        }
    }
}

/// A record of xenstore: lines of `path = value`, written by [`record`].
#[derive(Debug, Default)]
pub(crate) struct Recorded(BTreeMap<String, Vec<u8>>);

impl Recorded {
    /// Reads the lines; what is no such line is passed over.
    pub(crate) fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let (path, value) = line.split_once(" = ")?;
            Some((path.to_owned(), unescape(value)))
        };
        Self(text.lines().filter_map(line).collect())
    }
}

impl Store for Recorded {
    fn read(&mut self, path: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.get(path).cloned())
    }

    fn list(&mut self, path: &str) -> io::Result<Vec<String>> {
        let folder = format!("{path}/");
        let mut names: Vec<String> = self
            .0
            .range(folder.clone()..)
            .map_while(|(key, _)| key.strip_prefix(&folder))
            .filter_map(|rest| rest.split('/').next())
            .map(str::to_owned)
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }
}

/// Writes what is at and below `path` as lines for [`Recorded`], `depth` levels down.
pub(crate) fn record(
    store: &mut dyn Store,
    path: &str,
    depth: usize,
    into: &mut String,
) -> io::Result<()> {
    if let Some(value) = store.read(path)? {
        let value: String =
            value.iter().flat_map(|byte| byte.escape_ascii()).map(char::from).collect();
        *into += &format!("{path} = {value}\n");
    }
    if depth > 0 {
        for name in store.list(path)? {
            record(store, &format!("{path}/{name}"), depth - 1, into)?;
        }
    }
    Ok(())
}

/// The bytes that `u8::escape_ascii` wrote so; an escape that it does not write stays as it is.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'\\').then(|| match after {
            [b'x', high, low, ..] => {
                let digit = |digit: u8| char::from(digit).to_digit(16);
                Some((digit(*high)? as u8 * 16 + digit(*low)? as u8, 3))
            }
            [b'n', ..] => Some((b'\n', 1)),
            [b'r', ..] => Some((b'\r', 1)),
            [b't', ..] => Some((b'\t', 1)),
            [byte @ (b'\\' | b'\'' | b'"'), ..] => Some((*byte, 1)),
            _ => None,
        });
        let (byte, length) = escaped.flatten().unwrap_or((first, 0));
        bytes.push(byte);
        rest = &after[length..];
    }
    bytes
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
