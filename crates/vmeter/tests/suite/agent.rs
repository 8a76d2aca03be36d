//! `vmeter agent` as a program: keys, sockets, strangers.

use crate::processes::{children, said, serving, sh};
use agent::{Deadline, Handle, Line, Security, Stage, Stream, Work};
use rustix::process::{Pid, Signal, getpgid, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use workload::serve::Software;

fn vmeter(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmeter"));
    command.arg("agent").args(args).stdin(Stdio::null()).output().unwrap()
}

/// An agent, ended with the test.
struct Agent {
    child: Child,
    log: BufReader<ChildStderr>,
    at: String,
}

impl Agent {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vmeter"))
            .args(["agent", "run"])
            .args(args)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        let at = line.trim().strip_prefix("vmeter agent: serving at ").unwrap().to_owned();
        Self { child, log, at }
    }

    fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.log.read_line(&mut line).unwrap();
        line
    }

    fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn who_has_the_key_is_answered_and_who_has_not_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let (key, other) = (folder.path().join("key"), folder.path().join("other"));
    for path in [&key, &other] {
        assert!(vmeter(&["key", text(path)]).status.success());
    }
    assert!(!vmeter(&["key", text(&key)]).status.success(), "a key is not overwritten");
    assert_ne!(fs::read(&key).unwrap(), fs::read(&other).unwrap());
    let mut agent = Agent::start(&["--listen", "0.0.0.0:0", "--key", text(&key)]);
    let at = agent.at.replace("0.0.0.0", "127.0.0.1");
    let found = vmeter(&["status", &at, "--key", text(&key)]);
    assert!(found.status.success(), "{found:?}");
    let protocol = format!("protocol {}", agent::PROTOCOL);
    assert!(said(&found).contains("clock ") && said(&found).contains(&protocol), "{found:?}");
    let found = vmeter(&["status", &at, "--key", text(&other)]);
    assert_eq!(found.status.code(), Some(1), "{found:?}");
    assert!(said(&found).contains("different key"), "{found:?}");
    assert!(agent.next_line().contains("different key"));
    let found = vmeter(&["status", &at]);
    assert!(said(&found).contains("different key or none"), "{found:?}");
    TcpStream::connect(&at).unwrap().write_all(&[0xff; 9]).unwrap();
    assert!(vmeter(&["status", &at, "--key", text(&key)]).status.success(), "it goes on");
    agent.stop();
}

#[test]
fn a_unix_socket_needs_no_key_and_is_gone_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let agent = Agent::start(&["--unix", text(&socket)]);
    let found = vmeter(&["status", text(&socket)]);
    assert!(found.status.success(), "{found:?}");
    agent.stop();
    assert!(!socket.exists());
}

#[test]
fn what_would_be_open_to_others_is_refused() {
    let found = vmeter(&["run", "--listen", "0.0.0.0:0"]);
    assert_eq!(found.status.code(), Some(2), "{found:?}");
    assert!(said(&found).contains("use a key"), "{found:?}");
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    assert!(vmeter(&["key", text(&key)]).status.success());
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let found = vmeter(&["run", "--key", text(&key)]);
    assert!(!found.status.success() && said(&found).contains("chmod 600"), "{found:?}");
    fs::write(&key, "no key").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let found = vmeter(&["run", "--key", text(&key)]);
    assert!(said(&found).contains("invalid key file"), "{found:?}");
    let found = vmeter(&["status", "127.0.0.1:1"]);
    assert_eq!(found.status.code(), Some(1));
    assert!(said(&found).contains("refused"), "{found:?}");
}

#[test]
fn a_serial_line_is_served() {
    let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&near).unwrap();
    unlockpt(&near).unwrap();
    let far = ptsname(&near, Vec::new()).unwrap().into_string().unwrap();
    let agent = Agent::start(&["--serial", &far]);
    assert_eq!(agent.at, far);
    let stream = Stream::line(Line::new(near).unwrap()).unwrap();
    let mut handle = Handle::connect(stream, &Security::Transport, &Deadline::default()).unwrap();
    assert!(handle.offset().is_ok() && !handle.interrupts().unwrap().lines.is_empty());
    agent.stop();
    let found = vmeter(&["run", "--serial", "/dev/no-such-line"]);
    assert!(said(&found).contains("/dev/no-such-line: "), "{found:?}");
}

#[test]
fn it_runs_real_web_servers_and_leaves_nothing_when_it_is_killed() {
    for server in [Software::Nginx, Software::Apache] {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.path().join("page"), "a page").unwrap();
        let (socket, own) = (folder.path().join("socket"), folder.path().join("own"));
        fs::create_dir(&own).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmeter"));
        command.env("TMPDIR", &own).args(["agent", "run", "--unix"]).arg(&socket);
        let mut agent = serving(command);
        let stream = UnixStream::connect(&socket).unwrap();
        let mut handle =
            Handle::connect(stream, &Security::Transport, &Deadline::default()).unwrap();
        let dir = folder.path().to_owned();
        let work = Work::Serve { dir, listen: "127.0.0.1:0".to_owned(), threads: 1, server };
        // One that is stopped, and one that is there when the agent is killed.
        let (job, address) = handle.start(&work).unwrap();
        assert!(page(&address.unwrap()).ends_with("a page"), "{server}");
        handle.stop(job).unwrap();
        while matches!(handle.stage(job).unwrap(), Stage::Running { .. }) {}
        let Stage::Over(about) = handle.stage(job).unwrap() else { panic!("{server} failed") };
        let about: serde_json::Value = serde_json::from_str(&about).unwrap();
        let version = about["version"].as_str().unwrap();
        let known = sh("nginx -v 2>&1; apache2 -v");
        assert!(version.contains('/') && known.contains(version), "{version}: {known}");
        assert_eq!(children(agent.id()), Vec::<String>::new(), "{server}");

        let (_, address) = handle.start(&work).unwrap();
        let address = address.unwrap();
        assert!(page(&address).ends_with("a page"), "{server}");
        let started = children(agent.id());
        assert_eq!(started.len(), 2, "the server and who watches over it");
        let workers = started.iter().flat_map(|pid| children(pid.parse().unwrap()));
        let all: Vec<String> = workers.chain(started.clone()).collect();
        assert!(all.len() > 2, "{server} has workers");
        let leader = Pid::from_raw(started[0].parse().unwrap());
        let group = getpgid(leader).unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
        // A server may have made another worker meanwhile.
        while is_alive(group) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(TcpStream::connect(&address).is_err());
        assert_eq!(fs::read_dir(&own).unwrap().count(), 0, "its configuration is gone");
    }
}

/// Whether a thread of the group has still something open: one that ends loses its program first,
/// then closes its sockets, and is a zombie after that. A process's first thread may be one before
/// the others.
fn is_alive(group: Pid) -> bool {
    let threads = fs::read_dir("/proc").unwrap().flatten();
    let threads = threads.filter_map(|process| fs::read_dir(process.path().join("task")).ok());
    let mut stats = threads
        .flat_map(|tasks| tasks.flatten())
        .filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
    stats.any(|stat| {
        let mut fields = stat.rsplit(") ").next().unwrap().split(' ');
        let (state, _parent, its) = (fields.next(), fields.next(), fields.next());
        !matches!(state, Some("Z" | "X")) && its == Some(&group.as_raw_pid().to_string())
    })
}

/// What a server answers.
fn page(at: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.write_all(b"GET /page HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn it_runs_the_cpu_load_and_leaves_nobody_when_it_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let mut agent = Agent::start(&["--unix", text(&socket)]);
    let stream = UnixStream::connect(&socket).unwrap();
    let mut handle = Handle::connect(stream, &Security::Transport, &Deadline::default()).unwrap();
    let small =
        workload::cpu::Plan { text: 1 << 17, data: 1 << 17, passes: 1, ..Default::default() };
    let (job, _) = handle.start(&Work::Cpu { plan: small.clone() }).unwrap();
    let found = loop {
        match handle.stage(job).unwrap() {
            Stage::Running { .. } => {}
            Stage::Over(found) => break found,
            Stage::Failed(error) => panic!("{error}"),
        }
    };
    assert!(found.contains("\"checksum\":\""), "{found}");

    let endless = workload::cpu::Plan { passes: u64::MAX >> 1, ..small };
    let (job, _) = handle.start(&Work::Cpu { plan: endless }).unwrap();
    while matches!(handle.stage(job).unwrap(), Stage::Running { done: 0, .. }) {}
    let instances = children(agent.child.id());
    assert!(!instances.is_empty());
    agent.child.kill().unwrap();
    agent.child.wait().unwrap();
    for instance in instances {
        // It ends by itself, as its input does.
        while Path::new(&format!("/proc/{instance}/exe")).exists() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}
