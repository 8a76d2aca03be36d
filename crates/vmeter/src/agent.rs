//! `vmeter agent`: the local monitor (figure 4.1), and a look at one.

use crate::args::ReadArgs;
use crate::failure::Refused;
use crate::init;
use crate::install::{self, InstallArgs};
use crate::interrupt::interruptible;
use crate::monitor::AgentKey;
use ::agent::{Agent, Deadline, Handle, Key, Listener, Role, Security, Stream};
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
    /// Serves the counters of this machine and runs workloads, until Ctrl-C
    ///
    /// The key is optional on loopback and Unix sockets. Elsewhere connections are encrypted, and
    /// clients without the key are refused (Noise NNpsk0). As the first process of a guest or
    /// container (PID 1), it also reaps orphans and restarts itself after a failure.
    Run(RunArgs),
    /// Creates a key for an agent and its controllers
    ///
    /// A key file has one line per key: 64 hexadecimal digits, a role and a name. An agent accepts
    /// each key in its file, with the permissions of its role. A controller uses the key with the
    /// name of the agent's VM or with its address, else the first key without a name. Use a
    /// different key for each machine: root in a guest can read the key of that guest.
    Key(KeyArgs),
    /// Writes a systemd unit for the agent, with minimal privileges
    Install(InstallArgs),
    /// Restores settings that killed agents of this machine left behind
    ///
    /// `vmeter agent run` does this when it starts, too.
    Restore(RestoreArgs),
    /// Reports an agent's machine, clock offset and VMs
    Status(StatusArgs),
}

/// Serves this machine's counters and runs workloads.
#[derive(Debug, Args)]
struct RunArgs {
    /// Address to listen on: HOST:PORT or vsock:PORT; port 0 selects a free port and prints it
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:5203")]
    listen: String,
    /// Listen on a Unix socket instead
    #[arg(long, value_name = "PATH", conflicts_with = "listen")]
    unix: Option<PathBuf>,
    /// Serve a serial line or virtio port instead, one controller at a time
    #[arg(long, value_name = "DEVICE", conflicts_with_all = ["listen", "unix"])]
    serial: Option<PathBuf>,
    #[command(flatten)]
    key: AgentKey,
    /// Directory for files of controllers [default: a private directory, removed on exit]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Serve counters only: refuse workloads, settings and files, whatever the key's role
    #[arg(long)]
    read_only: bool,
    #[command(flatten)]
    read: ReadArgs,
}

/// Makes a new key.
#[derive(Debug, Args)]
struct KeyArgs {
    /// Key file to write; an existing file is not overwritten
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Role of the key: `read` (counters), `measure` (also workloads, samples, files) or `configure`
    /// (also settings of CPUs and interrupts)
    #[arg(long, value_name = "ROLE", default_value = "measure", value_parser = clap::value_parser!(Role))]
    role: Role,
    /// VM or address of the agent, for files with keys of several agents
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Add the key to FILE
    #[arg(long)]
    add: bool,
}

/// Undoes what killed agents had set.
#[derive(Debug, Args)]
struct RestoreArgs {}

/// Looks at an agent.
#[derive(Debug, Args)]
struct StatusArgs {
    /// Address of the agent: HOST:PORT, vsock:CID:PORT, the path of a Unix socket or serial device,
    /// or serial:PATH for the host's side of a VM's port
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
            let port = port.parse().with_context(|| {
                format!("invalid vsock port `{}`: expected a number", model::escape(port))
            })?;
            Listener::vsock(port, security)
        }
        None => {
            let found = addresses(&args.listen)
                .map_err(|error| Refused(format!("cannot listen on {}: {error}", args.listen)))?;
            listen_at_first(&found, security)
        }
    };
    Ok(listener.map_err(|error| Refused(format!("cannot listen on {}: {error}", args.listen)))?)
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
        return Err(Refused(format!("--dir {}: directory not found", dir.display())).into());
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
    let security = args.key.security()?.of_agent(&[&args.at]);
    let text = Stream::connect(&args.at)
        .map_err(anyhow::Error::from)
        .and_then(|stream| describe(Handle::connect(stream, &security, &Deadline::default())?))
        .with_context(|| args.at.clone())?;
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// What the other end says, fit for one line.
fn shown(text: &str) -> String {
    model::shorten(&model::escape(text), MAX_SHOWN).into_owned()
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
