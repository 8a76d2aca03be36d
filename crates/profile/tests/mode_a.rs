//! Mode A against the truth: a guest whose scheduler, clock and pings are simulated, so that for
//! each sample of the host's it is known which process really ran.

use model::{Absent, Event, Map, Mode, Nanos, Part, Record, Role, Sample, Serving, Stream, What};
use profile::clock::{Ping, align};
use profile::{Options, Placed, Profile, Records, in_memory};
use proptest::test_runner::{RngAlgorithm, TestRng};
use rand::RngExt;

const SECOND: u64 = 1_000_000_000;
const BEGIN: u64 = 500 * SECOND;
const SECONDS: u64 = 10;
const VCPUS: u32 = 2;
/// Processes of the guest; one more is idle time.
const PROCESSES: u32 = 5;
/// All programs are linked to one address, so that an address does not tell the process.
const TEXT: u64 = 0x40_0000;

/// A guest's clock by the host's: an offset, a drift, and a step at a time of the host's.
#[derive(Clone, Copy)]
struct Truth {
    offset: i64,
    drift: f64,
    step: Option<(u64, i64)>,
}

impl Truth {
    fn guest(self, host: u64) -> u64 {
        let step = self.step.filter(|step| host >= step.0).map_or(0, |step| step.1);
        let gained = (host as f64 * self.drift) as i64;
        (host as i64 + self.offset + gained + step) as u64
    }
}

/// From when, by the host's clock, which process runs on which vCPU: (time, vCPU, process).
fn turns(random: &mut TestRng) -> Vec<(u64, u32, u32)> {
    let mut turns = Vec::new();
    for vcpu in 0..VCPUS {
        let mut at = BEGIN;
        while at < BEGIN + SECONDS * SECOND {
            turns.push((at, vcpu, random.random_range(0..=PROCESSES)));
            at += random.random_range(10_000..5_000_000u64);
        }
    }
    turns.sort_unstable();
    turns
}

fn pings(truth: Truth, random: &mut TestRng) -> Vec<Ping> {
    let mut pings = Vec::new();
    for n in 0..SECONDS * 4 {
        let sent = BEGIN + n * SECOND / 4;
        let there = random.random_range(15_000..60_000u64);
        let back = random.random_range(20_000..90_000u64);
        let guest = Nanos(truth.guest(sent + there));
        pings.push(Ping { sent: Nanos(sent), received: Nanos(sent + there + back), guest });
    }
    pings
}

fn stream(name: &str, role: Role) -> Stream {
    Stream {
        name: name.to_owned(),
        role,
        events: vec![],
        cpus: VCPUS,
        serving: vec![],
        clock: vec![],
        until: None,
        kallsyms: Err(Absent::NotReported),
        notes: vec![],
    }
}

fn host() -> Stream {
    let event = Event {
        asked: "cpu-clock".to_owned(),
        counted: "cpu-clock".to_owned(),
        kind: 1,
        config: 0,
        period: 300_000,
        is_time: true,
        share: Ok(1.0),
    };
    let vcpu = |n| Serving { tid: 100 + n, vm: "web1".to_owned(), part: Part::Vcpu(n) };
    let serving = (0..VCPUS).map(vcpu).collect();
    Stream { events: vec![event], serving, ..stream("host", Role::Host) }
}

fn guest_records(truth: Truth, turns: &[(u64, u32, u32)]) -> Vec<Record> {
    let mut records = Vec::new();
    for pid in 1..=PROCESSES {
        let path = format!("/bin/program-{pid}").into_bytes();
        let name = What::Name { pid, tid: pid, name: path.clone(), exec: true };
        let (start, length, build_id) = (TEXT, 0x1000, None);
        let map =
            What::Map(Box::new(Map { pid, tid: pid, start, length, offset: 0, build_id, path }));
        records.extend([name, map].map(|what| Record { time: Nanos(0), cpu: 0, what }));
    }
    records.extend(turns.iter().map(|&(at, cpu, pid)| Record {
        time: Nanos(truth.guest(at)),
        cpu,
        what: What::Switch { pid, tid: pid },
    }));
    records
}

/// The host's samples, one each 0.3 ms of a vCPU that is not idle, with the process that ran.
fn host_samples(turns: &[(u64, u32, u32)]) -> Vec<(Record, u32)> {
    let (mut samples, mut running) = (Vec::new(), [0; VCPUS as usize]);
    let mut next = turns.iter().peekable();
    for n in 0..SECONDS * SECOND / 300_000 {
        let time = BEGIN + n * 300_000;
        while let Some(&(_, vcpu, pid)) = next.next_if(|turn| turn.0 <= time) {
            running[vcpu as usize] = pid;
        }
        for (vcpu, &pid) in (0..).zip(&running).filter(|(_, pid)| **pid != 0) {
            let what = What::Sample(Sample {
                event: 0,
                pid: 100,
                tid: 100 + vcpu,
                address: TEXT + u64::from(pid) * 16,
                mode: Mode::GuestUser,
                period: 300_000,
            });
            samples.push((Record { time: Nanos(time), cpu: 7, what }, pid));
        }
    }
    samples
}

/// How many samples got the process that really ran.
struct Score {
    all: usize,
    right: usize,
    /// Wrong, and said to be certain.
    deceived: usize,
    uncertain: usize,
    segments: usize,
}

fn score(truth: Truth, random: &mut TestRng) -> Score {
    let turns = turns(random);
    let clock = align(&pings(truth, random)).segments;
    let streams = [host(), Stream { clock, ..stream("web1", Role::NamesOnly) }];
    let samples = host_samples(&turns);
    let records = || -> Vec<Records<'static>> {
        let host: Vec<_> = samples.iter().map(|(record, _)| record.clone()).collect();
        vec![in_memory(host), in_memory(guest_records(truth, &turns))]
    };
    let profile = Profile::read(&streams, records(), Options::default());
    let report = &profile.streams[1];
    let (uncertain, segments) = (report.uncertain as usize, report.clock_segments);
    let mut score = Score { all: 0, right: 0, deceived: 0, uncertain, segments };
    Profile::replay(&streams, records(), &mut |placed: &Placed| {
        let pid = samples[score.all].1;
        let image = format!("/bin/program-{pid}").into_bytes();
        let is_right = placed.pid == Some(pid) && profile.image(placed.image) == image;
        score.all += 1;
        score.right += usize::from(is_right);
        score.deceived += usize::from(!is_right && placed.certain);
    });
    assert_eq!(score.all, samples.len());
    score
}

#[test]
fn of_a_hundred_samples_95_have_their_process_and_none_is_falsely_certain() {
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[1; 32]);
    for _ in 0..4 {
        let offset = random.random_range(-400..400) * SECOND as i64;
        let truth = Truth { offset, drift: random.random_range(-1e-4..1e-4), step: None };
        let Score { all, right, deceived, uncertain, segments } = score(truth, &mut random);
        assert_eq!((segments, deceived), (1, 0), "of {all}");
        assert!(right * 100 >= all * 95, "{right} of {all}");
        assert!(uncertain >= all - right && uncertain * 5 < all, "{uncertain} of {all}");
    }
}

#[test]
fn a_guest_whose_clock_steps_is_misread_only_until_the_next_ping() {
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[2; 32]);
    for step in [3, -3, 40, -40] {
        // Between two pings, which are 0.25 s apart.
        let step = Some((BEGIN + 5 * SECOND + SECOND / 8, step * SECOND as i64));
        let truth = Truth { offset: 90 * SECOND as i64, drift: 2e-5, step };
        let Score { all, right, segments, .. } = score(truth, &mut random);
        assert_eq!(segments, 2);
        assert!(right * 100 >= all * 95, "{step:?}: {right} of {all}");
    }
}
