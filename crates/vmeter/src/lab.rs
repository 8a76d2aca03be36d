//! `vmeter lab`: boots an emulated testbed and runs a command in it.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use lab::{Accel, Cache, Clock, Kind, Machine, Progress, Receive, Spec};
use model::quantity;

/// Boots emulated testbeds: real Xen, a real KVM host or plain Linux, on any machine
#[derive(Debug, Args)]
pub struct LabArgs {
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Builds and boots a testbed, runs COMMAND in dom0 or on the host, and shuts down
    ///
    /// Downloads the software from the packages of a Debian suite to the cache
    /// ($VMETER_LAB_CACHE, else ~/.cache/vmeter/lab); installs nothing and does not need root. The
    /// state of a booted machine, about 0.5 GB, is saved in the cache and restored within seconds
    /// the next time. Without COMMAND, opens a shell on the terminal, or reads a script from
    /// standard input. In the machine, `guest N COMMAND` runs a command in guest N.
    Boot(Box<BootArgs>),
    /// Resumes a machine saved by a failed test; the saved state is not changed
    ///
    /// `make test-lab TEST=NAME KEEP=DIR` saves the machine of a test that fails. Without COMMAND,
    /// opens a shell on the terminal, or reads a script from standard input.
    Open(OpenArgs),
}

/// Resumes a saved machine.
#[derive(Debug, Args)]
struct OpenArgs {
    /// Directory given to KEEP
    folder: PathBuf,

    /// Command with arguments; a single argument is run as a shell script
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Builds and boots a testbed.
#[derive(Debug, Args)]
struct BootArgs {
    /// Kind of machine
    #[arg(value_enum)]
    kind: KindName,

    /// Number of guests, which are named g1, g2, … [default: 2; 0 for native]
    #[arg(long, value_name = "N")]
    guests: Option<u32>,

    /// CPUs of the machine [default: 2; 1 for xen, where clocks of CPUs drift apart in emulation]
    #[arg(long, value_name = "N")]
    cpus: Option<u32>,

    /// vCPUs per guest
    #[arg(long, value_name = "N", default_value_t = 1)]
    vcpus: u32,

    /// Debian suite of the software under test: bookworm has Xen 4.17, trixie 4.20
    #[arg(long, value_name = "NAME", default_value = "bookworm")]
    suite: String,

    /// Clock of the machine; `instructions` is reproducible and slow
    #[arg(long, value_enum, default_value_t)]
    clock: ClockName,

    /// Accelerator of the machine
    #[arg(long, value_enum, default_value_t)]
    accel: AccelName,

    /// Route packets of guests instead of bridging them
    #[arg(long)]
    no_bridge: bool,

    /// Send TCP from outside to GUEST at RATE bytes/s, which takes k and M [default rate: 500k]
    ///
    /// Can be given several times.
    #[arg(long, value_name = "GUEST[=RATE]", value_parser = receive)]
    receive: Vec<Receive>,

    /// Copy FILE to /root of the machine, the first directory of its PATH
    ///
    /// Can be given several times.
    #[arg(long, value_name = "FILE")]
    put: Vec<PathBuf>,

    /// Boot the machine instead of restoring its saved state
    #[arg(long)]
    fresh: bool,

    /// Time limit for booting; a boot that hangs is retried up to twice within it
    #[arg(long, value_name = "SECONDS", default_value_t = 360)]
    boot_limit: u64,

    /// Command with arguments; a single argument is run as a shell script
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KindName {
    /// Xen with PV guests
    Xen,
    /// Linux with QEMU guests on KVM
    Kvm,
    /// Plain Linux
    Native,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum ClockName {
    /// The host's clock
    #[default]
    Host,
    /// One nanosecond per emulated instruction
    Instructions,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum AccelName {
    /// KVM if it works here, else emulation
    #[default]
    Auto,
    /// Emulation by QEMU (TCG)
    Tcg,
    /// The host's KVM
    Kvm,
}

/// Runs `vmeter lab`; the exit status is the command's.
///
/// # Errors
/// What could not be built, booted or run.
pub fn run(args: LabArgs) -> Result<ExitCode> {
    let (mut machine, command) = match args.command {
        LabCommand::Boot(args) => {
            let spec = args.spec();
            let images = lab::prepare(&spec, Cache::open()?, &mut Bar::default())?;
            (images.boot(&spec)?, args.command)
        }
        LabCommand::Open(args) => (Machine::open(&args.folder, &Cache::open()?)?, args.command),
    };
    let status = obey(&command, &mut machine)?;
    machine.shutdown();
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX)))
}

impl BootArgs {
    fn spec(&self) -> Spec {
        let default = Spec::new(match self.kind {
            KindName::Xen => Kind::Xen,
            KindName::Kvm => Kind::Kvm,
            KindName::Native => Kind::Native,
        });
        Spec {
            guests: self.guests.unwrap_or(default.guests),
            cpus: self.cpus.unwrap_or(default.cpus),
            vcpus: self.vcpus,
            suite: self.suite.clone(),
            clock: match self.clock {
                ClockName::Host => Clock::Host,
                ClockName::Instructions => Clock::Instructions,
            },
            accel: match self.accel {
                AccelName::Auto => Accel::Auto,
                AccelName::Tcg => Accel::Tcg,
                AccelName::Kvm => Accel::Kvm,
            },
            bridge: !self.no_bridge,
            put: self.put.clone(),
            receive: self.receive.clone(),
            fresh: self.fresh,
            boot_limit: Duration::from_secs(self.boot_limit),
            ..default
        }
    }
}

/// Runs a command, or lets the terminal's user or standard input say what to run.
fn obey(command: &[OsString], machine: &mut Machine) -> Result<i32> {
    if command.is_empty() && io::stdin().is_terminal() {
        return Ok(machine.shell()?);
    }
    let script = if command.is_empty() {
        let mut script = String::new();
        io::stdin().read_to_string(&mut script).context("cannot read the script")?;
        script
    } else {
        script(command).context("the command is not UTF-8")?
    };
    Ok(machine.run(&script, &mut io::stdout().lock())?)
}

/// One argument is a script as it is; several are a command line, each one word of it.
fn script(command: &[OsString]) -> Option<String> {
    let words: Option<Vec<&str>> = command.iter().map(|word| word.to_str()).collect();
    match words?.as_slice() {
        [script] => Some((*script).to_owned()),
        words => Some(words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")),
    }
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// `GUEST` or `GUEST=RATE`; the guest as `1` or `g1`.
fn receive(text: &str) -> Result<Receive, String> {
    let (guest, rate) = text.split_once('=').map_or((text, None), |(g, rate)| (g, Some(rate)));
    let number = guest.strip_prefix('g').unwrap_or(guest);
    let guest = number.parse().map_err(|_| {
        format!(
            "invalid guest `{}`: expected a number or name such as 1 or g1",
            model::escape(guest)
        )
    })?;
    let bytes_per_second = match rate {
        None => Receive::DEFAULT_RATE,
        Some(rate) => quantity::count(rate)?,
    };
    Ok(Receive { guest, bytes_per_second })
}

/// Shows each stage of the preparation on standard error.
#[derive(Default)]
struct Bar {
    shown: Option<indicatif::ProgressBar>,
}

impl Progress for Bar {
    fn stage(&mut self, name: &str, total: u64) {
        self.clear();
        self.shown = Some(stage_bar(name, total));
    }

    fn reached(&mut self, done: u64) {
        if let Some(bar) = &self.shown {
            bar.set_position(done);
        }
    }
}

/// The bar of a stage of preparation, a spinner where its size is not known.
pub(crate) fn stage_bar(name: &str, total: u64) -> indicatif::ProgressBar {
    let bar = if total == 0 {
        indicatif::ProgressBar::new_spinner().with_message(name.to_owned())
    } else {
        let template = "{msg} {wide_bar} {bytes}/{total_bytes}";
        let style = indicatif::ProgressStyle::with_template(template)
            .unwrap_or_else(|_| indicatif::ProgressStyle::default_bar());
        indicatif::ProgressBar::new(total).with_style(style).with_message(name.to_owned())
    };
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

impl Bar {
    fn clear(&mut self) {
        if let Some(bar) = self.shown.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_names_its_guest_and_pace() {
        let parsed = receive("g2=2M").unwrap();
        assert_eq!((parsed.guest, parsed.bytes_per_second), (2, 2_000_000));
        assert_eq!(receive("1").unwrap().bytes_per_second, Receive::DEFAULT_RATE);
        for wrong in ["", "x", "1=", "1=0", "1=5x", "1=kM", "1=99999999999999999999M"] {
            assert!(receive(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn words_stay_words_and_a_script_stays_a_script() {
        let script_of = |words: &[&str]| script(&words.iter().map(Into::into).collect::<Vec<_>>());
        assert_eq!(script_of(&["xl list | wc -l"]).as_deref(), Some("xl list | wc -l"));
        assert_eq!(script_of(&["echo", "it's; $x"]).as_deref(), Some(r"'echo' 'it'\''s; $x'"));
    }
}
