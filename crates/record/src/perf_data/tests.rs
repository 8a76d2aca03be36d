//! Files of perf: a real one, what perf here writes, and what no perf would.

use super::*;
use crate::error::Cause;
use crate::import::import_perf_data;
use crate::reader::Recording;
use model::{Mode, Nanos, Record, What};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/perf-6.1.data")
}

fn read(recording: &Recording) -> Vec<Record> {
    recording.records(0).unwrap().map(Result::unwrap).collect()
}

fn count(records: &[Record], is: impl Fn(&What) -> bool) -> usize {
    records.iter().filter(|record| is(&record.what)).count()
}

#[test]
fn a_real_file_is_read() {
    let recording = Recording::open(&fixture()).unwrap();
    let head = recording.head();
    assert_eq!(head.command[..4], ["/usr/bin/perf", "record", "-e", "cpu-clock"]);
    assert_eq!(head.environment.tool.as_deref(), Some("perf 6.1.187"));
    assert_eq!(head.environment.architecture.as_deref(), Some("x86_64"));
    let stream = &recording.streams()[0];
    let names: Vec<&str> = stream.events.iter().map(|event| event.asked.as_str()).collect();
    assert_eq!(names, ["cpu-clock", "page-faults"]);
    assert!(stream.events[0].is_time && !stream.events[1].is_time);
    assert_eq!((stream.events[0].period, stream.cpus, stream.notes.len()), (200_000, 2, 0));
    let records = read(&recording);
    assert!(records.is_sorted_by_key(|record| record.time));
    let is_sample = |what: &What| matches!(what, What::Sample(sample) if sample.event == 0 && sample.period == 200_000);
    assert_eq!(count(&records, is_sample), 205);
    assert_eq!(count(&records, |what| matches!(what, What::Name { .. })), 5);
    assert_eq!(count(&records, |what| matches!(what, What::Fork { .. })), 3);
    assert_eq!(count(&records, |what| matches!(what, What::Exit { .. })), 4);
    assert_eq!(count(&records, |what| matches!(what, What::Map(_))), 19);
    assert_eq!(records.len(), 205 + 5 + 3 + 4 + 19);
}

#[test]
fn images_have_the_build_ids_that_the_file_lists() {
    let records = read(&Recording::open(&fixture()).unwrap());
    let id = |path: &[u8]| {
        let mut maps = records.iter().filter_map(|record| match &record.what {
            What::Map(map) if map.path == path => Some(map.build_id.clone()),
            _ => None,
        });
        maps.next().unwrap().map(|id| id.hex())
    };
    // As `perf buildid-list` has them: of images with samples only.
    let dash = id(b"/usr/bin/dash").unwrap();
    assert_eq!(dash.len(), 40);
    assert_eq!(id(b"[kernel.kallsyms]_text").unwrap().len(), 40);
}

#[test]
fn an_import_is_a_recording_of_the_same_records() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("imported");
    assert_eq!(import_perf_data(&fixture(), &inner).unwrap(), []);
    let direct = Recording::open_perf_data(&fixture()).unwrap();
    let imported = Recording::open(&inner).unwrap();
    assert_eq!(read(&imported), read(&direct));
    assert_eq!(imported.streams(), direct.streams());
    assert!(imported.head().closed);
    assert!(import_perf_data(&fixture(), &inner).is_err(), "it is not written over");
}

/// A file of its own for each thread of these tests.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self, bytes: &[u8]) -> Result<Recording, Error> {
        let path = self.0.path().join("perf.data");
        fs::write(&path, bytes).unwrap();
        Recording::open(&path)
    }
}

#[test]
fn a_cut_file_is_told() {
    let whole = fs::read(fixture()).unwrap();
    let scratch = Scratch::new();
    let all = read(&Recording::open(&fixture()).unwrap());
    let mut opened = 0;
    for cut in (0..whole.len()).step_by(97) {
        // The sections come last; those that nothing is read of may lack.
        if let Ok(recording) = scratch.open(&whole[..cut]) {
            assert_eq!(read(&recording), all, "cut at {cut}");
            opened += 1;
        }
    }
    assert!(opened < 60, "{opened}");
}

#[test]
fn a_file_that_perf_did_not_end_reads_up_to_there() {
    let mut bytes = fs::read(fixture()).unwrap();
    let all = read(&Recording::open(&fixture()).unwrap());
    let start = u64::from_le_bytes(bytes[40..48].try_into().unwrap()) as usize;
    bytes[48..56].fill(0);
    let scratch = Scratch::new();
    for cut in (start..start + 12_000).step_by(101) {
        let recording = scratch.open(&bytes[..cut]).unwrap();
        assert!(recording.streams()[0].notes[0].contains("did not finish"));
        let found: Vec<_> = recording.records(0).unwrap().collect();
        let good: Vec<&Record> = found.iter().filter_map(|found| found.as_ref().ok()).collect();
        assert!(found.len() - good.len() <= 1);
        if let Some(Err(damage)) = found.last() {
            assert_eq!(damage.cause, Cause::Cut);
            assert!(damage.offset < cut as u64 && damage.read == good.len() as u64);
        }
        // Build ids are listed after the data.
        let same = |a: &Record, b: &Record| {
            a == b || matches!((&a.what, &b.what), (What::Map(a), What::Map(b)) if a.path == b.path)
        };
        assert!(good.iter().all(|one| all.iter().any(|other| same(one, other))));
    }
}

/// perf.data has no checksums: what no kernel writes is told all the same.
#[test]
fn attack_by_records_that_cannot_be_is_told() {
    let good = fs::read(fixture()).unwrap();
    let at = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let (start, length) = (at(&good, 40) as usize, at(&good, 48) as usize);
    let scratch = Scratch::new();
    let damages = |bytes: &[u8]| -> Vec<Cause> {
        let found: Vec<_> = scratch.open(bytes).unwrap().records(0).unwrap().collect();
        found.into_iter().filter_map(|found| found.err().map(|damage| damage.cause)).collect()
    };
    assert_eq!(damages(&good), []);
    // The samples, each of a header, address, pid and tid, time, id, CPU.
    let (mut samples, mut place) = (Vec::new(), start);
    while place < start + length {
        let word = at(&good, place);
        if word as u32 == 9 {
            samples.push(place);
        }
        place += (word >> 48) as usize;
    }
    // Rounds end before the last ones.
    let mut good = good;
    for place in samples.drain(samples.len() - 8..samples.len() - 6) {
        good[place] = 68;
    }
    assert_eq!(damages(&good), []);
    let late = samples[samples.len() - 2];
    for (offset, value, cause) in [
        (0, 40, Cause::Kind),
        (0, 0, Cause::Kind),
        (16 + 3, 0x12, Cause::Thread),
        (20 + 3, 0x80, Cause::Thread),
        (24 + 5, 0, Cause::Order),
        (40 + 1, 1, Cause::Cpu),
    ] {
        let mut bytes = good.clone();
        bytes[late + offset] = value;
        let told = damages(&bytes);
        assert!(told.contains(&cause), "{cause:?} {told:?} {:x?}", &good[late..late + 48]);
    }
}

#[test]
fn no_file_makes_it_panic() {
    let good = fs::read(fixture()).unwrap();
    let data = u64::from_le_bytes(good[48..56].try_into().unwrap()) as usize;
    let scratch = Scratch::new();
    let mut random = hostile::Random::new(5);
    let mut opened = 0;
    for round in 0..hostile::cases(1500) {
        let mut bytes = good.clone();
        for _ in 0..=random.below(6) {
            // Where the structure is: the header, its sections, the features, or anywhere.
            let at = match round % 4 {
                0 => random.below(104 + 400),
                1 => (424 + data + random.below(bytes.len())).min(bytes.len() - 1),
                _ => random.below(bytes.len()),
            };
            bytes[at] = if random.below(3) == 0 { 0xff } else { random.number() as u8 };
        }
        if round % 5 == 0 {
            bytes.truncate(random.below(bytes.len()));
        }
        if let Ok(recording) = scratch.open(&bytes) {
            let records = recording.records(0).unwrap();
            assert!(records.count() < bytes.len());
            opened += 1;
        }
    }
    assert!(opened > 100, "the fuzz reaches the records: {opened}");
}

#[test]
fn what_cannot_be_read_is_told_with_a_remedy() {
    let scratch = Scratch::new();
    let good = fs::read(fixture()).unwrap();
    let told = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        scratch.open(&file).unwrap_err().to_string()
    };
    assert!(told(0, b"PERFILE1").contains("not a perf.data"));
    assert!(told(0, b"2ELIFREP").contains("big-endian"));
    assert!(told(8, &[16]).contains("perf inject"));
    // HEADER_COMPRESSED.
    assert!(told(72 + 3, &[good[75] | 8]).contains("without -z"));
    assert!(told(16, &[0; 8]).contains("invalid events"));
    // The first event's sample_type, without a time.
    let attr = 24 + 8 + u64::from_le_bytes(good[24..32].try_into().unwrap()) as usize - 8;
    assert!(told(attr, &[good[attr] & !4]).contains("PERF_SAMPLE_TIME"));
    assert!(matches!(Recording::open(Path::new("/dev/null/none")), Err(Error::Io(_))));
}

/// Whether perf is here and may record all CPUs; if so, what it wrote with these words.
fn perf(folder: &Path, before: &[&str], words: &[&str]) -> Option<PathBuf> {
    let path = folder.join("live.data");
    let _ = fs::remove_file(&path);
    let work = "i=0; while [ $i -lt 5000 ]; do i=$((i+1)); done; ls / >/dev/null";
    let status = Command::new("perf")
        .args(before)
        .arg("record")
        .args(words)
        .arg("-o")
        .arg(&path)
        .args(["--", "sh", "-c", work])
        .output();
    status.ok().filter(|output| output.status.success()).map(|_| path)
}

/// Every sample's thread, CPU, time and address as `perf script` has them.
fn script(path: &Path) -> Vec<(u32, u64, u64)> {
    let output = Command::new("perf")
        .args(["script", "--ns", "-G", "-F", "tid,time,ip", "-i"])
        .arg(path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let tid = words.next()?.parse().ok()?;
        let (seconds, nanos) = words.next()?.strip_suffix(':')?.split_once('.')?;
        let time = seconds.parse::<u64>().ok()? * 1_000_000_000 + nanos.parse::<u64>().ok()?;
        Some((tid, time, u64::from_str_radix(words.next()?, 16).ok()?))
    };
    text.lines().map(|one| line(one).unwrap_or_else(|| panic!("{one:?}"))).collect()
}

#[test]
fn what_perf_writes_here_is_read_as_perf_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ["-e", "cpu-clock"];
    let ways: [(&[&str], &[&str]); 4] = [
        (&[], &["-c", "500000", "-a", "-e", "page-faults", "--buildid-mmap"]),
        (&[], &["-c", "500000", "-a", "-g"]),
        (&[], &["-F", "1999"]),
        (&["kvm", "--host", "--guest"], &["-c", "500000", "-a"]),
    ];
    for (before, more) in ways {
        let words = [&clock[..], more].concat();
        let Some(path) = perf(folder.path(), before, &words) else {
            println!("perf is not here, or may not record: nothing to compare with");
            continue;
        };
        let recording = Recording::open(&path).unwrap();
        let records = read(&recording);
        let sample = |record: &Record| match &record.what {
            What::Sample(sample) => Some((sample.tid, record.time.0, sample.address)),
            _ => None,
        };
        let mut ours: Vec<_> = records.iter().filter_map(sample).collect();
        let mut theirs = script(&path);
        let by_time = |samples: &[(u32, u64, u64)]| samples.is_sorted_by_key(|sample| sample.1);
        assert!(by_time(&ours) && by_time(&theirs), "{words:?}");
        // Two at the same time have no order.
        ours.sort_unstable();
        theirs.sort_unstable();
        assert!(!ours.is_empty() && ours == theirs, "{words:?}");
    }
}

/// A file of two events whose samples differ, one of them of guests: what `perf kvm` writes.
#[test]
fn guest_modes_are_kept() {
    let mut bytes = fs::read(fixture()).unwrap();
    let start = u64::from_le_bytes(bytes[40..48].try_into().unwrap()) as usize;
    let mut at = start;
    let mut changed = 0;
    while at + 8 <= bytes.len() && changed < 10 {
        let kind = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let size = u16::from_le_bytes(bytes[at + 6..at + 8].try_into().unwrap());
        if kind == 9 {
            // PERF_RECORD_MISC_GUEST_KERNEL, _GUEST_USER.
            bytes[at + 4] = 4 + changed % 2;
            changed += 1;
        }
        at += usize::from(size);
    }
    let records = read(&Scratch::new().open(&bytes).unwrap());
    let of = |mode| count(&records, |what| matches!(what, What::Sample(one) if one.mode == mode));
    assert_eq!((of(Mode::GuestKernel), of(Mode::GuestUser)), (5, 5));
    assert!(records[0].time == Nanos(0), "what perf made up comes first");
}
