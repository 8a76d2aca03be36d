//! What a local monitor costs: idle, and for a snapshot of a hundred VMs.

use crate::machine::program;
use crate::many::{STAND_IN, StandIns};
use crate::processes::serving;
use agent::{Deadline, Handle, Security, Stream};
use std::fs;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Duration;

/// VMs of the snapshot.
const VMS: usize = 100;
/// How long the agent is left alone.
const IDLE: Duration = Duration::from_secs(20);
const SNAPSHOTS: u32 = 50;

/// The running agent.
pub struct Agent {
    child: Child,
    folder: tempfile::TempDir,
}

impl Agent {
    /// Starts it on a socket of its own.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(program());
        command.args(["agent", "run", "--platform", "kvm", "--unix"]);
        command.arg(folder.path().join("socket"));
        let child = serving(command);
        Self { child, folder }
    }

    /// A controller's connection.
    pub fn connect(&self) -> Handle<Stream> {
        let socket = self.folder.path().join("socket");
        let stream = Stream::connect(socket.to_str().unwrap()).unwrap();
        Handle::connect(stream, &Security::Transport, &Deadline::default()).unwrap()
    }

    /// How many threads it has.
    fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap().count()
    }

    /// CPU seconds of all its threads so far, to the nanosecond.
    pub fn cpu(&self) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let run = |task: std::io::Result<fs::DirEntry>| {
            let text = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
            text.split(' ').next().unwrap().parse::<f64>().unwrap()
        };
        tasks.map(run).sum::<f64>() / 1e9
    }

    fn megabytes(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().split(' ').next().unwrap().parse::<f64>().unwrap() / 1024.0
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Prints both.
pub fn measure() {
    let stand_ins = StandIns::start(VMS, STAND_IN);
    sleep(Duration::from_secs(1));
    let agent = Agent::start();
    let alone = agent.threads();
    let mut handle = agent.connect();
    // The first one finds the VMs.
    let seen = handle.snapshot(false).unwrap().vms.len();
    let before = agent.cpu();
    for _ in 0..SNAPSHOTS {
        handle.snapshot(false).unwrap();
    }
    let each = (agent.cpu() - before) / f64::from(SNAPSHOTS);
    println!("agent, a snapshot of {seen} VMs: {:.2} ms of CPU, wanted ≤ 5", each * 1e3);
    let before = agent.cpu();
    sleep(IDLE);
    let part = (agent.cpu() - before) / IDLE.as_secs_f64();
    println!("agent, idle with a controller: {:.4} % of a CPU, wanted ≤ 0.1", part * 100.0);
    drop(handle);
    // A thread that ends takes its time out of the sum.
    while agent.threads() > alone {
        sleep(Duration::from_millis(10));
    }
    let before = agent.cpu();
    sleep(IDLE);
    let part = (agent.cpu() - before) / IDLE.as_secs_f64();
    println!("agent, idle alone: {:.4} % of a CPU, wanted ≤ 0.1", part * 100.0);
    println!("agent, most memory: {:.1} MB, wanted ≤ 15", agent.megabytes());
    drop(stand_ins);
}
