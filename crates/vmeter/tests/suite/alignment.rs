//! How well a clock is aligned, on one whose offset is known: an agent on this machine reads the
//! very clock that its controller does.

use crate::processes::{Killed, serving};
use agent::{Deadline, Handle, Security, Stream};
use model::{Nanos, TscOffset};
use profile::clock::{Ping, align};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

const TRIALS: usize = 200;
/// Bursts of a trial, and the pings of each, as a recorder sends them.
const BURSTS: usize = 8;
const PINGS: usize = 4;

/// The two clocks are one, so that what happens at a time of one happens at the same time of the
/// other: brought over by the alignment, it is off by less than the bound in 99 of 100 trials. So it
/// is by the pings only, and with the CPUs' counters, which are one, too, and narrow the bound.
#[test]
fn moments_are_within_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmeter"));
    command.args(["agent", "run", "--unix"]).arg(&socket);
    let _agent = Killed(vec![serving(command)]);
    // Programs that make answers late, now and then.
    let _busy = Killed::all_busy();
    let stream = Stream::connect(socket.to_str().unwrap()).unwrap();
    let mut handle = Handle::connect(stream, &Security::Transport, &Deadline::default()).unwrap();
    let same = TscOffset { offset: 0, ratio: 1, fraction: 0 };
    let (mut alone, mut counted) = (Trials::default(), Trials::default());
    for _ in 0..TRIALS {
        let (mut read, mut moments) = (Vec::new(), Vec::new());
        for _ in 0..BURSTS {
            for _ in 0..PINGS {
                read.push(handle.ping().unwrap());
            }
            moments.push(sample::now());
            sleep(Duration::from_millis(2));
        }
        let pings: Vec<Ping> = read.iter().map(Ping::of).collect();
        alone.take(&pings, &moments);
        if counters_are_one() {
            let narrow = read.iter().map(|pinged| Ping::by_counters(pinged, &same).unwrap());
            counted.take(&narrow.collect::<Vec<_>>(), &moments);
        }
    }
    let by_pings = alone.hold("pings only");
    // A bound that says nothing would hold, too.
    assert!(by_pings < 1_000_000, "{by_pings} ns");
    if counters_are_one() {
        let by_counters = counted.hold("with counters");
        assert!(by_counters < by_pings, "{by_counters} ns");
    }
}

/// Whether this machine's kernel takes its CPUs' counters for one clock.
fn counters_are_one() -> bool {
    let used = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let used = std::fs::read_to_string(used).unwrap_or_default();
    ["tsc", "kvm-clock"].contains(&used.trim())
}

/// What came of trials.
#[derive(Default)]
struct Trials {
    within: usize,
    bounds: Vec<u64>,
    worst: f64,
}

impl Trials {
    fn take(&mut self, pings: &[Ping], moments: &[Nanos]) {
        let aligned = align(pings);
        let segment = &aligned.segments[0];
        assert_eq!(aligned.segments.len(), 1, "{aligned:?}");
        let off = |moment: Nanos| segment.host(moment).unwrap().0.abs_diff(moment.0);
        let most = moments.iter().map(|moment| off(*moment)).max().unwrap();
        self.within += usize::from(most <= segment.bound);
        self.worst = self.worst.max(most as f64 / segment.bound as f64);
        self.bounds.push(segment.bound);
    }

    /// Checks them; the median bound, in nanoseconds.
    fn hold(mut self, how: &str) -> u64 {
        self.bounds.sort_unstable();
        let Self { within, bounds, worst } = self;
        let median = bounds[TRIALS / 2];
        println!(
            "{how}: {within} of {TRIALS} trials within the bound (median {median} ns), at worst \
             {worst:.2} of it"
        );
        assert!(within * 100 >= TRIALS * 99, "{within} of {TRIALS}");
        median
    }
}
