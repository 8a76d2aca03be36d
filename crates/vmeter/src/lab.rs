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

/// Boots emulated testbeds: a real Xen, a real KVM host or plain Linux, on any machine
#[derive(Debug, Args)]
pub struct LabArgs {
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Builds a testbed, boots it, runs COMMAND in dom0 or the host and shuts down
    Boot(Box<BootArgs>),
    /// Goes on with a machine that a failed test kept, and leaves what was kept as it is
    Open(OpenArgs),
}

/// Goes on with a machine that a failed test kept, and leaves what was kept as it is
///
/// `make test-lab TEST=NAME KEEP=FOLDER` keeps the machine of a test that fails. Without COMMAND
/// the terminal gets a shell; without a terminal, standard input is the script.
#[derive(Debug, Args)]
struct OpenArgs {
    /// The folder that was named to keep it
    folder: PathBuf,

    /// The command and its arguments; one argument alone is a shell script
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Builds a testbed, boots it, runs COMMAND in dom0 or the host and shuts down
///
/// The software comes from a Debian suite's packages, fetched once and kept in the cache
/// ($VMETER_LAB_CACHE, else ~/.cache/vmeter/lab); nothing is installed and root is not needed. A
/// machine that booted is kept there too, some 0.5 GB, and restored the next time in seconds.
/// Without COMMAND the terminal gets a shell; without a terminal, standard input is the script.
/// Inside, `guest N COMMAND` runs a command in guest N.
#[derive(Debug, Args)]
struct BootArgs {
    /// What the machine runs
    #[arg(value_enum)]
    kind: KindName,

    /// Guests: g1, g2, … (2; none on native)
    #[arg(long, value_name = "N")]
    guests: Option<u32>,

    /// CPUs of the machine (2; 1 on xen, whose CPUs' clocks drift apart under emulation)
    #[arg(long, value_name = "N")]
    cpus: Option<u32>,

    /// vCPUs of each guest
    #[arg(long, value_name = "N", default_value_t = 1)]
    vcpus: u32,

    /// Debian suite of the software under test: bookworm has Xen 4.17, trixie 4.20
    #[arg(long, value_name = "NAME", default_value = "bookworm")]
    suite: String,

    /// What makes time pass inside: instructions is repeatable and slow
    #[arg(long, value_enum, default_value_t)]
    clock: ClockName,

    /// What runs the machine; auto takes the host's KVM where it works
    #[arg(long, value_enum, default_value_t)]
    accel: AccelName,

    /// Routes the guests' packets in place of bridging them
    #[arg(long)]
    no_bridge: bool,

    /// Sends TCP from outside into GUEST's sink, RATE bytes a second (k, M: 500k unless told)
    #[arg(long, value_name = "GUEST[=RATE]", value_parser = receive)]
    receive: Vec<Receive>,

    /// Copies FILE to /root of the machine, which is first on its PATH
    #[arg(long, value_name = "FILE")]
    put: Vec<PathBuf>,

    /// Boots the machine anew in place of restoring it as it was when it had booted before
    #[arg(long)]
    fresh: bool,

    /// Gives up after so many seconds of booting; a hung boot is tried three times within
    #[arg(long, value_name = "SECONDS", default_value_t = 360)]
    boot_limit: u64,

    /// The command and its arguments; one argument alone is a shell script
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
    /// KVM where it works, else emulation
    #[default]
    Auto,
    /// Emulation
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
    let guest = number.parse().map_err(|_| format!("`{guest}` is no guest: write 1 or g1"))?;
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
