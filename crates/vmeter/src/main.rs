//! `vmeter`: what virtualization costs. Arguments choose a subcommand, the subcommand runs, and
//! its outcome becomes the exit status.

mod agent;
mod args;
mod bench;
mod calibrate;
mod capture;
mod cli;
mod cpu;
mod failure;
#[cfg(test)]
mod golden;
mod import;
mod init;
mod install;
mod interrupt;
mod lab;
mod log;
mod manual;
mod monitor;
mod pending;
mod record;
mod report;
mod samples;
mod study;
mod terminal;
mod top;

use clap::{CommandFactory, Parser};
use cli::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Cli::parse();
    match log::start(&arguments.log).and_then(|()| run(arguments.command)) {
        Ok(status) => status,
        Err(error) => failure::report(&error),
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Top(args) => top::run(args),
        Command::Cpu(args) => cpu::run(&args),
        Command::Capture(args) => capture::run(&args),
        Command::Bench(args) => bench::run(args),
        Command::Agent(args) => agent::run(args),
        Command::Study(args) => study::run(args),
        Command::Record(args) => record::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Lab(args) => lab::run(args),
        Command::Completions(args) => manual::completions(&args, Cli::command()),
        Command::Man(args) => manual::man(&args, Cli::command()),
    }
}
