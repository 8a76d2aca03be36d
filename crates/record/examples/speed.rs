//! What recordings cost: `speed FOLDER [PERF.DATA]` appends ten million samples as rings give
//! them, closes the recording and reads it; then it reads and imports the perf.data.

use model::{Absent, Event, Nanos, Record, Role, Stream, What};
use record::{Environment, Recording, Writer, import_perf_data};
use sample::{Decoder, Layout};
use std::error::Error;
use std::fs;
use std::io::{Write, stdout};
use std::path::Path;
use std::time::Instant;

const SAMPLES: u64 = 10_000_000;
/// Of a piece of a ring: 64 KiB.
const PIECE: u64 = 65_536 / 48;
const CPUS: u64 = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args_os().skip(1);
    let folder = words.next().ok_or("give a folder that is not there yet")?;
    let folder = Path::new(&folder);
    let layout = Layout {
        sample_type: 1 << 16 | 1 | 2 | 4 | 1 << 7,
        ids: vec![(70, 0), (71, 0)],
        periods: vec![100_000],
    };
    decode(&layout)?;
    keep(&folder.join("rings"), layout)?;
    if let Some(path) = words.next() {
        import(Path::new(&path), &folder.join("imported"))?;
    }
    Ok(())
}

/// A piece of a CPU's ring: `cpu-clock` of some threads at a thousand addresses.
fn piece(number: u64) -> Vec<u8> {
    let cpu = number % CPUS;
    let mut state = number + 1;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut sample = |index: u64| {
        let time = (number / CPUS * PIECE + index) * 100_000 + random() % 2000;
        let hot = (random() % 32) * (random() % 32);
        let thread = 1000 + ((1000 + hot % 6) << 32);
        [9 | 2 << 32 | 48 << 48, 70 + cpu, 0x5500_0000_0000 + hot * 53, thread, time, cpu]
    };
    (0..PIECE).flat_map(|index| sample(index).map(u64::to_le_bytes).concat()).collect()
}

fn decode(layout: &Layout) -> Result<(), Box<dyn Error>> {
    let decoder = Decoder::new(layout)?;
    let bytes = piece(1);
    let start = Instant::now();
    let mut count = 0;
    let mut sum = 0_u64;
    while count < SAMPLES {
        for record in decoder.decode(&bytes) {
            if let What::Sample(sample) = record?.what {
                sum = sum.wrapping_add(sample.address);
                count += 1;
            }
        }
    }
    std::hint::black_box(sum);
    say("decode rings", count, start)
}

fn keep(folder: &Path, layout: Layout) -> Result<(), Box<dyn Error>> {
    let mut writer = Writer::create(folder, &[], Environment::default())?;
    let stream = writer.add_stream(stream(), Some(layout))?;
    let pieces: Vec<Vec<u8>> = (0..64).map(piece).collect();
    let start = Instant::now();
    let before = user_seconds()?;
    let mut count = 0;
    for (number, bytes) in (0..SAMPLES / PIECE).zip(pieces.iter().cycle()) {
        writer.append(stream, (number % CPUS) as u16, Nanos(number), bytes)?;
        count += PIECE;
    }
    let user = (user_seconds()? - before) * 1e9 / count as f64;
    say("append", count, start)?;
    writeln!(stdout(), "  user CPU of appending: {user:.2} ns a sample")?;
    let raw = fs::metadata(folder.join("stream-0.raw"))?.len();
    let start = Instant::now();
    let found = all(&Recording::open(folder)?)?;
    say("read rings by time", found, start)?;
    let start = Instant::now();
    writer.close()?;
    say("close", found, start)?;
    let compact = fs::metadata(folder.join("stream-0.vmr"))?.len();
    let each = |bytes: u64| bytes as f64 / found as f64;
    writeln!(stdout(), "  bytes a sample: {:.2}, then {:.2}", each(raw), each(compact))?;
    let start = Instant::now();
    let found = all(&Recording::open(folder)?)?;
    say("read what is closed", found, start)
}

fn import(path: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let count = all(&Recording::open(path)?)?;
    say("read perf.data", count, start)?;
    let start = Instant::now();
    import_perf_data(path, folder)?;
    say("import perf.data", count, start)?;
    let theirs = fs::metadata(path)?.len();
    let ours = fs::metadata(folder.join("stream-0.vmr"))?.len();
    let part = 100.0 * ours as f64 / theirs as f64;
    let each = ours as f64 / count as f64;
    writeln!(stdout(), "  {ours} bytes of {theirs}: {part:.1} %, {each:.2} a record")?;
    let start = Instant::now();
    let found = all(&Recording::open(folder)?)?;
    say("read what was imported", found, start)
}

fn all(recording: &Recording) -> Result<u64, Box<dyn Error>> {
    let mut count = 0;
    let mut last = Nanos::ZERO;
    for record in recording.records(0)? {
        let Record { time, .. } = record?;
        last = last.max(time);
        count += 1;
    }
    std::hint::black_box(last);
    Ok(count)
}

fn say(what: &str, count: u64, start: Instant) -> Result<(), Box<dyn Error>> {
    let seconds = start.elapsed().as_secs_f64();
    let rate = count as f64 / seconds / 1e6;
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown");
    let peak = peak.trim();
    writeln!(stdout(), "{what}: {count} in {seconds:.3} s, {rate:.1} M/s, peak {peak}")?;
    Ok(())
}

/// User CPU time of this process (the 14th field of its stat, in hundredths of a second).
fn user_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let rest = stat.rsplit_once(')').ok_or("no stat")?.1;
    let ticks: f64 = rest.split_whitespace().nth(11).ok_or("no stat")?.parse()?;
    Ok(ticks / 100.0)
}

fn stream() -> Stream {
    let event = Event {
        asked: "cpu-clock".to_owned(),
        counted: "cpu-clock".to_owned(),
        kind: 1,
        config: 0,
        period: 100_000,
        is_time: true,
        share: Ok(1.0),
    };
    Stream {
        name: "host".to_owned(),
        role: Role::Host,
        events: vec![event],
        cpus: CPUS as u32,
        serving: Vec::new(),
        clock: Vec::new(),
        until: None,
        kallsyms: Err(Absent::NotReported),
        notes: Vec::new(),
    }
}
