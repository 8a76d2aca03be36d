//! Captures all CPUs for some seconds, appends the rings' bytes to a file, and says what it cost:
//! `capture EVENT[:PERIOD] SECONDS FILE`. To compare with `perf record -a` (docs, make bench).

#![allow(clippy::print_stdout, reason = "it is a program")]

use rustix::time::{ClockId, clock_gettime};
use sample::{Capture, Scope, Wanted};
use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [event, seconds, place] = &arguments[..] else {
        return Err("usage: capture EVENT[:PERIOD] SECONDS FILE".into());
    };
    let wanted = Wanted {
        events: vec![event.parse()?],
        scope: Scope::Machine,
        switches: false,
        ring: Wanted::RING,
    };
    let until = Instant::now() + Duration::from_secs(seconds.parse()?);
    let mut capture = Capture::open(&wanted)?;
    let mut file = File::create_new(place)?;
    let mut bytes = 0;
    let names = sample::existing("/".as_ref()).len();
    let before = cpu_time();
    capture.enable(true)?;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        capture.wait(left.min(Duration::from_secs(1)))?;
        drain(&mut capture, &mut file, &mut bytes)?;
    }
    capture.enable(false)?;
    drain(&mut capture, &mut file, &mut bytes)?;
    let all = cpu_time();
    println!("{bytes} bytes; {all} s of CPU time, {before} s of it for {names} names before");
    println!("{:?}; lost {:?}", capture.events(), capture.lost());
    for note in capture.notes() {
        println!("{note}");
    }
    count(&capture, &std::fs::read(place)?)?;
    Ok(())
}

fn drain(capture: &mut Capture, file: &mut File, bytes: &mut usize) -> std::io::Result<()> {
    capture.drain(|_, first, second| {
        *bytes += first.len() + second.len();
        file.write_all(first)?;
        file.write_all(second)
    })
}

/// Seconds that this process used.
fn cpu_time() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// Decodes what was written, which is whole records of one ring after another's.
fn count(capture: &Capture, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    let decoder = sample::Decoder::new(&capture.layout())?;
    let begin = cpu_time();
    let (mut samples, mut others) = (0_u64, 0_u64);
    for record in decoder.decode(bytes) {
        match record?.what {
            model::What::Sample(_) => samples += 1,
            _ => others += 1,
        }
    }
    let each = (cpu_time() - begin) / (samples + others).max(1) as f64;
    println!("{samples} samples, {others} others; decoded at {:.1} M/s", 1e-6 / each);
    Ok(())
}
