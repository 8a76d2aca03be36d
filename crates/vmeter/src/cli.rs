//! The command line, as it is written. Each subcommand lowers its part to a typed plan.

use crate::agent::AgentArgs;
use crate::bench::BenchArgs;
use crate::calibrate::CalibrateArgs;
use crate::capture::CaptureArgs;
use crate::cpu::CpuArgs;
use crate::import::ImportArgs;
use crate::lab::LabArgs;
use crate::log::LogArgs;
use crate::manual::{CompletionsArgs, ManArgs};
use crate::record::RecordArgs;
use crate::report::ReportArgs;
use crate::study::StudyArgs;
use crate::top::TopArgs;
use clap::{Parser, Subcommand};

/// Measures what virtualization costs: the CPU time of each VM, including the I/O work that the
/// driver domain or the host does for it
#[derive(Debug, Parser)]
#[command(name = "vmeter", version, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    pub log: LogArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows the CPU time and I/O of each VM, interval by interval
    ///
    /// CPU% is the CPU time that a VM costs, in percent of one CPU: its own time and the I/O work
    /// that the driver domain or the host does for it. The column adds up: VMs + the driver
    /// domain's own work + unattributed = the host's busy time. A dash means that the value is
    /// unknown. On the screen, `?` shows the keys.
    Top(TopArgs),
    /// Reports busy time of VMs and vCPUs: cumulative, across a command, or between two readings
    ///
    /// Without COMMAND, prints the cumulative busy time of each vCPU. With COMMAND, reads the
    /// counters before and after it and reports on standard error, for each VM: T (wall time),
    /// B (the VM's own busy time), B_IDD (the I/O work that the driver domain or host did for it)
    /// and U = (B + B_IDD) / T, in CPUs. The exit status is that of COMMAND.
    Cpu(CpuArgs),
    /// Saves the counters of a Xen host as a directory tree for --root
    ///
    /// Saves two readings of Xen, /proc and /sys, including command lines and names of processes,
    /// for a bug report about an unsupported Xen version, or for a test.
    Capture(CaptureArgs),
    /// Runs the workloads of the case study: TCP packets, web requests, CPU-bound programs
    ///
    /// The workloads run in the same way natively and inside a guest. Each prints its result;
    /// --json FILE also writes the full result, with a description of the machine.
    Bench(BenchArgs),
    /// Runs, installs and queries the local monitor of a machine or VM
    Agent(AgentArgs),
    /// Runs the case study: measures what virtualization costs and draws the figures
    Study(StudyArgs),
    /// Samples the host and its VMs: in which VM, process and function events occur
    ///
    /// Samples everything that runs on the host, including KVM guests. Agents in VMs report the
    /// names of the programs that run there, or sample their VM themselves. Ctrl-C stops recording
    /// and keeps what was recorded.
    Record(RecordArgs),
    /// Reports in which VMs, processes and functions the events of a recording occurred
    Report(ReportArgs),
    /// Converts a perf.data file to a recording for `vmeter report`
    Import(ImportArgs),
    /// Measures the overhead of sampling and suggests the shortest period within a limit
    ///
    /// Runs a CPU-bound program with and without sampling at several periods, on this machine or,
    /// through an agent, in a VM. `vmeter record` warns if its period is shorter than the result.
    Calibrate(CalibrateArgs),
    /// Boots real Xen, real KVM or plain Linux in an emulator and runs a command there
    Lab(LabArgs),
    /// Prints the completion script of a shell
    Completions(CompletionsArgs),
    /// Writes the man pages of all subcommands
    Man(ManArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// `-h` and `--help` of every subcommand, at 80 columns.
    #[test]
    fn help_texts_are_golden() {
        let mut names = std::collections::BTreeSet::new();
        let mut root = Cli::command().term_width(80).disable_help_subcommand(true);
        root.build();
        check_help(&root, "vmeter", &mut names);
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/help");
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(
                names.contains(&name),
                "tests/golden/help/{name} is of no subcommand: delete it"
            );
        }
    }

    fn check_help(
        command: &clap::Command,
        name: &str,
        names: &mut std::collections::BTreeSet<String>,
    ) {
        let mut shown = command.clone().term_width(80);
        let text = format!(
            "$ {0} -h\n{1}\n$ {0} --help\n{2}",
            name.replace('-', " "),
            shown.render_help(),
            shown.render_long_help()
        );
        crate::golden::check(&format!("help/{name}.txt"), &text);
        names.insert(format!("{name}.txt"));
        for part in command.get_subcommands() {
            check_help(part, &format!("{name}-{}", part.get_name()), names);
        }
    }

    #[test]
    fn every_subcommand_has_a_man_page() {
        let pages = crate::manual::pages(Cli::command()).unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["vmeter", "vmeter-top", "vmeter-bench-tcp-send", "vmeter-agent-key"] {
            assert!(names.contains(&name), "{name} is not among {names:?}");
        }
        assert!(!names.contains(&"vmeter-bench-instance"), "it is hidden");
        let send = &pages.iter().find(|(name, _)| *name == "vmeter-bench-tcp-send").unwrap().1;
        assert!(send.contains("MSG_EOR"), "{send}");
    }

    #[test]
    fn options_of_batch_mode_require_it() {
        assert!(Cli::try_parse_from(["vmeter", "top", "--format", "json"]).is_err());
        assert!(Cli::try_parse_from(["vmeter", "top", "-b", "--format", "json"]).is_ok());
    }
}
