//! `vmeter cpu` and `--root` as a program: statuses, files, replayed trees.

use assert_cmd::Command;
use serde_json::Value;
use std::path::PathBuf;

fn vmeter(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmeter"));
    command.args(args);
    command
}

/// A saved tree of the platform crate's fixtures.
fn fixture(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.join("../platform/tests/fixtures").join(name).to_str().unwrap().to_owned()
}

fn stdout(command: &mut Command) -> String {
    String::from_utf8(command.assert().success().get_output().stdout.clone()).unwrap()
}

#[test]
fn the_commands_status_and_output_pass_through() {
    let assert = vmeter(&["cpu", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]).assert();
    let output = assert.code(7).get_output().clone();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "out\n");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.starts_with("err\n") && said.contains("B_IDD"), "{said}");
    vmeter(&["cpu", "--", "sh", "-c", "kill -TERM $$"]).assert().code(143);
    vmeter(&["cpu", "--", "/no/such/command"]).assert().code(127);
    vmeter(&["cpu", "--", "/dev/null"]).assert().code(126);
}

#[test]
fn what_cannot_be_saved_is_known_before_the_command_runs() {
    let folder = tempfile::tempdir().unwrap();
    let ran = folder.path().join("ran");
    let nowhere = folder.path().join("no/such/folder/file");
    let assert = vmeter(&["cpu", "--save"]).arg(&nowhere).arg("--").arg("touch").arg(&ran).assert();
    assert.failure();
    assert!(!ran.exists());
}

#[test]
fn two_saved_moments_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("moments");
    vmeter(&["cpu", "--save"]).arg(&file).args(["--", "sleep", "0.3"]).assert().success();
    let path = file.to_str().unwrap();
    let text = stdout(&mut vmeter(&["cpu", "--format", "json", "--from", path, "--to", path]));
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["schema"], "vmeter.cpu/1");
    let interval = report["interval_s"].as_f64().unwrap();
    assert!((0.3..5.0).contains(&interval), "{interval}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no part file is left");
    for wrong in ["", "{}\n", "{\"schema\":\"other/1\",\"snapshot\":{}}\n", "\u{0}\u{ff}"] {
        std::fs::write(&file, wrong).unwrap();
        vmeter(&["cpu", "--from", path]).assert().code(1);
    }
}

#[test]
fn a_saved_trees_vcpus_are_listed() {
    let root = fixture("cloud-hypervisor");
    let text = stdout(&mut vmeter(&["cpu", "--format", "json", "--root", &root]));
    let listed: Value = serde_json::from_str(&text).unwrap();
    let vcpus = listed["vcpus"].as_array().unwrap();
    assert_eq!(vcpus.len(), 2);
    assert!(vcpus.iter().all(|vcpu| vcpu["name"] == "db" && vcpu["busy_s"].is_number()));
    let one = stdout(&mut vmeter(&["cpu", "--root", &root, "--vm", "db", "--vcpu", "1"]));
    assert_eq!(one.lines().count(), 2, "{one}");
    vmeter(&["cpu", "--root", &root, "--vm", "other"]).assert().code(2);
}

#[test]
fn a_saved_series_ends_quietly() {
    let root = fixture("xen-4.20");
    let args = ["top", "--batch", "--interval", "100ms", "--format", "json", "--root", &root];
    let text = stdout(&mut vmeter(&args));
    let object: Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(object["host"]["system"], "Xen 4.20.4-pre");
    assert_eq!(object["vms"].as_array().unwrap().len(), 2);
}
