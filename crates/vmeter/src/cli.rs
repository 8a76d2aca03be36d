//! The command line, as it is written. Each subcommand lowers its part to a typed plan.

use crate::agent::AgentArgs;
use crate::bench::BenchArgs;
use crate::calibrate::CalibrateArgs;
use crate::capture::CaptureArgs;
use crate::cpu::CpuArgs;
use crate::import::ImportArgs;
use crate::lab::LabArgs;
use crate::record::RecordArgs;
use crate::report::ReportArgs;
use crate::study::StudyArgs;
use crate::top::TopArgs;
use clap::{Parser, Subcommand};

/// Measures what virtualization costs: the CPU time of every VM, with the I/O work that the
/// driver domain or the host does for it
#[derive(Debug, Parser)]
#[command(name = "vmeter", version, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows what every VM uses, interval by interval
    ///
    /// CPU% is what a VM costs, in percent of one CPU: its own time and the I/O work that the
    /// driver domain or the host does for it. The column adds up: VMs + the driver domain's own
    /// work + unattributed = the host's busy time. A dash stands for what is not known. On the
    /// screen, `?` shows the keys.
    Top(TopArgs),
    /// Busy time of VMs and vCPUs, so far, across a command, or between two moments
    ///
    /// Without COMMAND: the cumulative busy time of each vCPU. With COMMAND: reads before and
    /// after it and reports, on standard error, for every VM: T (wall time), B (the VM's own
    /// busy time), B_IDD (the I/O work that the driver domain or host did for it) and
    /// U = (B + B_IDD) / T, in CPUs. The exit status is COMMAND's.
    Cpu(CpuArgs),
    /// Saves a Xen host's counters as a tree for --root
    ///
    /// Two moments of what vmeter reads of Xen, /proc and /sys (command lines and names among
    /// it), for a report about a Xen version that is not understood, or for a test.
    Capture(CaptureArgs),
    /// Runs the loads of the case study: TCP packets, web requests, a CPU footprint
    ///
    /// They run as they are natively and inside a guest. Each prints what it measured, and with
    /// --json FILE writes it whole, with the machine that it ran on.
    Bench(BenchArgs),
    /// The local monitor of a machine or VM, for whoever has its key
    Agent(AgentArgs),
    /// The case study: what virtualization costs here, in figures
    Study(StudyArgs),
    /// Samples the host and its VMs: which VM, process and function events happen in
    ///
    /// The host is sampled with all that runs on it, guests of KVM too; agents in VMs name what
    /// runs there, or sample their VM themselves. Ctrl-C ends it with what it has.
    Record(RecordArgs),
    /// Shows where the events of a recording happened
    Report(ReportArgs),
    /// Makes a recording of a perf.data, for `vmeter report`
    Import(ImportArgs),
    /// Measures what sampling costs, and names the shortest period that costs little
    ///
    /// Runs a program that computes with and without sampling at several periods, on this machine
    /// or, by its agent, in a VM. `vmeter record` warns where its period is shorter.
    Calibrate(CalibrateArgs),
    /// Boots real Xen, real KVM or plain Linux by emulation, and runs a command there
    Lab(LabArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_only_batch_knows_needs_batch() {
        assert!(Cli::try_parse_from(["vmeter", "top", "--format", "json"]).is_err());
        assert!(Cli::try_parse_from(["vmeter", "top", "-b", "--format", "json"]).is_ok());
    }
}
