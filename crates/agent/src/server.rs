//! The agent's loop: takes connections and answers requests, one after the other on each.

use crate::conversation::Conversation;
use crate::scratch::Scratch;
use crate::{Channel, Error, Security, Stream};
use platform::Choice;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::AsFd;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use workload::clock;

/// Connections that are served at a time; a guest could else take all memory.
const MOST: usize = 8;
/// How often a waiting thread looks whether to end, in nanoseconds.
const LOOK: u64 = clock::SECOND / 4;

/// What an agent reads counters of.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Which platform.
    pub platform: Choice,
    /// Below which root: `/`, or a saved tree.
    pub root: PathBuf,
    /// The arguments that make this program an instance of the CPU load.
    pub instance: Vec<String>,
    /// Where controllers' files lie; `None` is a private folder that goes with the agent.
    pub dir: Option<PathBuf>,
}

/// Where an agent listens.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket; its file's permissions say who may connect.
    Unix(UnixListener),
}

impl Listener {
    /// A TCP port.
    ///
    /// # Errors
    /// Where it is not on loopback and there is no key, or the address cannot be had.
    pub fn tcp(address: SocketAddr, security: &Security) -> Result<Self, Error> {
        if matches!(security, Security::Transport) && !address.ip().is_loopback() {
            return Err(Error::Key(format!(
                "{address} can be reached from other machines: give a key, or listen on loopback"
            )));
        }
        Ok(Self::Tcp(TcpListener::bind(address)?))
    }

    /// A unix socket.
    ///
    /// # Errors
    /// Where the path is taken or cannot be written.
    pub fn unix(path: &Path) -> Result<Self, Error> {
        match UnixListener::bind(path) {
            // An agent that was killed leaves its socket behind, at which nobody answers.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left(path) => {
                std::fs::remove_file(path)?;
                Ok(Self::Unix(UnixListener::bind(path)?))
            }
            bound => Ok(Self::Unix(bound?)),
        }
    }

    /// The TCP address, where it is one.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// A connection, and who it is from.
    fn accept(&self) -> io::Result<(Stream, String)> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                (Stream::tcp(stream)?, peer.to_string())
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                (Stream::unix(stream)?, "the unix socket".to_owned())
            }
        })
    }
}

impl Agent {
    /// Serves until `stop`; `log` gets a line for each connection that was refused or broke.
    pub fn serve(
        &self,
        listener: &Listener,
        security: &Security,
        stop: &AtomicBool,
        log: &(dyn Fn(&str) + Sync),
    ) {
        let (busy, scratch) = (AtomicUsize::new(0), Scratch::new(self.dir.as_deref()));
        // Any user of this machine can connect to loopback; a socket's file says who may.
        let trusted = matches!(security, Security::Key(_)) || matches!(listener, Listener::Unix(_));
        let fd = match listener {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener) => listener.as_fd(),
        };
        thread::scope(|scope| {
            while !stop.load(SeqCst) {
                if !comes(&fd) {
                    continue;
                }
                let Ok((stream, peer)) = listener.accept() else { continue };
                if busy.load(SeqCst) >= MOST {
                    log(&format!("{peer}: turned away, {MOST} connections are open"));
                    continue;
                }
                busy.fetch_add(1, SeqCst);
                let (busy, scratch) = (&busy, &scratch);
                scope.spawn(move || {
                    if let Err(error) = self.converse(stream, security, scratch, trusted, stop) {
                        log(&format!("{peer}: {error}"));
                    }
                    busy.fetch_sub(1, SeqCst);
                });
            }
        });
    }

    /// One connection, to its end.
    fn converse(
        &self,
        stream: Stream,
        security: &Security,
        scratch: &Scratch,
        trusted: bool,
        stop: &AtomicBool,
    ) -> Result<(), Error> {
        let mut channel = Channel::accept(stream, security)?;
        let mut conversation = Conversation::new(self, scratch, trusted);
        let ended = self.answer(&mut channel, &mut conversation, stop);
        let failed = conversation.end();
        if failed.is_empty() { ended } else { Err(Error::NotRestored(failed)) }
    }

    fn answer(
        &self,
        channel: &mut Channel<Stream>,
        conversation: &mut Conversation<'_>,
        stop: &AtomicBool,
    ) -> Result<(), Error> {
        while !stop.load(SeqCst) {
            if !channel.has_more() && !comes(channel.stream()) {
                continue;
            }
            let request = match channel.receive() {
                Ok(request) => request,
                // The other end is done.
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            let (reply, last) = conversation.answer(request);
            channel.send(&reply)?;
            if let Some(error) = last {
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Whether a path is a socket at which nobody listens any more.
fn is_left(path: &Path) -> bool {
    let socket = std::fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    socket && UnixStream::connect(path).err().is_some_and(refused)
}

/// Whether something comes within a moment.
fn comes(fd: &impl AsFd) -> bool {
    let wait = clock::timespec(LOOK);
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&wait)).is_ok_and(|ready| ready > 0)
}
