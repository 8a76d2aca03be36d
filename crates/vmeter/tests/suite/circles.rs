//! No circle of uses between the modules of a crate: each can be understood after those that it uses.

use crate::layers::{root, sources};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Module → modules of the same crate that it uses, all of the level below the crate's root.
type Uses = BTreeMap<String, BTreeSet<String>>;

/// The modules' path below `src`: `record/guest.rs` is `["record", "guest"]`. `None` for the root
/// itself, and for tests.
fn module(path: &Path) -> Option<Vec<String>> {
    let mut parts: Vec<String> = path
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .filter(|part| part != "mod")
        .collect();
    let last = parts.last_mut()?;
    let is_test = last.ends_with("tests") || last == "testing" || last == "fixture";
    (!is_test && last != "lib" && last != "main").then_some(parts)
}

/// The code without its unit tests and comments.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The first names behind `prefix`: `a` and `b` of `crate::a::X`, `crate::{a::Y, b}`.
fn behind(code: &str, prefix: &str) -> BTreeSet<String> {
    let name = |text: &str| {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
        text[..end.unwrap_or(text.len())].to_owned()
    };
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        // Not behind a longer path, as `crate` in `$crate::` or `super` in `super::super::`.
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || "_:$".contains(c)) {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(name(rest));
            continue;
        };
        let mut depth = 0;
        let mut start = true;
        for (place, c) in group.char_indices() {
            match c {
                '}' if depth == 0 => break,
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                c if start && (c.is_alphabetic() || c == '_') => {
                    found.insert(name(&group[place..]));
                    start = false;
                }
                _ => {}
            }
        }
    }
    found
}

/// The uses between the modules of one crate; `files` are their paths below `src` and their texts.
fn uses(files: &[(&Path, &str)]) -> Uses {
    let modules: Vec<_> =
        files.iter().filter_map(|(path, text)| Some((module(path)?, code(text)))).collect();
    let names: BTreeSet<&String> = modules.iter().map(|(path, _)| &path[0]).collect();
    let mut uses = Uses::new();
    for (path, code) in &modules {
        let mut found = behind(code, "crate::");
        found.extend(behind(code, &"super::".repeat(path.len())));
        found.retain(|name| names.contains(name) && *name != path[0]);
        uses.entry(path[0].clone()).or_default().extend(found);
    }
    uses
}

/// Modules that use each other in a circle, the first again at the end.
fn circle(uses: &Uses) -> Option<Vec<String>> {
    fn walk(uses: &Uses, path: &mut Vec<String>, done: &mut BTreeSet<String>) -> bool {
        let last = path.last().cloned().unwrap_or_default();
        for next in uses.get(&last).into_iter().flatten() {
            if let Some(at) = path.iter().position(|one| one == next) {
                path.drain(..at);
                path.push(next.clone());
                return true;
            }
            if !done.contains(next) {
                path.push(next.clone());
                if walk(uses, path, done) {
                    return true;
                }
                path.pop();
            }
        }
        done.insert(last);
        false
    }
    let mut done = BTreeSet::new();
    uses.keys().find_map(|start| {
        let mut path = vec![start.clone()];
        (!done.contains(start) && walk(uses, &mut path, &mut done)).then_some(path)
    })
}

#[test]
fn modules_use_each_other_in_no_circle() {
    let sources = sources();
    let mut crates: BTreeMap<String, Vec<(&Path, &str)>> = BTreeMap::new();
    for (path, text) in &sources {
        let below = path.strip_prefix(root().join("crates")).unwrap();
        let mut parts = below.iter();
        let name = parts.next().unwrap().to_string_lossy().into_owned();
        if parts.next().is_some_and(|folder| folder == "src") {
            crates.entry(name).or_default().push((parts.as_path(), text));
        }
    }
    assert!(crates.len() > 10, "{:?}", crates.keys());
    for (name, files) in crates {
        let uses = uses(&files);
        println!("{name}: {} modules, {} uses", uses.len(), uses.values().flatten().count());
        if let Some(circle) = circle(&uses) {
            panic!("crate {name}: its modules use each other in a circle: {}", circle.join(" → "));
        }
    }
}

#[test]
fn a_circle_that_is_added_is_found() {
    let one = (Path::new("one.rs"), "use crate::two::A;\n");
    let three = (Path::new("three/part.rs"), "fn f() {\n    super::super::one::g();\n}\n");
    let comment = (
        Path::new("two.rs"),
        "// crate::three\n#[cfg(test)]\nmod tests {\n    use crate::three::C;\n}\n",
    );
    assert_eq!(circle(&uses(&[one, comment, three])), None);
    let two = (Path::new("two.rs"), "use crate::{four, three::{one, B}};\n");
    let found = circle(&uses(&[one, two, three])).unwrap();
    assert_eq!(found, ["one", "two", "three", "one"]);
}
