use super::*;
use model::Stamp;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng};
use rand::{Rng, RngExt};

const SECOND: u64 = 1_000_000_000;

/// A guest's clock: offset, drift, and a step at a time of the host's.
#[derive(Debug, Clone, Copy)]
struct Truth {
    offset: i64,
    drift: f64,
    step: (u64, i64),
}

impl Truth {
    fn guest(self, host: u64) -> u64 {
        let stepped = if host >= self.step.0 { self.step.1 } else { 0 };
        let gained = (host as f64 * self.drift) as i64;
        (host as i64 + self.offset + gained + stepped) as u64
    }
}

fn random() -> impl Rng {
    TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32])
}

/// Pings each second, in bursts of three; the ways there and back are as they are.
fn pings(truth: Truth, seconds: u64, random: &mut impl Rng) -> Vec<Ping> {
    let mut pings = Vec::new();
    for n in 0..seconds * 3 {
        let sent = 1000 * SECOND + n / 3 * SECOND + n % 3 * 5_000_000;
        let there = random.random_range(20_000..60_000u64) + spike(random);
        let back = random.random_range(80_000..120_000u64) + spike(random);
        let guest = Nanos(truth.guest(sent + there));
        pings.push(Ping { sent: Nanos(sent), received: Nanos(sent + there + back), guest });
    }
    pings
}

/// Now and then the guest is not scheduled.
fn spike(random: &mut impl Rng) -> u64 {
    if random.random_range(0..5) == 0 { random.random_range(0..20_000_000) } else { 0 }
}

fn off(segment: &ClockSegment, truth: Truth, host: u64) -> u64 {
    segment.host(Nanos(truth.guest(host))).unwrap().0.abs_diff(host)
}

#[test]
fn the_true_alignment_is_within_the_bound_in_99_of_100_trials() {
    let mut random = random();
    let (mut trials, mut within, mut largest) = (0, 0, 0);
    for _ in 0..60 {
        let truth = Truth {
            offset: random.random_range(-900..900) * SECOND as i64,
            drift: random.random_range(-2e-4..2e-4),
            step: (u64::MAX, 0),
        };
        let alignment = align(&pings(truth, 20, &mut random));
        assert_eq!(alignment.segments.len(), 1, "{truth:?} {alignment:?}");
        let segment = alignment.segments[0];
        largest = largest.max(segment.bound);
        for _ in 0..100 {
            let host = 1000 * SECOND + random.random_range(0..20 * SECOND);
            trials += 1;
            within += u64::from(off(&segment, truth, host) <= segment.bound);
        }
    }
    assert!(within * 100 >= trials * 99, "{within} of {trials}");
    assert!(largest < 100_000, "the bound says something: {largest} ns");
}

#[test]
fn a_step_begins_a_segment_and_both_sides_are_within_their_bounds() {
    let mut random = random();
    let (mut trials, mut within) = (0, 0);
    for _ in 0..40 {
        let step = random.random_range(200_000..5_000_000_000i64);
        let step = if random.random_range(0..2) == 0 { step } else { -step };
        let truth = Truth {
            offset: 50 * SECOND as i64,
            drift: random.random_range(-5e-5..5e-5),
            step: (1010 * SECOND - SECOND / 2, step),
        };
        let alignment = align(&pings(truth, 20, &mut random));
        assert_eq!(alignment.segments.len(), 2, "{truth:?} {alignment:?}");
        for (segment, from) in alignment.segments.iter().zip([1000, 1010]) {
            for _ in 0..50 {
                let host = from * SECOND + random.random_range(0..9 * SECOND);
                trials += 1;
                within += u64::from(off(segment, truth, host) <= segment.bound);
            }
        }
    }
    assert!(within * 100 >= trials * 99, "{within} of {trials}");
}

#[test]
fn one_ping_is_within_its_own_time() {
    let one = Ping { sent: Nanos(1000), received: Nanos(3000), guest: Nanos(12_000) };
    let alignment = align(&[one]);
    let segment = alignment.segments[0];
    assert_eq!((segment.host(Nanos(12_000)), segment.drift), (Some(Nanos(2000)), 0.0));
    assert!((1000..=1100).contains(&segment.bound), "{segment:?}");
    assert!(align(&[]).segments.is_empty());
}

#[test]
fn one_that_disagrees_with_all_others_is_left_out() {
    let truth = Truth { offset: 5, drift: 1e-5, step: (u64::MAX, 0) };
    let mut pings = pings(truth, 10, &mut random());
    pings[14].guest = Nanos(7);
    let alignment = align(&pings);
    assert_eq!((alignment.segments.len(), alignment.outliers), (1, 1), "{alignment:?}");
}

proptest! {
    #[test]
    fn whatever_a_guest_answers_there_is_an_alignment(
        pings in prop::collection::vec(any::<(u64, u64, u64)>(), 0..20),
    ) {
        let ping = |(sent, received, guest)| {
            Ping { sent: Nanos(sent), received: Nanos(received), guest: Nanos(guest) }
        };
        let pings: Vec<_> = pings.into_iter().map(ping).collect();
        let alignment = align(&pings);
        prop_assert!(alignment.segments.len() <= pings.len());
        prop_assert!(alignment.segments.iter().all(|s| s.drift.abs() <= 1.0));
    }
}

/// A host's clock and counter, and a guest's, of any rates; what is read in a ping.
fn pinged(truth: Truth, ghz: f64, tsc: TscOffset, random: &mut impl Rng) -> (Pinged, u64) {
    let begin = 1000.0 * SECOND as f64;
    let counter = |at: f64| (at * ghz) as u64;
    let guests = |host: u64| {
        let scaled = (u128::from(host) * u128::from(tsc.ratio)) >> tsc.fraction;
        (scaled as u64).wrapping_add(tsc.offset as u64)
    };
    let mut now = begin;
    let mut read = |way: f64, guest: bool| {
        now += way;
        let before = counter(now);
        now += random.random_range(5.0..60.0);
        let time = if guest { truth.guest(now as u64) } else { now as u64 };
        let when = now as u64;
        now += random.random_range(5.0..60.0);
        let after = counter(now);
        let counter = if guest { (guests(before), guests(after)) } else { (before, after) };
        (Stamp { time: Nanos(time), counter: Some(counter) }, when)
    };
    let sent = read(0.0, false).0;
    let (guest, when) = read(40_000.0, true);
    let received = read(900_000.0, false).0;
    (Pinged { sent, guest, received }, when)
}

#[test]
fn counters_narrow_a_ping_and_hold_the_truth() {
    let mut random = random();
    for _ in 0..5000 {
        let truth = Truth { offset: 77, drift: 0.0, step: (u64::MAX, 0) };
        let tsc = TscOffset {
            offset: random.random_range(-(1_i64 << 60)..1 << 60),
            ratio: random.random_range(1_u64 << 31..1 << 33),
            fraction: 32,
        };
        let ghz = random.random_range(0.9..5.0);
        let (pinged, when) = pinged(truth, ghz, tsc, &mut random);
        let plain = Ping::of(&pinged);
        let narrow = Ping::by_counters(&pinged, &tsc).unwrap();
        assert!(plain.sent <= narrow.sent && narrow.received <= plain.received);
        // Times are whole nanoseconds.
        assert!(narrow.sent.0 <= when + 1 && when <= narrow.received.0 + 1, "{narrow:?} {when}");
        assert!(narrow.received.0 - narrow.sent.0 < 300, "{narrow:?}");
        // An offset of another guest, or of before the guest set its counter.
        let wrong = TscOffset { offset: tsc.offset.wrapping_add(1 << 40), ..tsc };
        assert_eq!(Ping::by_counters(&pinged, &wrong), None);
        assert!(pinged.has_counters());
        let guest = Stamp { counter: None, ..pinged.guest };
        let hidden = Pinged { guest, ..pinged };
        assert_eq!((hidden.has_counters(), Ping::by_counters(&hidden, &tsc)), (false, None));
    }
}

proptest! {
    /// A guest may say anything.
    #[test]
    fn no_counter_panics(
        counters in prop::array::uniform6(any::<u64>()),
        times in prop::array::uniform3(any::<u64>()),
        offset: i64, ratio: u64, fraction: u32,
    ) {
        let [a, b, c, d, e, f] = counters;
        let stamp = |time, before, after| {
            Stamp { time: Nanos(time), counter: Some((before, after)) }
        };
        let [sent, guest, received] = times;
        let pinged = Pinged {
            sent: stamp(sent, a, b),
            guest: stamp(guest, c, d),
            received: stamp(received, e, f),
        };
        if let Some(ping) = Ping::by_counters(&pinged, &TscOffset { offset, ratio, fraction }) {
            prop_assert!(sent <= ping.sent.0 && ping.received.0 <= received);
        }
    }
}

#[test]
fn of_proofs_at_one_time_the_narrowest_count() {
    let proof = |low: f64, high: f64| Proof { at: 8.0, low, high };
    let corners =
        Corners::of([proof(0.0, 300.0), proof(213.0, 213.0), proof(0.0, 250.0)].into_iter());
    assert_eq!(corners.room(0.0), (213.0, 213.0));
}

proptest! {
    /// What is no corner keeps no line from going through.
    #[test]
    fn corners_leave_lines_the_room_that_all_proofs_do(
        all in prop::collection::vec((0_i32..200, -500_i32..500, 0_i32..300), 1..60),
        drift in -20_i32..20,
    ) {
        let proof = |(at, low, width): (i32, i32, i32)| Proof {
            at: f64::from(at),
            low: f64::from(low),
            high: f64::from(low + width),
        };
        let corners = Corners::of(all.iter().map(|told| proof(*told)));
        let drift = f64::from(drift);
        let each = all.iter().map(|told| proof(*told));
        let low = each.clone().map(|p| p.low - drift * p.at).fold(f64::NEG_INFINITY, f64::max);
        let high = each.map(|p| p.high - drift * p.at).fold(f64::INFINITY, f64::min);
        prop_assert_eq!(corners.room(drift), (low, high));
    }
}
