//! Web servers: a small static one for tests, and for hosts that have no other (GET and HEAD, files
//! sent by the kernel, connections kept alive); and real ones, started as processes.

mod client;
mod files;
mod process;
mod software;

use crate::address::listen;
use crate::{Control, Error, clock};
use client::{Client, Next};
use files::Files;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::SocketFlags;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

pub use process::Process;
pub use software::{Foreign, Software};

/// What a server that ran reports of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Its software and version, such as `nginx/1.22.1`; `None` where it reports none.
    pub version: Option<String>,
}

impl About {
    /// vmeter's own server.
    #[must_use]
    pub fn own() -> Self {
        Self { version: Some(concat!("vmeter/", env!("CARGO_PKG_VERSION")).to_owned()) }
    }
}

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// The listener's mark among the events.
const LISTENER: u64 = u64::MAX;
/// How often the stop flag and idle connections are looked at.
const TICK: u64 = clock::SECOND / 5;
/// Turns between two looks at new events.
const TURNS: usize = 64;
/// How long a connection may say nothing.
const IDLE: u64 = 60 * clock::SECOND;

/// A static server.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    files: Files,
    counts: Counts,
}

/// What a server has done.
#[derive(Debug, Default)]
pub struct Counts {
    /// Requests answered with 200.
    pub served: AtomicU64,
    /// Requests answered otherwise.
    pub refused: AtomicU64,
    /// Bytes of bodies sent.
    pub bytes: AtomicU64,
}

impl Server {
    /// Serves the files below `root` at `address` (`HOST:PORT`; port 0 is any free one).
    ///
    /// # Errors
    /// No such folder, no such address, or a port that is taken.
    pub fn bind(root: &Path, address: &str) -> Result<Self, Error> {
        let files = Files::below(root)?;
        let listener = listen(address, BACKLOG)?;
        listener.set_nonblocking(true).map_err(Error::io("cannot use the listening socket"))?;
        Ok(Self { listener, files, counts: Counts::default() })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> Result<SocketAddr, Error> {
        self.listener.local_addr().map_err(Error::io("cannot use the listening socket"))
    }

    /// What it has done so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Serves on so many threads until it is told to stop.
    ///
    /// # Errors
    /// Where epoll cannot be had.
    pub fn run(&self, threads: usize, control: &Control) -> Result<(), Error> {
        let epolls: Vec<OwnedFd> = (0..threads.max(1))
            .map(|_| self.watch())
            .collect::<Result<_, _>>()
            .map_err(Error::io("epoll"))?;
        thread::scope(|scope| {
            for epoll in &epolls {
                scope.spawn(move || Worker::new(self, epoll).run(control));
            }
        });
        Ok(())
    }

    fn watch(&self) -> Result<OwnedFd, Errno> {
        let watcher = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(LISTENER);
        let flags = epoll::EventFlags::IN | epoll::EventFlags::EXCLUSIVE;
        epoll::add(&watcher, &self.listener, data, flags)?;
        Ok(watcher)
    }
}

/// One serving thread.
struct Worker<'a> {
    server: &'a Server,
    epoll: &'a OwnedFd,
    clients: HashMap<u64, Client>,
    next: u64,
    /// Clients whose turn ended before they had all.
    waiting: VecDeque<u64>,
}

impl<'a> Worker<'a> {
    fn new(server: &'a Server, epoll: &'a OwnedFd) -> Self {
        let (clients, waiting) = (HashMap::new(), VecDeque::new());
        Self { server, epoll, clients, next: 0, waiting }
    }

    fn run(mut self, control: &Control) {
        let mut events = Vec::with_capacity(256);
        let mut tick = 0;
        while !control.stopped() {
            let wait = clock::timespec(if self.waiting.is_empty() { TICK } else { 0 });
            match epoll::wait(self.epoll, spare_capacity(&mut events), Some(&wait)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
            let now = clock::now();
            for event in events.drain(..) {
                match event.data.u64() {
                    _ if control.stopped() => return,
                    LISTENER => self.accept(now),
                    key => self.serve(key, now, false),
                }
            }
            for _ in 0..self.waiting.len().min(TURNS) {
                if let Some(key) = self.waiting.pop_front() {
                    self.serve(key, now, true);
                }
            }
            if now >= tick {
                self.clients.retain(|_, client| now < client.heard + IDLE);
                tick = now + clock::SECOND;
            }
        }
    }

    fn accept(&mut self, now: u64) {
        // A few at a time; the rest make another event.
        for _ in 0..16 {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let Ok(socket) = rustix::net::accept_with(&self.server.listener, flags) else { return };
            // Head and body are two calls; neither shall wait for the other's acknowledgement.
            let _ = rustix::net::sockopt::set_tcp_nodelay(&socket, true);
            let data = epoll::EventData::new_u64(self.next);
            let flags = epoll::EventFlags::IN
                | epoll::EventFlags::OUT
                | epoll::EventFlags::RDHUP
                | epoll::EventFlags::ET;
            if epoll::add(self.epoll, &socket, data, flags).is_ok() {
                self.clients.insert(self.next, Client::new(socket, now));
                self.next += 1;
            }
        }
    }

    /// A turn of a client: by an event, unless it waits for one, or because it waited.
    fn serve(&mut self, key: u64, now: u64, waited: bool) {
        if let Some(client) = self.clients.get_mut(&key)
            && client.waits == waited
        {
            client.heard = now;
            client.waits = false;
            match client.go_on(&self.server.files, &self.server.counts) {
                Next::Wait => {}
                Next::Again => {
                    client.waits = true;
                    self.waiting.push_back(key);
                }
                Next::Close => {
                    self.clients.remove(&key);
                }
            }
        }
    }
}

impl Counts {
    fn count(&self, status: u16, body: u64) {
        let which = if status == 200 { &self.served } else { &self.refused };
        which.fetch_add(1, Relaxed);
        self.bytes.fetch_add(body, Relaxed);
    }
}

#[cfg(test)]
#[path = "tests.rs"]
pub(crate) mod tests;
