//! `vmeter agent run` as the first process of a PID namespace.

use crate::processes::children;
use agent::{Deadline, Handle, Security, Stream};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

/// A PID namespace whose first process is an agent; gone with the test.
struct Guest {
    unshare: Child,
    log: BufReader<ChildStderr>,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Guest {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let mut unshare = Command::new("unshare")
            .args(["-pf", "--mount-proc", "--kill-child", env!("CARGO_BIN_EXE_vmeter")])
            .args(["agent", "run", "--unix"])
            .arg(&socket)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(unshare.stderr.take().unwrap());
        let mut guest = Self { unshare, log, socket, _folder: folder };
        guest.wait_for("serving at");
        guest
    }

    fn wait_for(&mut self, text: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.log.read_line(&mut line).unwrap() > 0, "no {text}");
            if line.contains(text) {
                return line;
            }
        }
    }

    /// The first process of the namespace, as seen from here.
    fn first(&self) -> u32 {
        children(self.unshare.id())[0].parse().unwrap()
    }

    fn worker(&self) -> u32 {
        children(self.first())[0].parse().unwrap()
    }

    fn answers(&self) {
        let stream = Stream::connect(self.socket.to_str().unwrap()).unwrap();
        Handle::connect(stream, &Security::Transport, &Deadline::default())
            .unwrap()
            .offset()
            .unwrap();
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

#[test]
fn orphans_are_reaped_and_the_end_is_passed_on() {
    let mut guest = Guest::start();
    let (first, worker) = (guest.first(), guest.worker());
    guest.answers();
    // Ten orphans: their parent ends before they do.
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do (sleep 0.3 &); done";
    let target = first.to_string();
    let entered = Command::new("nsenter")
        .args(["-t", &target, "-p", "-m", "sh", "-c", script])
        .status()
        .unwrap();
    assert!(entered.success());
    let (mut most, end) = (0, Instant::now() + Duration::from_secs(10));
    while most == 0 || children(first) != [worker.to_string()] {
        most = most.max(children(first).len() - 1);
        assert!(Instant::now() < end, "{most} orphans, now {:?}", children(first));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(most > 0, "there were orphans");
    guest.answers();
    signal(first, Signal::TERM);
    assert_eq!(guest.unshare.wait().unwrap().code(), Some(0));
    assert!(!guest.socket.exists(), "it ended in order");
}

#[test]
fn one_that_is_killed_is_started_again() {
    let mut guest = Guest::start();
    let worker = guest.worker();
    signal(worker, Signal::KILL);
    let line = guest.wait_for("restarting it");
    assert!(line.contains("was killed by signal 9"), "{line}");
    guest.wait_for("serving at");
    assert_ne!(guest.worker(), worker);
    guest.answers();
    signal(guest.first(), Signal::INT);
    assert_eq!(guest.unshare.wait().unwrap().code(), Some(0));
}
