//! Measures what a profile costs: samples of a host and of two guests that it samples (mode A),
//! made up as they are read, so that no recording's reading is measured.
//!
//! `cargo run --release -p vmeter-profile --example aggregate -- 1200000 10000000`

use model::{
    ClockSegment, Event, Map, Mode, Nanos, Part, Record, Role, Sample, Serving, Stream, What,
};
use profile::{Named, Options, Profile, Records, symbols::Symbols, table};
use std::io::{self, Write};
use std::time::Instant;

const KERNEL: u64 = 0xffff_ffff_8100_0000;
const IMAGES: u64 = 20;
const PROCESSES: u32 = 200;
const PROGRAMS: u32 = 10;
/// Different addresses that are sampled in an image.
const PLACES: u64 = 256;

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "     samples   read s  names s  table s     cpu s   entries   peak MB")?;
    for count in std::env::args().skip(1).filter_map(|count| count.parse::<u64>().ok()) {
        let streams = [host(), guest("web1"), guest("web2")];
        let records: Vec<Records<'_>> = vec![
            batches(host_records(count)),
            batches(guest_records(count)),
            batches(guest_records(count)),
        ];
        let (began, cpu) = (Instant::now(), cpu_seconds());
        let profile = Profile::read(&streams, records, Options::default());
        let read = began.elapsed().as_secs_f64();
        let named = Named::new(&profile, &Symbols::default());
        let names = began.elapsed().as_secs_f64() - read;
        let tables = table::tables(&named, &table::Choice::default());
        let seconds = began.elapsed().as_secs_f64();
        let samples: u64 = tables.iter().map(|table| table.total.samples).sum();
        let (cpu, entries) = (cpu_seconds() - cpu, profile.entries.len());
        let table = seconds - read - names;
        write!(out, "{samples:>12} {read:>8.3} {names:>8.3} {table:>8.3} ")?;
        writeln!(out, "{cpu:>9.3} {entries:>9} {:>9.1}", peak())?;
    }
    Ok(())
}

/// The time that this thread ran, which others on the machine do not lengthen so much; zero where
/// Linux does not say.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok());
    nanos.unwrap_or_default() / 1e9
}

/// The most memory that this process ever held, in megabytes; zero where Linux does not say.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kilobytes.unwrap_or_default() / 1024.0
}

fn stream(name: &str, role: Role) -> Stream {
    Stream {
        name: name.to_owned(),
        role,
        events: vec![],
        cpus: 2,
        serving: vec![],
        clock: vec![],
        until: None,
        kallsyms: Err(model::Absent::NotReported),
        notes: vec![],
    }
}

fn host() -> Stream {
    let event = Event {
        asked: "cycles".to_owned(),
        counted: "cycles".to_owned(),
        kind: 0,
        config: 0,
        period: 1_000_000,
        is_time: false,
        share: Ok(1.0),
    };
    let vcpu = |tid, vm: &str| Serving { tid, vm: vm.to_owned(), part: Part::Vcpu(0) };
    let serving = vec![vcpu(51, "web1"), vcpu(61, "web2")];
    Stream { events: vec![event], serving, ..stream("host", Role::Host) }
}

fn guest(name: &str) -> Stream {
    let clock = vec![ClockSegment { from: Nanos(0), offset: 0, drift: 0.0, bound: 20_000 }];
    Stream { clock, ..stream(name, Role::NamesOnly) }
}

/// Names and maps of all processes.
fn processes() -> impl Iterator<Item = Record> {
    (1..=PROCESSES).flat_map(|pid| {
        let name = format!("program-{}", pid % PROGRAMS).into_bytes();
        let named = What::Name { pid, tid: pid, name, exec: true };
        let map = move |n: u64| {
            What::Map(Box::new(Map {
                pid,
                tid: pid,
                start: 0x7f00_0000_0000 + n * 0x100_0000,
                length: 0x80_0000,
                offset: 0,
                build_id: None,
                path: format!("/usr/lib/lib{n}.so").into_bytes(),
            }))
        };
        let record = |what| Record { time: Nanos(0), cpu: 0, what };
        std::iter::once(record(named)).chain((0..IMAGES).map(move |n| record(map(n))))
    })
}

/// A sample each 100 µs: half of the host's own programs and kernel, half of two guests'.
/// So many at once as a recording's come.
fn batches<'a>(mut records: impl Iterator<Item = Record> + 'a) -> Records<'a> {
    Box::new(move |batch| {
        batch.clear();
        batch.extend(records.by_ref().take(1024));
        !batch.is_empty()
    })
}

fn host_records(count: u64) -> impl Iterator<Item = Record> {
    let mut state = 88_172_645_463_325_252u64;
    let samples = (0..count).map(move |n| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Few places are hot: the square of a uniform number.
        let hot = (state % PLACES) * ((state >> 20) % PLACES) / PLACES;
        let user = 0x7f00_0000_0000 + (state >> 40) % IMAGES * 0x100_0000 + hot * 16;
        let (pid, tid, mode, address) = match state >> 60 & 7 {
            0..4 => (1 + n as u32 % PROCESSES, 1 + n as u32 % PROCESSES, Mode::User, user),
            4 => (50, 51, Mode::Kernel, KERNEL + hot * 64),
            5 => (50, 51, Mode::GuestUser, user),
            6 => (60, 61, Mode::GuestUser, user),
            _ => (60, 61, Mode::GuestKernel, KERNEL + hot * 64),
        };
        let what = What::Sample(Sample { event: 0, pid, tid, address, mode, period: 1_000_000 });
        Record { time: Nanos(n * 100_000), cpu: (n % 2) as u32, what }
    });
    processes().chain(samples)
}

/// A switch each millisecond.
fn guest_records(count: u64) -> impl Iterator<Item = Record> {
    let switches = (0..count / 10).map(|n| {
        let pid = 1 + n as u32 % PROCESSES;
        Record { time: Nanos(n * 1_000_000), cpu: 0, what: What::Switch { pid, tid: pid } }
    });
    processes().chain(switches)
}
