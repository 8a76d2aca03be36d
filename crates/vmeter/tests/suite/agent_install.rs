//! `vmeter agent install`, and agents with no more rights than its units give.

use crate::processes::said;
use agent::{Deadline, Handle, Security, Setting, Stream, Work};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const VMETER: &str = env!("CARGO_BIN_EXE_vmeter");

fn install(args: &[&str]) -> Output {
    install_by(Path::new(VMETER), args)
}

fn install_by(program: &Path, args: &[&str]) -> Output {
    loop {
        match Command::new(program).args(["agent", "install"]).args(args).output() {
            // Another test's child, between its fork and its exec, has the copy still open.
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            found => return found.unwrap(),
        }
    }
}

/// The program where a service can run it, wherever this checkout is.
fn copied(folder: &Path) -> PathBuf {
    let program = folder.join("vmeter");
    fs::copy(VMETER, &program).unwrap();
    program
}

fn printed(profile: &str) -> String {
    let found = install(&["--print", "--profile", profile]);
    assert!(found.status.success(), "{found:?}");
    String::from_utf8(found.stdout).unwrap()
}

#[test]
fn a_unit_is_written_once_and_replaced_only_by_force() {
    let reachable = tempfile::tempdir_in("/usr/local").unwrap();
    let program = copied(reachable.path());
    let install = |args: &[&str]| install_by(&program, args);
    let folder = tempfile::tempdir().unwrap();
    let (dir, key) = (folder.path().to_str().unwrap(), folder.path().join("key"));
    let to = ["--unit-dir", dir, "--key", key.to_str().unwrap()];
    let found = install(&to);
    assert!(found.status.success(), "{found:?}");
    assert!(said(&found).contains("systemctl enable --now vmeter-agent"), "{found:?}");
    assert!(said(&found).contains("key created"), "{found:?}");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let unit = folder.path().join("vmeter-agent.service");
    let (text, made) = (fs::read_to_string(&unit).unwrap(), fs::read(&key).unwrap());
    assert!(said(&install(&to)).contains("is up to date"), "again is no change");
    let other = [&to[..], &["--profile", "full"]].concat();
    let found = install(&other);
    assert_eq!(found.status.code(), Some(2), "{found:?}");
    assert!(said(&found).contains("--force"), "{found:?}");
    assert_eq!(fs::read_to_string(&unit).unwrap(), text);
    assert!(install(&[&other[..], &["--force"]].concat()).status.success());
    assert_ne!(fs::read_to_string(&unit).unwrap(), text);
    assert_eq!(fs::read(&key).unwrap(), made, "the key stays");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else lies about");
    fs::write(&key, "no key").unwrap();
    assert!(said(&install(&to[..])).contains("--force"));
    assert!(said(&install(&other)).contains("invalid key file"));
    for wrong in [["--listen", "nowhere"], ["--user", "a b"], ["--listen", "vsock:port"]] {
        assert_eq!(install(&wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_program_that_a_service_cannot_reach_is_refused() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let program = copied(folder.path());
    let found = install_by(&program, &["--unit-dir", folder.path().to_str().unwrap()]);
    assert_eq!(found.status.code(), Some(2), "{found:?}");
    assert!(said(&found).contains("a service cannot run"), "{found:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was written");
}

#[test]
fn systemd_understands_the_units() {
    for profile in ["reader", "full"] {
        let folder = tempfile::tempdir().unwrap();
        let unit = folder.path().join("vmeter-agent.service");
        fs::write(&unit, printed(profile)).unwrap();
        let verified = Command::new("systemd-analyze").arg("verify").arg(&unit).output();
        let Ok(verified) = verified else {
            println!("skipped: there is no systemd-analyze; the unit's tests check its form");
            return;
        };
        let text = said(&verified);
        let ours: Vec<_> = text.lines().filter(|line| line.contains("vmeter-agent")).collect();
        assert!(ours.is_empty(), "{profile}: {ours:#?}");
    }
}

/// An agent with the rights of a unit, ended with the test.
struct Limited {
    agent: Child,
    folder: tempfile::TempDir,
}

impl Limited {
    /// `None` where only root could give rights away.
    fn start(profile: &str) -> Option<Self> {
        let unit = printed(profile);
        let line = |name: &str| {
            let line = unit.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {unit}")).to_owned()
        };
        let set: Vec<String> = line("CapabilityBoundingSet=")
            .split(' ')
            .map(|name| format!("+{}", name.trim_start_matches("CAP_").to_lowercase()))
            .collect();
        let set = format!("-all,{}", set.join(","));
        let folder = tempfile::tempdir().unwrap();
        // The folders of the program itself may be closed to others.
        let program = folder.path().join("vmeter");
        fs::copy(VMETER, &program).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let mut command = Command::new("setpriv");
        if unit.contains("DynamicUser=yes") {
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        }
        command.args(["--no-new-privs", "--inh-caps", &set, "--ambient-caps", &set]);
        command.args(["--bounding-set", &set]).arg(&program).args(["agent", "run", "--unix"]);
        command.arg(folder.path().join("socket"));
        if line("ExecStart=").ends_with("--read-only") {
            command.arg("--read-only");
        }
        let agent = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut limited = Self { agent, folder };
        let mut text = String::new();
        BufReader::new(limited.agent.stderr.take().unwrap()).read_line(&mut text).unwrap();
        if text.contains("setpriv:") {
            println!("skipped: {text}");
            return None;
        }
        assert!(text.contains("serving at"), "{text}");
        Some(limited)
    }

    fn connect(&self) -> Handle<Stream> {
        let socket = self.folder.path().join("socket");
        let stream = Stream::connect(socket.to_str().unwrap()).unwrap();
        Handle::connect(stream, &Security::Transport, &Deadline::default()).unwrap()
    }

    fn capabilities(&self) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.agent.id())).unwrap();
        status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap().to_owned()
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // In order, so that it takes its folder along.
        let _ = kill_process(Pid::from_child(&self.agent), Signal::TERM);
        let _ = self.agent.wait();
    }
}

/// A guest of root's, whose files others may not see; `None` where there is no QEMU.
fn guest() -> Option<Child> {
    let arguments = ["-nodefaults", "-display", "none", "-m", "32", "-accel", "tcg", "-name"];
    let mut command = Command::new("qemu-system-x86_64");
    command.args(arguments).arg("limited,debug-threads=on").stdin(Stdio::null());
    command.stderr(Stdio::null()).spawn().ok()
}

#[test]
fn a_reader_reads_everything_with_its_rights_and_does_nothing_else() {
    let Some(limited) = Limited::start("reader") else { return };
    // CAP_DAC_READ_SEARCH is 2, CAP_SYS_PTRACE 19.
    assert_eq!(limited.capabilities(), format!("{:016x}", 1 << 2 | 1 << 19));
    let mut guest = guest();
    let mut handle = limited.connect();
    if let Some(guest) = &mut guest {
        let seen = (0..200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            let found = handle.snapshot(true).unwrap();
            // Its /proc/PID/io is root's.
            found.vms.iter().any(|vm| vm.name == "limited" && vm.disks.is_ok())
        });
        guest.kill().unwrap();
        guest.wait().unwrap();
        assert!(seen, "root's guest is not read");
    } else {
        println!("no guest: there is no QEMU");
        handle.snapshot(true).unwrap();
    }
    assert!(!handle.interrupts().unwrap().lines.is_empty());
    let refusals = [
        handle.start(&Work::TcpReceive { listen: "127.0.0.1:0".to_owned() }).unwrap_err(),
        handle.put("file", b"x").map(|_| ()).unwrap_err(),
    ];
    for refusal in refusals {
        assert!(refusal.to_string().contains("--read-only"), "{refusal}");
    }
}

#[test]
fn a_full_agent_moves_interrupts_and_threads_with_its_rights() {
    let Some(limited) = Limited::start("full") else { return };
    let mut handle = limited.connect();
    handle.snapshot(true).unwrap();
    let table = handle.interrupts().unwrap();
    let cpu = table.cpus[0].to_string();
    let named = table.lines.iter().filter(|line| line.number().is_some());
    let refused: Vec<String> = named
        .filter(|line| !line.action.is_empty())
        .filter_map(|line| {
            let setting = Setting::Irq { matching: line.action.clone(), cpus: cpu.clone() };
            handle.set(&setting).err().map(|error| error.to_string())
        })
        .collect();
    // Those apart that nobody may move, none is refused for want of a right.
    let denied = |text: &&String| text.contains("ermi") && !text.contains("places it itself");
    assert_eq!(refused.iter().find(denied), None);
    let mut guest = guest();
    if let Some(guest) = &mut guest {
        let backend = Setting::Backend { vm: "limited".to_owned(), cpus: cpu.clone() };
        let pin = Setting::Pin { vm: "limited".to_owned(), vcpu: None, cpus: cpu };
        let done = (0..200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            handle.set(&pin).is_ok() && handle.set(&backend).is_ok()
        });
        guest.kill().unwrap();
        guest.wait().unwrap();
        assert!(done);
    }
    handle.restore().unwrap();
    let path = handle.put("file", b"x").unwrap();
    assert!(Path::new(&path).exists());
}

#[test]
fn a_key_from_systemd_may_look_as_if_a_group_could_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    assert!(Command::new(VMETER).args(["agent", "key"]).arg(&key).status().unwrap().success());
    fs::set_permissions(&key, fs::Permissions::from_mode(0o440)).unwrap();
    let status = |folder: &Path| {
        let mut command = Command::new(VMETER);
        command.args(["agent", "status", "127.0.0.1:1", "--key"]).arg(&key);
        said(&command.env("CREDENTIALS_DIRECTORY", folder).output().unwrap())
    };
    assert!(status(folder.path()).contains("refused"), "{}", status(folder.path()));
    assert!(status(Path::new("/elsewhere")).contains("chmod 600"));
}
