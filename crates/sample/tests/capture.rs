//! Captures on this machine, by cpu-clock, which every Linux has.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

use model::{Mode, Record, What};
use sample::{Capture, Decoder, Error, Scope, Wanted};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn wanted(event: &str, scope: Scope) -> Wanted {
    Wanted { events: vec![event.parse().unwrap()], scope, switches: false, ring: Wanted::RING }
}

/// What the rings hold, decoded.
fn records(capture: &mut Capture, found: &mut Vec<Record>) {
    let decoder = Decoder::new(&capture.layout()).unwrap();
    capture
        .drain(|_, first, second| {
            let bytes = [first, second].concat();
            found.extend(decoder.decode(&bytes).map(|record| record.unwrap()));
            Ok(())
        })
        .unwrap();
}

/// A program that spins for so many seconds of CPU time, stopped before it begins.
fn stopped(program: &str) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", "kill -STOP $$; exec sh -c \"$0\"", program]).stdin(Stdio::null());
    let child = command.spawn().unwrap();
    until_stopped(&child);
    child
}

fn until_stopped(child: &Child) {
    let stat = format!("/proc/{}/stat", child.id());
    let until = Instant::now() + Duration::from_secs(20);
    while !std::fs::read_to_string(&stat).unwrap().contains(") T ") {
        assert!(Instant::now() < until, "it does not stop");
        std::thread::yield_now();
    }
}

fn go_on(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
}

/// Samples of a spinner and its children by what they say of themselves.
#[test]
fn a_command_is_sampled_from_its_exec_on_with_its_children() {
    let mut child = stopped("i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; /bin/true");
    let mut capture = Capture::open(&wanted("cpu-clock:1M", Scope::Command(child.id()))).unwrap();
    go_on(&child);
    let mut found = Vec::new();
    while child.try_wait().unwrap().is_none() {
        capture.wait(Duration::from_millis(50)).unwrap();
        records(&mut capture, &mut found);
    }
    records(&mut capture, &mut found);
    let samples = found.iter().filter_map(|record| match &record.what {
        What::Sample(sample) => Some(sample),
        _ => None,
    });
    let samples: Vec<_> = samples.collect();
    assert!(samples.len() > 20, "{}", samples.len());
    let user = samples.iter().filter(|s| s.mode == Mode::User && s.pid == child.id()).count();
    assert!(user * 2 > samples.len(), "{user} of {}", samples.len());
    assert!(samples.iter().all(|s| s.period == 1_000_000 && s.event == 0));
    // Where the samples of the shell were is a map that was told.
    let own = samples.iter().find(|s| s.mode == Mode::User && s.pid == child.id()).unwrap();
    assert!(found.iter().any(|record| matches!(&record.what, What::Map(map)
        if map.pid == child.id() && (map.start..map.start + map.length).contains(&own.address))));
    let said = |name: &[u8]| {
        found.iter().any(
            |record| matches!(&record.what, What::Name { name: n, exec: true, .. } if n == name),
        )
    };
    assert!(said(b"sh") && said(b"true"));
    let events = capture.events();
    println!("{} samples, {user} of the program; {events:?}", samples.len());
    assert_eq!(events[0].counted, "cpu-clock");
}

#[test]
fn a_machine_is_sampled_with_who_goes_on() {
    if !rustix::process::geteuid().is_root() {
        println!("not root: the kernel refuses this to others");
        return;
    }
    let mut wanted = wanted("cycles", Scope::Machine);
    wanted.switches = true;
    let mut capture = Capture::open(&wanted).unwrap();
    capture.enable(true).unwrap();
    let mut found = Vec::new();
    let until = Instant::now() + Duration::from_secs(20);
    let mut seen = (false, false);
    while seen != (true, true) {
        assert!(Instant::now() < until, "{seen:?}");
        Command::new("true").status().unwrap();
        capture.wait(Duration::from_millis(5)).unwrap();
        records(&mut capture, &mut found);
        for record in &found {
            match record.what {
                What::Sample(_) => seen.0 = true,
                What::Switch { .. } => seen.1 = true,
                _ => {}
            }
        }
    }
    capture.enable(false).unwrap();
    let event = &capture.events()[0];
    // Where there is no counter of cycles, it is said what is counted.
    assert!(event.counted == "cycles" || event.counted == "cpu-clock" && event.is_time);
    assert_eq!(event.counted == "cycles", capture.notes().is_empty(), "{:?}", capture.notes());
    assert_eq!(event.asked, "cycles");
    assert!((0.0..=1.0).contains(&event.share.clone().unwrap()));
}

#[test]
fn a_ring_that_is_full_says_how_much_was_lost() {
    let faults = "for i in 1 2 3 4 5 6 7 8; do /bin/true; done";
    let mut child = stopped(&format!("{faults}; kill -STOP $$; {faults}"));
    let mut wanted = wanted("page-faults:1", Scope::Command(child.id()));
    wanted.ring = 4096;
    let mut capture = Capture::open(&wanted).unwrap();
    go_on(&child);
    until_stopped(&child);
    let mut found = Vec::new();
    records(&mut capture, &mut found);
    // The kernel tells of a loss with the next record that fits, if one comes on that CPU.
    go_on(&child);
    child.wait().unwrap();
    records(&mut capture, &mut found);
    let told = found.iter().map(|record| match record.what {
        What::Lost { count } => count,
        _ => 0,
    });
    let told: u64 = told.sum();
    match capture.lost() {
        Ok(lost) => {
            let counted: u64 = lost.iter().map(|cpu| cpu.samples + cpu.names).sum();
            println!("{} records, {counted} lost, {told} of them told", found.len());
            assert!(counted > 100 && told <= counted, "{counted} {told}");
            assert_eq!(lost.len(), capture.cpus() as usize);
        }
        // Before Linux 6.0.
        Err(absent) => println!("{absent:?}: {told} told"),
    }
    assert!(!found.is_empty());
}

#[test]
fn what_cannot_be_is_refused_with_what_would_do() {
    let open = |word: &str| Capture::open(&wanted(word, Scope::Command(std::process::id())));
    let error = open("cpu-clock:100").unwrap_err();
    assert!(matches!(error, Error::Period { least: 10_000.., .. }), "{error}");
    assert!(matches!(open("cycle"), Err(Error::NoEvent(_))));
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let error = Capture::open(&wanted("cpu-clock", Scope::Command(child.id()))).unwrap_err();
    assert!(matches!(error, Error::NoProcess(pid) if pid == child.id()), "{error}");
}

#[test]
fn a_clock_stands_in_once() {
    let mut child = stopped("true");
    let mut wanted = wanted("cpu-clock", Scope::Command(child.id()));
    // Whatever this machine has, nothing of these is counted twice.
    for name in ["cycles", "l2-misses", "cpu-clock:2M"] {
        wanted.events.push(name.parse().unwrap());
    }
    let capture = Capture::open(&wanted).unwrap();
    let events = capture.events();
    let clocks: Vec<u64> =
        events.iter().filter(|e| e.counted == "cpu-clock").map(|e| e.period).collect();
    println!("{events:?} {:?}", capture.notes());
    assert_eq!(clocks, [1_000_000, 2_000_000]);
    let named = |name: &str| {
        events.iter().any(|event| event.asked == name)
            || capture.notes().iter().any(|note| note.contains(&format!("{name} omitted")))
    };
    assert!(named("cycles") && named("l2-misses"));
    assert_eq!(capture.layout().ids.len(), events.len() * capture.cpus() as usize);
    go_on(&child);
    child.wait().unwrap();
}
