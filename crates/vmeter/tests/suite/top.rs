//! `vmeter top` as a program: exit statuses, what goes to which output.

use assert_cmd::Command;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

fn vmeter(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmeter"));
    command.args(args);
    command
}

fn plain(args: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_vmeter"));
    command.args(args);
    command
}

/// Runs on any Linux: there are processes to look among, if no VM.
const SHORT: [&str; 4] = ["top", "--batch", "--interval", "100ms"];

#[test]
fn without_a_terminal_it_says_so() {
    let assert = vmeter(&["top"]).assert().code(2);
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(said.contains("--batch"), "{said}");
    assert!(assert.get_output().stdout.is_empty());
}

#[test]
fn where_there_is_nothing_it_says_what_was_looked_for() {
    let empty = tempfile::tempdir().unwrap();
    let root = empty.path().to_str().unwrap();
    let assert = vmeter(&["top", "--batch", "--platform", "xen", "--root", root]).assert().code(2);
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(said.contains("looked for"), "{said}");
}

#[test]
fn wrong_arguments_are_refused() {
    for wrong in [["--interval", "0"], ["--sort", "nothing"], ["--columns", "cpu,x"]] {
        vmeter(&["top", "--batch", "-n", "1"]).args(wrong).assert().code(2);
    }
    vmeter(&["top", "--count", "3"]).assert().code(2);
}

#[test]
fn it_prints_an_object_per_interval() {
    let assert = vmeter(&SHORT).args(["--count", "2", "--format", "json"]).assert().success();
    let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    let objects: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 2);
    for object in objects {
        assert_eq!(object["schema"], "vmeter.top/1");
        assert!((0.05..5.0).contains(&object["interval_s"].as_f64().unwrap()));
        assert!(object["self"]["rss_bytes"].as_u64().unwrap() > 0);
    }
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let mut child = plain(&SHORT).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(!line.is_empty());
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_full_disk_is_an_error() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = plain(&SHORT).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard output"));
}

/// A saved tree of the platform crate's fixtures.
fn fixture(name: &str) -> String {
    let path = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.join("../platform/tests/fixtures").join(name).to_str().unwrap().to_owned()
}

#[test]
fn an_agent_that_is_down_at_the_start_is_a_dash() {
    // The series' first moment twice: the first reading looks for the agents' VMs.
    let place = tempfile::tempdir().unwrap();
    for (at, of) in [("at-0", "at-0"), ("at-1", "at-0"), ("at-2", "at-1")] {
        let moment = format!("{}/{of}", fixture("firecracker"));
        // A link would lead out of the tree.
        let mut copy = std::process::Command::new("cp");
        assert!(copy.arg("-r").arg(moment).arg(place.path().join(at)).status().unwrap().success());
    }
    let root = place.path().to_str().unwrap();
    let args = ["--root", root, "--agent", "web-1=/no/such/socket", "--format", "json", "-n", "1"];
    let assert = vmeter(&SHORT).args(args).assert().success();
    let output = assert.get_output();
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["vms"][0]["name"], "web-1");
    assert!(object["vms"][0]["steal_s"].is_null(), "{object}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("/no/such/socket") && said.contains("retrying every 2 s"), "{said}");
    // A wrong address stays an error.
    vmeter(&SHORT).args(["--root", root, "--agent", "web-1=vsock:x", "-n", "1"]).assert().code(1);
}

#[test]
fn rows_of_control_groups_are_chosen() {
    let root = fixture("lxc");
    let names = |choice: &[&str]| {
        let args = ["--platform", "cgroup", "--root", &root, "--format", "json", "-n", "1"];
        let assert = vmeter(&SHORT).args(args).args(choice).assert().success();
        let object: serde_json::Value =
            serde_json::from_slice(&assert.get_output().stdout).unwrap();
        let vms = object["vms"].as_array().unwrap();
        vms.iter().map(|vm| vm["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["lxc.monitor.web", "lxc:web", "lxc.pivot"]);
    let pattern = ["--cgroup", "/lxc.payload.*/system.slice/*"];
    assert_eq!(
        names(&pattern),
        ["lxc:web/system.slice/a.service", "lxc:web/system.slice/b.service"]
    );
    assert!(names(&["--cgroup-depth", "2"]).contains(&"lxc:web/init.scope".to_owned()));
    for wrong in [["--cgroup", "a"], ["--cgroup-depth", "0"]] {
        vmeter(&SHORT).args(wrong).assert().code(2);
    }
    // Two ways to choose are one too many.
    vmeter(&SHORT).args(["--cgroup", "/a", "--cgroup-depth", "2"]).assert().code(2);
}

#[test]
fn top_and_cpu_explain_the_rows_of_control_groups_alike() {
    let help = |subcommand: &str| {
        let assert = vmeter(&[subcommand, "--help"]).assert().success();
        let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
        let from = text.find("--cgroup-depth").unwrap();
        let to = text.find("Of nested groups").unwrap();
        text[from..to].to_owned()
    };
    assert_eq!(help("top"), help("cpu"));
}
