//! Real servers, as `./setup` installs them.

use super::*;
use crate::serve::Software;
use rustix::io::Errno;
use rustix::process::test_kill_process_group;
use std::os::unix::fs::PermissionsExt;

const REAL: [Software; 2] = [Software::Nginx, Software::Apache];

/// A folder that a server's own user can read.
fn www() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(folder.path().join("file"), vec![b'x'; 100_000]).unwrap();
    folder
}

fn start(software: Software, root: &Path, listen: &str) -> Result<Process, Error> {
    Process::start(software.foreign().unwrap(), root, listen, 2)
}

/// One connection, so many requests.
fn talk(to: SocketAddr, requests: usize) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    let ask = |end: &str| format!("GET /file HTTP/1.1\r\nHost: x\r\n{end}\r\n");
    let text = ask("").repeat(requests - 1) + &ask("Connection: close\r\n");
    stream.write_all(text.as_bytes()).unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    String::from_utf8(all).unwrap()
}

/// Waits until nobody is left of a group. Who was orphaned is waited for by init.
fn gone(group: Pid) {
    while test_kill_process_group(group) != Err(Errno::SRCH) {
        thread::sleep(LOOK);
    }
}

#[test]
fn a_real_server_serves_until_it_is_told_to_stop() {
    for software in REAL {
        let www = www();
        let process = start(software, www.path(), "127.0.0.1:0").unwrap();
        let (address, group) = (process.address(), process.guard.pid);
        let folder = process.folder.0.clone();
        // Such as nginx/1.22.1, Apache/2.4.62 (Debian).
        let version = process.version().unwrap().to_lowercase();
        let number = version.strip_prefix(&format!("{software}/")).unwrap();
        assert!(number.starts_with(|c: char| c.is_ascii_digit()), "{version}");
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        let control = Control::default();
        thread::scope(|scope| {
            let running = scope.spawn(|| process.run(&control));
            let said = talk(address, 200);
            assert_eq!(said.matches("HTTP/1.1 200 OK").count(), 200, "{software}");
            assert!(said.len() > 200 * 100_000, "{software}: {}", said.len());
            assert!(said.to_lowercase().contains(&format!("server: {software}")), "{software}");
            control.stop();
            running.join().unwrap().unwrap();
        });
        gone(group);
        assert!(!folder.exists() && TcpStream::connect(address).is_err(), "{software}");
    }
}

#[test]
fn one_that_ends_by_itself_says_so() {
    for software in REAL {
        let www = www();
        let process = start(software, www.path(), "127.0.0.1:0").unwrap();
        let group = process.guard.pid;
        kill_process(Pid::from_child(&process.server), Signal::KILL).unwrap();
        let error = process.run(&Control::default()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{software}: it exited (signal: 9")), "{error}");
        gone(group);
    }
}

#[test]
fn it_listens_where_it_is_told_to() {
    for software in REAL {
        for listen in ["0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let www = www();
            let process = start(software, www.path(), listen).unwrap();
            let port = process.address().port();
            if listen != "[::1]:0" {
                assert!(talk((Ipv4Addr::LOCALHOST, port).into(), 1).contains("200 OK"));
            }
        }
    }
}

#[test]
fn what_cannot_be_served_is_said() {
    let www = www();
    for software in REAL {
        let refused = |root: &Path, listen: &str| {
            start(software, root, listen).map(|_| ()).unwrap_err().to_string()
        };
        let error = refused(Path::new("/nonexistent"), "127.0.0.1:0");
        assert!(error.contains("/nonexistent"), "{error}");
        assert!(refused(&www.path().join("file"), "127.0.0.1:0").contains("directory"));
        let taken = crate::address::listen("127.0.0.1:0", 1).unwrap();
        let error = refused(www.path(), &taken.local_addr().unwrap().to_string());
        assert!(error.contains("in use"), "{error}");
        for name in ["a\"b", "a$b", "a\nb", "a;b", "${PATH}"] {
            let odd = www.path().join(name);
            fs::create_dir_all(&odd).unwrap();
            let error = refused(&odd, "127.0.0.1:0");
            assert!(error.contains("use a directory"), "{error}");
        }
    }
    let nginx = Software::Nginx.foreign().unwrap();
    let many = Process::start(nginx, www.path(), "127.0.0.1:0", usize::MAX).map(|_| ());
    assert!(many.unwrap_err().to_string().contains("at most 256"));
}

static ABSENT: Foreign = Foreign {
    name: "absent",
    programs: &["no-such-program-of-vmeter"],
    packages: "absent-bin",
    configuration: |_| String::new(),
    arguments: &[],
};
static TALKATIVE: Foreign = Foreign {
    programs: &["sh"],
    configuration: |_| "echo what it does not like >&2; exit 3".to_owned(),
    ..ABSENT
};

#[test]
fn a_program_that_is_missing_or_fails_says_what_to_do() {
    let www = www();
    let error = |foreign| {
        Process::start(foreign, www.path(), "127.0.0.1:0", 1).map(|_| ()).unwrap_err().to_string()
    };
    assert!(error(&ABSENT).contains("install the package absent-bin"));
    let found = error(&TALKATIVE);
    assert!(found.contains("exit status: 3") && found.contains("does not like"), "{found}");
}
