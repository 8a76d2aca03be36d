//! Man pages and completions, tried with the programs that read them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn vmeter(args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_vmeter")).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Runs a program that the tests need.
fn with(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}: run ./setup"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{program}: {}\n{out}{err}", output.status);
    assert_eq!(err, "", "{program} {args:?}");
    out
}

/// The completion script of a shell, in a file.
fn script(directory: &Path, shell: &str) -> String {
    let path = directory.join(shell);
    fs::write(&path, vmeter(&["completions", shell]).stdout).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn man_pages_pass_mandoc() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("man1");
    vmeter(&["man", "-o", directory.to_str().unwrap()]);
    let mut pages: Vec<String> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path().to_str().unwrap().to_owned())
        .collect();
    pages.sort();
    assert!(pages.len() > 20, "{pages:?}");
    let mut args = vec!["-T", "lint", "-W", "error"];
    args.extend(pages.iter().map(String::as_str));
    assert_eq!(with("mandoc", &args), "");
    let top = with("mandoc", &["-T", "utf8", directory.join("vmeter-top.1").to_str().unwrap()]);
    assert!(top.contains("interval") && top.contains("VMETER_LOG"), "{top}");
}

#[test]
fn bash_completes() {
    let place = tempfile::tempdir().unwrap();
    let script = script(place.path(), "bash");
    let complete = |words: &str, last: usize| {
        let run = format!(
            "source {script}; COMP_WORDS=({words}); COMP_CWORD={last}; \
             _vmeter vmeter \"${{COMP_WORDS[{last}]}}\" \"${{COMP_WORDS[{last}-1]}}\"; \
             echo \"${{COMPREPLY[@]}}\""
        );
        with("bash", &["--norc", "--noprofile", "-c", &run]).trim().to_owned()
    };
    assert_eq!(complete("vmeter to", 1), "top");
    assert_eq!(complete("vmeter top --platform x", 3), "xen");
    assert_eq!(complete("vmeter bench tcp send --pac", 4), "--pace --packets");
}

#[test]
fn zsh_completes() {
    let place = tempfile::tempdir().unwrap();
    let script = script(place.path(), "zsh");
    // Completions run only in an interactive shell: one is driven through a pseudo-terminal.
    let run = format!(
        r#"zmodload zsh/zpty
        zpty shell zsh -f -i
        zpty -w shell 'PROMPT=; unsetopt zle_bracketed_paste; autoload -Uz compinit; compinit -u -D'
        zpty -w shell 'source {script}; compdef _vmeter vmeter; print re''ady'
        zpty -r shell text '*ready*'
        zpty -w -n shell $'vmeter calib\t'
        zpty -r shell text '*calibrate*'
        print -r -- "$text"
        zpty -d shell"#
    );
    let shown = with("timeout", &["30", "zsh", "-f", "-c", &run]);
    assert!(shown.contains("calibrate"), "{shown}");
}

#[test]
fn fish_completes() {
    let place = tempfile::tempdir().unwrap();
    let script = script(place.path(), "fish");
    let complete = |line: &str| {
        let run = format!("source {script}; complete -C '{line}'");
        with("fish", &["--no-config", "-c", &run])
    };
    assert!(complete("vmeter to").starts_with("top\t"), "{}", complete("vmeter to"));
    let platforms = complete("vmeter top --platform ");
    assert!(["xen", "kvm", "cgroup"].iter().all(|name| platforms.contains(name)), "{platforms}");
}
