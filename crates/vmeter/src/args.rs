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
use clap::{Args, Parser, Subcommand, ValueEnum};
use platform::{Choice, GroupPattern, GroupRows, OpenError, Source};
use std::num::NonZeroU8;
use std::path::PathBuf;
use std::time::Duration;

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

/// What to read: common to the subcommands that measure this machine.
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// What to measure; auto takes Xen, else KVM and QEMU VMs, else containers and slices
    #[arg(long, value_enum, default_value_t, value_name = "PLATFORM")]
    platform: PlatformName,

    /// Reads a saved tree of /proc and /sys below DIR in place of the live system
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
}

impl ReadArgs {
    /// What to read, and below which root.
    pub fn into_parts(self) -> (Choice, PathBuf) {
        (self.platform.into(), self.root)
    }

    /// Opens the platform.
    ///
    /// # Errors
    /// What was looked for and not found.
    pub fn open(&self) -> Result<Box<dyn Source>, OpenError> {
        platform::open(self.platform.into(), &self.root)
    }

    /// Opens the platform, with the rows that are wanted of control groups.
    ///
    /// # Errors
    /// What was looked for and not found.
    pub fn open_with(&self, groups: &GroupArgs) -> Result<Box<dyn Source>, OpenError> {
        platform::open_with(self.platform.into(), &self.root, &groups.rows())
    }
}

/// Which control groups get a row: common to `top` and `cpu`.
#[derive(Debug, Args)]
pub struct GroupArgs {
    /// Shows control groups N levels deep, in place of containers and jobs
    ///
    /// By default each container and each Slurm or Nomad job has a row, at any depth, and beside
    /// them each group two levels deep (/system.slice/nginx.service).
    #[arg(long, value_name = "N", conflicts_with = "cgroup")]
    cgroup_depth: Option<NonZeroU8>,

    /// Shows the control groups whose path matches PATTERN, in place of containers and jobs
    ///
    /// `*` and `?` stand for characters of one component of the path, `**` for any number of
    /// components: '/system.slice/*', '/**/job_*/step_*'. Of groups inside each other the
    /// outermost that matches has the row. May be given several times.
    #[arg(long, value_name = "PATTERN")]
    cgroup: Vec<GroupPattern>,
}

impl GroupArgs {
    fn rows(&self) -> GroupRows {
        match self.cgroup_depth {
            Some(depth) => GroupRows::Depth(depth),
            None if self.cgroup.is_empty() => GroupRows::Automatic,
            None => GroupRows::Matching(self.cgroup.clone()),
        }
    }
}

/// `--platform`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum PlatformName {
    /// Xen, else VMs of KVM and QEMU and containers beside them, else all control groups
    #[default]
    Auto,
    /// Xen domains
    Xen,
    /// VMs of KVM and of QEMU's emulation (TCG)
    Kvm,
    /// Containers and slices
    Cgroup,
}

impl From<PlatformName> for Choice {
    fn from(name: PlatformName) -> Self {
        match name {
            PlatformName::Auto => Self::Auto,
            PlatformName::Xen => Self::Xen,
            PlatformName::Kvm => Self::Kvm,
            PlatformName::Cgroup => Self::Cgroup,
        }
    }
}

/// The shortest interval: below it, reading would be most of what is measured.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest interval.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// An interval from 0.1 s to a day: `500ms`, `1s`, `2.5`, `1m`, `1h`.
///
/// # Errors
/// One sentence that says what is wrong with it.
pub fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        time if (SHORTEST..=LONGEST).contains(&time) => Ok(time),
        _ => Err("an interval lasts from 100ms to 24h".to_owned()),
    }
}

/// A time, seconds where no unit is given: `50us`, `500ms`, `10s`, `2.5`, `1m`, `1h`.
///
/// # Errors
/// One sentence that says what is wrong with it.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = number_and_unit(text)
        .ok_or_else(|| "not a time: write 1s, 500ms, 50us, 2.5 or 1m".to_owned())?;
    let unit = match unit {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        other => return Err(format!("`{other}` is no unit of time: take us, ms, s, m or h")),
    };
    Duration::try_from_secs_f64(number * unit).map_err(|_| "too long a time".to_owned())
}

/// A size in bytes, with K, M and G for powers of 1024: `1448`, `128K`, `8M`.
///
/// # Errors
/// One sentence that says what is wrong with it.
pub fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) =
        number_and_unit(text).ok_or_else(|| "not a size: write 1448, 128K, 8M or 1G".to_owned())?;
    let unit = match unit.trim_end_matches("iB").trim_end_matches('B') {
        "" => 0,
        "K" | "k" => 10,
        "M" => 20,
        "G" => 30,
        other => return Err(format!("`{other}` is no unit of size: take K, M or G")),
    };
    let bytes = number * f64::from(1_u32 << unit);
    if bytes.fract() != 0.0 || bytes > 1e15 {
        return Err("a size is a whole number of bytes, at most a petabyte".to_owned());
    }
    Ok(bytes as u64)
}

/// A rate a second, with k and M for thousands and millions: `500`, `20k`, `0.5`.
///
/// # Errors
/// One sentence that says what is wrong with it.
pub fn rate(text: &str) -> Result<f64, String> {
    let (number, unit) =
        number_and_unit(text).ok_or_else(|| "not a rate: write 500, 20k or 0.5".to_owned())?;
    let rate = match unit {
        "" => number,
        "k" | "K" => number * 1e3,
        "M" => number * 1e6,
        other => return Err(format!("`{other}` is no multiple: take k or M")),
    };
    if rate > 0.0 { Ok(rate) } else { Err("a rate is over 0".to_owned()) }
}

/// A number that is not negative, and what follows it.
fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
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
    fn an_interval_has_a_unit_and_limits() {
        assert_eq!(interval("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(interval("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(interval("2.5"), Ok(Duration::from_millis(2500)));
        assert_eq!(interval("1m"), Ok(Duration::from_secs(60)));
        for wrong in ["", "s", "-1", "0", "1e9", "1w", "..", "99999999999999999999h", "é"] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_sizes_and_rates_have_units() {
        assert_eq!(duration("50us"), Ok(Duration::from_micros(50)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(bytes("128K"), Ok(131_072));
        assert_eq!(bytes("1.5MiB"), Ok(1_572_864));
        assert_eq!(bytes("1448"), Ok(1448));
        assert_eq!(rate("20k"), Ok(20_000.0));
        assert_eq!(rate("0.5"), Ok(0.5));
        for wrong in ["", "x", "-1", "1.5", "1T", "1e300"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
        for wrong in ["0", "-5", "", "5 apples", "nan", "inf"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_only_batch_knows_needs_batch() {
        assert!(Cli::try_parse_from(["vmeter", "top", "--format", "json"]).is_err());
        assert!(Cli::try_parse_from(["vmeter", "top", "-b", "--format", "json"]).is_ok());
    }
}
