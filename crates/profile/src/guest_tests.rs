use super::*;
use crate::image::Kind;
use model::{Map, Role, Stream};

fn stream(clock: Vec<ClockSegment>) -> Stream {
    Stream {
        name: "web1".into(),
        role: Role::NamesOnly,
        events: vec![],
        cpus: 1,
        serving: vec![],
        clock,
        until: None,
        kallsyms: Err(model::Absent::NotReported),
        notes: vec![],
    }
}

fn segment(from: u64, offset: i64, bound: u64) -> ClockSegment {
    ClockSegment { from: Nanos(from), offset, drift: 0.0, bound }
}

fn switch(time: u64, cpu: u32, pid: u32) -> Record {
    Record { time: Nanos(time), cpu, what: What::Switch { pid, tid: pid } }
}

fn map(time: u64, pid: u32) -> Record {
    let map = Map {
        pid,
        tid: pid,
        start: 0x1000 * u64::from(pid),
        length: 0x1000,
        offset: 0,
        build_id: None,
        path: b"/bin/p".to_vec(),
    };
    Record { time: Nanos(time), cpu: 0, what: What::Map(Box::new(map)) }
}

fn guest(clock: Vec<ClockSegment>, records: Vec<Record>) -> (Guest<'static>, Known) {
    let stream = stream(clock);
    let mut known = Known::new(std::slice::from_ref(&stream));
    let kernel = known.special(0, Kind::Kernel, "[guest kernel]");
    let report = StreamReport::new(&stream, &[]);
    (Guest::new(0, kernel, &stream, crate::in_memory(records), report), known)
}

fn who(
    guest: &mut Guest<'_>,
    known: &mut Known,
    at: u64,
    user: Option<u64>,
) -> Option<(u32, bool)> {
    guest.advance(Nanos(at), known);
    guest.running(0, Nanos(at), user).map(|running| (running.pid, running.certain))
}

#[test]
fn a_vcpu_runs_who_was_switched_to_by_the_hosts_clock() {
    // The guest's clock is 1000 ahead, known to 10.
    let records = vec![switch(2000, 0, 7), switch(2500, 1, 9), switch(3000, 0, 8)];
    let (mut guest, mut known) = guest(vec![segment(0, 1000, 10)], records);
    assert_eq!(who(&mut guest, &mut known, 900, None), None, "no switch was seen yet");
    assert_eq!(who(&mut guest, &mut known, 1005, None), Some((7, true)));
    assert_eq!(who(&mut guest, &mut known, 1500, None), Some((7, true)));
    assert_eq!(who(&mut guest, &mut known, 1995, None), Some((7, false)), "8 may have begun");
    assert_eq!(who(&mut guest, &mut known, 2003, None), Some((8, false)), "7 may still run");
    assert_eq!(who(&mut guest, &mut known, 2100, None), Some((8, true)));
}

#[test]
fn near_a_switch_the_address_tells_the_process() {
    let records = vec![map(100, 7), map(100, 8), switch(200, 0, 7), switch(300, 0, 8)];
    let (mut guest, mut known) = guest(vec![segment(0, 0, 10)], records);
    assert_eq!(who(&mut guest, &mut known, 195, Some(0x7000)), Some((7, false)), "is to begin");
    assert_eq!(who(&mut guest, &mut known, 250, Some(0x8000)), Some((7, true)), "far from it");
    assert_eq!(who(&mut guest, &mut known, 295, Some(0x8000)), Some((8, false)));
    assert_eq!(who(&mut guest, &mut known, 305, Some(0x7000)), Some((7, false)));
    assert_eq!(who(&mut guest, &mut known, 305, None), Some((8, false)));
}

#[test]
fn after_a_loss_nothing_is_certain_until_the_next_switch() {
    let lost = Record { time: Nanos(200), cpu: 0, what: What::Lost { count: 3 } };
    let records = vec![switch(100, 0, 7), lost, switch(300, 0, 8)];
    let (mut guest, mut known) = guest(vec![segment(0, 0, 0)], records);
    assert_eq!(who(&mut guest, &mut known, 150, None), Some((7, true)));
    assert_eq!(who(&mut guest, &mut known, 250, None), Some((7, false)));
    assert_eq!(who(&mut guest, &mut known, 301, None), Some((8, true)));
    guest.finish(&mut known);
    assert_eq!(guest.report.lost.get(&0), Some(&3));
}

#[test]
fn a_step_of_the_guests_clock_begins_another_segment() {
    // Back by 5000 (a restored VM): what the guest stamps from 1000 on is later than its 6000.
    let back = vec![segment(0, 0, 1), segment(1000, -5000, 1)];
    let records = vec![switch(5000, 0, 7), switch(5900, 0, 8), switch(1000, 0, 9)];
    let (mut guest_back, mut known) = guest(back, records);
    assert_eq!(who(&mut guest_back, &mut known, 5100, None), Some((7, true)));
    assert_eq!(who(&mut guest_back, &mut known, 5950, None), Some((8, true)));
    assert_eq!(who(&mut guest_back, &mut known, 6100, None), Some((9, true)));
    let forward = vec![segment(0, 0, 1), segment(9000, 3000, 1)];
    let records = vec![switch(5000, 0, 7), switch(9000, 0, 8)];
    let (mut guest_forward, mut known) = guest(forward, records);
    assert_eq!(who(&mut guest_forward, &mut known, 5999, None), Some((7, false)));
    assert_eq!(who(&mut guest_forward, &mut known, 6100, None), Some((8, true)));
    // It stepped at 5600, and the ping that saw it was at 6000.
    let forward = vec![segment(0, 0, 1), segment(9000, 3000, 1)];
    let records = vec![switch(5000, 0, 7), switch(8700, 0, 8), switch(9100, 0, 9)];
    let (mut guest_forward, mut known) = guest(forward, records);
    assert_eq!(who(&mut guest_forward, &mut known, 5650, None), Some((7, true)));
    assert_eq!(who(&mut guest_forward, &mut known, 5750, None), Some((8, true)));
    assert_eq!(who(&mut guest_forward, &mut known, 6150, None), Some((9, true)));
}

#[test]
fn without_an_alignment_nothing_is_guessed() {
    let (mut guest, mut known) = guest(vec![], vec![switch(100, 0, 7)]);
    assert_eq!(who(&mut guest, &mut known, 500, None), None);
    assert_eq!(guest.report.unaligned, 1);
}

#[test]
fn a_hostile_guest_is_held_within_limits() {
    // All of its records claim to be within a bound of everything.
    let records = (0..200_000u64).map(|n| {
        let (cpu, pid) = (n as u32, n as u32 % 70_000);
        if n % 2 == 0 { switch(50, cpu, pid) } else { map(50, pid) }
    });
    let (mut guest, mut known) = guest(vec![segment(0, 0, u64::MAX)], records.collect());
    guest.advance(Nanos(1), &mut known);
    assert!(guest.ahead.len() <= HELD && guest.lanes.len() <= CPUS);
    guest.finish(&mut known);
    assert!(guest.ahead.is_empty() && guest.report.dropped.tasks > 0);
}
