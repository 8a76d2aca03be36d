//! A real server, nginx or Apache: a process group with a configuration of its own, which ends
//! with its workload or, however vmeter ends, with vmeter.

use super::software::{Foreign, Setup};
use crate::address::reserve;
use crate::{Control, Error, clock};
use rustix::process::{Pid, Signal, geteuid, kill_process, kill_process_group};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long it may take to answer its first request. An agent's controller waits 10 s.
const START: Duration = Duration::from_secs(8);
/// How long it may take to end when it is asked to, before it is killed: what it wrote goes anyway.
const END: Duration = Duration::from_millis(500);
/// How long an answer to the first request is waited for.
const ANSWER: Duration = Duration::from_secs(1);
/// How often a server that starts or ends is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// How often one that serves is: it shall not cost what is measured.
const TICK: Duration = Duration::from_millis(200);
/// Worker processes at most.
const MOST_WORKERS: usize = 256;
/// How much of what it says about its failure is kept, in bytes.
const TAIL: u64 = 4096;

/// Leads the group and outlives vmeter, whose end is the end of its input.
const GUARD: &str = "read -r line; rm -rf \"$1\"; kill -KILL 0";
/// Each connection and each file that is sent is an open file.
const SERVER: &str = "ulimit -S -n \"$(ulimit -H -n)\"; exec \"$@\"";

/// A running server; it ends with this.
#[derive(Debug)]
pub struct Process {
    foreign: &'static Foreign,
    address: SocketAddr,
    version: Option<String>,
    server: Child,
    guard: Guard,
    folder: Folder,
}

impl Process {
    /// Starts it over the files below `root` at `listen` (`HOST:PORT`; port 0 is any free one)
    /// with so many workers, and waits until it answers.
    ///
    /// # Errors
    /// Where the program is missing, the folder or address cannot be served, or the server says
    /// what it does not like.
    pub fn start(
        foreign: &'static Foreign,
        root: &Path,
        listen: &str,
        workers: usize,
    ) -> Result<Self, Error> {
        if workers > MOST_WORKERS {
            return Err(Error::Plan(format!(
                "invalid number of workers: expected at most {MOST_WORKERS}"
            )));
        }
        let program = find(foreign)?;
        let version = version(&program);
        let serving = || format!("cannot serve {}", root.display());
        let root = fs::canonicalize(root).map_err(Error::io(serving()))?;
        fs::read_dir(&root).map_err(Error::io(serving()))?;
        let folder = Folder::new()?;
        for path in [root.as_path(), &folder.0] {
            plain(path, foreign)?;
        }
        // Kept until the server has the port too, so that nobody else takes it.
        let (_reserved, address) = reserve(listen)?;
        let (log, file) = (folder.0.join("log"), folder.0.join("configuration"));
        let text = (foreign.configuration)(&Setup {
            own: &folder.0,
            log: &log,
            root: &root,
            address,
            workers: workers.max(1),
            as_root: geteuid().is_root(),
        });
        fs::write(&file, text).map_err(Error::io(file.display().to_string()))?;
        let guard = Guard::start(&folder.0)?;
        let output = || OpenOptions::new().append(true).create(true).open(&log);
        let writing = || log.display().to_string();
        let server = Command::new("sh")
            .args(["-c", SERVER, "sh"])
            .arg(program)
            .args(foreign.arguments)
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(output().map_err(Error::io(writing()))?)
            .stderr(output().map_err(Error::io(writing()))?)
            .process_group(guard.pid.as_raw_nonzero().get())
            .spawn()
            .map_err(Error::io(format!("running {}", foreign.name)))?;
        let mut process = Self { foreign, address, version, server, guard, folder };
        process.ready()?;
        Ok(process)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The version that the program reports, such as `nginx/1.22.1` or `Apache/2.4.62 (Debian)`;
    /// `None` where it reports none.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Lets it serve until it is told to stop.
    ///
    /// # Errors
    /// Where it ends before: what it said.
    pub fn run(mut self, control: &Control) -> Result<(), Error> {
        while !control.stopped() {
            self.lives()?;
            thread::sleep(TICK);
        }
        Ok(())
    }

    /// Waits until it answers a request.
    fn ready(&mut self) -> Result<(), Error> {
        let until = Instant::now() + START;
        let at = SocketAddr::new(reachable(self.address.ip()), self.address.port());
        while !answers(at) {
            self.lives()?;
            if Instant::now() >= until {
                let why = format!("it did not answer at {at} within {} s", START.as_secs());
                return Err(self.failed(&why));
            }
            thread::sleep(LOOK);
        }
        self.lives()
    }

    fn lives(&mut self) -> Result<(), Error> {
        match self.server.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.failed(&format!("it exited ({status})"))),
            Err(error) => Err(Error::io(format!("cannot wait for {}", self.foreign.name))(error)),
        }
    }

    fn failed(&self, why: &str) -> Error {
        let said = tail(&self.folder.0.join("log")).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let name = self.foreign.name;
        Error::Peer(match said.trim() {
            "" => format!("{name}: {why} without output"),
            said => format!("{name}: {why}: {said}"),
        })
    }
}

impl Drop for Process {
    /// Asks it to end, which it passes on to its workers; then the group is killed.
    fn drop(&mut self) {
        if matches!(self.server.try_wait(), Ok(None)) {
            let _ = kill_process(Pid::from_child(&self.server), Signal::TERM);
        }
        let until = Instant::now() + END;
        while matches!(self.server.try_wait(), Ok(None)) && Instant::now() < until {
            thread::sleep(LOOK);
        }
        self.guard.kill();
        let _ = self.server.wait();
    }
}

/// The leader of the server's process group.
#[derive(Debug)]
struct Guard {
    child: Child,
    pid: Pid,
    /// It was waited for, and its number may be another's.
    over: bool,
}

impl Guard {
    /// `folder` is removed where vmeter is not there any more to do it.
    fn start(folder: &Path) -> Result<Self, Error> {
        let child = Command::new("sh")
            .args(["-c", GUARD, "sh"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(Error::io("running sh"))?;
        let pid = Pid::from_child(&child);
        Ok(Self { child, pid, over: false })
    }

    /// Kills what is left of the group, once.
    fn kill(&mut self) {
        if !self.over {
            let _ = kill_process_group(self.pid, Signal::KILL);
            let _ = self.child.wait();
            self.over = true;
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A folder that only this user can enter, and that nobody made before; it goes with this.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, Error> {
        let name = format!("vmeter-serve-{}-{:x}", std::process::id(), clock::now());
        let path = std::env::temp_dir().join(name);
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(Error::io(path.display().to_string()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Where a server's program is: also where only root's path leads.
fn find(foreign: &Foreign) -> Result<PathBuf, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .chain(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from))
        .collect();
    let all = foreign.programs.iter().flat_map(|name| folders.iter().map(move |f| f.join(name)));
    all.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        let (name, packages) = (foreign.name, foreign.packages);
        Error::Plan(format!("{name} not found: install the package {packages}"))
    })
}

/// What a server's program reports with `-v`: nginx on standard error, Apache on standard output.
fn version(program: &Path) -> Option<String> {
    let said = Command::new(program).arg("-v").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    let line = text.lines().find_map(|line| line.split_once("version:"))?;
    Some(line.1.trim().to_owned()).filter(|version| !version.is_empty())
}

/// Refuses what would mean something else in a configuration.
fn plain(path: &Path, foreign: &Foreign) -> Result<(), Error> {
    let special = |c: char| c.is_control() || "\"'\\$%{};#<>".contains(c);
    match path.to_str() {
        Some(text) if !text.contains(special) => Ok(()),
        _ => Err(Error::Plan(format!(
            "cannot pass the path {path:?} to {}: use a directory with only letters, digits \
             and - _ . /",
            foreign.name
        ))),
    }
}

/// Where a server that listens at this address can be reached from here.
fn reachable(listening: IpAddr) -> IpAddr {
    match listening {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// Whether a server answers a request. Its socket takes connections before its workers do.
fn answers(at: SocketAddr) -> bool {
    let ask = || -> std::io::Result<[u8; 5]> {
        let mut stream = TcpStream::connect_timeout(&at, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.write_all(b"HEAD / HTTP/1.0\r\n\r\n")?;
        let mut begin = [0; 5];
        stream.read_exact(&mut begin)?;
        Ok(begin)
    };
    ask().is_ok_and(|begin| &begin == b"HTTP/")
}

/// The last of a file.
fn tail(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut said = Vec::new();
    file.take(TAIL).read_to_end(&mut said)?;
    Ok(said)
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
