//! `vmeter agent`: the local monitor (figure 4.1), and a look at one.

use crate::args::ReadArgs;
use crate::failure::Refused;
use crate::init;
use crate::install::{self, InstallArgs};
use crate::interrupt::interruptible;
use crate::monitor::AgentKey;
use ::agent::{Agent, Handle, Key, Listener, Role, Security, Stream};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use workload::address::addresses;

/// `vmeter agent`.
#[derive(Debug, Args)]
pub struct AgentArgs {
    #[command(subcommand)]
    command: AgentCommand,
}

#[derive(Debug, Subcommand)]
enum AgentCommand {
    /// Serves this machine's counters, and runs workloads, until Ctrl-C
    ///
    /// On loopback and unix sockets a key may be left out; anywhere else the connection is
    /// encrypted, and whoever has not the key is refused (Noise NNpsk0). As the first process of
    /// a guest or container (PID 1) it also reaps orphans, and starts itself again where it fails.
    Run(RunArgs),
    /// Makes a new key, for an agent and whoever connects to it
    ///
    /// A key file has a line for each key: 64 hexadecimal digits, its role and a name. An agent
    /// accepts each key of its file, for what its role allows; a controller uses the one whose name
    /// is the agent's VM or address, else the first without a name. Give each machine a key of its
    /// own: whoever is root in a guest can read the guest's.
    Key(KeyArgs),
    /// Writes a systemd unit for the agent, with the least privileges that work
    Install(InstallArgs),
    /// Undoes what agents of this machine had set that were killed (`agent run` does so, too)
    Restore(RestoreArgs),
    /// Asks an agent who it is, what its clock says and what it reads
    Status(StatusArgs),
}

/// Serves this machine's counters and runs workloads.
#[derive(Debug, Args)]
struct RunArgs {
    /// Where to listen: HOST:PORT (port 0 takes any free one and says which) or vsock:PORT
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:5203")]
    listen: String,
    /// Listens at a unix socket instead
    #[arg(long, value_name = "PATH", conflicts_with = "listen")]
    unix: Option<PathBuf>,
    /// Serves a serial line or virtio port instead, one controller after the other
    #[arg(long, value_name = "DEVICE", conflicts_with_all = ["listen", "unix"])]
    serial: Option<PathBuf>,
    #[command(flatten)]
    key: AgentKey,
    /// Where files of controllers lie [default: a private folder, gone at the end]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Reads counters and nothing else: no workloads, settings or files, for nobody
    #[arg(long)]
    read_only: bool,
    #[command(flatten)]
    read: ReadArgs,
}

/// Makes a new key.
#[derive(Debug, Args)]
struct KeyArgs {
    /// Where it is written; what is there is not overwritten
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What its holder may ask: `read` counters; also `measure` (workloads, samples, files); also
    /// `configure` (CPUs, interrupts)
    #[arg(long, value_name = "ROLE", default_value = "measure", value_parser = clap::value_parser!(Role))]
    role: Role,
    /// The VM or address of its agent, for files with keys of several
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Adds it to the keys of FILE
    #[arg(long)]
    add: bool,
}

/// Undoes what killed agents had set.
#[derive(Debug, Args)]
struct RestoreArgs {}

/// Looks at an agent.
#[derive(Debug, Args)]
struct StatusArgs {
    /// HOST:PORT, vsock:CID:PORT, the path of a unix socket or serial device, or serial:PATH for
    /// the host's side of a VM's port
    #[arg(value_name = "ADDR")]
    at: String,
    #[command(flatten)]
    key: AgentKey,
}

/// Characters of a text of the other end's, and VMs, that are shown.
const MAX_SHOWN: usize = 256;
const MAX_NAMES: usize = 100;

/// Runs the subcommand.
pub fn run(args: AgentArgs) -> Result<ExitCode> {
    match args.command {
        AgentCommand::Run(_) if init::is_first() => init::run(),
        AgentCommand::Run(args) => serve(args),
        AgentCommand::Install(args) => install::run(&args),
        AgentCommand::Key(args) => make_key(&args),
        AgentCommand::Restore(RestoreArgs {}) => restore(),
        AgentCommand::Status(args) => status(&args),
    }
}

fn listen(args: &RunArgs, security: &Security) -> Result<Listener> {
    if let Some(path) = &args.unix {
        return Listener::unix(path).with_context(|| path.display().to_string());
    }
    if let Some(path) = &args.serial {
        return Listener::serial(path).with_context(|| path.display().to_string());
    }
    let listener = match args.listen.strip_prefix("vsock:") {
        Some(port) => {
            let port = port.parse().with_context(|| format!("{port:?} is no vsock port"))?;
            Listener::vsock(port, security)
        }
        None => {
            let found = addresses(&args.listen)
                .map_err(|error| Refused(format!("cannot listen at {}: {error}", args.listen)))?;
            listen_at_first(&found, security)
        }
    };
    Ok(listener.map_err(|error| Refused(format!("cannot listen at {}: {error}", args.listen)))?)
}

/// Listens at the first of a host's addresses that this machine has.
fn listen_at_first(found: &[SocketAddr], security: &Security) -> Result<Listener, ::agent::Error> {
    let mut tried = Err(io::Error::from(io::ErrorKind::AddrNotAvailable).into());
    for address in found {
        tried = Listener::tcp(*address, security);
        if tried.is_ok() {
            break;
        }
    }
    tried
}

fn serve(args: RunArgs) -> Result<ExitCode> {
    let security = args.key.security()?;
    let listener = listen(&args, &security)?;
    if let Some(dir) = args.dir.as_deref().filter(|dir| !dir.is_dir()) {
        return Err(Refused(format!("--dir {}: no such folder", dir.display())).into());
    }
    let stop = interruptible()?.stop_flag();
    // Where nobody reads the log, the agent serves all the same.
    let log = |line: &str| {
        let _ = writeln!(io::stderr(), "vmeter agent: {}", model::escape(line));
    };
    ::agent::restore_left().iter().for_each(|line| log(line));
    log(&format!("serving at {}", listener.place()));
    let (platform, root) = args.read.into_parts();
    let instance = crate::bench::instance_arguments();
    let (read_only, dir) = (args.read_only, args.dir);
    Agent { platform, root, instance, dir, read_only }.serve(&listener, &security, &stop, &log);
    if let Some(path) = &args.unix {
        std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn make_key(args: &KeyArgs) -> Result<ExitCode> {
    Key::create(&args.file, args.role, args.name.as_deref(), args.add)?;
    Ok(ExitCode::SUCCESS)
}

fn restore() -> Result<ExitCode> {
    for line in ::agent::restore_left() {
        writeln!(io::stdout(), "{}", model::escape(&line))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn status(args: &StatusArgs) -> Result<ExitCode> {
    let security = args.key.security()?;
    let text = Stream::connect(&args.at)
        .map_err(anyhow::Error::from)
        .and_then(|stream| describe(Handle::connect(stream, &security.of_agent(&[&args.at]))?))
        .with_context(|| args.at.clone())?;
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// What the other end says, fit for one line.
fn shown(text: &str) -> String {
    model::shorten(&model::escape(text), MAX_SHOWN)
}

fn describe(mut handle: Handle<Stream>) -> Result<String> {
    let hello = handle.hello().clone();
    let here = &hello.environment;
    let offset = handle.offset()?;
    let mut text = format!(
        "host      {}, Linux {}, {} CPUs\nvmeter    {}, protocol {}\n",
        shown(&hello.host),
        shown(&here.kernel),
        here.cpus,
        shown(&here.vmeter),
        hello.protocol
    );
    let _ = writeln!(
        text,
        "clock     {:+.6} s from this machine's, within {:.1} µs",
        offset.nanos as f64 / 1e9,
        offset.bound as f64 / 1e3
    );
    match handle.snapshot(false) {
        Ok(found) => {
            let vms = &found.vms;
            let names: Vec<String> = vms.iter().take(MAX_NAMES).map(|vm| shown(&vm.name)).collect();
            let more = match vms.len() - names.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let _ = writeln!(text, "VMs       {}: {}{more}", vms.len(), names.join(", "));
        }
        Err(error) => {
            let _ = writeln!(text, "VMs       not readable: {}", shown(&error.to_string()));
        }
    }
    Ok(text)
}
