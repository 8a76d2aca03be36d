//! Captures of this very program, which is started again to play a part: as one that spins in
//! functions of known weight, and as one without privileges.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use model::{Mode, Record, Sample, What};
use rustix::time::{ClockId, clock_gettime};
use sample::{Capture, Decoder, Error, Scope, Wanted};
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Set where this program plays a part.
const PART: &str = "VMETER_SAMPLE_TEST_PART";
/// CPU time that the spinner takes, in nanoseconds.
const SPIN: u64 = 600_000_000;
/// No function of the spinner has so many bytes.
const LONGEST: u64 = 512;
/// A line of a part's, among those of the test harness.
const MARK: &str = "PART ";

fn wanted(scope: Scope) -> Wanted {
    let events = vec!["cpu-clock:1M".parse().unwrap()];
    Wanted { events, scope, switches: false, ring: Wanted::RING }
}

/// This program in the part of one of its tests. It waits for a line of input before it begins,
/// so that whoever samples is ready, and may lock little memory for rings of its own.
fn play(program: &std::path::Path, part: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -l 64 && read go && exec \"$@\"", "sh"]).arg(program);
    command.args(["--exact", part, "--nocapture", "--test-threads=1"]);
    command.env(PART, part).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

fn go(child: &mut Child) {
    writeln!(child.stdin.take().unwrap()).unwrap();
}

/// The lines of a part, until it ends.
fn lines(child: &mut Child) -> Vec<String> {
    let output = BufReader::new(child.stdout.take().unwrap());
    let lines = output.lines().map(Result::unwrap);
    lines.filter_map(|line| Some(line.split_once(MARK)?.1.to_owned())).collect()
}

/// Samples until now.
fn samples(capture: &mut Capture) -> Vec<Sample> {
    let decoder = Decoder::new(&capture.layout()).unwrap();
    let mut found = Vec::new();
    let mut take = |record: Record| match record.what {
        What::Sample(sample) => found.push(sample),
        What::Lost { count } => println!("{count} records were lost"),
        _ => {}
    };
    capture
        .drain(|_, first, second| {
            let bytes = [first, second].concat();
            decoder.decode(&bytes).for_each(|record| take(record.unwrap()));
            Ok(())
        })
        .unwrap();
    found
}

#[inline(never)]
fn heavy(rounds: u64) -> u64 {
    let (mut value, mut round) = (black_box(1_u64), 0);
    while round < rounds {
        value = value.wrapping_mul(0x5851_f42d_4c95_7f2d) ^ round;
        round += 1;
    }
    value
}

#[inline(never)]
fn light(rounds: u64) -> u64 {
    let (mut value, mut round) = (black_box(2_u64), 0);
    while round < rounds {
        value = value.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ round;
        round += 1;
    }
    value
}

fn cpu_time() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Not a test by itself: spins, and says where its functions are and how long it was in each.
#[test]
fn spinner() {
    if std::env::var_os(PART).is_none() {
        return;
    }
    let (mut in_heavy, mut in_light) = (0, 0);
    while in_heavy + in_light < SPIN {
        let begin = cpu_time();
        black_box(heavy(90_001));
        let middle = cpu_time();
        black_box(light(30_011));
        in_heavy += middle - begin;
        in_light += cpu_time() - middle;
    }
    let place = |function: fn(u64) -> u64| function as usize;
    println!("\n{MARK}{} {in_heavy}", place(heavy));
    println!("{MARK}{} {in_light}", place(light));
}

#[test]
fn functions_have_their_shares() {
    let mut child = play(&std::env::current_exe().unwrap(), "spinner").spawn().unwrap();
    let mut capture = Capture::open(&wanted(Scope::Command(child.id()))).unwrap();
    go(&mut child);
    // It takes fewer samples than the rings have room for.
    let said: Vec<(u64, u64)> = lines(&mut child)
        .iter()
        .map(|line| {
            let (place, time) = line.split_once(' ').unwrap();
            (place.parse().unwrap(), time.parse().unwrap())
        })
        .collect();
    assert!(child.wait().unwrap().success());
    let [(heavy, in_heavy), (light, in_light)] = said[..] else { unreachable!("{said:?}") };
    let found = samples(&mut capture);
    let user = found.iter().filter(|sample| sample.mode == Mode::User);
    let (mut heavies, mut lights) = (0.0, 0.0);
    for sample in user {
        let into = |place: u64| sample.address.checked_sub(place).filter(|far| *far < LONGEST);
        match (into(heavy), into(light)) {
            (Some(far), other) if other.is_none_or(|other| far < other) => heavies += 1.0,
            (_, Some(_)) => lights += 1.0,
            _ => {}
        }
    }
    let count: f64 = heavies + lights;
    let share = in_heavy as f64 / (in_heavy + in_light) as f64;
    let deviation = (share * (1.0 - share) / count).sqrt();
    println!("{count} samples: {:.4} of them, {share:.4} of the time", heavies / count);
    // A millisecond each, of the time that it says it took: some fall into the kernel, some are
    // merged where the timer was late.
    assert!(count > 0.6 * SPIN as f64 / 1e6, "{count} of {}", found.len());
    assert!(count < 1.1 * (in_heavy + in_light) as f64 / 1e6, "{count}");
    assert!((heavies / count - share).abs() < 4.5 * deviation, "{deviation}");
    assert!(share > 0.6, "it is not the light one that is heavy: {share}");
}

/// Not a test by itself: what is had without privileges.
#[test]
fn nobody() {
    if std::env::var_os(PART).is_none() {
        return;
    }
    let refused = Capture::open(&wanted(Scope::Machine)).map(|_| ());
    println!("\n{MARK}{}", refused.as_ref().map_or_else(ToString::to_string, |()| "open".into()));
    assert!(!matches!(refused, Err(ref error) if !matches!(error, Error::NotPermitted { .. })));
    let mut child = play(&std::env::current_exe().unwrap(), "spinner").spawn().unwrap();
    let opened = Capture::open(&wanted(Scope::Command(child.id())));
    go(&mut child);
    lines(&mut child);
    child.wait().unwrap();
    match opened {
        Ok(mut capture) => {
            println!("{MARK}{}", capture.notes().join("; "));
            let found = samples(&mut capture);
            let kernel = found.iter().filter(|sample| sample.mode == Mode::Kernel).count();
            println!("{MARK}{} {kernel}", found.len());
        }
        Err(error) => println!("{MARK}{error}"),
    }
}

#[test]
fn without_privileges_it_says_what_would_do() {
    let is = |name: &str, usual: &str| {
        std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap().trim() == usual
    };
    if !rustix::process::geteuid().is_root()
        || !is("perf_event_paranoid", "2")
        || !is("perf_event_mlock_kb", "516")
    {
        println!("this needs root, to do without it, and the kernel's usual settings");
        return;
    }
    // Nobody may not look into the places where programs are built.
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("itself");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let mut child = play(&program, "nobody").uid(65534).gid(65534).spawn().unwrap();
    go(&mut child);
    let said = lines(&mut child);
    assert!(child.wait().unwrap().success());
    println!("{said:#?}");
    let [machine, notes, samples] = &said[..] else { unreachable!("{said:?}") };
    for word in ["not permitted", "all CPUs", "CAP_PERFMON", "perf_event_paranoid", "(it is 2)"] {
        assert!(machine.contains(word), "{word}: {machine}");
    }
    assert!(notes.contains("not permitted to sample the kernel"), "{notes}");
    assert!(
        notes.contains("the limit of kernel.perf_event_mlock_kb and RLIMIT_MEMLOCK"),
        "{notes}"
    );
    let (all, kernel) = samples.split_once(' ').unwrap();
    assert!(all.parse::<u32>().unwrap() > 100 && kernel == "0", "{samples}");
}

/// As long as what exists is read, no sample may take the rings' room, and no name be missed.
#[test]
fn a_machine_tells_names_before_it_is_sampled() {
    if !rustix::process::geteuid().is_root() {
        println!("not root: the kernel refuses this to others");
        return;
    }
    let mut capture = Capture::open(&wanted(Scope::Machine)).unwrap();
    let decoder = Decoder::new(&capture.layout()).unwrap();
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let mut found = Vec::new();
    capture
        .drain(|_, first, second| {
            let bytes = [first, second].concat();
            found.extend(decoder.decode(&bytes).map(|record| record.unwrap().what));
            Ok(())
        })
        .unwrap();
    assert!(found.iter().any(|what| matches!(what,
        What::Name { pid, name, exec: true, .. } if *pid == child.id() && name == b"true")));
    assert!(!found.iter().any(|what| matches!(what, What::Sample(_))));
}
