//! What is depended upon has a licence, a version and a source that deny.toml allows: by what
//! cargo knows alone, so that no machine has to build cargo-deny first. `make deny` runs the real one,
//! which also reads licence texts and advisories.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// deny.toml, as far as this test reads it.
#[derive(Deserialize)]
struct Rules {
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    allow: BTreeSet<String>,
    #[serde(rename = "crate")]
    name: String,
}

#[derive(Deserialize)]
struct Bans {
    wildcards: String,
    deny: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    unknown_registry: String,
    unknown_git: String,
}

/// A package, as `cargo tree` shows it.
#[derive(Debug, Clone)]
struct Package {
    name: String,
    license: String,
    /// Where it is from, unless that is crates.io.
    source: Option<String>,
}

impl Package {
    /// Of a line `NAME vVERSION (SOURCE)…|LICENCE`; what else is in parentheses is its kind.
    fn of(line: &str) -> Self {
        let (package, license) = line.split_once('|').unwrap();
        let package = package.trim_end_matches(" (*)").trim_end_matches(" (proc-macro)");
        let mut words = package.splitn(3, ' ');
        let name = words.next().unwrap().to_owned();
        assert!(words.next().unwrap().starts_with('v'), "{line}");
        Self { name, license: license.to_owned(), source: words.next().map(str::to_owned) }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn rules() -> Rules {
    let rules: Rules =
        toml::from_str(&fs::read_to_string(root().join("deny.toml")).unwrap()).unwrap();
    // What `problems` holds everything to.
    let (bans, sources) = (&rules.bans, &rules.sources);
    let strict = [&bans.wildcards, &sources.unknown_registry, &sources.unknown_git];
    assert!(strict.iter().all(|rule| *rule == "deny"));
    rules
}

fn cargo(args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO"));
    let output = command.args(args).args(["--locked", "--offline"]).current_dir(root()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// All packages that are built for these targets, those of tests and build scripts included.
fn packages(rules: &Rules) -> Vec<Package> {
    let mut tree = vec!["tree", "--workspace", "--all-features", "--prefix", "none"];
    tree.extend(["--edges", "normal,build,dev", "--format", "{p}|{l}"]);
    for target in &rules.graph.targets {
        tree.extend(["--target", target]);
    }
    let lines: BTreeSet<String> = cargo(&tree)
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| line.trim_end_matches(" (*)").to_owned())
        .collect();
    lines.iter().map(|line| Package::of(line)).collect()
}

/// What is wrong with a package.
fn problems(rules: &Rules, package: &Package) -> Vec<String> {
    let mut found = Vec::new();
    let mut wrong = |what: String| found.push(format!("{}: {what}", package.name));
    let exceptions: BTreeMap<&str, &BTreeSet<String>> =
        rules.licenses.exceptions.iter().map(|one| (one.name.as_str(), &one.allow)).collect();
    let allowed = |name: &str| {
        let except = exceptions.get(package.name.as_str());
        rules.licenses.allow.contains(name) || except.is_some_and(|names| names.contains(name))
    };
    match spdx::Expression::parse_mode(&package.license, spdx::ParseMode::LAX) {
        Ok(expression) if expression.evaluate(|one| allowed(&one.to_string())) => {}
        _ => wrong(format!("licence {:?}", package.license)),
    }
    let here = root().canonicalize().unwrap();
    let ours = |source: &str| source.starts_with(&format!("({}/", here.display()));
    if let Some(source) = package.source.as_deref().filter(|source| !ours(source)) {
        wrong(format!("source {source}"));
    }
    if rules.bans.deny.contains(&package.name) {
        wrong("is banned".to_owned());
    }
    found
}

#[test]
fn licences_and_sources_are_those_allowed() {
    let rules = rules();
    let packages = packages(&rules);
    println!("{} packages", packages.len());
    assert!(packages.len() > 100);
    let wrong: Vec<String> = packages.iter().flat_map(|one| problems(&rules, one)).collect();
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn no_crate_takes_any_version_of_another() {
    let text = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    let ours = found["packages"].as_array().unwrap();
    let used: Vec<_> =
        ours.iter().flat_map(|one| one["dependencies"].as_array().unwrap()).collect();
    assert!(used.len() > 100);
    for one in used {
        assert!(one["req"] != "*" || one["path"].is_string(), "{one:#}");
    }
}

#[test]
fn what_is_not_allowed_is_found() {
    let rules = rules();
    let wrong = |line: &str| problems(&rules, &Package::of(line));
    for good in ["a v1.0.0|MIT/Apache-2.0 OR GPL-3.0", "a v1.0.0 (proc-macro) (*)|MIT"] {
        assert_eq!(wrong(good), Vec::<String>::new());
    }
    for bad in [
        "a v1.0.0|",
        "a v1.0.0|GPL-2.0-only",
        "a v1.0.0|MIT AND AGPL-3.0-only",
        "a v1.0.0|CDDL-1.0",
        "a v1.0.0 (https://example.org/x#0123)|MIT",
        "a v1.0.0 (/elsewhere)|MIT",
        "bincode v2.0.0|MIT",
    ] {
        assert_eq!(wrong(bad).len(), 1, "{bad}");
    }
}
