//! Addresses of loads and agents: names with several, link-local ones with their zone, URLs with
//! credentials or a query alone.

use crate::processes::{said, sh};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::thread;

const VMETER: &str = env!("CARGO_BIN_EXE_vmeter");
const LOAD: [&str; 7] = ["--rate", "50", "--duration", "1s", "--timeout", "10s", "--json"];

/// A program that listens, ended with the test, and where it does.
struct Listening {
    child: Child,
    _log: BufReader<ChildStderr>,
    address: String,
}

impl Listening {
    fn start(mut command: Command, args: &[&str]) -> Self {
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        let at = line.split(" at ").nth(1).unwrap().trim();
        let at = at.trim_start_matches("http://").split([';', '/']).next().unwrap();
        Self { child, _log: log, address: at.to_owned() }
    }

    fn port(&self) -> &str {
        self.address.rsplit(':').next().unwrap()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// vmeter where the name `twofold` has an IPv6 and an IPv4 address.
fn with_two_addresses(folder: &tempfile::TempDir, args: &[&str]) -> Output {
    let hosts = folder.path().join("hosts");
    std::fs::write(&hosts, "::1 twofold\n127.0.0.1 twofold\n").unwrap();
    let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).arg(&hosts).arg(VMETER).args(args);
    command.stdin(Stdio::null()).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn of_a_names_addresses_the_first_that_answers_is_taken() {
    assert!(rustix::process::geteuid().is_root(), "mount namespaces need root");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "x").unwrap();
    let dir = folder.path().to_str().unwrap();
    // Whichever the resolver puts first: one of the two servers is at the other.
    for host in ["127.0.0.1", "[::1]"] {
        let listen = format!("{host}:0");
        let web =
            Listening::start(Command::new(VMETER), &["bench", "serve", dir, "--listen", &listen]);
        let url = format!("http://twofold:{}/file", web.port());
        let args = [&["bench", "web", &url][..], &LOAD, &["-"]].concat();
        let found = json(&with_two_addresses(&folder, &args));
        assert_eq!((&found["status"]["200"], &found["errors"]["total"]), (&50.into(), &0.into()));
        assert_eq!(found["address"], format!("{host}:{}", web.port()), "{found:#}");

        let tcp =
            Listening::start(Command::new(VMETER), &["bench", "tcp", "recv", "--listen", &listen]);
        let to = format!("twofold:{}", tcp.port());
        let args =
            ["bench", "tcp", "send", &to, "--rate", "100", "--duration", "300ms", "--json", "-"];
        let found = json(&with_two_addresses(&folder, &args));
        assert!(found["writes"].as_u64() > Some(20), "{found:#}");

        let agent = Listening::start(Command::new(VMETER), &["agent", "run", "--listen", &listen]);
        let to = format!("twofold:{}", agent.port());
        let found = with_two_addresses(&folder, &["agent", "status", &to]);
        assert!(found.status.success() && said(&found).contains("clock "), "{found:?}");
    }
    // Where none answers, each is named.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let to = format!("twofold:{free}");
    for args in [&["bench", "tcp", "send", &to][..], &["agent", "status", &to]] {
        let found = with_two_addresses(&folder, args);
        assert_eq!(found.status.code(), Some(1));
        for address in [format!("[::1]:{free}: "), format!("127.0.0.1:{free}: ")] {
            assert!(said(&found).contains(&address), "{found:?}");
        }
    }
    let url = format!("http://{to}/");
    let found =
        json(&with_two_addresses(&folder, &[&["bench", "web", &url][..], &LOAD, &["-"]].concat()));
    assert_eq!(found["errors"]["connrefused"], 50, "{found:#}");
}

/// Two namespaces joined by a pair of devices with link-local addresses; gone with the test.
struct Pair(String, String);

impl Pair {
    fn new() -> Self {
        let id = std::process::id();
        let pair = Self(format!("vmeter-{id}-ll-a"), format!("vmeter-{id}-ll-b"));
        sh(&format!("ip netns add {}", pair.0));
        sh(&format!("ip netns add {}", pair.1));
        sh(&format!("ip -n {} link add v0 type veth peer name v0 netns {}", pair.0, pair.1));
        for (namespace, address) in [(&pair.0, "fe80::1"), (&pair.1, "fe80::2")] {
            sh(&format!("ip -n {namespace} addr add {address}/64 dev v0 nodad"));
            sh(&format!("ip -n {namespace} link set v0 up"));
        }
        pair
    }

    fn within(namespace: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace, VMETER]);
        command
    }

    fn near(&self, args: &[&str]) -> Output {
        Self::within(&self.0).args(args).stdin(Stdio::null()).output().unwrap()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for namespace in [&self.0, &self.1] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).output();
        }
    }
}

#[test]
fn a_link_local_address_has_a_zone() {
    assert!(rustix::process::geteuid().is_root(), "network namespaces need root");
    let (pair, folder) = (Pair::new(), tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("file"), "x").unwrap();
    let dir = folder.path().to_str().unwrap();
    let far = |args: &[&str]| Listening::start(Pair::within(&pair.1), args);
    let web = far(&["bench", "serve", dir, "--listen", "[fe80::2%v0]:0"]);
    let url = format!("http://[fe80::2%25v0]:{}/file", web.port());
    let found = json(&pair.near(&[&["bench", "web", &url][..], &LOAD, &["-"]].concat()));
    assert_eq!(found["status"]["200"], 50, "{found:#}");
    assert_eq!(found["environment"]["offloads"]["device"], "v0", "{found:#}");

    let tcp = far(&["bench", "tcp", "recv", "--listen", "[fe80::2%v0]:0"]);
    let to = format!("[fe80::2%v0]:{}", tcp.port());
    let args =
        ["--rate", "500", "--duration", "1s", "--packets", "one-per-write", "--size", "1400"];
    let args = [&["bench", "tcp", "send", &to][..], &args, &["--json", "-"]].concat();
    let found = json(&pair.near(&args));
    assert_eq!(found["one_per_write"]["holds"], true, "{found:#}");
    for end in ["sender", "receiver"] {
        assert_eq!(found["ends"][end]["device"]["name"], "v0", "{found:#}");
    }

    let key = folder.path().join("key");
    let key = key.to_str().unwrap();
    assert!(pair.near(&["agent", "key", key]).status.success());
    let agent = far(&["agent", "run", "--listen", "[fe80::2%v0]:0", "--key", key]);
    let to = format!("[fe80::2%v0]:{}", agent.port());
    let found = pair.near(&["agent", "status", &to, "--key", key]);
    assert!(found.status.success(), "{found:?}");

    for (url, why) in [
        ("http://[fe80::2]/", "fe80::2%eth0"),
        ("http://[fe80::2%25none]/", "network device `none` not found"),
    ] {
        let found = pair.near(&["bench", "web", url, "--rate", "1"]);
        assert_eq!(found.status.code(), Some(2), "{found:?}");
        assert!(said(&found).contains(why), "{found:?}");
    }
}

/// Answers every request and keeps the last one.
fn one_request() -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let asked = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = vec![0; 1000];
        let read = stream.read(&mut request).unwrap();
        stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
        String::from_utf8(request[..read].to_vec()).unwrap()
    });
    (at, asked)
}

#[test]
fn a_url_with_credentials_and_a_query_alone_is_sent_as_curl_sends_it() {
    let (at, asked) = one_request();
    let url = format!("http://me:s%40cret@{at}?x=1#part");
    let args = ["bench", "web", &url, "--rate", "1", "--duration", "900ms"];
    let found = Command::new(VMETER).args(args).stdin(Stdio::null()).output().unwrap();
    // One request that a busy machine sent late makes the run invalid.
    assert!(matches!(found.status.code(), Some(0 | 4)), "{found:?}");
    let head = format!(
        "GET /?x=1 HTTP/1.1\r\nHost: {at}\r\nAuthorization: Basic bWU6c0BjcmV0\r\nUser-Agent: "
    );
    let request = asked.join().unwrap();
    assert!(request.starts_with(&head), "{request}");
    let text = String::from_utf8(found.stdout).unwrap();
    assert!(text.contains(&format!("me:***@{at}")) && !text.contains("cret"), "{text}");
}

/// The agent listens at the first of its address's that this machine has.
#[test]
fn an_agent_says_where_it_cannot_listen() {
    let found = Command::new(VMETER)
        .args(["agent", "run", "--listen", "no-port"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(found.status.code(), Some(2), "{found:?}");
    assert!(said(&found).contains("expected HOST:PORT"), "{found:?}");
}
