//! A running machine.

use files::failed;
use rustix::rand::{GetRandomFlags, getrandom};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::cache::{Cache, WorkDir, hexadecimal};
use crate::emulator::{self, Boot, Forward};
use crate::error::LabError;
use crate::image;
use crate::monitor::Monitor;
use crate::process::Process;
use crate::protocol::{Answer, Piece, put, request};
use crate::spec::{AGENT_PORT, Accel, Receive, SINK_PORT, Spec};
use crate::stream::Stream;

/// How long saving or restoring a machine's state may take: seconds, but for a disk that is busy.
const STATE_LIMIT: Duration = Duration::from_secs(120);
/// The file that says what a kept machine was started from.
const ORIGIN: &str = "origin.json";

/// The cache entries a machine boots from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entries {
    pub(crate) emulator: PathBuf,
    pub(crate) image: PathBuf,
}

/// The file with QEMU's migration stream.
pub(crate) const STATE: &str = "state";
/// The file with the control port's secret.
pub(crate) const TOKEN: &str = "token";
/// A saved machine's files.
pub(crate) struct Saved {
    /// QEMU's migration stream.
    pub(crate) state: PathBuf,
    /// The control port's secret.
    pub(crate) token: String,
}

/// A booted machine whose guests answer. It is killed when the value goes away, and by the kernel
/// when this process ends in any way.
pub struct Machine {
    process: Process,
    control: UnixStream,
    token: String,
    forwards: Vec<Forward>,
    streams: Vec<Stream>,
    command_limit: Option<Duration>,
    origin: Origin,
    work: WorkDir,
}

/// What a machine was started from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) spec: Spec,
    pub(crate) entries: Entries,
    pub(crate) accel: Accel,
}

impl Machine {
    /// Boots and waits until the machine and all guests answer. Neither files nor agents are in it
    /// yet: see [`Self::equip`].
    pub(crate) fn boot(
        spec: &Spec,
        entries: &Entries,
        accel: Accel,
        work: WorkDir,
    ) -> Result<Self, LabError> {
        let token = token()?;
        let initrd = work.path().join("initrd");
        write_initrd(spec, entries, &token, &initrd)?;
        let mut machine = Self::start(spec, entries, accel, work, &token, Start::Boot(&initrd))?;
        let limit = spec.boot_limit;
        let word = machine.answer(Some(limit), &mut std::io::sink())?;
        // The machine has it in memory now.
        let _ = std::fs::remove_file(&initrd);
        match word.as_deref() {
            Some("ready") => Ok(machine),
            Some(_) => Err(LabError::Boot { console: machine.console_tail() }),
            None => Err(LabError::BootLimit { limit, console: machine.console_tail() }),
        }
    }

    /// Restores a machine that was saved when it was ready.
    pub(crate) fn restore(
        spec: &Spec,
        entries: &Entries,
        accel: Accel,
        work: WorkDir,
        saved: &Saved,
    ) -> Result<Self, LabError> {
        let start = Start::Restore(&saved.state);
        let mut machine = Self::start(spec, entries, accel, work, &saved.token, start)?;
        let mut monitor = machine.monitor()?;
        monitor.restored().and_then(|()| monitor.resume()).map_err(|_| machine.stopped())?;
        drop(monitor);
        // Its clock stood still meanwhile, and it shares its random numbers with all that are
        // restored from the same state.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let adjust = format!("date -s @{} && echo {} >/dev/urandom", now.as_secs(), token()?);
        let limit = machine.replace_command_limit(Some(STATE_LIMIT));
        let status = machine.run(&adjust, &mut std::io::sink())?;
        machine.replace_command_limit(limit);
        if status == 0 { Ok(machine) } else { Err(machine.stopped()) }
    }

    fn start(
        spec: &Spec,
        entries: &Entries,
        accel: Accel,
        work: WorkDir,
        token: &str,
        start: Start<'_>,
    ) -> Result<Self, LabError> {
        let forwards = forwards(spec)?;
        let (shell, monitor) = (work.path().join("shell"), work.path().join("monitor"));
        let base = image::base(&entries.image);
        let (initrd, incoming) = match start {
            Start::Boot(initrd) => (initrd, None),
            // It is not read any more, but must be there.
            Start::Restore(state) => (base.as_path(), Some(state)),
        };
        let boot = Boot {
            emulator: &entries.emulator,
            image: &entries.image,
            initrd,
            shell: &shell,
            monitor: &monitor,
            outgoing: &work.path().join(STATE),
            incoming,
            accel,
            forwards: &forwards,
        };
        let here = failed("make a socket for", work.path());
        let (control, inside) = UnixStream::pair().map_err(here)?;
        let mut command = emulator::command(spec, &boot);
        command.stdin(Stdio::from(std::os::fd::OwnedFd::from(inside)));
        let process = Process::start(command, !spec.wires.is_empty())?;
        Ok(Machine {
            process,
            control,
            token: token.to_owned(),
            forwards,
            streams: Vec::new(),
            command_limit: spec.command_limit,
            origin: Origin { spec: spec.clone(), entries: entries.clone(), accel },
            work,
        })
    }

    /// Writes the machine's whole state into a directory, from which it can be restored any number
    /// of times, and lets it go on.
    pub(crate) fn save(&self, directory: &Path) -> Result<(), LabError> {
        let mut monitor = self.monitor()?;
        let outcome = monitor.save();
        monitor.resume()?;
        outcome?;
        let (from, to) = (self.work.path().join(STATE), directory.join(STATE));
        std::fs::rename(&from, &to).map_err(failed("move into place", &to))?;
        let token = directory.join(TOKEN);
        Ok(std::fs::write(&token, &self.token).map_err(failed("write", &token))?)
    }

    /// Keeps the machine as it is in a folder, which is made: its state, what it was started from
    /// and its console. `vmeter lab open` goes on from there, any number of times.
    ///
    /// # Errors
    /// When the folder exists or cannot be written, and for one of two machines that are joined.
    pub fn keep(&self, folder: &Path) -> Result<(), LabError> {
        if !self.origin.spec.wires.is_empty() {
            let problem =
                "a machine that is connected to another machine cannot be saved".to_owned();
            return Err(LabError::Spec { problem });
        }
        std::fs::create_dir_all(folder.parent().unwrap_or(folder))
            .and_then(|()| std::fs::create_dir(folder))
            .map_err(failed("make the directory", folder))?;
        self.save(folder)?;
        let origin = serde_json::to_vec_pretty(&self.origin).unwrap_or_default();
        for (name, contents) in [(ORIGIN, origin), ("console", self.console_tail().into_bytes())] {
            let path = folder.join(name);
            std::fs::write(&path, contents).map_err(failed("write", &path))?;
        }
        Ok(())
    }

    /// Restores a machine that was kept.
    ///
    /// # Errors
    /// When the folder does not hold one, the images it was started from are gone, or QEMU does not
    /// start.
    pub fn open(folder: &Path, cache: &Cache) -> Result<Self, LabError> {
        let path = folder.join(ORIGIN);
        let text = std::fs::read(&path).map_err(failed("read", &path))?;
        let Origin { spec, entries, accel } = serde_json::from_slice(&text)
            .map_err(|error| LabError::format(&path, error.to_string()))?;
        let path = folder.join(TOKEN);
        let token = std::fs::read_to_string(&path).map_err(failed("read", &path))?;
        let state = folder.join(STATE);
        let state = std::fs::canonicalize(&state).map_err(failed("find", &state))?;
        Self::restore(&spec, &entries, accel, cache.work_dir()?, &Saved { state, token })
    }

    fn monitor(&self) -> Result<Monitor, LabError> {
        Monitor::connect(&self.work.path().join("monitor"), STATE_LIMIT)
    }

    /// Puts the spec's files and agents into the machine, and waits until the agents serve.
    pub(crate) fn equip(&mut self, spec: &Spec) -> Result<(), LabError> {
        for (place, mode, contents) in image::equipment(spec)? {
            self.put(&place, mode, &contents)?;
        }
        if spec.agent.is_some() {
            let mut output = Vec::new();
            let limit = self.replace_command_limit(Some(spec.boot_limit));
            let status = self.run("/lab/start-agents.sh", &mut output);
            self.replace_command_limit(limit);
            let status = status.map_err(|error| match error {
                LabError::CommandLimit { limit, console } => LabError::BootLimit { limit, console },
                other => other,
            })?;
            if status != 0 {
                let problem = String::from_utf8_lossy(&output).into_owned();
                return Err(LabError::Agents { problem });
            }
        }
        for receive in &spec.receive {
            let stream = self.receive(*receive)?;
            self.streams.push(stream);
        }
        Ok(())
    }

    /// Writes a file in the machine.
    fn put(&mut self, place: &str, mode: u32, contents: &[u8]) -> Result<(), LabError> {
        let head = put(place, mode, contents.len());
        let sent = self.control.write_all(&head).and_then(|()| self.control.write_all(contents));
        if sent.is_err() {
            return Err(self.stopped());
        }
        match self.answer(Some(STATE_LIMIT), &mut std::io::sink())?.as_deref() {
            Some("0") => Ok(()),
            _ => Err(self.stopped()),
        }
    }

    /// Runs a shell script in the machine, passes its output (stdout and stderr, any bytes) to
    /// `out` as it comes and returns its exit status; 128 + N after signal N.
    ///
    /// # Errors
    /// When the command's time is up, the machine stops, or `out` takes no more; the machine is of
    /// no further use then.
    pub fn run(&mut self, script: &str, out: &mut dyn Write) -> Result<i32, LabError> {
        if self.control.write_all(&request(script)).is_err() {
            return Err(self.stopped());
        }
        let status =
            self.answer(self.command_limit, out)?.ok_or_else(|| LabError::CommandLimit {
                limit: self.command_limit.unwrap_or_default(),
                console: self.console_tail(),
            })?;
        status.parse().map_err(|_| self.stopped())
    }

    /// Starts a TCP stream into a guest's sink; it ends when the value is dropped.
    ///
    /// # Errors
    /// When there is no such guest.
    pub fn receive(&self, receive: Receive) -> Result<Stream, LabError> {
        let port = self.port(receive.guest, SINK_PORT).ok_or_else(|| LabError::Spec {
            problem: format!("guest {} does not receive streams in this machine", receive.guest),
        })?;
        Ok(Stream::start(port, receive.bytes_per_second))
    }

    /// Where on this host the agent of a guest, or (0) of the machine itself, is reached; `None`
    /// where none was asked for.
    #[must_use]
    pub fn agent(&self, guest: u32) -> Option<SocketAddr> {
        let port = self.port(guest, AGENT_PORT)?;
        Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    fn port(&self, guest: u32, inside: u16) -> Option<u16> {
        let found = self.forwards.iter().find(|f| (f.guest, f.inside) == (guest, inside));
        found.map(|forward| forward.port)
    }

    /// The console's last lines: Xen, the kernel and the lab's own messages.
    pub fn console_tail(&self) -> String {
        self.process.console.shown()
    }

    /// Changes how long a command may take and returns what it was.
    pub fn replace_command_limit(&mut self, limit: Option<Duration>) -> Option<Duration> {
        std::mem::replace(&mut self.command_limit, limit)
    }

    /// The second serial port, where a command `lab-shell` talks to a terminal.
    pub(crate) fn shell_port(&self) -> Result<UnixStream, LabError> {
        let path = self.work.path().join("shell");
        Ok(UnixStream::connect(&path).map_err(failed("connect to", &path))?)
    }

    /// Stops the machine. Dropping does the same; here the end of QEMU is waited for.
    pub fn shutdown(self) {
        drop(self);
    }

    /// Passes output on until the token comes; `None` when the time is up.
    fn answer(
        &mut self,
        limit: Option<Duration>,
        out: &mut dyn Write,
    ) -> Result<Option<String>, LabError> {
        let end = limit.map(|limit| Instant::now() + limit);
        let mut answer = Answer::new(&self.token);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(None);
            }
            // Cannot fail: the time is not zero.
            let _ = self.control.set_read_timeout(left);
            let piece = match self.control.read(&mut buffer) {
                Ok(0) => return Err(self.stopped()),
                Ok(n) => answer.take(&buffer[..n]),
                Err(error) if is_wait(&error) => continue,
                Err(_) => return Err(self.stopped()),
            };
            let (output, word) = match piece {
                Piece::Output(output) => (output, None),
                Piece::End(output, word) => (output, Some(word)),
            };
            out.write_all(&output).and_then(|()| out.flush()).map_err(LabError::Output)?;
            if word.is_some() {
                return Ok(word);
            }
        }
    }

    fn stopped(&self) -> LabError {
        // QEMU's last words may come a moment after its sockets close.
        std::thread::sleep(Duration::from_millis(200));
        LabError::Stopped { emulator: self.process.errors.shown(), console: self.console_tail() }
    }
}

/// How a machine begins.
enum Start<'a> {
    /// From this whole root file system.
    Boot(&'a Path),
    /// From this file with a machine's state.
    Restore(&'a Path),
}

fn is_wait(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

fn write_initrd(spec: &Spec, entries: &Entries, token: &str, path: &Path) -> Result<(), LabError> {
    let base = image::base(&entries.image);
    std::fs::copy(&base, path).map_err(failed("copy", &base))?;
    let mut file =
        std::fs::OpenOptions::new().append(true).open(path).map_err(failed("write", path))?;
    image::overlay(spec, token, &mut file)
}

/// A free port of loopback for each sink and agent. Another program may take one before QEMU does;
/// QEMU then says so and ends.
fn forwards(spec: &Spec) -> Result<Vec<Forward>, LabError> {
    let sinks = spec.sinks().into_iter().map(|guest| (guest, SINK_PORT));
    let agents = spec.agents().filter(|_| spec.agent.is_some()).map(|guest| (guest, AGENT_PORT));
    let wanted: Vec<(u32, u16)> = sinks.chain(agents).collect();
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    // All are held until the last is found, so that no port comes twice.
    let listeners: Result<Vec<_>, _> = wanted.iter().map(|_| bind()).collect();
    let ports = listeners.and_then(|all| {
        all.iter().map(|one| Ok(one.local_addr()?.port())).collect::<Result<Vec<_>, _>>()
    });
    let ports = ports.map_err(failed("find a free port on", "127.0.0.1".as_ref()))?;
    let pairs = ports.into_iter().zip(wanted);
    Ok(pairs.map(|(port, (guest, inside))| Forward { port, guest, inside }).collect())
}

/// 128 random bits as text.
fn token() -> Result<String, LabError> {
    let mut bits = [0; 16];
    rustix::io::retry_on_intr(|| getrandom(&mut bits, GetRandomFlags::empty()))
        .map_err(|error| failed("read", Path::new("getrandom(2)"))(error.into()))?;
    Ok(hexadecimal(&bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ() {
        assert_eq!(token().unwrap().len(), 32);
        assert_ne!(token().unwrap(), token().unwrap());
    }
}
