//! The agent's loop: takes connections and answers requests, one after the other on each.

use crate::message::{Hello, PROTOCOL, Reply, Request};
use crate::work::Job;
use crate::{Channel, Error, Security, Stage, Stream};
use platform::{Choice, Source, Want};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::AsFd;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use workload::{Environment, clock};

/// Connections that are served at a time; a guest could else take all memory.
const MOST: usize = 8;
/// Workloads that a connection may start in its life.
const MOST_JOBS: usize = 10_000;
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
        Ok(Self::Unix(UnixListener::bind(path)?))
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
        let busy = AtomicUsize::new(0);
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
                let busy = &busy;
                scope.spawn(move || {
                    if let Err(error) = self.converse(stream, security, trusted, stop) {
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
        trusted: bool,
        stop: &AtomicBool,
    ) -> Result<(), Error> {
        let mut channel = Channel::accept(stream, security)?;
        let mut source = platform::open(self.platform, &self.root).map_err(|e| e.to_string());
        let (mut greeted, mut jobs) = (false, Vec::new());
        while !stop.load(SeqCst) {
            if !channel.has_more() && !comes(channel.stream()) {
                continue;
            }
            let request: Request = match channel.receive() {
                Ok(request) => request,
                // The other end is done.
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            let reply = match request {
                Request::Hello { protocol } if protocol != PROTOCOL => {
                    channel.send(&Reply::Hello(Box::new(hello(&source))))?;
                    return Err(Error::Version { theirs: protocol });
                }
                Request::Hello { .. } => {
                    greeted = true;
                    Reply::Hello(Box::new(hello(&source)))
                }
                _ if !greeted => Reply::Failed("the first request is a hello".to_owned()),
                Request::Clock => Reply::Clock { monotonic: clock::now() },
                Request::Snapshot { vcpus } => snapshot(&mut source, vcpus),
                Request::Start { .. } if !trusted => Reply::Failed(
                    "workloads are for those who have a key, or come by the unix socket".to_owned(),
                ),
                Request::Start { work } => self.start(&work, &mut jobs),
                Request::Stage { job } => with(&mut jobs, job, |job| job.stage()),
                Request::Stop { job } => with(&mut jobs, job, |job| {
                    job.stop();
                    job.stage()
                }),
            };
            channel.send(&reply)?;
        }
        Ok(())
    }

    /// Starts a workload and gives it a number.
    fn start(&self, work: &str, jobs: &mut Vec<Job>) -> Reply {
        if jobs.len() >= MOST_JOBS {
            return Reply::Failed(format!("a connection starts at most {MOST_JOBS} workloads"));
        }
        let parsed = serde_json::from_str(work).map_err(|error| format!("no workload: {error}"));
        match parsed.and_then(|work| Job::start(work, &self.instance)) {
            Ok(started) => {
                let address = started.address.clone();
                jobs.push(started);
                Reply::Started { job: jobs.len() as u32 - 1, address }
            }
            Err(error) => Reply::Failed(error),
        }
    }
}

fn snapshot(source: &mut Result<Box<dyn Source>, String>, vcpus: bool) -> Reply {
    match source {
        Ok(source) => match source.read(Want { vcpus, placement: false, exact_idle: true }) {
            Ok(snapshot) => Reply::Snapshot(Box::new(snapshot)),
            Err(error) => Reply::Failed(error.to_string()),
        },
        Err(error) => Reply::Failed(error.clone()),
    }
}

fn with(jobs: &mut [Job], job: u32, what: impl FnOnce(&mut Job) -> Stage) -> Reply {
    match jobs.get_mut(job as usize) {
        Some(job) => Reply::Stage(what(job)),
        None => Reply::Failed(format!("there is no workload {job} on this connection")),
    }
}

fn hello(source: &Result<Box<dyn Source>, String>) -> Hello {
    Hello {
        protocol: PROTOCOL,
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        environment: Environment::read(None),
        unreadable: source.as_ref().err().cloned(),
    }
}

/// Whether something comes within a moment.
fn comes(fd: &impl AsFd) -> bool {
    let wait = clock::timespec(LOOK);
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&wait)).is_ok_and(|ready| ready > 0)
}
