//! Recordings, written and read, whatever comes in between.

use super::*;
use crate::error::Cause;
use crate::testing::{layout, records, ring_sample, sample_of, stream};
use proptest::prelude::*;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

fn begin(folder: &Path) -> Writer {
    let words = ["vmeter".to_owned(), "record".to_owned()];
    let mut writer = Writer::create(folder, &words, Environment::default()).unwrap();
    assert_eq!(writer.add_stream(stream(), Some(layout())).unwrap(), 0);
    writer
}

fn read(folder: &Path) -> Vec<Result<Record, Damage>> {
    Recording::open(folder).unwrap().records(0).unwrap().collect()
}

fn read_well(folder: &Path) -> Vec<Record> {
    read(folder).into_iter().map(Result::unwrap).collect()
}

/// Appends `passes` passes over two rings, some samples of each; what they mean, by time.
fn fill(writer: &mut Writer, passes: u64) -> Vec<Record> {
    let mut random = hostile::Random::new(3);
    let mut all = Vec::new();
    for pass in 0..passes {
        for cpu in 0..2 {
            let mut bytes = Vec::new();
            for index in 0..1 + random.below(40) as u64 {
                let time = pass * 1_000_000 + index * 20_000 + random.number() % 15_000;
                let (event, address) = (random.number() % 2, random.number() % 1000);
                bytes.extend(ring_sample(event, cpu, time, address));
                all.push(sample_of(event as u16, cpu, time, address));
            }
            writer.append(0, cpu as u16, Nanos((pass + 1) * 1_000_000), &bytes).unwrap();
        }
    }
    all.sort_by_key(|record| record.time);
    all
}

#[test]
fn what_is_appended_is_read_by_time_and_stays_so_when_closed() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = begin(folder.path());
    let all = fill(&mut writer, 50);
    assert_eq!(read_well(folder.path()), all);
    assert!(!Recording::open(folder.path()).unwrap().head().closed);
    let size = |name: &str| fs::metadata(folder.path().join(name)).unwrap().len();
    let raw = size("stream-0.raw");
    assert_eq!(writer.close().unwrap(), []);
    assert_eq!(read_well(folder.path()), all);
    assert!(Recording::open(folder.path()).unwrap().head().closed);
    assert!(size("stream-0.vmr") * 4 < raw, "{} of {raw}", size("stream-0.vmr"));
    assert!(!folder.path().join("stream-0.raw").exists());
    assert_eq!(close(folder.path()).unwrap(), [], "closing twice changes nothing");
}

#[test]
fn neighbours_that_an_interrupt_swapped_are_sorted() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = begin(folder.path());
    let times: Vec<u64> =
        (0..5000).map(|index| if index % 7 == 0 { index + 9 } else { index }).collect();
    for part in times.chunks(100) {
        let bytes: Vec<u8> = part.iter().flat_map(|time| ring_sample(0, 0, *time, 1)).collect();
        writer.append(0, 0, Nanos::ZERO, &bytes).unwrap();
    }
    let found = read_well(folder.path());
    assert_eq!(found.len(), 5000);
    assert!(found.is_sorted_by_key(|record| record.time));
}

#[test]
fn a_cut_file_reads_a_prefix_and_says_where_it_broke() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = begin(folder.path());
    let mut ends = vec![0];
    let mut all = Vec::new();
    for pass in 0..4 {
        let times = [pass * 10, pass * 10 + 1];
        let bytes = times.map(|time| ring_sample(0, 0, time, time)).concat();
        writer.append(0, 0, Nanos(pass), &bytes).unwrap();
        all.extend(times.map(|time| sample_of(0, 0, time, time)));
        ends.push(writer.files[0].length);
    }
    let path = folder.path().join("stream-0.raw");
    let whole = fs::read(&path).unwrap();
    assert_eq!(whole.len() as u64, ends[4]);
    for cut in (0..whole.len()).rev() {
        fs::write(&path, &whole[..cut]).unwrap();
        let chunks = ends.iter().filter(|end| **end > 0 && **end <= cut as u64).count();
        let mut found = read(folder.path());
        if !ends.contains(&(cut as u64)) {
            let damage = found.pop().unwrap().unwrap_err();
            let offset = ends[chunks];
            let read = 2 * chunks as u64;
            let file = "stream-0.raw".to_owned();
            assert_eq!(damage, Damage { file, offset, read, cause: Cause::Cut });
        }
        let found: Vec<Record> = found.into_iter().map(Result::unwrap).collect();
        assert_eq!(found, all[..2 * chunks], "cut at {cut}");
    }
}

#[test]
fn a_cut_compact_file_is_seen_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = begin(folder.path());
    let all = fill(&mut writer, 3);
    writer.close().unwrap();
    let path = folder.path().join("stream-0.vmr");
    let whole = fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let found = read(folder.path());
        let (damage, before) = found.split_last().unwrap();
        let damage = damage.as_ref().unwrap_err();
        assert!([Cause::Cut, Cause::Endless].contains(&damage.cause), "cut at {cut}: {damage}");
        assert!(before.iter().zip(&all).all(|(found, good)| found.as_ref() == Ok(good)));
        assert_eq!(damage.read, before.len() as u64);
    }
}

#[test]
fn no_bytes_of_a_file_make_it_panic() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = begin(folder.path());
    fill(&mut writer, 5);
    let some = sample_of(0, 1, 2, 3);
    writer.append_records(0, Nanos(1), &[some.clone(), some]).unwrap();
    let mut random = hostile::Random::new(11);
    let mut mutate = |path: &Path| {
        let good = fs::read(path).unwrap();
        for _ in 0..hostile::cases(300) {
            let mut bytes = good.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                bytes[at] = random.number() as u8;
            }
            bytes.truncate(1 + random.below(bytes.len() * 3));
            fs::write(path, &bytes).unwrap();
            assert!(read(folder.path()).len() < 100_000);
        }
        fs::write(path, &good).unwrap();
    };
    mutate(&folder.path().join("stream-0.raw"));
    writer.close().unwrap();
    mutate(&folder.path().join("stream-0.vmr"));
}

#[test]
fn a_damaged_chunk_is_left_out_and_noted() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = begin(folder.path());
    for time in 0..3 {
        writer.append(0, 0, Nanos(time), &ring_sample(0, 0, time, 1)).unwrap();
    }
    let path = folder.path().join("stream-0.raw");
    let mut bytes = fs::read(&path).unwrap();
    bytes[72 + 30] ^= 1;
    fs::write(&path, bytes).unwrap();
    let damages = writer.close().unwrap();
    assert_eq!(damages.len(), 1);
    assert_eq!((damages[0].offset, damages[0].cause), (72, Cause::Checksum));
    assert_eq!(read_well(folder.path()), [sample_of(0, 0, 0, 1), sample_of(0, 0, 2, 1)]);
    let recording = Recording::open(folder.path()).unwrap();
    assert!(recording.streams()[0].notes[0].contains("at byte 72"));
}

#[test]
fn what_is_no_record_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = begin(folder.path());
    let bytes = [ring_sample(0, 0, 1, 1), ring_sample(9, 0, 2, 1), ring_sample(0, 0, 3, 1)];
    writer.append(0, 0, Nanos(1), &bytes.concat()).unwrap();
    let found = read(folder.path());
    let damage = found.iter().find_map(|found| found.as_ref().err()).unwrap();
    assert_eq!((damage.offset, damage.cause), (24 + 48, Cause::Ring(sample::Fault::Event(79))));
    assert_eq!(found.len(), 3);
}

#[test]
fn a_folder_is_never_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let create = |path: &Path| Writer::create(path, &[], Environment::default());
    let inner = folder.path().join("new");
    let writer = create(&inner).unwrap();
    assert!(matches!(create(&inner), Err(Error::Wrong { .. })));
    assert!(matches!(create(folder.path()), Err(Error::Wrong { .. })));
    assert!(matches!(close(&inner), Err(Error::Wrong { .. })), "it is being recorded");
    drop(writer);
    assert_eq!(close(&inner).unwrap(), []);
}

#[test]
fn what_is_kept_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = begin(folder.path());
    writer.keep("kallsyms-0", b"symbols").unwrap();
    for name in ["kallsyms-0", "../out", ".part", "recording.json"] {
        assert!(writer.keep(name, b"").is_err(), "{name}");
    }
    for _ in 0..2 {
        writer.draft("kallsyms-1", b"first").unwrap();
    }
    let recording = Recording::open(folder.path()).unwrap();
    assert_eq!(recording.kept("kallsyms-1", 7).unwrap(), b"first");
    writer.keep("kallsyms-1", b"second").unwrap();
    assert!(writer.draft("kallsyms-1", b"").is_err());
    assert!(writer.draft("kallsyms-0", b"").is_err());
    assert_eq!(recording.kept("kallsyms-1", 7).unwrap(), b"second");
    assert_eq!(recording.kept("kallsyms-0", 7).unwrap(), b"symbols");
    assert!(recording.kept("kallsyms-0", 6).is_err());
    assert!(recording.kept("../out", 6).is_err());
    let mut told = stream();
    told.notes.push("an agent was lost".to_owned());
    writer.set_stream(0, told.clone()).unwrap();
    assert!(writer.set_stream(1, told.clone()).is_err());
    assert_eq!(Recording::open(folder.path()).unwrap().streams(), [told]);
}

#[test]
fn what_is_too_long_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = begin(folder.path());
    let what = What::Name { pid: 1, tid: 1, name: vec![b'x'; 1 << 16], exec: false };
    let record = Record { time: Nanos(1), cpu: 0, what };
    assert!(writer.append_records(0, Nanos(1), &[record]).is_err());
    assert_eq!(read_well(folder.path()), []);
}

#[test]
fn more_than_a_chunk_holds_is_cut_between_records() {
    let one = ring_sample(0, 0, 1, 1);
    let bytes = one.repeat(MOST_OF_RING / one.len() + 2);
    let piece = piece(&bytes);
    assert!(piece <= MOST_OF_RING && piece > MOST_OF_RING - 48 && piece.is_multiple_of(48));
    assert_eq!(super::piece(&vec![0; MOST_OF_RING + 1]), MOST_OF_RING);
}

#[test]
fn a_full_disk_is_told() {
    let file = File::options().append(true).open("/dev/full").unwrap();
    let mut full = Appended { file, path: PathBuf::from("/dev/full"), length: 0 };
    assert!(full.append(Kind::Ring, 0, Nanos(1), b"payload").unwrap_err().is_full());
    assert_eq!(full.length, 0);
}

/// Runs one of this file's tests in a process of its own, with a folder to write into.
fn child(test: &str, folder: &Path, limit: &str) -> Child {
    let program = std::env::current_exe().unwrap();
    // A write beyond the limit fails, if the signal that comes with it is ignored.
    let script =
        format!("trap '' XFSZ; {limit} exec \"$0\" --exact writer::tests::{test} --ignored");
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(program).env("RECORD_INTO", folder);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    command.spawn().unwrap()
}

#[test]
#[ignore = "run by the tests below, as a process of its own"]
fn record_without_end() {
    let Some(folder) = std::env::var_os("RECORD_INTO") else { return };
    let mut writer = begin(Path::new(&folder));
    for time in 0.. {
        let bytes = ring_sample(0, 0, time, time);
        if let Err(why) = writer.append(0, 0, Nanos(time), &bytes) {
            assert!(why.is_full(), "{why}");
            return;
        }
    }
}

#[test]
fn a_killed_recorder_leaves_all_that_it_appended() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("r");
    let mut child = child("record_without_end", &inner, "");
    let raw = inner.join("stream-0.raw");
    let until = Instant::now() + Duration::from_secs(60);
    while fs::metadata(&raw).map_or(0, |file| file.len()) < 100_000 {
        assert!(Instant::now() < until && child.try_wait().unwrap().is_none());
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let found: Vec<Record> = read(&inner).into_iter().filter_map(Result::ok).collect();
    assert!(found.len() >= 100_000 / 72);
    let want = (0..).map(|time| sample_of(0, 0, time, time));
    assert!(found.iter().cloned().eq(want.take(found.len())));
    let lost = fs::metadata(&raw).unwrap().len() - 72 * found.len() as u64;
    assert!(lost < 72, "of the last chunk at most");
    close(&inner).unwrap();
    assert_eq!(read_well(&inner), found);
}

#[test]
fn a_recording_that_found_no_room_reads() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("r");
    let status = child("record_without_end", &inner, "ulimit -f 100;").wait().unwrap();
    assert!(status.success());
    let found = read_well(&inner);
    // Blocks of `ulimit` are of 512 or 1024 bytes.
    assert!([51_200 / 72, 102_400 / 72].contains(&found.len()), "{}", found.len());
    assert!(found.iter().cloned().eq((0..found.len() as u64).map(|t| sample_of(0, 0, t, t))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn records_are_the_same_after_closing(
        first in records(40), second in records(40), ring in any::<u16>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = begin(folder.path());
        writer.append_records(0, Nanos(1), &first).unwrap();
        writer.append(0, ring, Nanos(1), &ring_sample(1, 5, 700, 9)).unwrap();
        writer.append_records(0, Nanos(2), &second).unwrap();
        let mut all = [first, second, vec![sample_of(1, 5, 700, 9)]].concat();
        let before = read_well(folder.path());
        writer.close().unwrap();
        prop_assert_eq!(&read_well(folder.path()), &before);
        prop_assert_eq!(before.len(), all.len());
        all.sort_by_key(|record| record.time);
        let times = |records: &[Record]| records.iter().map(|r| r.time).collect::<Vec<_>>();
        prop_assert_eq!(times(&before), times(&all));
    }
}
