//! What a refresh costs where there are many VMs: starts stand-in processes whose threads are
//! named as a VMM's, and reads them again and again.
//!
//! `many_vms COUNT [REFRESHES] [WAKE_MS]`: with WAKE_MS each vCPU thread wakes that often; else
//! all sleep.

#![allow(clippy::print_stdout, reason = "it is a program")]

use platform::{Choice, Want, open};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next().unwrap_or_default();
    let mut number =
        |default: u64| arguments.next().map_or(Ok(default), |argument| argument.parse::<u64>());
    if first == "stand-in" {
        return stand_in(number(0)?);
    }
    let (count, refreshes, wake) = (first.parse::<usize>()?, number(20)?, number(0)?);
    let children = start(count, wake)?;
    let mut source = open(Choice::Kvm, Path::new("/"))?;
    let want = Want { vcpus: false, placement: false, exact_idle: false };
    // The first refreshes examine every process.
    let mut before = source.read(want)?;
    println!("first: {} VMs, {:.1} ms", before.vms.len(), before.me.cpu.seconds() * 1e3);
    for _ in 0..4 {
        std::thread::sleep(Duration::from_secs(1));
        before = source.read(want)?;
    }
    let wall = Instant::now();
    let mut after = before.clone();
    for _ in 0..refreshes {
        std::thread::sleep(Duration::from_secs(1));
        after = source.read(want)?;
    }
    let cpu = after.me.cpu.saturating_sub(before.me.cpu).seconds() * 1e3 / refreshes as f64;
    println!(
        "{} VMs of {}: {cpu:.2} ms CPU a refresh, {:.1} us a VM, {:.1} MB, {:.0} s",
        after.vms.len(),
        after.host.system,
        cpu * 1e3 / count.max(1) as f64,
        after.me.rss.0 as f64 / 1e6,
        wall.elapsed().as_secs_f64(),
    );
    drop(children);
    Ok(())
}

/// Stand-ins end when their standard input does.
fn start(count: usize, wake: u64) -> std::io::Result<Vec<Child>> {
    let program = std::env::current_exe()?;
    let wake = wake.to_string();
    let mut children = Vec::with_capacity(count);
    for _ in 0..count {
        let mut command = Command::new(&program);
        command.args(["stand-in", &wake]).stdin(Stdio::piped()).stdout(Stdio::piped());
        children.push(command.spawn()?);
    }
    for child in &mut children {
        if let Some(answer) = &mut child.stdout {
            answer.read_exact(&mut [0])?;
        }
    }
    Ok(children)
}

fn stand_in(wake: u64) -> Result<(), Box<dyn std::error::Error>> {
    for name in ["CPU 0/KVM", "CPU 1/KVM", "IO iothread0"] {
        let thread = std::thread::Builder::new().name(name.to_owned()).stack_size(64 << 10);
        thread.spawn(move || {
            loop {
                if wake == 0 || name.starts_with("IO") {
                    std::thread::park();
                } else {
                    std::thread::sleep(Duration::from_millis(wake));
                }
            }
        })?;
    }
    std::io::stdout().write_all(b".")?;
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
