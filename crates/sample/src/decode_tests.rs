//! Records as kernels write them, and as they never should.

use super::*;

/// IDENTIFIER | IP | TID | TIME | CPU.
const TYPE: u64 = 1 << 16 | 1 | 2 | 4 | 1 << 7;

fn layout() -> Layout {
    Layout { sample_type: TYPE, ids: vec![(70, 0), (71, 1)], periods: vec![1_000_000, 10_000] }
}

fn record(kind: u32, misc: u16, body: &[u8]) -> Vec<u8> {
    let size = u16::try_from(HEADER + body.len()).unwrap();
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&kind.to_le_bytes());
    bytes.extend_from_slice(&misc.to_le_bytes());
    bytes.extend_from_slice(&size.to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn longs(longs: &[u64]) -> Vec<u8> {
    longs.iter().flat_map(|long| long.to_le_bytes()).collect()
}

fn padded(name: &[u8]) -> Vec<u8> {
    let mut name = name.to_vec();
    name.resize((name.len() + 8) / 8 * 8, 0);
    name
}

/// tid, time, cpu, identifier: the trailer of [`TYPE`].
fn trailer(time: u64, cpu: u32) -> Vec<u8> {
    [words(&[10, 11]), longs(&[time]), words(&[cpu, 0]), longs(&[70])].concat()
}

fn sample(id: u64, address: u64, time: u64) -> Vec<u8> {
    record(SAMPLE, 2, &[longs(&[id, address]), words(&[10, 11]), longs(&[time, 3])].concat())
}

fn map2(misc: u16, protection: u32, path: &[u8]) -> Vec<u8> {
    let mut id = [0_u8; 24];
    id[0] = 20;
    id[4..].fill(0xab);
    let fields = [
        words(&[10, 11]),
        longs(&[0x1000, 0x2000, 0x3000]),
        id.to_vec(),
        words(&[protection, 2]),
        padded(path),
        trailer(5, 1),
    ];
    record(MMAP2, misc, &fields.concat())
}

/// What is in these bytes, which is the same one by one and taken together.
fn read(bytes: &[u8]) -> Vec<Result<Record, Damage>> {
    read_by(&Decoder::new(&layout()).unwrap(), bytes)
}

fn read_by(decoder: &Decoder, bytes: &[u8]) -> Vec<Result<Record, Damage>> {
    let found: Vec<_> = decoder.decode(bytes).collect();
    let (mut decode, mut taken, mut records) = (decoder.decode(bytes), Vec::new(), Vec::new());
    loop {
        // Few at once, so that it goes on in between.
        let result = decode.take_into(&mut records, 3);
        let over = result.is_ok() && records.len() < 3;
        taken.extend(records.drain(..).map(Ok));
        taken.extend(result.err().map(Err));
        if over {
            assert_eq!(taken, found);
            return found;
        }
    }
}

fn one(bytes: &[u8]) -> What {
    let records = read(bytes);
    assert_eq!(records.len(), 1, "{records:?}");
    records[0].clone().unwrap().what
}

#[test]
fn a_sample_is_of_its_event() {
    let bytes = [sample(71, 0xffff_8000, 9), sample(70, 0x40_0000, 10)].concat();
    let found: Vec<Record> = read(&bytes).into_iter().map(Result::unwrap).collect();
    let want = |event, address, period| {
        What::Sample(Sample { event, pid: 10, tid: 11, address, mode: Mode::User, period })
    };
    assert_eq!(found[0], Record { time: Nanos(9), cpu: 3, what: want(1, 0xffff_8000, 10_000) });
    assert_eq!(found[1].what, want(0, 0x40_0000, 1_000_000));
}

#[test]
fn a_samples_own_period_goes_before_the_fixed_one() {
    let layout = Layout { sample_type: 1 | 2 | 4 | 1 << 8, ids: Vec::new(), periods: vec![0] };
    let bytes = record(SAMPLE, 1, &[longs(&[1]), words(&[2, 3]), longs(&[4, 55])].concat());
    let decoder = Decoder::new(&layout).unwrap();
    let found = decoder.decode(&bytes).next().unwrap().unwrap();
    assert_eq!(found.cpu, u32::MAX, "it is not told");
    let What::Sample(sample) = found.what else { panic!("{found:?}") };
    assert_eq!((sample.period, sample.mode), (55, Mode::Kernel));
    assert_eq!(Decoder::new(&Layout { sample_type: 7, ..layout }).unwrap_err(), Unfit::Period(0));
}

#[test]
fn only_executable_mappings_matter() {
    let want = Map {
        pid: 10,
        tid: 11,
        start: 0x1000,
        length: 0x2000,
        offset: 0x3000,
        build_id: Some(BuildId(vec![0xab; 20])),
        path: b"/bin/x".to_vec(),
    };
    assert_eq!(one(&map2(2 | MISC_MMAP_BUILD_ID, 5, b"/bin/x")), What::Map(Box::new(want.clone())));
    let without = Map { build_id: None, ..want };
    assert_eq!(one(&map2(2, 5, b"/bin/x")), What::Map(Box::new(without.clone())));
    assert_eq!(read(&map2(2, 3, b"/bin/x")), []);
    assert_eq!(read(&map2(2 | MISC_13, 5, b"/bin/x")), []);
    assert_eq!(read(&map2(5, 5, b"/bin/x")), [], "a guest's own are in its stream");
    let fields = [words(&[10, 11]), longs(&[0x1000, 0x2000, 0x3000]), padded(b"/bin/x")];
    let old = record(MMAP, 2, &[fields.concat(), trailer(5, 1)].concat());
    assert_eq!(one(&old), What::Map(Box::new(without)));
}

#[test]
fn the_life_of_threads_is_told() {
    let with = |fields: Vec<u8>| [fields, trailer(77, 2)].concat();
    let comm = with([words(&[10, 11]), padded(b"web\x1b[2J")].concat());
    let name = |exec| What::Name { pid: 10, tid: 11, name: b"web\x1b[2J".to_vec(), exec };
    assert_eq!(one(&record(COMM, MISC_13, &comm)), name(true));
    assert_eq!(one(&record(COMM, 0, &comm)), name(false));
    let task = with([words(&[20, 10, 21, 11]), longs(&[76])].concat());
    assert_eq!(one(&record(FORK, 0, &task)), What::Fork { pid: 20, tid: 21, parent: 10 });
    assert_eq!(one(&record(EXIT, 0, &task)), What::Exit { pid: 20, tid: 21 });
    let next = with(words(&[30, 31]));
    assert_eq!(one(&record(SWITCH_CPU_WIDE, MISC_13, &next)), What::Switch { pid: 30, tid: 31 });
    assert_eq!(read(&record(SWITCH_CPU_WIDE, 0, &next)), []);
    let record = read(&record(EXIT, 0, &task))[0].clone().unwrap();
    assert_eq!((record.time, record.cpu), (Nanos(77), 2));
}

#[test]
fn losses_are_told() {
    let with = |fields: Vec<u8>| [fields, trailer(77, 2)].concat();
    assert_eq!(one(&record(LOST, 0, &with(longs(&[70, 12])))), What::Lost { count: 12 });
    assert_eq!(one(&record(LOST_SAMPLES, 0, &with(longs(&[13])))), What::Lost { count: 13 });
    let throttle = with(longs(&[76, 70, 70]));
    assert_eq!(one(&record(THROTTLE, 0, &throttle)), What::Throttle { on: true });
    assert_eq!(one(&record(UNTHROTTLE, 0, &throttle)), What::Throttle { on: false });
}

#[test]
fn what_is_unknown_is_passed_over() {
    let bytes = [record(19, 0, &[1; 40]), record(70, 0, &[]), sample(70, 1, 2)].concat();
    assert_eq!(read(&bytes).len(), 1);
}

#[test]
fn damage_says_where_and_what() {
    let bytes = [sample(99, 1, 2), sample(70, 1, 2), record(COMM, 0, &[0; 8])].concat();
    let found = read(&bytes);
    assert_eq!(found[0], Err(Damage { offset: 0, fault: Fault::Event(99) }));
    assert!(found[1].is_ok());
    assert_eq!(found[2], Err(Damage { offset: 96, fault: Fault::Short(COMM) }));
    let mut small = sample(70, 1, 2);
    small[6] = 7;
    small.extend(sample(70, 1, 2));
    assert_eq!(read(&small), [Err(Damage { offset: 0, fault: Fault::Size(7) })]);
}

#[test]
fn layouts_that_differ_are_told_apart_by_identifier() {
    let first = Layout { ids: vec![(70, 0)], ..layout() };
    // With addresses, which come between time and CPU.
    let second = Layout { sample_type: TYPE | 8, ids: vec![(71, 1)], ..layout() };
    let decoder = Decoder::of_several(&[first.clone(), second.clone()]).unwrap();
    let other = [longs(&[71, 0x40]), words(&[10, 11]), longs(&[8, 0xdead, 2])].concat();
    let bytes = [record(SAMPLE, 2, &other), sample(70, 1, 2)].concat();
    let cpus: Vec<u32> = decoder.decode(&bytes).map(|found| found.unwrap().cpu).collect();
    assert_eq!(cpus, [2, 3]);
    let unnumbered = Layout { sample_type: TYPE & !(1 << 16), ..first };
    let ambiguous = Decoder::of_several(&[unnumbered.clone(), second]).unwrap_err();
    assert_eq!(ambiguous, Unfit::Ambiguous);
    assert_eq!(Decoder::new(&unnumbered).unwrap_err(), Unfit::Ambiguous);
    let timeless = Layout { sample_type: TYPE & !4, ..layout() };
    assert!(matches!(Decoder::new(&timeless), Err(Unfit::Lacks(_))));
}

fn all_kinds() -> Vec<u8> {
    let with = |fields: Vec<u8>| [fields, trailer(77, 2)].concat();
    [
        sample(70, 1, 2),
        map2(2 | MISC_MMAP_BUILD_ID, 5, b"/bin/x"),
        record(COMM, 0, &with([words(&[10, 11]), padded(b"name")].concat())),
        record(FORK, 0, &with([words(&[20, 10, 21, 11]), longs(&[76])].concat())),
        record(SWITCH_CPU_WIDE, MISC_13, &with(words(&[30, 31]))),
        record(LOST, 0, &with(longs(&[70, 12]))),
        sample(71, 1, 3),
    ]
    .concat()
}

#[test]
fn a_cut_reads_what_is_before_it() {
    let bytes = all_kinds();
    let whole: Vec<Record> = read(&bytes).into_iter().map(Result::unwrap).collect();
    assert_eq!(whole.len(), 7);
    for cut in 0..bytes.len() {
        let found = read(&bytes[..cut]);
        let good: Vec<&Record> = found.iter().filter_map(|one| one.as_ref().ok()).collect();
        assert!(good.len() < 7 && good.iter().zip(&whole).all(|(a, b)| *a == b), "at {cut}");
        let bad = found.len() - good.len();
        assert!(bad <= 1 && found.iter().take(good.len()).all(Result::is_ok), "at {cut}");
    }
}

#[test]
fn no_bytes_make_it_panic_or_go_on_for_ever() {
    let decoder = Decoder::new(&layout()).unwrap();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let good = all_kinds();
    for round in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..=random() % 8 {
            let at = random() as usize % bytes.len();
            bytes[at] = random() as u8;
        }
        if round % 4 == 0 {
            bytes.iter_mut().for_each(|byte| *byte = random() as u8);
        }
        let found = read_by(&decoder, &bytes).len();
        assert!(found <= bytes.len() / HEADER + 1);
    }
}

#[test]
fn a_device_and_inode_are_no_build_id() {
    let mut sha1 = vec![20, 0, 0, 0];
    sha1.extend(1..=20);
    assert_eq!(build_id(&sha1), Some(&sha1[4..]));
    let mut short = vec![8, 0, 0, 0];
    short.extend([9; 8].into_iter().chain([0; 12]));
    assert_eq!(build_id(&short), Some(&[9; 8][..]));
    // Major 254, and major 8 with an inode and a generation.
    for major in [254, 8] {
        let mut device = vec![major, 0, 0, 0, 0, 0, 0, 0, 0x76, 0xc6, 0x98, 0];
        device.extend([0, 0, 0, 0, 0x37, 0xd9, 0xf8, 0x62, 0, 0, 0, 0]);
        assert_eq!(build_id(&device), None);
    }
}
