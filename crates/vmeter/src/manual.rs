//! `vmeter man` and `vmeter completions`: made from the definition of the command line itself.

use crate::pending::Pending;
use anyhow::{Context, Result};
use clap::{Args, Command, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// `vmeter man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Directory to write the pages to; created if it does not exist
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
}

/// `vmeter completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Shell to complete in
    #[arg(value_enum, value_name = "SHELL")]
    shell: ShellName,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ShellName {
    Bash,
    Zsh,
    Fish,
}

/// Writes a page for the program and one for each of its subcommands.
///
/// # Errors
/// A directory that cannot be written.
pub fn man(args: &ManArgs, program: Command) -> Result<ExitCode> {
    let directory = &args.output;
    files::make_folders(directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    for (name, page) in pages(program)? {
        Pending::create(&directory.join(format!("{name}.1")))?.finish(&page)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the completion script of a shell.
///
/// # Errors
/// Where standard output cannot be written.
pub fn completions(args: &CompletionsArgs, mut program: Command) -> Result<ExitCode> {
    let shell = match args.shell {
        ShellName::Bash => Shell::Bash,
        ShellName::Zsh => Shell::Zsh,
        ShellName::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program, "vmeter", &mut script);
    io::stdout().lock().write_all(&script).context("standard output")?;
    Ok(ExitCode::SUCCESS)
}

/// The names and texts of all pages.
///
/// # Errors
/// A text that cannot be rendered.
pub fn pages(program: Command) -> Result<Vec<(String, String)>> {
    let mut program = program.disable_help_subcommand(true);
    program.build();
    let mut pages = Vec::new();
    add(&program, "vmeter", &mut pages)?;
    Ok(pages)
}

fn add(command: &Command, name: &str, pages: &mut Vec<(String, String)>) -> Result<()> {
    for part in command.get_subcommands().filter(|part| !part.is_hide_set()) {
        add(part, &format!("{name}-{}", part.get_name()), pages)?;
    }
    let mut page = Vec::new();
    let version = concat!("vmeter ", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone()).title(name).source(version).manual("vmeter").render(&mut page)?;
    pages.push((name.to_owned(), String::from_utf8(page)?));
    Ok(())
}
