//! Arguments that several subcommands share, and the values that they take.

use clap::{Args, ValueEnum};
use model::quantity::{self, Bare};
use platform::{Choice, GroupPattern, GroupRows, OpenError, Source};
use std::num::NonZeroU8;
use std::path::PathBuf;
use std::time::Duration;

/// What to read: common to the subcommands that measure this machine.
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// Platform to measure
    #[arg(long, value_enum, default_value_t, value_name = "PLATFORM")]
    platform: PlatformName,

    /// Read a saved tree of /proc and /sys below DIR instead of the live system
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
    /// Show control groups N levels deep instead of containers and jobs
    ///
    /// By default, each container and each Slurm or Nomad job has a row, at any depth, and so has
    /// each other group two levels deep (/system.slice/nginx.service).
    #[arg(long, value_name = "N", conflicts_with = "cgroup")]
    cgroup_depth: Option<NonZeroU8>,

    /// Show the control groups with a path that matches PATTERN instead of containers and jobs
    ///
    /// `*` and `?` match characters within one component of the path, `**` matches any number of
    /// components: '/system.slice/*', '/**/job_*/step_*'. Of nested groups, the outermost that
    /// matches has the row. Can be given several times.
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
    /// Xen if present, else KVM and QEMU VMs with containers, else all control groups
    #[default]
    Auto,
    /// Xen domains
    Xen,
    /// KVM and emulated QEMU (TCG) VMs
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
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// The longest interval.
const MAX_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// An interval from 0.1 s to a day: `500ms`, `1s`, `2.5`, `1m`, `1h`.
///
/// # Errors
/// One sentence that says what is wrong with it.
pub fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        time if (MIN_INTERVAL..=MAX_INTERVAL).contains(&time) => Ok(time),
        _ => Err(format!("invalid interval `{text}`: expected 100ms to 24h")),
    }
}

/// A time, in seconds where no unit is given: `50us`, `500ms`, `10s`, `2.5`, `1min`, `1h`.
///
/// # Errors
/// As [`quantity::duration`].
pub fn duration(text: &str) -> Result<Duration, String> {
    quantity::duration(text, Bare::Allowed)
}

/// A size in bytes; `K`, `M` and `G` alone are powers of 1024: `1448`, `128K`, `1MB`, `8MiB`.
///
/// # Errors
/// As [`quantity::bytes`].
pub fn bytes(text: &str) -> Result<u64, String> {
    quantity::bytes(text, Bare::Allowed)
}

/// A rate per second: `500`, `20k`, `0.5`, `100/s`.
///
/// # Errors
/// As [`quantity::rate`].
pub fn rate(text: &str) -> Result<f64, String> {
    quantity::rate(text, Bare::Allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
