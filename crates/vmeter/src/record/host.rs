//! The host's part of a recording: its events, the VMs on it, and the command that is run.

use super::counters::Counters;
use super::symbols::{self, Source};
use crate::args::ReadArgs;
use ::record::Writer;
use anyhow::{Context, Result};
use model::{Absent, Duty, Event, Need, Part, Platform, Reading, Role, Serving, Stream, VmId};
use platform::kvm::GuestCounter;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use sample::{Capture, Scope, Wanted, Word};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Child, ExitCode};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Whether the kernel lets this process sample everything.
pub fn may_sample_all() -> bool {
    let words = vec![Word { name: "cpu-clock".to_owned(), period: None }];
    let wanted = Wanted { events: words, scope: Scope::Machine, switches: false, ring: 1 << 12 };
    Capture::open(&wanted).is_ok()
}

/// A command that waits to be let go.
pub struct Command {
    child: Child,
}

impl Command {
    /// Starts it, stopped before its exec; `None` of no words.
    pub fn start(words: &[OsString]) -> Result<Option<Self>> {
        let Some(first) = words.first() else { return Ok(None) };
        find(first).map_err(|error| super::not_run(first, &error))?;
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", "kill -STOP $$; exec \"$@\"", "vmeter"]).args(words);
        let child = command.spawn().context("cannot start /bin/sh")?;
        let pid = Pid::from_child(&child);
        waitpid(Some(pid), WaitOptions::UNTRACED).context("cannot wait for the command")?;
        Ok(Some(Self { child }))
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it go.
    pub fn go_on(&self) {
        // One that is gone has ended, which is seen next.
        let _ = kill_process(Pid::from_child(&self.child), Signal::CONT);
    }

    /// Its exit status, once it has ended; 128 + N after signal N.
    pub fn ended(&mut self) -> Result<Option<ExitCode>> {
        use std::os::unix::process::ExitStatusExt;
        let status = self.child.try_wait().context("cannot wait for the command")?;
        Ok(status.map(|status| {
            let code = status.code().or(status.signal().map(|signal| 128 + signal));
            ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
        }))
    }
}

impl Drop for Command {
    /// What was never let go must not stay stopped for ever.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Whether there is such a program: sh would say it only once it is let go.
fn find(word: &OsString) -> std::io::Result<()> {
    let path = std::path::Path::new(word);
    let candidates: Vec<_> = if path.components().count() > 1 {
        vec![path.to_owned()]
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|folder| folder.join(word)).collect()
    };
    match candidates.iter().any(|path| path.is_file()) {
        true => Ok(()),
        false => Err(std::io::ErrorKind::NotFound.into()),
    }
}

/// The host's events, and the VMs on it.
pub struct Host {
    capture: Capture,
    scope: Scope,
    /// The VMs' names, and the processes of those that are one.
    vms: Vec<(String, Option<u32>)>,
    serving: Vec<Serving>,
    /// Where files of the system are.
    root: PathBuf,
    /// Whether VMs run in KVM here: then the host's samples are in them too.
    kvm: bool,
    counters: Option<Counters>,
}

impl Host {
    /// Opens the events and looks for VMs.
    pub fn open(events: &[Word], scope: Scope, read: &ReadArgs) -> Result<Self> {
        let wanted = Wanted { events: events.to_vec(), scope, switches: false, ring: Wanted::RING };
        let capture = Capture::open(&wanted)?;
        let mut counters = Counters::open(read)?;
        let found = counters.read()?.vms;
        let mut host = Self {
            capture,
            scope,
            vms: Vec::new(),
            serving: Vec::new(),
            root: read.root.clone(),
            kvm: false,
            counters: Some(counters),
        };
        for vm in found.into_iter().filter(|vm| vm.platform != Platform::Cgroup) {
            host.add_vm(vm);
        }
        Ok(host)
    }

    fn add_vm(&mut self, vm: model::Vm) {
        self.kvm |= vm.platform == Platform::Kvm;
        let name = vm.name;
        let mut serves = |tid, part| {
            self.serving.push(Serving { tid, vm: name.clone(), part });
        };
        let process = match vm.id {
            VmId::Process(id) => Some(id.pid),
            _ => None,
        };
        if let Some(pid) = process {
            serves(pid, Part::Vmm);
        }
        for backend in vm.backends {
            let part = if backend.duty == Duty::Vmm { Part::Vmm } else { Part::Io };
            serves(backend.id.pid, part);
        }
        for vcpu in vm.vcpus.unwrap_or_default() {
            if let Some(task) = vcpu.task {
                serves(task.pid, Part::Vcpu(vcpu.id));
            }
        }
        self.vms.push((name, process));
    }

    /// The VMs' names, raw.
    pub fn vms(&self) -> Vec<String> {
        self.vms.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The time stamp counter of a VM of KVM's; none of others, and where it cannot be read.
    pub fn counter(&self, name: &str) -> Option<GuestCounter> {
        let (_, process) = self.vms.iter().find(|(known, _)| known == name)?;
        GuestCounter::find(&self.root, (*process)?).ok()
    }

    /// The counters, for who reads them at both ends; none where a command alone is sampled, of
    /// which they do not tell.
    pub fn counters(&mut self) -> Option<Counters> {
        self.counters.take().filter(|_| self.scope == Scope::Machine)
    }

    /// Whether the host's samples see into its VMs (mode A).
    pub fn samples_guests(&self) -> bool {
        self.kvm && self.scope == Scope::Machine
    }

    /// What was given up.
    pub fn notes(&self) -> &[String] {
        self.capture.notes()
    }

    /// What is counted.
    pub fn events(&self) -> Vec<Event> {
        self.capture.events()
    }

    fn stream(&self, kallsyms: Reading<String>) -> Stream {
        Stream {
            name: "host".to_owned(),
            role: Role::Host,
            events: self.capture.events(),
            cpus: self.capture.cpus(),
            serving: self.serving.clone(),
            clock: Vec::new(),
            kallsyms,
            notes: self.capture.notes().to_vec(),
        }
    }

    /// The stream of a VM that nobody names.
    pub fn passive(&self, name: &str) -> Stream {
        Stream {
            name: name.to_owned(),
            role: Role::Passive,
            events: self.capture.events(),
            cpus: 0,
            serving: Vec::new(),
            clock: Vec::new(),
            kallsyms: Err(Absent::NotReported),
            notes: Vec::new(),
        }
    }

    /// Adds the stream, with what is there already.
    pub fn add(&self, writer: &mut Writer) -> Result<usize> {
        let unread = Err(Absent::NotProvided("the recording was not ended".into()));
        let number = writer.add_stream(self.stream(unread), Some(self.capture.layout()))?;
        let existing = sample::existing("/".as_ref());
        writer.append_records(number, sample::now(), &existing)?;
        Ok(number)
    }

    /// Lets the events count, or stops them; those of a command begin with it.
    pub fn enable(&self, on: bool) -> Result<()> {
        if self.scope == Scope::Machine || !on {
            self.capture.enable(on)?;
        }
        Ok(())
    }

    /// Waits for something to drain.
    pub fn wait(&mut self, time: Duration) -> Result<()> {
        Ok(self.capture.wait(time)?)
    }

    /// Appends what the rings hold.
    pub fn drain(&mut self, stream: usize, writer: &Mutex<Writer>) -> Result<()> {
        let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut failed = None;
        self.capture
            .drain(|ring, first, second| {
                // A record may begin at the ring's end and go on at its begin.
                let joined = (!second.is_empty()).then(|| [first, second].concat());
                let bytes = joined.as_deref().unwrap_or(first);
                writer.append(stream, ring, sample::now(), bytes).map_err(|error| {
                    failed = Some(error);
                    std::io::ErrorKind::Other.into()
                })
            })
            .or_else(|error| {
                failed.map_or(Err(anyhow::Error::from(error)), |failed| Err(failed.into()))
            })
    }

    /// Tells which part of the time each event was counted; gives the kernel's symbols.
    pub fn finish(self, number: usize, writer: &mut Writer) -> Result<Source> {
        let (text, kallsyms) = match std::fs::read("/proc/kallsyms") {
            Ok(text) => (Some(text), Ok(symbols::kallsyms(number))),
            Err(error) => (None, Err(Absent::from_io("/proc/kallsyms", Need::Root, &error))),
        };
        writer.set_stream(number, self.stream(kallsyms))?;
        Ok(Source { stream: number, kallsyms: text, agent: None })
    }
}
