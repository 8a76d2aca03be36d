//! `vmeter bench web` against nginx, Apache and servers that fail.

use crate::servers::{Kind, Server};
use rustix::process::Signal;
use serde_json::Value;
use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

fn vmeter(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmeter"));
    command.args(args).stdin(Stdio::null());
    command
}

/// A result as JSON.
fn web(url: &str, args: &[&str]) -> Value {
    let output = vmeter(&["bench", "web", url, "--json", "-"]).args(args).output().unwrap();
    json(&output)
}

fn json(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "", "nothing but the result");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no count: {value}"))
}

/// The statuses that vmeter counted and the server logged, as text → count.
fn agree(server: &Server, found: &Value) {
    assert_eq!(found["errors"]["total"], 0, "{found:#}");
    assert_eq!(found["replies"], found["requests"], "{found:#}");
    let logged = server.requests_by_status(count(&found["replies"]));
    let counted = found["status"].as_object().unwrap();
    assert_eq!(logged.len(), counted.len(), "{logged:?} {counted:?}");
    for (status, times) in counted {
        assert_eq!(logged[status], count(times), "{status}: {logged:?}");
    }
}

#[test]
fn nginx_and_apache_have_logged_what_was_counted() {
    for kind in [Kind::Nginx, Kind::Apache] {
        for args in [
            ["--rate", "300", "--per", "connection", "--calls", "1"],
            ["--rate", "100", "--per", "connection", "--calls", "5"],
            ["--rate", "800", "--per", "request", "--arrivals", "poisson"],
        ] {
            let server = Server::start(kind);
            let found = web(&server.url("1k"), &[&args[..], &["--duration", "2s"]].concat());
            assert_eq!(count(&found["body_bytes"]), 1024 * count(&found["replies"]));
            agree(&server, &found);
        }
        let server = Server::start(kind);
        let found = web(&server.url("none"), &["--rate", "100", "--duration", "1s"]);
        assert_eq!(found["status"]["404"], 100, "{found:#}");
        agree(&server, &found);
        let server = Server::start(kind);
        agree(&server, &web(&server.url("1k"), &["--closed", "--duration", "500ms"]));
    }
}

#[test]
fn a_file_set_is_served_by_nginx_in_the_order_of_its_seed() {
    let server = Server::start(Kind::Nginx);
    let set = server.www().join("set");
    let written = vmeter(&["bench", "fileset", "--dirs", "3"]).arg(&set).output().unwrap();
    assert!(written.status.success(), "{written:?}");
    let text = String::from_utf8(written.stdout).unwrap();
    assert!(text.contains("table 5.1") && text.contains("cannot come from this set"), "{text}");
    let dir = set.to_str().unwrap();
    let args = ["--fileset", dir, "--seed", "7", "--per", "request", "--rate", "200"];
    let found = web(&server.url("set"), &[&args[..], &["--duration", "2s"]].concat());
    agree(&server, &found);
    let drawn = vmeter(&["bench", "fileset", "--dirs", "3", "--seed", "7", "--draw", "400"]);
    let drawn = { drawn }.output().unwrap();
    let bytes: u64 = String::from_utf8(drawn.stdout)
        .unwrap()
        .lines()
        .map(|path| std::fs::metadata(set.join(path)).unwrap().len())
        .sum();
    assert_eq!(found["body_bytes"], bytes);

    std::fs::remove_file(set.join("dir00001/class2_3")).unwrap();
    let refused = vmeter(&["bench", "web", &server.url("set")]).args(args).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("dir00001/class2_3"), "{said}");
}

#[test]
fn a_stopped_server_shows_as_an_open_loop_must_show_it() {
    let server = Server::start(Kind::Nginx);
    let found = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_secs(4));
            server.signal(Signal::STOP);
            thread::sleep(Duration::from_secs(2));
            server.signal(Signal::CONT);
        });
        let args = ["--rate", "200", "--per", "request", "--duration", "10s"];
        web(&server.url("1k"), &args)
    });
    assert_eq!(found["requests"], 2000);
    agree(&server, &found);
    let slow = count(&found["response_over"]["0.2"]);
    assert!(slow >= 340, "at least 17 % of 2000 took over 0.2 s, not {slow}: {found:#}");
    assert!(found["response_s"]["p90"].as_f64().unwrap() > 0.5, "{found:#}");
    // The schedule went on: each second had its requests, and none waited for the server.
    let seconds = found["series"].as_array().unwrap();
    assert!(seconds[..10].iter().all(|second| second["requests"] == 200), "{seconds:#?}");
    assert_eq!(found["held_back"], 0);
    assert!(count(&found["most_open"]) > 300, "{found:#}");
}

#[test]
fn errors_have_httperfs_names() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{closed}/");
    let found = web(&url, &["--rate", "50", "--duration", "1s"]);
    assert_eq!(found["errors"]["connrefused"], 50, "{found:#}");

    let server = Server::start(Kind::Nginx);
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -n 12; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_vmeter")])
        .args(["bench", "web", &server.url("1k"), "--rate", "2000", "--duration", "1s"])
        .args(["--json", "-"])
        .stdin(Stdio::null());
    // While the server is stopped, each connection keeps its file.
    server.signal(Signal::STOP);
    let child = limited.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    thread::sleep(Duration::from_millis(1500));
    server.signal(Signal::CONT);
    let found = json(&child.wait_with_output().unwrap());
    assert!(count(&found["errors"]["fd-unavail"]) > 1000, "{found:#}");
    assert_eq!(found["valid"], false);
    assert!(found["invalid_reasons"][0].as_str().unwrap().contains("RLIMIT_NOFILE"));
}

#[test]
fn what_cannot_be_is_refused_with_status_2() {
    for args in [
        &["http://127.0.0.1/", "--rate", "0"][..],
        &["http://127.0.0.1/"],
        &["http://127.0.0.1/", "--closed", "--rate", "1"],
        &["https://127.0.0.1/", "--rate", "1"],
        &["127.0.0.1", "--rate", "1"],
        &["http://127.0.0.1/", "--rate", "1", "--calls", "0"],
        &["http://127.0.0.1/", "--rate", "1", "--per", "request", "--calls", "2"],
        &["http://127.0.0.1/", "--rate", "1", "--threads", "0"],
        &["http://127.0.0.1/", "--rate", "1", "--fileset", "/nonexistent"],
    ] {
        let output = vmeter(&["bench", "web"]).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
    let full = vmeter(&["bench", "web", "http://127.0.0.1:1/", "--rate", "1", "--duration", "1s"])
        .args(["--json", "/dev/full"])
        .output()
        .unwrap();
    assert_eq!(full.status.code(), Some(1), "{full:?}");
    let text = String::from_utf8(full.stdout).unwrap();
    assert!(text.contains("connrefused"), "the result is not lost: {text}");
}

#[test]
fn ctrl_c_gives_the_result_so_far() {
    let server = Server::start(Kind::Nginx);
    let mut child = vmeter(&["bench", "web", &server.url("1k"), "--rate", "100"])
        .args(["--duration", "1h", "--json", "-"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    while server.requests_by_status(50).values().sum::<u64>() < 50 {}
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["partial"], true);
    assert!(count(&found["replies"]) >= 50, "{found:#}");
}
