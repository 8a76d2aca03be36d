//! The house keeps its rules: ARCHITECTURE.md's table against the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file longer than this wants to be two.
const LONGEST: usize = 550;

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Where ARCHITECTURE.md allows `unsafe`.
const UNSAFE: [&str; 5] = [
    "platform/src/kvm/tun.rs",
    "platform/src/xen/privcmd.rs",
    "sample/src/kernel.rs",
    "workload/src/cpu/text.rs",
    "workload/src/socket.rs",
];

/// Crate → crates that it may use, from the table.
fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let table = text.split("| crate | owns | may use |").nth(1).unwrap();
    table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let uses = cells[2].split(", ").filter(|name| *name != "–").map(String::from);
            (cells[0].to_owned(), uses.collect())
        })
        .collect()
}

/// Crate → crates of the workspace that it does use, tests apart.
fn used() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let room = |name: &str| name.strip_prefix("vmeter-").unwrap_or(name).to_owned();
    let names: BTreeSet<String> =
        packages.iter().map(|p| p["name"].as_str().unwrap().to_owned()).collect();
    packages
        .iter()
        .map(|package| {
            let uses = package["dependencies"].as_array().unwrap().iter();
            let uses = uses
                .filter(|d| d["kind"].as_str() != Some("dev"))
                .filter_map(|d| d["name"].as_str())
                .filter(|name| names.contains(*name));
            (room(package["name"].as_str().unwrap()), uses.map(room).collect())
        })
        .collect()
}

#[test]
fn a_crate_uses_only_what_its_row_says() {
    let (allowed, used) = (allowed(), used());
    assert!(used.len() > 3, "no crates found");
    assert_eq!(
        allowed.keys().collect::<Vec<_>>(),
        used.keys().collect::<Vec<_>>(),
        "ARCHITECTURE.md's rows and the crates"
    );
    for (room, uses) in used {
        let extra: Vec<_> = uses.difference(&allowed[&room]).collect();
        assert!(extra.is_empty(), "{room} may not use {extra:?}: see ARCHITECTURE.md");
    }
}

pub fn sources() -> Vec<(PathBuf, String)> {
    let (mut folders, mut files) = (vec![root().join("crates")], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() && !path.ends_with("fixtures") {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(files.len() > 20, "no sources found");
    files
}

#[test]
fn unsafe_stands_only_where_the_house_allows_it() {
    let opened = concat!("allow(", "unsafe_code");
    for (path, text) in sources() {
        let may = UNSAFE.iter().any(|place| path.ends_with(place));
        assert!(may || !text.contains(opened), "{} opens unsafe", path.display());
    }
}

#[test]
fn files_stay_readable() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= LONGEST, "{} has {lines} lines", path.display());
    }
}
