//! Real web servers for the tests: nginx and Apache from the distribution's packages, on a free
//! port, ended with the test.

#![allow(dead_code, reason = "each test program uses its part")]

use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    Apache,
}

/// A running server over a folder of its own.
pub struct Server {
    child: Child,
    directory: tempfile::TempDir,
    pub port: u16,
}

impl Server {
    /// Starts it, and waits until it listens.
    pub fn start(kind: Kind) -> Self {
        // A port that was free a moment ago may be taken: then another one.
        for _ in 0..5 {
            let directory = tempfile::tempdir().unwrap();
            let root = directory.path();
            fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
            fs::create_dir(root.join("www")).unwrap();
            fs::write(root.join("www/1k"), [b'x'; 1024]).unwrap();
            let port = free_port();
            let mut command = match kind {
                Kind::Nginx => nginx(root, port),
                Kind::Apache => apache(root, port),
            };
            let log = fs::File::create(root.join("output")).unwrap();
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
            // A group of its own, so that all its processes can be stopped and ended.
            let child = command
                .process_group(0)
                .spawn()
                .unwrap_or_else(|error| panic!("{kind:?}: {error}: `make setup` installs it"));
            let mut server = Self { child, directory, port };
            if server.listens() {
                return server;
            }
            println!("{}", fs::read_to_string(server.path("output")).unwrap());
        }
        panic!("{kind:?} does not start");
    }

    fn listens(&mut self) -> bool {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// A file of the server's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The folder that it serves.
    pub fn www(&self) -> PathBuf {
        self.path("www")
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// Sends a signal to all its processes.
    pub fn signal(&self, signal: Signal) {
        let group = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process_group(group, signal).unwrap();
    }

    /// How many requests it has logged by their status, once there are `expected` lines.
    pub fn requests_by_status(&self, expected: u64) -> BTreeMap<String, u64> {
        // A line is written after the reply is sent: the last ones may take a moment.
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let text = fs::read_to_string(self.path("access")).unwrap_or_default();
            let mut counts = BTreeMap::new();
            for status in text.lines() {
                *counts.entry(status.to_owned()).or_default() += 1;
            }
            if counts.values().sum::<u64>() >= expected || Instant::now() > until {
                return counts;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Logs are one HTTP status a line.
fn nginx(root: &Path, port: u16) -> Command {
    let at = root.display();
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {at}/{kind};"))
        .collect();
    let text = format!(
        "daemon off; {user} worker_processes 1; pid {at}/pid; error_log {at}/errors;
        worker_rlimit_nofile 30000;
        events {{ worker_connections 20000; }}
        http {{ {temporary} log_format status $status; access_log {at}/access status;
        keepalive_requests 1000000000; keepalive_timeout 60s; sendfile on;
        server {{ listen 127.0.0.1:{port} backlog=4096; root {at}/www; }} }}\n"
    );
    fs::write(root.join("conf"), text).unwrap();
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-p").arg(root).arg("-c").arg(root.join("conf")).arg("-e").arg(root.join("errors"));
    command
}

/// One process whose threads are all there from the start: Apache ends a process that has more idle
/// threads than `MaxSpareThreads` (250 by default) a second after the start, and resets the
/// connections that it holds open.
fn apache(root: &Path, port: u16) -> Command {
    let at = root.display();
    let modules = "/usr/lib/apache2/modules";
    let user =
        if rustix::process::geteuid().is_root() { "User www-data\nGroup www-data" } else { "" };
    let text = format!(
        "ServerRoot {at}\nServerName localhost\nListen 127.0.0.1:{port}\nPidFile {at}/pid\n\
        LoadModule mpm_event_module {modules}/mod_mpm_event.so\n\
        LoadModule authz_core_module {modules}/mod_authz_core.so\n\
        {user}\nErrorLog {at}/errors\nLogFormat %>s status\nCustomLog {at}/access status\n\
        DocumentRoot {at}/www\nKeepAlive On\nMaxKeepAliveRequests 0\nKeepAliveTimeout 60\n\
        ThreadLimit 512\nServerLimit 1\nStartServers 1\nThreadsPerChild 512\n\
        MaxRequestWorkers 512\nMinSpareThreads 1\nMaxSpareThreads 512\n"
    );
    fs::write(root.join("conf"), text).unwrap();
    let mut command = Command::new("/usr/sbin/apache2");
    command.arg("-f").arg(root.join("conf")).arg("-DFOREGROUND");
    command
}
