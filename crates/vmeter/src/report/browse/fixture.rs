//! A recording for tests: a host, a guest that samples itself, and one that sends nothing.

use super::{App, Subject};
use model::{Absent, BuildId, ClockSegment, Event, Map, Mode, Nanos, Record, Role, Serving, What};
use model::{Part, Sample, Stream};
use profile::symbols::{Binary, Images, Reason, Symbols};
use profile::table::{Choice, Column, Sort};
use profile::tree::{Tree, trees as trees_of};
use profile::{Named, Options, Profile};
use std::path::Path;
use std::sync::Arc;

const KERNEL: u64 = 0xffff_ffff_8100_0000;
const TCP: u64 = KERNEL + 0x1000;
const SYSCALL: u64 = KERNEL + 0x2000;
const IDLE: u64 = KERNEL + 0x3000;
const PROGRAM: u64 = 0x40_0000;
const LIBRARY: u64 = 0x50_0000;
/// Of the VMM's process: itself, a vCPU, a thread for I/O.
const QEMU: [u32; 3] = [50, 51, 52];
const OTHER: [u32; 2] = [60, 61];
const HTTPD: u32 = 7;
const BASH: u32 = 9;

/// Names of kernels' functions alone.
struct Kernels;

impl Images for Kernels {
    fn open(&mut self, _: usize, path: &[u8], _: Option<&BuildId>) -> Result<Binary, Reason> {
        match path {
            b"/usr/sbin/httpd" => Err(Reason::Stripped),
            _ => Err(Reason::NotSent("larger than 64 MiB".to_owned())),
        }
    }

    fn kallsyms(&mut self, _: usize) -> Result<Arc<[u8]>, Reason> {
        let text = format!(
            "{KERNEL:x} T _text\n{TCP:x} T tcp_sendmsg\n{SYSCALL:x} T do_syscall_64\n\
             {IDLE:x} T default_idle\n{:x} T _etext\n",
            KERNEL + 0x4000
        );
        Ok(text.into_bytes().into())
    }
}

fn event(name: &str, period: u64, is_time: bool) -> Event {
    Event {
        asked: name.into(),
        counted: name.into(),
        kind: u32::from(is_time),
        config: 0,
        period,
        is_time,
        share: Ok(1.0),
    }
}

fn stream(name: &str, role: Role) -> Stream {
    Stream {
        name: name.into(),
        role,
        events: vec![event("cpu-clock", 1_000_000, true), event("cache-misses", 100_000, false)],
        cpus: 2,
        serving: vec![],
        clock: vec![],
        until: None,
        kallsyms: Err(Absent::NotReported),
        notes: vec![],
    }
}

/// Records in the order of their times, a millisecond each.
#[derive(Default)]
struct Tape(Vec<Record>);

impl Tape {
    fn record(&mut self, what: What) {
        let time = Nanos(1_000_000 * (1 + self.0.len() as u64));
        self.0.push(Record { time, cpu: 0, what });
    }

    fn name(&mut self, pid: u32, name: &str) {
        self.record(What::Name { pid, tid: pid, name: name.into(), exec: true });
    }

    fn map(&mut self, pid: u32, start: u64, path: &str) {
        let path = path.into();
        self.record(What::Map(Box::new(Map {
            pid,
            tid: pid,
            start,
            length: 0x10_0000,
            offset: 0,
            build_id: None,
            path,
        })));
    }

    /// So many samples of each event, at an address.
    fn samples(&mut self, counts: [u64; 2], task: (u32, u32), mode: Mode, address: u64) {
        for (event, count) in (0..).zip(counts) {
            let period = if event == 0 { 1_000_000 } else { 100_000 };
            for _ in 0..count {
                let (pid, tid) = task;
                self.record(What::Sample(Sample { event, pid, tid, address, mode, period }));
            }
        }
    }
}

fn host() -> (Stream, Vec<Record>) {
    let mut host = stream("host", Role::Host);
    let serving = |tid, vm: &str, part| Serving { tid, vm: vm.into(), part };
    host.serving = vec![
        serving(QEMU[0], "web1", Part::Vmm),
        serving(QEMU[1], "web1", Part::Vcpu(0)),
        serving(QEMU[2], "web1", Part::Io),
        serving(OTHER[1], "db-東京", Part::Vcpu(0)),
    ];
    let mut tape = Tape::default();
    tape.name(QEMU[0], "qemu");
    tape.name(OTHER[0], "qemu");
    tape.name(BASH, "bash");
    tape.map(u32::MAX, KERNEL, "[kernel.kallsyms]_text");
    tape.map(BASH, PROGRAM, "/bin/bash");
    tape.samples([300, 20], (QEMU[0], QEMU[2]), Mode::Kernel, TCP);
    tape.samples([250, 60], (BASH, BASH), Mode::Kernel, SYSCALL);
    tape.samples([50, 2], (BASH, BASH), Mode::User, PROGRAM + 0x10);
    tape.samples([200, 0], (0, 0), Mode::Kernel, IDLE);
    tape.samples([80, 40], (OTHER[0], OTHER[1]), Mode::GuestUser, PROGRAM);
    tape.samples([40, 10], (OTHER[0], OTHER[1]), Mode::GuestKernel, KERNEL);
    tape.record(What::Lost { count: 12 });
    (host, tape.0)
}

fn guest() -> (Stream, Vec<Record>) {
    let bound = 123_000;
    let clock = vec![ClockSegment { from: Nanos(0), offset: 0, drift: 0.0, bound }];
    let mut tape = Tape::default();
    tape.name(HTTPD, "httpd");
    tape.map(u32::MAX, KERNEL, "[kernel.kallsyms]_text");
    tape.map(HTTPD, PROGRAM, "/usr/sbin/httpd");
    tape.map(HTTPD, LIBRARY, "/usr/lib/libapr-1.so.0");
    tape.samples([700, 10], (HTTPD, HTTPD), Mode::Kernel, TCP);
    tape.samples([400, 90], (HTTPD, HTTPD), Mode::Kernel, SYSCALL);
    tape.samples([500, 5], (HTTPD, HTTPD), Mode::User, PROGRAM + 0x1234);
    tape.samples([100, 5], (HTTPD, HTTPD), Mode::User, PROGRAM + 0x2000);
    tape.samples([60, 0], (HTTPD, HTTPD), Mode::User, LIBRARY + 0x40);
    (Stream { clock, ..stream("web1", Role::SamplesItself) }, tape.0)
}

/// Reads streams and gives what the browser shows of them.
fn made(
    parts: Vec<(Stream, Vec<Record>)>,
    choice: &Choice,
    damages: &[String],
) -> (Subject, Vec<Tree>) {
    let (streams, records): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let records = records.into_iter().map(profile::in_memory);
    let profile = Profile::read(&streams, records.collect(), Options::default());
    let named = Named::new(&profile, &Symbols::find(&profile, &mut Kernels));
    let trees = trees_of(&named, choice, None);
    (Subject::new(Path::new("/var/lib/rec"), &named, &trees, damages), trees)
}

/// The levels that the browser has unasked.
pub fn choice() -> Choice {
    let by = [Column::Vm, Column::Process, Column::Image, Column::Symbol];
    Choice { by: by.to_vec(), ..Choice::default() }
}

fn whole(choice: &Choice) -> (Subject, Vec<Tree>) {
    let passive = (stream("db-東京", Role::Passive), vec![]);
    made(vec![host(), guest(), passive], choice, &[])
}

/// The trees of both events.
pub fn trees() -> Vec<Tree> {
    whole(&choice()).1
}

/// The browser at its start.
pub fn app() -> App {
    app_of(&choice())
}

/// The same, of what is chosen.
pub fn app_of(choice: &Choice) -> App {
    let (subject, trees) = whole(choice);
    App::new(subject, trees, choice.sort).unwrap()
}

/// Of one event.
pub fn app_of_one_event() -> App {
    app_of(&Choice { events: vec!["cpu-clock".into()], ..choice() })
}

/// Everything that has a name is called like this.
pub fn app_called(name: &str) -> App {
    let mut tape = Tape::default();
    tape.name(HTTPD, name);
    tape.map(HTTPD, PROGRAM, &format!("/{name}"));
    tape.samples([3, 2], (HTTPD, HTTPD), Mode::User, PROGRAM);
    tape.samples([2, 2], (HTTPD, HTTPD), Mode::Kernel, KERNEL);
    tape.record(What::Lost { count: 1 });
    let mut guest = stream(name, Role::SamplesItself);
    guest.notes = vec![name.to_owned()];
    guest.events[0].asked = name.to_owned();
    guest.events[1].counted = name.to_owned();
    let parts = vec![(stream("host", Role::Host), vec![]), (guest, tape.0)];
    let (subject, trees) = made(parts, &choice(), &[name.to_owned()]);
    App::new(subject, trees, Sort::Samples).unwrap()
}
