//! Processes that the tests start and look for.

#![allow(dead_code, reason = "each test program uses its part")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// Children of any of a process's threads; none where it has ended.
pub fn children(pid: u32) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// Runs a shell script, which must succeed; what it printed.
pub fn sh(script: &str) -> String {
    let done = Command::new("sh").args(["-c", script]).output().unwrap();
    assert!(done.status.success(), "{script}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

/// What a program said, on its standard output and then its standard error.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// Processes that are gone when this is.
pub struct Killed(pub Vec<Child>);

impl Killed {
    /// So many that keep a CPU busy each.
    pub fn busy(count: usize) -> Self {
        let spin = || Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        Self((0..count).map(|_| spin()).collect())
    }

    /// As many as keep all CPUs busy.
    pub fn all_busy() -> Self {
        Self::busy(std::thread::available_parallelism().unwrap().get())
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A file system of its own, so small that it can be filled.
pub struct Disk(pub PathBuf);

impl Disk {
    /// Of so many megabytes, in a new folder.
    pub fn new(at: &Path, megabytes: u32) -> Self {
        fs::create_dir(at).unwrap();
        sh(&format!("mount -t tmpfs -o size={megabytes}m tmpfs {}", at.display()));
        Self(at.to_owned())
    }

    /// Fills it with a file.
    pub fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        // It ends when the disk is full.
        let _ = Command::new("sh")
            .args(["-c", &format!("cat /dev/zero > {} 2>/dev/null", path.display())])
            .status();
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Starts an agent and waits until it serves; what it says later is read by nobody.
pub fn serving(mut command: Command) -> Child {
    let mut agent = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(agent.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    assert!(line.contains("serving at"), "{line}");
    // It must not wait for a full pipe.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    agent
}
