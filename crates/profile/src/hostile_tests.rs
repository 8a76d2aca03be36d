//! Whatever a stream says, it is read within limits and nothing panics.

use crate::profile_tests::*;
use crate::symbols::{HostFiles, Symbols};
use crate::table::{Choice, tables};
use crate::*;
use model::{BuildId, ClockSegment, Map, Mode, Nanos, Record, Role, Sample, Stream, What};
use proptest::test_runner::{RngAlgorithm, TestRng};
use rand::RngExt;

fn number(random: &mut TestRng) -> u64 {
    let small = random.random_range(0..20);
    match random.random_range(0..6) {
        0 => random.random(),
        1 => u64::MAX - small,
        2 => 0xffff_ffff_8100_0000 + small,
        3 => 0x1000 * small,
        _ => small,
    }
}

fn bytes(random: &mut TestRng) -> Vec<u8> {
    let length = random.random_range(0..30);
    let mut bytes: Vec<u8> = (0..length).map(|_| random.random()).collect();
    let known: [&[u8]; 4] = [b"/bin/", b"[", b"../../etc/", b"\x1b]0;"];
    if let Some(prefix) = known.get(random.random_range(0..8usize)) {
        bytes.splice(0..0, prefix.iter().copied());
    }
    bytes
}

fn what(random: &mut TestRng) -> What {
    let mut task = || number(random) as u32;
    let (pid, tid, parent) = (task(), task(), task());
    match random.random_range(0..9) {
        0 => What::Map(Box::new(Map {
            pid,
            tid,
            start: number(random),
            length: number(random),
            offset: number(random),
            build_id: Some(BuildId(bytes(random))).filter(|_| pid % 2 == 0),
            path: bytes(random),
        })),
        1 => What::Name { pid, tid, name: bytes(random), exec: parent % 2 == 0 },
        2 => What::Fork { pid, tid, parent },
        3 => What::Exit { pid, tid },
        4 => What::Switch { pid, tid },
        5 => What::Lost { count: number(random) },
        6 => What::Throttle { on: tid % 2 == 0 },
        _ => {
            let modes = [
                Mode::Unknown,
                Mode::Kernel,
                Mode::User,
                Mode::Hypervisor,
                Mode::GuestKernel,
                Mode::GuestUser,
            ];
            let (event, mode) = (random.random_range(0..3), modes[random.random_range(0..6)]);
            let (address, period) = (number(random), number(random));
            What::Sample(Sample { event, pid, tid, address, mode, period })
        }
    }
}

fn records(random: &mut TestRng, count: usize) -> Vec<Record> {
    let mut time = 0u64;
    let one = |_| {
        time =
            if random.random_range(0..20) == 0 { number(random) } else { time.saturating_add(3) };
        let cpu = number(random) as u32;
        Record { time: Nanos(time), cpu, what: what(random) }
    };
    (0..count).map(one).collect()
}

fn segments(random: &mut TestRng) -> Vec<ClockSegment> {
    let count = random.random_range(0..4);
    let one = |_| ClockSegment {
        from: Nanos(number(random)),
        offset: number(random) as i64,
        drift: [0.0, 1e-5, 1.0, -2.0, f64::NAN, f64::INFINITY][random.random_range(0..6)],
        bound: number(random),
    };
    (0..count).map(one).collect()
}

#[test]
fn no_stream_makes_it_panic_and_nothing_shown_drives_a_terminal() {
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[3; 32]);
    // A case is a record; they come in streams of a hundred.
    for _ in 0..hostile::cases(30_000) / 400 {
        let names = [bytes(&mut random), bytes(&mut random)];
        let names = names.map(|name| String::from_utf8_lossy(&name).into_owned());
        let mut host = stream("host", Role::Host, vec![cycles(), ticks()]);
        host.serving = (0..20)
            .map(|tid| serving(tid, &names[tid as usize % 2], model::Part::Vcpu(tid)))
            .collect();
        let other = [Role::NamesOnly, Role::SamplesItself, Role::Passive];
        let mut guest = |name: &String| {
            let role = other[random.random_range(0..3usize)];
            let until = random.random_bool(0.5).then(|| Nanos(random.random()));
            Stream { clock: segments(&mut random), until, ..stream(name, role, vec![ticks()]) }
        };
        let streams = [host, guest(&names[0]), guest(&names[1]), guest(&names[0])];
        let all: Vec<_> = streams.iter().map(|_| in_memory(records(&mut random, 100))).collect();
        let profile = Profile::read(&streams, all, Options { by_pid: true });
        let mut files = HostFiles::new(&streams, std::path::Path::new("/nowhere"));
        files.root = "/nowhere".into();
        let named = Named::new(&profile, &Symbols::find(&profile, &mut files));
        let mut shown = Vec::new();
        for table in tables(&named, &Choice::default()) {
            table.write(1000, &mut shown).unwrap();
        }
        let busy = summary::busy(&named, Some(1e9), &Default::default());
        summary::write_busy(&named, &busy, &mut shown).unwrap();
        summary::write_streams(&named, &mut shown).unwrap();
        let shown = String::from_utf8(shown).unwrap();
        assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
    }
}
