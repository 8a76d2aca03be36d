//! The QEMU process of a machine, and the last of what it prints.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use rustix::process::setpriority_process;

use crate::error::LabError;

/// How many bytes of a console are kept.
const KEPT: usize = 16 << 10;
/// How many lines of it an error shows.
const SHOWN: usize = 25;

/// The nice value of machines that are measured.
const PREFERRED: i32 = -10;

/// The QEMU process and what it prints.
pub(crate) struct Process {
    stop: Option<mpsc::Sender<()>>,
    keeper: Option<JoinHandle<()>>,
    /// What the machine prints on its console.
    pub(crate) console: Tail,
    /// What QEMU itself prints.
    pub(crate) errors: Tail,
}

impl Process {
    /// Starts QEMU from a thread that lives as long as QEMU is wanted: the kernel kills it when the
    /// thread that started it ends, and the caller's thread may end earlier.
    ///
    /// One that is `measured` goes before the host's other work, where that is permitted: a machine
    /// that must wait takes what came meanwhile in batches, which cost less.
    pub(crate) fn start(mut command: Command, measured: bool) -> Result<Self, LabError> {
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
pub(crate) struct Tail(Arc<Mutex<Vec<u8>>>);

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

    /// What an error shows: the last lines, without what a terminal would act upon.
    pub(crate) fn shown(&self) -> String {
        self.lines(SHOWN)
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::time::Duration;

    #[test]
    fn a_tail_keeps_the_last_lines_and_no_escapes() {
        let tail = Tail::default();
        let text: String = (0..10_000).map(|n| format!("\x1b[1mline {n}\r\n\n")).collect();
        tail.fill(text.as_bytes());
        assert_eq!(tail.lines(2), "[1mline 9998\n[1mline 9999");
        assert!(tail.0.lock().unwrap().len() <= 2 * KEPT);
    }

    #[test]
    fn the_child_ends_with_its_process_value() {
        let mut command = Command::new("sh");
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
