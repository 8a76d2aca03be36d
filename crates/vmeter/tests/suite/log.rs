//! Logs: off by default, an error where they cannot be parsed, and fit for the journal.

use assert_cmd::Command;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

/// A command that decides something: without an emulator's KVM, by the instruction clock.
fn vmeter(log: Option<&str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmeter"));
    command.env_remove("VMETER_LOG").env_remove("JOURNAL_STREAM").args([
        "cpu",
        "--platform",
        "kvm",
    ]);
    if let Some(log) = log {
        command.env("VMETER_LOG", log);
    }
    command
}

#[test]
fn a_filter_that_cannot_be_parsed_is_refused_before_anything_runs() {
    let place = tempfile::tempdir().unwrap();
    let saved = place.path().join("saved");
    for (wrong, nearest) in [("platfrom=debug", "`platform`"), ("debgu", "`debug`")] {
        let assert = vmeter(Some(wrong)).arg("--save").arg(&saved).assert().code(2);
        let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(said.contains("VMETER_LOG") && said.contains(nearest), "{said}");
        assert!(assert.get_output().stdout.is_empty() && !saved.exists());
    }
}

/// What is written to standard error, which is a file: the journal's, or not.
fn logged(journal: bool) -> String {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("stderr");
    let file = File::create(&path).unwrap();
    let meta = file.metadata().unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_vmeter"));
    command.args(["-vv", "record", "-o"]).arg(place.path().join("out")).args(["--", "true"]);
    command.env_remove("VMETER_LOG").stdout(Stdio::null()).stderr(file);
    // A service's inherits the number of another stream where it redirects standard error.
    let inode = if journal { meta.ino() } else { meta.ino() + 1 };
    command.env("JOURNAL_STREAM", format!("{}:{inode}", meta.dev()));
    command.status().unwrap();
    std::fs::read_to_string(&path).unwrap()
}

#[test]
fn lines_have_a_time_unless_the_journal_adds_it() {
    let is_line = |line: &str| {
        line.contains("record: sampling all CPUs") || line.contains("record: not permitted")
    };
    let of = |text: &str| text.lines().find(|line| is_line(line)).map(str::to_owned);
    let (plain, journal) = (logged(false), logged(true));
    let line = of(&plain).unwrap_or_else(|| panic!("no line in {plain}"));
    assert!(line.starts_with("20") && line.contains("Z "), "{line}");
    let line = of(&journal).unwrap_or_else(|| panic!("no line in {journal}"));
    assert!(
        line.trim_start().starts_with("DEBUG record:")
            || line.trim_start().starts_with("INFO record:"),
        "{line}"
    );
    assert!(!plain.contains('\u{1b}') && !journal.contains('\u{1b}'), "no colours");
}

#[test]
fn nothing_is_logged_by_default() {
    let assert = vmeter(None).assert();
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(!said.contains("DEBUG") && !said.contains("INFO"), "{said}");
}
