//! What a program uses from its start to its end.

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What a process used, until its end.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub user_s: f64,
    pub system_s: f64,
    pub wall_s: f64,
    /// The most memory that it was seen to have.
    pub peak_kb: f64,
}

impl Cost {
    pub fn cpu_s(&self) -> f64 {
        self.user_s + self.system_s
    }

    pub fn peak_mb(&self) -> f64 {
        self.peak_kb / 1024.0
    }
}

/// Runs it to its end, which must be a success.
pub fn run(command: Command) -> Cost {
    let shown = format!("{command:?}");
    attempt(command).unwrap_or_else(|| panic!("{shown} failed"))
}

/// Runs it to its end; none where it fails.
pub fn attempt(mut command: Command) -> Option<Cost> {
    let began = Instant::now();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let pid = Pid::from_child(&child);
    let read =
        |what| fs::read_to_string(format!("/proc/{}/{what}", child.id())).unwrap_or_default();
    let mut peak_kb = 0.0_f64;
    // It is left as a zombie, whose times are those of all its threads.
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    while waitid(WaitId::Pid(pid), ended).unwrap().is_none() {
        let status = read("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kb = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        peak_kb = peak_kb.max(kb.unwrap_or(0.0));
        sleep(Duration::from_millis(20));
    }
    let wall_s = began.elapsed().as_secs_f64();
    let stat = read("stat");
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap()..].split_whitespace().collect();
    // utime and stime are fields 14 and 15; the name's end is in the second.
    let seconds = |at: usize| fields[at - 2].parse::<f64>().unwrap() / 100.0;
    let (user_s, system_s) = (seconds(14), seconds(15));
    let succeeded = child.wait().unwrap().success();
    succeeded.then_some(Cost { user_s, system_s, wall_s, peak_kb })
}
