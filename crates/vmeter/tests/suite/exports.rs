//! What `vmeter report` writes for other programs, in those programs or by their own rules: pprof's
//! schema, a flame-graph tool, a browser, the Firefox profiler's format.

use crate::chromium::Chromium;
use crate::processes::said;
use flate2::read::GzDecoder;
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use tempfile::TempDir;

/// A recording of the spinner, for all.
static RECORDED: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
    let place = tempfile::tempdir().unwrap();
    let program = crate::spinner::build(place.path());
    let dir = place.path().join("rec");
    let output = Command::new(env!("CARGO_BIN_EXE_vmeter"))
        .args(["record", "-e", "cpu-clock", "-o"])
        .arg(&dir)
        .arg("--")
        .arg(&program)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    (place, dir)
});

/// The recording as a format has it, in a file.
fn exported(format: &str, place: &Path) -> PathBuf {
    let file = place.join(format!("out.{format}"));
    let output = Command::new(env!("CARGO_BIN_EXE_vmeter"))
        .args(["report", "--format", format, "--limit", "0", "-o"])
        .arg(&file)
        .arg(&RECORDED.1)
        .output()
        .unwrap();
    assert!(output.status.success(), "{format}: {}", said(&output));
    file
}

/// Where Debian's golang-github-google-pprof-dev has pprof's own schema.
const SCHEMA: &str = "/usr/share/gocode/src/github.com/google/pprof/proto";

/// `protoc` knows every field by pprof's own profile.proto, and finds the functions.
#[test]
fn pprof_is_of_its_schema() {
    let place = tempfile::tempdir().unwrap();
    let mut raw = Vec::new();
    let file = fs::File::open(exported("pprof", place.path())).unwrap();
    GzDecoder::new(file).read_to_end(&mut raw).unwrap();
    let mut protoc = Command::new("protoc")
        .args(["--decode=perftools.profiles.Profile", "-I", SCHEMA, "profile.proto"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = protoc.stdin.take().unwrap();
    let writer = std::thread::spawn(move || to.write_all(&raw).unwrap());
    let output = protoc.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    // What the schema does not have is shown by its number.
    let unknown =
        text.lines().find(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit()));
    assert_eq!(unknown, None);
    assert!(text.contains("string_table: \"spin_three\"") && text.contains("period_type {"));
    let count = |what: &str| text.lines().filter(|line| line.starts_with(what)).count();
    println!("{} samples, {} functions", count("sample {"), count("function {"));
    assert!(count("sample {") > 1 && count("function {") > 1);
}

/// The folded stacks in a flame-graph tool, and our own SVG in a browser.
#[test]
fn flame_graphs_are_drawn() {
    let place = tempfile::tempdir().unwrap();
    let folded = fs::read_to_string(exported("folded", place.path())).unwrap();
    let drawn = place.path().join("theirs.svg");
    let mut options = inferno::flamegraph::Options::default();
    let to = fs::File::create(&drawn).unwrap();
    inferno::flamegraph::from_lines(&mut options, folded.lines(), to).unwrap();
    let mut browser = Chromium::start();
    browser.resize(1280, 800);
    for file in [drawn, exported("svg", place.path())] {
        browser.open(&file);
        let frames = browser.eval("document.querySelectorAll('#frames > g').length");
        let titles = browser.eval(
            "[...document.querySelectorAll('#frames title')].map(t => t.textContent).join('\\n')",
        );
        println!("{}: {frames} frames", file.display());
        assert!(frames.as_u64().unwrap() > 5, "{frames}");
        assert!(titles.as_str().unwrap().contains("spin_three ("), "{titles}");
        // Its frames are as wide as their shares: three times the work, three times the width.
        let width = |name: &str| {
            format!(
                "[...document.querySelectorAll('#frames > g')].filter(g => \
                 g.querySelector('title').textContent.startsWith('{name} (')).map(g => \
                 g.querySelector('rect').getBoundingClientRect().width)[0]"
            )
        };
        let (three, one) = (browser.eval(&width("spin_three")), browser.eval(&width("spin_one")));
        let ratio = three.as_f64().unwrap() / one.as_f64().unwrap();
        assert!((2.0..4.5).contains(&ratio), "{three} to {one}");
        assert_eq!(browser.problems(), Vec::<String>::new());
        assert_eq!(browser.requests().iter().filter(|url| url.starts_with("http")).count(), 0);
    }
}

fn numbers(value: &Value) -> Vec<Option<u64>> {
    value.as_array().unwrap_or_else(|| panic!("{value}")).iter().map(Value::as_u64).collect()
}

/// The rules of the processed profile (docs-developer/processed-profile-format.md of the Firefox
/// profiler): columns of a table are of its length, and each index is of a row that is there.
#[test]
fn firefox_tables_fit_together() {
    let place = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(exported("firefox", place.path())).unwrap();
    let profile: Value = serde_json::from_str(&text).unwrap();
    let version = &profile["meta"]["preprocessedProfileVersion"];
    println!("processed profile version {version}");
    assert!(version.as_u64().is_some_and(|version| version >= 40));
    let shared_strings = profile.pointer("/shared/stringArray");
    let categories = profile["meta"]["categories"].as_array().unwrap().len() as u64;
    let mut found = false;
    for thread in profile["threads"].as_array().unwrap() {
        let strings = shared_strings.unwrap_or(&thread["stringArray"]).as_array().unwrap();
        let table = |name: &str| {
            let table = thread.get(name).or_else(|| profile["shared"].get(name));
            table.unwrap_or_else(|| panic!("no {name}")).clone()
        };
        let length = |table: &Value| table["length"].as_u64().unwrap();
        let within = |table: &Value, column: &str, most: u64| {
            let all = numbers(&table[column]);
            assert_eq!(all.len() as u64, length(table), "{column}");
            assert!(all.iter().flatten().all(|&at| at < most), "{column}");
        };
        let (samples, stacks) = (&thread["samples"], table("stackTable"));
        let (frames, functions) = (table("frameTable"), table("funcTable"));
        within(samples, "stack", length(&stacks));
        within(&stacks, "frame", length(&frames));
        for (at, prefix) in numbers(&stacks["prefix"]).into_iter().enumerate() {
            assert!(prefix.is_none_or(|prefix| prefix < at as u64), "a prefix comes first");
        }
        within(&frames, "func", length(&functions));
        within(&frames, "category", categories);
        within(&functions, "name", strings.len() as u64);
        let times = samples["timeDeltas"].as_array().or_else(|| samples["time"].as_array());
        assert_eq!(times.unwrap().len() as u64, length(samples));
        found |= strings.iter().any(|word| word == "spin_three");
    }
    assert!(found, "the functions have their names");
}
