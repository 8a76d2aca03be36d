//! The host's part of a recording: its events, the VMs on it, and the command that is run.

use super::counters::Counters;
use super::symbols::{self, Kallsyms, Source};
use crate::args::ReadArgs;
use crate::failure::INTERRUPTED;
use ::record::Writer;
use anyhow::{Context, Result};
use model::{Absent, Duty, Event, Need, Part, Platform, Reading, Role, Serving, Stream, Vm, VmId};
use platform::kvm::GuestCounter;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use sample::{Capture, Scope, Wanted, Word};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Child, ExitCode};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use workload::Control;

/// VMs that start, and threads that begin to serve one, are looked for so often.
const LOOK: Duration = Duration::from_secs(2);

/// A command that is not recorded any more is looked for so often.
const LAST_LOOK: Duration = Duration::from_millis(20);

/// Whether the kernel lets this process sample everything.
pub fn may_sample_all() -> bool {
    let words = vec![Word { name: "cpu-clock".to_owned(), period: None }];
    let wanted = Wanted { events: words, scope: Scope::Machine, switches: false, ring: 1 << 12 };
    Capture::open(&wanted).is_ok()
}

/// A command that waits to be let go.
pub struct Command {
    child: Child,
    let_go: bool,
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
        Ok(Some(Self { child, let_go: false }))
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it go.
    pub fn go_on(&mut self) {
        self.let_go = true;
        // One that is gone has ended, which is seen next.
        let _ = kill_process(Pid::from_child(&self.child), Signal::CONT);
    }

    /// Whether it runs, or has.
    pub fn is_let_go(&self) -> bool {
        self.let_go
    }

    /// Lets it run to its end, which nobody records; its exit status.
    pub fn outlast(&mut self, control: &Control) -> Result<ExitCode> {
        self.go_on();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if control.stopped() {
                return Ok(ExitCode::from(INTERRUPTED));
            }
            std::thread::sleep(LAST_LOOK);
        }
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

/// The processes that are VMs, by the VMs' names; a VM of Xen's is none.
pub struct Vmms {
    /// Where files of the system are.
    root: PathBuf,
    processes: Mutex<BTreeMap<String, Option<u32>>>,
}

impl Vmms {
    fn processes(&self) -> MutexGuard<'_, BTreeMap<String, Option<u32>>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The VMs' names, raw.
    pub fn names(&self) -> Vec<String> {
        self.processes().keys().cloned().collect()
    }

    /// What a VM is called here: its name, with its process where another of these VMs has that
    /// name already. Users and guests choose names; one that takes another's gets none of its
    /// samples.
    fn name(&self, vm: &Vm, vms: &[Vm]) -> String {
        let VmId::Process(id) = &vm.id else { return vm.name.clone() };
        let processes = self.processes();
        if let Some((name, _)) = processes.iter().find(|(_, pid)| **pid == Some(id.pid)) {
            return name.clone();
        }
        let is_there =
            |pid: &u32| vms.iter().any(|vm| matches!(&vm.id, VmId::Process(id) if id.pid == *pid));
        match processes.get(&vm.name).copied().flatten().filter(is_there) {
            Some(_) => format!("{} ({})", vm.name, id.pid),
            None => vm.name.clone(),
        }
    }

    /// The VM of an agent: the one of this process, or the only one of this name.
    ///
    /// # Errors
    /// A sentence that says which VMs have the name.
    pub fn meant(&self, name: &str) -> Result<String, String> {
        let processes = self.processes();
        let of_process =
            |(_, pid): &(&String, &Option<u32>)| pid.is_some_and(|pid| pid.to_string() == name);
        if let Some((name, _)) = processes.iter().find(of_process) {
            return Ok(name.clone());
        }
        let prefix = format!("{name} (");
        let others = processes.iter().filter(|(other, _)| other.starts_with(&prefix));
        let pids: Vec<String> =
            others.filter_map(|(_, pid)| pid.map(|pid| pid.to_string())).collect();
        match processes.get(name).copied().flatten() {
            Some(first) if !pids.is_empty() => Err(format!(
                "several VMs have the name `{}`: use one of the ids {first}, {}",
                model::escape(name),
                pids.join(", ")
            )),
            _ => Ok(name.to_owned()),
        }
    }

    /// The time stamp counter of a VM of KVM's; none of others, and where it cannot be read.
    pub fn counter(&self, name: &str) -> Option<GuestCounter> {
        let process = *self.processes().get(name)?;
        GuestCounter::find(&self.root, process?).ok()
    }
}

/// The host's events, and the VMs on it.
pub struct Host {
    capture: Capture,
    scope: Scope,
    vmms: Arc<Vmms>,
    /// Thread, or process → what it serves.
    serving: BTreeMap<u32, Serving>,
    /// Whether VMs run in KVM here: then the host's samples are in them too.
    kvm: bool,
    counters: Counters,
    /// The recording's file of the kernel's symbols.
    kallsyms: Reading<String>,
    looked: Instant,
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
            vmms: Arc::new(Vmms { root: read.root.clone(), processes: Mutex::default() }),
            serving: BTreeMap::new(),
            kvm: false,
            counters,
            kallsyms: Err(super::not_ended()),
            looked: Instant::now(),
        };
        host.met(found);
        Ok(host)
    }

    /// Takes note of VMs, and of threads that serve them.
    fn met(&mut self, vms: Vec<Vm>) {
        let mut vms: Vec<_> =
            vms.into_iter().filter(|vm| vm.platform != Platform::Cgroup).collect();
        vms.sort_by_key(|vm| match &vm.id {
            VmId::Process(id) => (id.start, id.pid),
            _ => (0, 0),
        });
        for vm in &vms {
            self.kvm |= vm.platform == Platform::Kvm;
            let name = self.vmms.name(vm, &vms);
            let mut serves = |tid, part| {
                let serving = Serving { tid, vm: name.clone(), part };
                self.serving.entry(tid).or_insert(serving);
            };
            let process = match vm.id {
                VmId::Process(id) => Some(id.pid),
                _ => None,
            };
            if let Some(pid) = process {
                serves(pid, Part::Vmm);
            }
            for backend in &vm.backends {
                let part = if backend.duty == Duty::Vmm { Part::Vmm } else { Part::Io };
                serves(backend.id.pid, part);
            }
            for vcpu in vm.vcpus.iter().flatten() {
                if let Some(task) = &vcpu.task {
                    serves(task.pid, Part::Vcpu(vcpu.id));
                }
            }
            self.vmms.processes().insert(name, process);
        }
    }

    /// The VMs on it.
    pub fn vmms(&self) -> Arc<Vmms> {
        Arc::clone(&self.vmms)
    }

    /// Reads the counters at the begin; not where a command alone is sampled, of which they do not
    /// tell.
    pub fn begin_counters(&mut self) {
        if self.scope == Scope::Machine {
            self.counters.begin();
        }
    }

    /// Looks now and then for VMs that started since, and for threads of those that began again,
    /// and keeps what is known of all, should the recorder be killed.
    pub fn look(&mut self, stream: usize, writer: &Mutex<Writer>) -> Result<()> {
        if self.looked.elapsed() < LOOK {
            return Ok(());
        }
        self.looked = Instant::now();
        if self.samples_guests()
            && let Ok(found) = self.counters.read()
        {
            self.met(found.vms);
        }
        let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.set_stream(stream, self.stream())?;
        self.add_passive(&mut writer)
    }

    /// Reads the counters at the end, and keeps them.
    pub fn end_counters(&mut self, writer: &mut Writer) -> Result<()> {
        let Ok(end) = self.counters.read() else { return Ok(()) };
        self.counters.end(&end, writer)?;
        self.met(end.vms);
        self.add_passive(writer)
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

    fn stream(&self) -> Stream {
        Stream {
            name: "host".to_owned(),
            role: Role::Host,
            events: self.capture.events(),
            cpus: self.capture.cpus(),
            serving: self.serving.values().cloned().collect(),
            clock: Vec::new(),
            until: None,
            kallsyms: self.kallsyms.clone(),
            notes: self.capture.notes().to_vec(),
        }
    }

    /// Adds streams of VMs that the host samples and that have none yet, as nobody names them:
    /// their samples are theirs all the same.
    pub fn add_passive(&self, writer: &mut Writer) -> Result<()> {
        let names = if self.samples_guests() { self.vmms.names() } else { Vec::new() };
        for name in names {
            // A VM may be named as the host's own stream is.
            let is_its = |stream: &Stream| stream.role != Role::Host && stream.name == name;
            if !writer.head().streams.iter().any(|entry| is_its(&entry.stream)) {
                writer.add_stream(self.passive(name), None)?;
            }
        }
        Ok(())
    }

    fn passive(&self, name: String) -> Stream {
        Stream {
            name,
            role: Role::Passive,
            events: self.capture.events(),
            cpus: 0,
            serving: Vec::new(),
            clock: Vec::new(),
            until: None,
            kallsyms: Err(Absent::NotReported),
            notes: Vec::new(),
        }
    }

    /// Adds the stream, with what is there already.
    pub fn add(&mut self, writer: &mut Writer) -> Result<usize> {
        let number = writer.add_stream(self.stream(), Some(self.capture.layout()))?;
        self.draft_symbols(number, writer)?;
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

    /// Keeps the kernel's symbols as they are at the begin.
    fn draft_symbols(&mut self, number: usize, writer: &mut Writer) -> Result<()> {
        let mut read = kernel_symbols();
        if let Ok(symbols) = &mut read {
            symbols.draft(number, writer);
        }
        self.kallsyms = Kallsyms::file(&read, number);
        Ok(writer.set_stream(number, self.stream())?)
    }

    /// Tells which part of the time each event was counted; gives the kernel's symbols, with those
    /// of modules that came since the begin.
    pub fn finish(mut self, number: usize, writer: &mut Writer) -> Result<Source> {
        let (text, kallsyms) = match kernel_symbols() {
            Ok(text) => (Some(text), Ok(symbols::kallsyms(number))),
            Err(absent) => (None, Err(absent)),
        };
        self.kallsyms = kallsyms;
        writer.set_stream(number, self.stream())?;
        Ok(Source { streams: vec![(number, text)], agent: None })
    }
}

fn kernel_symbols() -> Reading<Kallsyms> {
    const PATH: &str = "/proc/kallsyms";
    let read = files::read(PATH.as_ref(), symbols::MAX_KALLSYMS).map(Kallsyms::Read);
    read.map_err(|error| Absent::from_io(PATH, Need::Root, &error))
}
