//! Records that tests record.

use model::{BuildId, Map, Mode, Nanos, Record, Sample, What};
use proptest::prelude::*;

const MODES: [Mode; 6] =
    [Mode::Unknown, Mode::Kernel, Mode::User, Mode::Hypervisor, Mode::GuestKernel, Mode::GuestUser];

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..20)
}

fn sample() -> impl Strategy<Value = What> {
    let thread = (0..3_u16, 0..4_u32, any::<u32>());
    let rest = (prop_oneof![0..64_u64, any::<u64>()], 0..6_usize, any::<u64>());
    (thread, rest).prop_map(|((event, pid, tid), (address, mode, period))| {
        let mode = MODES[mode];
        What::Sample(Sample { event, pid, tid, address, mode, period })
    })
}

fn map() -> impl Strategy<Value = What> {
    let numbers = (any::<u32>(), any::<u32>(), any::<u64>(), any::<u64>(), any::<u64>());
    (numbers, prop::option::of(text()), text()).prop_map(|(numbers, build_id, path)| {
        let (pid, tid, start, length, offset) = numbers;
        let build_id = build_id.map(BuildId);
        What::Map(Box::new(Map { pid, tid, start, length, offset, build_id, path }))
    })
}

fn what() -> impl Strategy<Value = What> {
    let thread = || (any::<u32>(), any::<u32>());
    prop_oneof![
        8 => sample(),
        1 => map(),
        1 => (thread(), text(), any::<bool>())
            .prop_map(|((pid, tid), name, exec)| What::Name { pid, tid, name, exec }),
        1 => (thread(), any::<u32>())
            .prop_map(|((pid, tid), parent)| What::Fork { pid, tid, parent }),
        1 => thread().prop_map(|(pid, tid)| What::Exit { pid, tid }),
        1 => thread().prop_map(|(pid, tid)| What::Switch { pid, tid }),
        1 => any::<u64>().prop_map(|count| What::Lost { count }),
        1 => any::<bool>().prop_map(|on| What::Throttle { on }),
    ]
}

/// Any records, in any order of time.
pub(crate) fn records(most: usize) -> impl Strategy<Value = Vec<Record>> {
    let time = prop_oneof![0..1000_u64, any::<u64>()];
    let record = (time, prop_oneof![0..4_u32, any::<u32>()], what());
    let record = record.prop_map(|(time, cpu, what)| Record { time: Nanos(time), cpu, what });
    prop::collection::vec(record, 0..most)
}

/// IDENTIFIER | IP | TID | TIME | CPU, two events.
pub(crate) fn layout() -> sample::Layout {
    let sample_type = 1 << 16 | 1 | 2 | 4 | 1 << 7;
    sample::Layout { sample_type, ids: vec![(70, 0), (71, 1)], periods: vec![1_000_000, 10_000] }
}

/// A stream of two events.
pub(crate) fn stream() -> model::Stream {
    let event = |name: &str, period| model::Event {
        asked: name.to_owned(),
        counted: name.to_owned(),
        kind: 1,
        config: 0,
        period,
        is_time: true,
        share: Ok(1.0),
    };
    model::Stream {
        name: "host".to_owned(),
        role: model::Role::Host,
        events: vec![event("cpu-clock", 1_000_000), event("task-clock", 10_000)],
        cpus: 2,
        serving: Vec::new(),
        clock: Vec::new(),
        until: None,
        kallsyms: Err(model::Absent::NotReported),
        notes: Vec::new(),
    }
}

/// A sample as the kernel writes it by [`layout`].
pub(crate) fn ring_sample(event: u64, cpu: u32, time: u64, address: u64) -> Vec<u8> {
    let thread = 10 | 11 << 32;
    let head = 9 | 2 << 32 | 48 << 48;
    let words = [head, 70 + event, address, thread, time, u64::from(cpu)];
    words.iter().flat_map(|word: &u64| word.to_le_bytes()).collect()
}

/// What [`ring_sample`] means.
pub(crate) fn sample_of(event: u16, cpu: u32, time: u64, address: u64) -> Record {
    let period = if event == 0 { 1_000_000 } else { 10_000 };
    let mode = Mode::User;
    let what = What::Sample(Sample { event, pid: 10, tid: 11, address, mode, period });
    Record { time: Nanos(time), cpu, what }
}
