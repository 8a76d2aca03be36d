//! A running machine.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::setpriority_process;

use crate::cache::{WorkDir, hexadecimal};
use crate::emulator::{self, Boot, Forward};
use crate::error::LabError;
use crate::image;
use crate::protocol::{Answer, Piece, request};
use crate::spec::{AGENT_PORT, Accel, Receive, SINK_PORT, Spec};
use crate::stream::Stream;

/// How much of a console is kept.
const KEPT: usize = 16 << 10;
/// How many lines of it an error shows.
const SHOWN: usize = 25;

/// The cache entries a machine boots from.
#[derive(Clone, Debug)]
pub(crate) struct Entries {
    pub(crate) emulator: PathBuf,
    pub(crate) image: PathBuf,
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
    work: WorkDir,
}

impl Machine {
    /// Boots and waits until the machine and all guests answer.
    pub(crate) fn boot(
        spec: &Spec,
        entries: &Entries,
        accel: Accel,
        work: WorkDir,
    ) -> Result<Self, LabError> {
        let token = token();
        let initrd = work.path().join("initrd");
        write_initrd(spec, entries, &token, &initrd)?;
        let forwards = forwards(spec)?;
        let shell = work.path().join("shell");
        let boot = Boot {
            emulator: &entries.emulator,
            image: &entries.image,
            initrd: &initrd,
            shell: &shell,
            accel,
            forwards: &forwards,
        };
        let here = LabError::io("make a socket for", work.path());
        let (control, inside) = UnixStream::pair().map_err(here)?;
        let mut command = emulator::command(spec, &boot);
        command.stdin(Stdio::from(std::os::fd::OwnedFd::from(inside)));
        let process = Process::start(command, !spec.wires.is_empty())?;
        let mut machine = Machine {
            process,
            control,
            token,
            forwards,
            streams: Vec::new(),
            command_limit: spec.command_limit,
            work,
        };
        let limit = spec.boot_limit;
        let word = machine.answer(Some(limit), &mut std::io::sink())?;
        match word.as_deref() {
            Some("ready") => {}
            Some(_) => return Err(LabError::Boot { console: machine.console_tail() }),
            None => return Err(LabError::BootLimit { limit, console: machine.console_tail() }),
        }
        // The machine has it in memory now.
        let _ = std::fs::remove_file(&initrd);
        for receive in &spec.receive {
            let stream = machine.receive(*receive)?;
            machine.streams.push(stream);
        }
        Ok(machine)
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
            problem: format!("no guest {} takes streams in this machine", receive.guest),
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
        self.process.console.lines(SHOWN)
    }

    /// Changes how long a command may take and returns what it was.
    pub fn replace_command_limit(&mut self, limit: Option<Duration>) -> Option<Duration> {
        std::mem::replace(&mut self.command_limit, limit)
    }

    /// The second serial port, where a command `lab-shell` talks to a terminal.
    pub(crate) fn shell_port(&self) -> Result<UnixStream, LabError> {
        let path = self.work.path().join("shell");
        UnixStream::connect(&path).map_err(LabError::io("connect to", &path))
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
        LabError::Stopped {
            emulator: self.process.errors.lines(SHOWN),
            console: self.console_tail(),
        }
    }
}

fn is_wait(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// The nice value of machines that are measured.
const PREFERRED: i32 = -10;

/// The QEMU process and what it prints.
struct Process {
    stop: Option<mpsc::Sender<()>>,
    keeper: Option<JoinHandle<()>>,
    console: Tail,
    errors: Tail,
}

impl Process {
    /// Starts QEMU from a thread that lives as long as QEMU is wanted: the kernel kills it when the
    /// thread that started it ends, and the caller's thread may end earlier.
    ///
    /// One that is `measured` goes before the host's other work, where that is permitted: a machine
    /// that must wait takes what came meanwhile in batches, which cost less.
    fn start(mut command: std::process::Command, measured: bool) -> Result<Self, LabError> {
        let (console, errors) = (Tail::default(), Tail::default());
        let (stop, stopped) = mpsc::channel::<()>();
        let (report, started) = mpsc::channel();
        let tails = (console.clone(), errors.clone());
        let keeper = std::thread::spawn(move || {
            if measured {
                // Of this thread alone, from which QEMU inherits it.
                let _ = setpriority_process(None, PREFERRED);
            }
            let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
            // Closes our copy of QEMU's end of the control socket: reading it ends with QEMU.
            drop(command);
            match child {
                Ok(child) => {
                    let _ = report.send(Ok(()));
                    keep(child, tails, &stopped);
                }
                Err(error) => drop(report.send(Err(error))),
            }
        });
        let outcome = started.recv().unwrap_or_else(|_| Err(std::io::Error::other("no thread")));
        outcome.map_err(|source| LabError::Program {
            program: "setpriv".to_owned(),
            package: "package util-linux",
            source,
        })?;
        Ok(Process { stop: Some(stop), keeper: Some(keeper), console, errors })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

/// Collects a child's output until it is to stop, then kills it and waits for its end.
fn keep(mut child: Child, (console, errors): (Tail, Tail), stopped: &mpsc::Receiver<()>) {
    let mut readers = Vec::new();
    if let Some(pipe) = child.stdout.take() {
        readers.push(std::thread::spawn(move || console.fill(pipe)));
    }
    if let Some(pipe) = child.stderr.take() {
        readers.push(std::thread::spawn(move || errors.fill(pipe)));
    }
    // Ends when the sender is dropped.
    let _ = stopped.recv();
    let _ = child.kill();
    let _ = child.wait();
    for reader in readers {
        let _ = reader.join();
    }
}

/// The end of a text that keeps growing.
#[derive(Clone, Default)]
struct Tail(Arc<Mutex<Vec<u8>>>);

impl Tail {
    fn fill(&self, mut pipe: impl Read) {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = pipe.read(&mut buffer) {
            let Ok(mut kept) = self.0.lock() else { return };
            kept.extend_from_slice(&buffer[..n]);
            if kept.len() > 2 * KEPT {
                let surplus = kept.len() - KEPT;
                kept.drain(..surplus);
            }
        }
    }

    /// The last lines, without what a terminal would act upon.
    fn lines(&self, most: usize) -> String {
        let Ok(kept) = self.0.lock() else { return String::new() };
        let text: String = String::from_utf8_lossy(&kept)
            .chars()
            .filter(|&letter| letter == '\n' || !letter.is_control())
            .collect();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(most)..].join("\n")
    }
}

fn write_initrd(
    spec: &Spec,
    entries: &Entries,
    token: &str,
    path: &std::path::Path,
) -> Result<(), LabError> {
    let base = entries.image.join("base.cpio");
    std::fs::copy(&base, path).map_err(LabError::io("copy", &base))?;
    let mut file =
        std::fs::OpenOptions::new().append(true).open(path).map_err(LabError::io("write", path))?;
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
    let ports = ports.map_err(LabError::io("find a free port on", "127.0.0.1".as_ref()))?;
    let pairs = ports.into_iter().zip(wanted);
    Ok(pairs.map(|(port, (guest, inside))| Forward { port, guest, inside }).collect())
}

/// 128 random bits as text.
fn token() -> String {
    use std::hash::{BuildHasher, Hasher};
    // Each state has its own random keys.
    let random = || std::collections::hash_map::RandomState::new().build_hasher().finish();
    hexadecimal(&[random().to_le_bytes(), random().to_le_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_keeps_the_last_lines_and_no_escapes() {
        let tail = Tail::default();
        let text: String = (0..10_000).map(|n| format!("\x1b[1mline {n}\r\n\n")).collect();
        tail.fill(text.as_bytes());
        assert_eq!(tail.lines(2), "[1mline 9998\n[1mline 9999");
        assert!(tail.0.lock().unwrap().len() <= 2 * KEPT);
    }

    #[test]
    fn tokens_differ() {
        assert_eq!(token().len(), 32);
        assert_ne!(token(), token());
    }

    #[test]
    fn the_child_ends_with_its_process_value() {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "echo $$; exec sleep 1000"]);
        let process = Process::start(command, false).unwrap();
        let pid = loop {
            let text = process.console.lines(1);
            if !text.is_empty() {
                break text;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let proc = PathBuf::from(format!("/proc/{pid}"));
        assert!(proc.exists());
        drop(process);
        assert!(!proc.exists());
    }
}
