//! `vmeter record`: samples of the host and of the VMs whose agents are named, in one recording.

mod counters;
mod guest;
mod host;
mod kernel;
mod pings;
mod session;
mod symbols;

pub use counters::busy;
pub use symbols::GuestFiles;

use crate::args::{ReadArgs, duration};
use crate::calibrate;
use crate::failure::{self, NotRun, Refused};
use crate::interrupt::{self, interruptible};
use crate::monitor::{AgentKey, Monitor};
use ::record::{Environment, Writer};
use anyhow::{Context, Result};
use clap::Args;
use guest::Guest;
use host::Host;
use model::Absent;
use sample::{Scope, Word};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use symbols::Met;
use tracing::{debug, info};
use workload::Control;

/// `vmeter record`.
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// Event to sample, with an optional period: cycles, instructions, cache-misses, llc-misses,
    /// l2-misses, dtlb-misses, branch-misses, cpu-clock, r01c2 or cpu/event=0x3c/
    ///
    /// Can be given several times.
    #[arg(long, short = 'e', value_name = "EVENT[:PERIOD]", default_value = "cycles")]
    event: Vec<Word>,
    /// Show only this VM in reports; all VMs are recorded
    ///
    /// Can be given several times.
    #[arg(long, value_name = "NAME")]
    vm: Vec<String>,
    /// Agent in a VM, which reports the names of the VM's programs or samples the VM itself
    ///
    /// Can be given several times.
    #[arg(long, value_name = "[NAME=]ADDR")]
    agent: Vec<Monitor>,
    #[command(flatten)]
    key: AgentKey,
    /// Stop after TIME [default: when COMMAND exits, else at Ctrl-C]
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "command")]
    duration: Option<Duration>,
    /// Directory of the recording; must not exist, or be empty
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    read: ReadArgs,
    /// Command to record; its exit status is returned. Without root, only the command and its child
    /// processes are sampled
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Rings are emptied at least so often: what a kill loses.
const DRAIN: Duration = Duration::from_millis(250);

/// Runs the subcommand.
///
/// # Errors
/// No permission, no such event or VM, an agent that refuses, a folder that is not new, a full
/// disk. What was recorded until then can be read.
pub fn run(args: &RecordArgs) -> Result<ExitCode> {
    let mut command = host::Command::start(&args.command)?;
    let recorded = record(args, command.as_mut());
    match (recorded, &mut command) {
        // Full disks and lost agents do not end what is measured.
        (Err(error), Some(command)) if command.is_let_go() || failure::is_full(&error) => {
            failure::say(&error);
            command.outlast(&interruptible()?)
        }
        (recorded, _) => recorded,
    }
}

fn record(args: &RecordArgs, mut command: Option<&mut host::Command>) -> Result<ExitCode> {
    let control = interruptible()?;
    let scope = scope(command.as_deref())?;
    let mut host = Host::open(&args.event, scope, &args.read)?;
    let vmms = host.vmms();
    known(&args.vm, &vmms.names())?;
    let security = args.key.security()?;
    let words: Vec<String> = args.event.iter().map(Word::to_string).collect();
    let host_samples = host.samples_guests();
    let deadline = interrupt::deadline();
    let wanted = guest::Wanted {
        security: &security,
        host_samples,
        events: &words,
        vmms: &vmms,
        deadline: &deadline,
    };
    let guests = args.agent.iter().map(|monitor| Guest::connect(monitor, &wanted));
    let mut guests = guests.collect::<Result<Vec<_>>>()?;
    // All together: nobody empties their rings yet.
    guests.iter_mut().try_for_each(Guest::begin)?;
    let line: Vec<String> =
        std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let mut writer = Writer::create(&args.output, &line, environment())?;
    let host_stream = host.add(&mut writer)?;
    guests.iter_mut().try_for_each(|guest| guest.add(&mut writer))?;
    host.add_passive(&mut writer)?;
    if !args.vm.is_empty() {
        writer.keep(VIEW, serde_json::to_string(&args.vm)?.as_bytes())?;
    }
    announce(&host, &guests);

    let writer = Mutex::new(writer);
    host.begin_counters();
    let until = args.duration.map(|time| Instant::now() + time);
    host.enable(true)?;
    if let Some(command) = &mut command {
        command.go_on();
    }
    let status = std::thread::scope(|scope| {
        let threads: Vec<_> = guests
            .iter_mut()
            .map(|guest| scope.spawn(|| guest.record(&writer, &control)))
            .collect();
        let ended = drain(&mut host, host_stream, &writer, command, until, &control);
        // Guests end with the host: those that do not are given up.
        deadline.set_within(LAST_TURN);
        control.stop();
        for thread in threads {
            // One that panicked is reported by the scope.
            let _ = thread.join();
        }
        ended
    })?;
    let mut writer = writer.into_inner().unwrap_or_else(PoisonError::into_inner);
    host.end_counters(&mut writer)?;
    deadline.set_within(SYMBOLS);
    let damages = finish(args, host, host_stream, guests, writer)?;
    if deadline.was_missed() {
        let _ = writeln!(
            io::stderr(),
            "vmeter: warning: agents in guests timed out: names of some of their programs are missing"
        );
    }
    summary(args, &damages)?;
    Ok(status)
}

/// How long a guest's agent may take for its last turn.
const LAST_TURN: Duration = Duration::from_secs(2);
/// How long guests' agents may take to give the symbols of their programs, all together; Ctrl-C shortens
/// it.
const SYMBOLS: Duration = Duration::from_secs(60);

/// The VMs that reports show, where they were named: a file of the recording.
pub const VIEW: &str = "view.json";

/// Why a recording that was not ended has no kernel's symbols.
fn not_ended() -> Absent {
    Absent::NotProvided("the recording is incomplete".into())
}

/// Everything where that is permitted, else a command.
fn scope(command: Option<&host::Command>) -> Result<Scope> {
    if host::may_sample_all() {
        debug!(target: "record", "sampling all CPUs");
        return Ok(Scope::Machine);
    }
    info!(target: "record", "not permitted to sample all CPUs: sampling only the command");
    match command {
        Some(command) => Ok(Scope::Command(command.pid())),
        None => Err(Refused(
            "sampling all CPUs needs root, CAP_PERFMON or kernel.perf_event_paranoid = 0: run as root, \
             or give a COMMAND to sample only that"
                .to_owned(),
        )
        .into()),
    }
}

/// Empties the host's rings until the end of the time, of the command, or Ctrl-C.
fn drain(
    host: &mut Host,
    stream: usize,
    writer: &Mutex<Writer>,
    mut command: Option<&mut host::Command>,
    until: Option<Instant>,
    control: &Control,
) -> Result<ExitCode> {
    let mut status = None;
    loop {
        let left = until.map_or(DRAIN, |until| until.saturating_duration_since(Instant::now()));
        host.wait(left.min(DRAIN))?;
        host.drain(stream, writer)?;
        host.look(stream, writer)?;
        if let Some(command) = &mut command {
            status = command.ended()?;
        }
        let over = until.is_some_and(|until| Instant::now() >= until);
        if over || status.is_some() || control.stopped() {
            break;
        }
    }
    host.enable(false)?;
    host.drain(stream, writer)?;
    Ok(status.unwrap_or(ExitCode::SUCCESS))
}

/// All VMs that are named must be there.
fn known(named: &[String], there: &[String]) -> Result<()> {
    let Some(wrong) = named.iter().find(|name| !there.contains(name)) else { return Ok(()) };
    Err(Refused(failure::not_found("VM", wrong, there, "no VM is running")).into())
}

/// Says how each VM is sampled, and where a period is shorter than what was calibrated.
fn announce(host: &Host, guests: &[Guest]) {
    let mut said = Vec::new();
    said.extend(host.notes().iter().cloned());
    for guest in guests {
        said.push(format!("{}: {}", guest.name(), guest.mode()));
        said.extend(guest.notes().iter().map(|note| format!("{}: {note}", guest.name())));
    }
    for event in host.events() {
        if let Some((shortest, bound)) = calibrate::shortest("host", &event.counted)
            && event.period < shortest
        {
            said.push(format!(
                "{}: a period of {} costs more than {} % of the CPU: use {shortest} or more (measured by \
                 vmeter calibrate)",
                event.counted,
                event.period,
                100.0 * bound
            ));
        }
    }
    for line in said {
        // Where nobody reads it, recording goes on.
        let _ = writeln!(io::stderr(), "vmeter: {}", model::escape(&line));
    }
}

/// Completes what is told of the streams (clocks, shares, symbols, guests' programs) and closes the
/// recording; what was damaged in it.
fn finish(
    args: &RecordArgs,
    host: Host,
    host_stream: usize,
    guests: Vec<Guest>,
    mut writer: Writer,
) -> Result<Vec<::record::Damage>> {
    let alone = guests.is_empty();
    let mut sources = vec![host.finish(host_stream, &mut writer)?];
    for guest in guests {
        sources.push(guest.finish(&mut writer)?);
    }
    // With guests, whose a sample is takes a profile to know.
    let mut met = alone.then(Met::default);
    let closing = writer.begin_closing(|stream, record| {
        if let Some(met) = &mut met {
            met.see(stream, record);
        }
    });
    // What samples fell in has its names even where there is no room to close the recording.
    symbols::collect(&args.output, sources, met, &mut writer)?;
    Ok(closing?.end()?)
}

fn summary(args: &RecordArgs, damages: &[::record::Damage]) -> Result<()> {
    let size: u64 = std::fs::read_dir(&args.output)
        .with_context(|| args.output.display().to_string())?
        .filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()))
        .sum();
    let shown = model::escape(&args.output.display().to_string());
    let mut out = io::stderr().lock();
    for damage in damages {
        let _ = writeln!(out, "vmeter: {}", model::escape(&damage.to_string()));
    }
    let _ = writeln!(out, "vmeter: {shown}: {size} bytes; to see it, run: vmeter report {shown}");
    Ok(())
}

fn environment() -> Environment {
    let here = workload::Environment::read(None);
    let name = rustix::system::uname();
    Environment {
        hostname: Some(name.nodename().to_string_lossy().into_owned()),
        kernel: Some(here.kernel),
        architecture: Some(name.machine().to_string_lossy().into_owned()),
        cpu: here.cpu,
        tool: None,
    }
}

/// A command that could not be started, as a shell says it.
fn not_run(word: &OsString, error: &io::Error) -> NotRun {
    let status = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    NotRun { status, reason: format!("{}: {error}", word.to_string_lossy()) }
}
