//! `vmeter bench tcp` between two processes, on loopback and across network namespaces.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread;

const VMETER: &str = env!("CARGO_BIN_EXE_vmeter");

fn vmeter(args: &[&str]) -> Command {
    let mut command = Command::new(VMETER);
    command.args(args).stdin(Stdio::null());
    command
}

/// A receiver, ended with the test; where it listens.
struct Receiver {
    child: Child,
    address: String,
}

impl Receiver {
    fn start(mut command: Command, listen: &str) -> Self {
        command.args(["bench", "tcp", "recv", "--listen", listen]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.strip_prefix("listening at ").unwrap().split(';').next().unwrap();
        Self { child, address: address.to_owned() }
    }

    fn here() -> Self {
        Self::start(Command::new(VMETER), "127.0.0.1:0")
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send(mut command: Command, to: &str, args: &[&str]) -> Value {
    let output =
        command.args(["bench", "tcp", "send", to, "--json", "-"]).args(args).output().unwrap();
    // On a machine that stalls the rate may not be kept, which is said.
    assert!(matches!(output.status.code(), Some(0 | 4)), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn count(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("no count: {value}"))
}

/// What must hold of one packet a write, whatever the path.
fn proven(found: &Value, size: i64, writes: Option<i64>) {
    let proof = &found["one_per_write"];
    let sum = count(&proof["writes"]) + count(&proof["retransmissions"]);
    assert_eq!(count(&proof["data_segments"]), sum, "{found:#}");
    assert_eq!(proof["holds"], true);
    assert_eq!(found["bytes"], count(&found["writes"]) * size);
    let receiver = &found["ends"]["receiver"];
    assert_eq!(receiver["bytes"], found["bytes"]);
    let acks = (count(&found["acks"]), count(&receiver["acks"]));
    assert!((acks.0 - acks.1).abs() <= 1, "ACKs: {acks:?}");
    if let Some(writes) = writes {
        // On a machine that stalls at the very end, deadlines are missed and said to be.
        assert_eq!(count(&found["writes"]) + count(&found["missed"]), writes, "{found:#}");
    }
    println!(
        "{size} B: {} writes, {} segments, ACKs {acks:?}, device {}",
        found["writes"], proof["data_segments"], found["ends"]["sender"]["device"]
    );
}

fn device_agrees(found: &Value) {
    for end in ["sender", "receiver"] {
        let deviation = found["ends"][end]["device"]["deviation"].as_f64().unwrap();
        assert!(deviation.abs() <= 0.001, "{end}: {deviation} {found:#}");
    }
}

#[test]
fn a_write_is_a_packet_on_loopback() {
    let receiver = Receiver::here();
    for size in [500, 1000, 1448] {
        let bytes = size.to_string();
        let one = ["--packets", "one-per-write", "--size", &bytes, "--duration", "1s"];
        let paced = [&one[..], &["--rate", "5k", "--warmup", "200ms"]].concat();
        proven(&send(vmeter(&[]), &receiver.address, &paced), size, Some(5000));
        let reverse = [&paced[..], &["--reverse", "--streams", "2"]].concat();
        proven(&send(vmeter(&[]), &receiver.address, &reverse), size, Some(5000));
        proven(&send(vmeter(&[]), &receiver.address, &one), size, None);
    }
}

/// Two namespaces joined by a pair of devices; gone with the test.
struct Namespaces {
    near: String,
    far: String,
}

const FAR: &str = "10.119.0.2";

impl Namespaces {
    fn new() -> Self {
        let id = std::process::id();
        let pair = Self { near: format!("vmeter-{id}-a"), far: format!("vmeter-{id}-b") };
        for script in [
            format!("ip netns add {}", pair.near),
            format!("ip netns add {}", pair.far),
            format!("ip -n {} link add v0 type veth peer name v0 netns {}", pair.near, pair.far),
            // No router solicitations and the like among the packets that are counted.
            format!("ip netns exec {} sysctl -qw net.ipv6.conf.all.disable_ipv6=1", pair.near),
            format!("ip netns exec {} sysctl -qw net.ipv6.conf.all.disable_ipv6=1", pair.far),
            format!("ip -n {} addr add 10.119.0.1/24 dev v0", pair.near),
            format!("ip -n {} addr add {FAR}/24 dev v0", pair.far),
            format!("ip -n {} link set v0 up", pair.near),
            format!("ip -n {} link set v0 up", pair.far),
        ] {
            let made = Command::new("sh").args(["-c", &script]).output().unwrap();
            assert!(made.status.success(), "{script}: {made:?}");
        }
        pair
    }

    fn within(namespace: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace, VMETER]);
        command
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for namespace in [&self.near, &self.far] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).output();
        }
    }
}

#[test]
fn a_write_is_a_packet_across_namespaces_and_the_devices_agree() {
    assert!(rustix::process::geteuid().is_root(), "network namespaces need root");
    let pair = Namespaces::new();
    let receiver = Receiver::start(Namespaces::within(&pair.far), &format!("{FAR}:0"));
    for size in [500, 1000, 1448] {
        for reverse in [&[][..], &["--reverse"]] {
            let bytes = size.to_string();
            let args = ["--packets", "one-per-write", "--size", &bytes, "--duration", "2s"];
            let args = [&args[..], &["--rate", "10k"], reverse].concat();
            let found = send(Namespaces::within(&pair.near), &receiver.address, &args);
            proven(&found, size, Some(20_000));
            device_agrees(&found);
            let offloads = &found["ends"]["sender"]["environment"]["offloads"];
            assert_eq!(offloads["device"], "v0");
            assert_eq!(offloads["mtu"], 1500);
        }
    }
    let args = ["--packets", "one-per-write", "--size", "1500", "--duration", "1s"];
    let large = Namespaces::within(&pair.near)
        .args(["bench", "tcp", "send", &receiver.address])
        .args(args)
        .output()
        .unwrap();
    let said = String::from_utf8(large.stderr).unwrap();
    assert!(said.contains("choose --size 1448 or less"), "{said}");
}

#[test]
fn what_cannot_be_is_refused_with_status_2() {
    for args in [
        &["--rate", "0"][..],
        &["--delay", "0"],
        &["--rate", "1", "--delay", "1s"],
        &["--size", "0"],
        &["--size", "75", "--packets", "one-per-write"],
        &["--size", "32756", "--packets", "one-per-write"],
        &["--streams", "0"],
        &["--duration", "0"],
        &["--congestion", ""],
    ] {
        let output = vmeter(&["bench", "tcp", "send", "127.0.0.1:1"]).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
    }
}

/// A listener that answers each connection with these bytes; what `send` says to it.
fn said_to(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(&answer);
            let _ = stream.read(&mut [0; 64]);
        }
    });
    let output = vmeter(&["bench", "tcp", "send", &address]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn other_ends_that_are_not_right_are_named() {
    let version = [&b"vmeter.tcp"[..], &99_u16.to_be_bytes(), b"c", &[0; 8]].concat();
    let said = said_to(version);
    assert!(said.contains("version 99") && said.contains("same vmeter"), "{said}");
    let said = said_to(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec());
    assert!(said.contains("is not vmeter"), "{said}");
    let said = said_to(Vec::new());
    assert!(said.contains("closed the connection"), "{said}");

    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let output = vmeter(&["bench", "tcp", "send", &free]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("refused") && said.contains("vmeter bench tcp recv"), "{said}");
}

#[test]
fn a_second_test_is_told_that_the_first_is_running() {
    let receiver = Receiver::here();
    let start = || {
        vmeter(&["bench", "tcp", "send", &receiver.address, "--rate", "100", "--duration", "1h"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut first = start();
    // Whoever comes second is turned away, so both try until it is not the first.
    let said = loop {
        let output = vmeter(&["bench", "tcp", "send", &receiver.address, "--rate", "100"])
            .args(["--duration", "100ms"])
            .output()
            .unwrap();
        if !output.status.success() {
            break String::from_utf8(output.stderr).unwrap();
        }
        if first.try_wait().unwrap().is_some() {
            first = start();
        }
    };
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(said.contains("busy"), "{said}");
    // The first one is gone without a word; the receiver takes the next all the same.
    let found = send(vmeter(&[]), &receiver.address, &["--rate", "1000", "--duration", "100ms"]);
    assert_eq!(count(&found["writes"]) + count(&found["missed"]), 100, "{found:#}");
}
