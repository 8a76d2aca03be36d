//! One language (docs/glossary.md): phrases that made readers stumble stay out of help texts, docs and
//! the program's messages.

use crate::layers::{root, sources};
use std::fs;
use std::path::{Path, PathBuf};

/// A phrase, in lower case, and what to write instead.
const ODDITIES: [(&str, &str); 33] = [
    ("a folder of its own", "a separate directory"),
    ("at the begin ", "at the start"),
    ("the begin ", "the start"),
    ("begin its agent", "start its agent"),
    ("came back", "reconnected, went online"),
    ("met again", "reconnected"),
    ("was there again", "reconnected"),
    ("lost its way", "terminated"),
    ("nobody", "no client, no VM"),
    ("newcomers", "new connections"),
    ("strangers", "unauthenticated clients"),
    ("nothing came", "timed out"),
    ("has no end", "is truncated"),
    ("in their turn", "in order"),
    ("so often", "the number itself"),
    ("so many", "the number itself"),
    ("take turns", "are multiplexed"),
    ("took turns", "were multiplexed"),
    ("unasked", "by default"),
    ("unless told", "by default"),
    ("told otherwise", "by default"),
    ("is told", "gets, is reported"),
    ("tells it", "reports it"),
    ("whose a sample is", "sample attribution"),
    ("goes on where", "resumes"),
    ("have not the", "do not have the"),
    ("has not the", "does not have the"),
    ("another one that is", "a different"),
    ("that is another one", "that differs"),
    ("as fast as it goes", "without a limit"),
    ("of one name apart", "separately"),
    ("one is asked", "requested"),
    ("which is said", "which a note reports"),
];
/// What is counted in a rate: "per second", not "a second".
const COUNTED: [&str; 14] = [
    "acks",
    "bits",
    "bytes",
    "calls",
    "connections",
    "cycles",
    "events",
    "frames",
    "packets",
    "replies",
    "requests",
    "samples",
    "times",
    "writes",
];
/// After "is no" these are English.
const NO_LONGER: [&str; 2] = ["longer", "more"];
/// A user's or file's name that is an oddity, too.
const NAMES: [&str; 3] = ["`nobody`", "user nobody", "nobody:x:65534:65534:nobody:"];

/// The oddities of a text, each with what to write instead.
fn oddities(text: &str) -> Vec<String> {
    let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    for name in NAMES {
        text = text.replace(name, "");
    }
    let mut found: Vec<String> = ODDITIES
        .iter()
        .filter(|(phrase, _)| text.contains(phrase))
        .map(|(phrase, instead)| format!("\"{phrase}\": {instead}"))
        .collect();
    for counted in COUNTED {
        if text.contains(&format!("{counted} a second")) {
            found.push(format!("\"{counted} a second\": per second"));
        }
    }
    let words: Vec<&str> = text.split(' ').collect();
    for three in words.windows(4) {
        let [before, verb, no, noun] = three else { continue };
        let negates = matches!(*verb, "is" | "are") && *no == "no";
        if negates && *before != "there" && !NO_LONGER.contains(noun) {
            found.push(format!("\"{before} {verb} no {noun}\": is not a, invalid"));
        }
    }
    found
}

/// The string literals of a source file but for its tests.
fn literals(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]\nmod ").next().unwrap();
    let (mut found, mut rest) = (Vec::new(), source);
    while let Some(at) = rest.find(['"', '/', '\'']) {
        let (here, after) = rest[at..].split_at(1);
        rest = match here {
            "/" if after.starts_with('/') => after.split_once('\n').map_or("", |(_, next)| next),
            "'" if after.starts_with("\"'") => &after[2..],
            "\"" => {
                let mut escaped = false;
                let end = after.find(|c| {
                    let ends = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    ends
                });
                let (literal, next) = after.split_at(end.unwrap_or(after.len()));
                found.push(literal.replace("\\\n", "").replace("\\n", " "));
                next.get(1..).unwrap_or_default()
            }
            _ => after,
        };
    }
    found
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

#[test]
fn help_texts_and_docs_have_no_oddities() {
    let root = root();
    let mut texts = files(&root.join("crates/vmeter/tests/golden/help"), "txt");
    assert!(texts.len() > 20, "no golden help texts");
    texts.extend(
        files(&root.join("docs"), "md").into_iter().filter(|p| !p.ends_with("glossary.md")),
    );
    texts.extend(files(&root, "md"));
    texts.push(root.join("plans/README.md"));
    let mut wrong = Vec::new();
    for path in texts {
        let text = fs::read_to_string(&path).unwrap();
        // A paragraph at a time, so that phrases across lines are found and can be located.
        for paragraph in text.split("\n\n") {
            for oddity in oddities(paragraph) {
                wrong.push(format!("{}: {oddity}\n    {:.70}", path.display(), paragraph.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn messages_have_no_oddities() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (path, text) in sources() {
        let parts: Vec<_> = path.iter().filter_map(|part| part.to_str()).collect();
        let is_test = parts.contains(&"tests")
            || parts.contains(&"benches")
            || parts.contains(&"examples")
            || path.file_stem().is_some_and(|stem| stem.to_string_lossy().contains("test"));
        if is_test {
            continue;
        }
        for literal in literals(&text).iter().filter(|literal| literal.contains(' ')) {
            count += 1;
            wrong.extend(oddities(literal).iter().map(|o| format!("{}: {o}", path.display())));
        }
    }
    assert!(count > 500, "{count} messages found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn oddities_are_found() {
    for odd in ["`x` is no unit", "500k unless\n told", "Cycles a second", "files, for nobody"] {
        assert!(!oddities(odd).is_empty(), "{odd}");
    }
    for fine in ["is no longer read", "There is no limit", "within a second", "the user `nobody`"] {
        assert_eq!(oddities(fine), [""; 0], "{fine}");
    }
    let source = "// \"comment\"\nlet a = '\"'; f(\"one \\\" two \\\n   three\");\n#[cfg(test)]\nmod t { \"x\" }";
    assert_eq!(literals(source), ["one \\\"two    three".replace("\\\"t", "\\\" t")]);
}
