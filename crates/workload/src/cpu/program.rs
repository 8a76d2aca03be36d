//! An instance whose work is a program: one run that counts, and more until the end.

use super::instance::{Event, Events, unexpected};
use super::protocol::{Counted, Reply, Spent, send};
use crate::{Error, clock};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// How much of what a program says about its failure is kept, in bytes.
const TAIL: usize = 4096;
/// How long the last of it may take after the program's end: a process that has left the group
/// may hold the pipe open.
const TAIL_WAIT: Duration = Duration::from_secs(1);

/// Runs `command`, says what it took, and runs it again until the orders end.
pub(super) fn work(
    command: &str,
    index: usize,
    events: &Events,
    output: &mut impl Write,
) -> Result<(), Error> {
    send(output, &Reply::Ready { functions: None })?;
    let Some(started) = events.start()? else { return Ok(()) };
    let before = Spent::of_children();
    let Some(ended) = Run::start(command, index, &events.sender)?.end(events)? else {
        return Ok(());
    };
    if !ended.status.success() {
        return Err(Error::Peer(failure(&ended)));
    }
    let seconds = ended.at_ns.saturating_sub(started) as f64 / 1e9;
    let spent = Spent::of_children().since(before);
    send(output, &Reply::Counted(Counted { seconds, spent, checksum: None }))?;
    let mut extra = 0;
    while let Some(ended) = Run::start(command, index, &events.sender)?.end(events)? {
        // A command that cannot be repeated keeps the CPU less busy, but its time counts.
        extra += u64::from(ended.status.success());
        if !ended.status.success() {
            thread::sleep(Duration::from_millis(10));
        }
    }
    send(output, &Reply::Extra { done: extra })
}

fn failure(ended: &Ended) -> String {
    let said = String::from_utf8_lossy(&ended.said);
    match said.trim() {
        "" => format!("the program failed ({}) without output", ended.status),
        said => format!("the program failed ({}): {said}", ended.status),
    }
}

/// How a run ended.
#[derive(Debug)]
struct Ended {
    at_ns: u64,
    status: ExitStatus,
    said: Vec<u8>,
}

/// A running program with all of its process group, which ends with this.
#[derive(Debug)]
struct Run {
    child: Child,
    pid: Pid,
    said: Receiver<Vec<u8>>,
    /// Once it was waited for, when its number may be another's.
    status: Option<ExitStatus>,
}

impl Run {
    fn start(command: &str, index: usize, events: &Sender<Event>) -> Result<Self, Error> {
        let what = || Error::io::<std::io::Error>("running sh");
        let mut child = Command::new("sh")
            .args(["-c", command])
            .env("VMETER_INSTANCE", index.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(what())?;
        let said = listen(child.stderr.take());
        let pid = Pid::from_child(&child);
        let events = events.clone();
        thread::spawn(move || {
            // It stays a zombie, so that its number is its own until the group is killed.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
            let _ = events.send(Event::ProgramEnded { at_ns: clock::now() });
        });
        Ok(Self { child, pid, said, status: None })
    }

    /// Waits for its end; `None` where the orders ended first.
    fn end(mut self, events: &Events) -> Result<Option<Ended>, Error> {
        match events.next() {
            Event::ProgramEnded { at_ns } => {
                let status = self.kill().map_err(Error::io("cannot wait for the program"))?;
                let said = self.said.recv_timeout(TAIL_WAIT).unwrap_or_default();
                Ok(Some(Ended { at_ns, status, said }))
            }
            Event::Order(Ok(None)) => Ok(None),
            other => Err(unexpected(other)),
        }
    }

    /// Kills what is left of the group, once, and waits.
    fn kill(&mut self) -> std::io::Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        // It fails where all have ended.
        let _ = kill_process_group(self.pid, Signal::KILL);
        let status = self.child.wait()?;
        self.status = Some(status);
        Ok(status)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Collects the last of what the program writes.
fn listen(stderr: Option<ChildStderr>) -> Receiver<Vec<u8>> {
    let (sender, said) = channel();
    thread::spawn(move || {
        let mut tail = Vec::new();
        let mut part = [0; TAIL];
        if let Some(mut stderr) = stderr {
            while let Ok(count @ 1..) = stderr.read(&mut part) {
                tail.extend_from_slice(&part[..count]);
                tail.drain(..tail.len().saturating_sub(TAIL));
            }
        }
        let _ = sender.send(tail);
    });
    said
}
