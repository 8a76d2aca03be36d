//! Idle time to the nanosecond, from /proc/timer_list (kernel/time/timer_list.c).
//!
//! Where the tick stops when a CPU is idle, the kernel sums up idle time by the clock; /proc/stat
//! shows the sum in ticks of 10 ms, as much as some thousand packets cost.

use super::text::{fields, lines, parse_number};
use model::Nanos;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// idle + waiting for a disk, of each CPU; `None` where it is not kept by the clock.
///
/// The idle time that goes on in this moment counts where the CPU's tick is stopped: it is idle
/// then but for an interrupt. A CPU that keeps its tick may have been idle since its last entry,
/// which [`run_everywhere`] makes a short time.
pub(super) fn parse(bytes: &[u8]) -> Option<Vec<Nanos>> {
    let mut now = None;
    let mut each = Vec::new();
    let mut cpu: Option<Cpu> = None;
    for line in lines(bytes) {
        if let Some(rest) = line.strip_prefix(b"now at ") {
            now = parse_number(fields(rest).next()?);
        } else if line.starts_with(b"cpu: ") {
            if let Some(before) = cpu.replace(Cpu::default()) {
                each.push(before.idle(now?)?);
            }
        } else if line.starts_with(b"Tick Device") {
            break;
        } else if let (Some(cpu), Some(rest)) = (&mut cpu, line.strip_prefix(b"  .")) {
            cpu.take(rest);
        }
    }
    each.push(cpu?.idle(now?)?);
    Some(each)
}

/// Runs on each of so many CPUs for a moment. That ends the idle time or the run that goes on there,
/// so that it is summed up: where a CPU keeps its tick it cannot be told how long it has been idle.
///
/// CPUs where this thread may not run are left as they are.
pub(crate) fn run_everywhere(cpus: u32) {
    let Ok(before) = sched_getaffinity(None) else { return };
    for cpu in (0..cpus as usize).take_while(|&cpu| cpu < CpuSet::MAX_CPU) {
        let mut one = CpuSet::new();
        one.set(cpu);
        // It fails where there is no such CPU, or another is all that may be used.
        let _ = sched_setaffinity(None, &one);
    }
    let _ = sched_setaffinity(None, &before);
}

/// What a CPU's part says.
#[derive(Default)]
struct Cpu {
    /// Whether the tick may stop at all.
    may_stop: bool,
    stopped: bool,
    entry: Option<u64>,
    slept: Option<u64>,
    waited: Option<u64>,
}

impl Cpu {
    fn take(&mut self, line: &[u8]) {
        let mut words = fields(line);
        let Some(name) = words.next() else { return };
        // `name : 1 nsecs`, or `name: 1 nsecs` where the name fills its column.
        let (name, value) = match name.strip_suffix(b":") {
            Some(name) => (name, words.next()),
            None => (name, words.nth(1)),
        };
        let Some(value) = value.and_then(parse_number) else { return };
        match name {
            b"nohz_mode" | b"nohz" => self.may_stop = value != 0,
            b"tick_stopped" => self.stopped = value != 0,
            b"idle_entrytime" => self.entry = Some(value),
            b"idle_sleeptime" => self.slept = Some(value),
            b"iowait_sleeptime" => self.waited = Some(value),
            _ => {}
        }
    }

    /// Its idle time; `None` where it does not say.
    fn idle(&self, now: u64) -> Option<Nanos> {
        if !self.may_stop {
            return None;
        }
        let since = if self.stopped { now.saturating_sub(self.entry?) } else { 0 };
        Some(Nanos(self.slept?.saturating_add(self.waited?).saturating_add(since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostile::survives;

    /// Linux 6.1 of the lab with two CPUs, the timers left out.
    const LIST: &[u8] = b"Timer List Version: v0.9
HRTIMER_MAX_CLOCK_BASES: 8
now at 412338573671 nsecs

cpu: 0
 clock 0:
  .base:       0000000066b6cd54
  .index:      0
active timers:
 #0: <0000000000000000>, tick_sched_timer, S:01
  .expires_next   : 412340000000 nsecs
  .nohz_mode      : 2
  .last_tick      : 410424000000 nsecs
  .tick_stopped   : 1
  .idle_entrytime : 412072048601 nsecs
  .idle_exittime  : 412029061971 nsecs
  .idle_sleeptime : 409499283660 nsecs
  .iowait_sleeptime: 7 nsecs
jiffies: 4294995205

cpu: 1
  .nohz_mode      : 2
  .tick_stopped   : 0
  .idle_entrytime : 412340500251 nsecs
  .idle_sleeptime : 411238411630 nsecs
  .iowait_sleeptime: 0 nsecs
jiffies: 4294995205

Tick Device: mode:     1
Broadcast device
";

    #[test]
    fn idle_time_goes_on_where_the_tick_is_stopped() {
        let first = 409_499_283_660 + 7 + (412_338_573_671 - 412_072_048_601);
        assert_eq!(parse(LIST), Some(vec![Nanos(first), Nanos(411_238_411_630)]));
    }

    #[test]
    fn a_cpu_with_a_tick_that_never_stops_is_not_counted_by_the_clock() {
        let text = String::from_utf8_lossy(LIST).replacen("nohz_mode      : 2", "nohz_mode : 0", 1);
        assert_eq!(parse(text.as_bytes()), None);
        let newer = String::from_utf8_lossy(LIST).replace("nohz_mode      : 2", "nohz : 1");
        assert_eq!(parse(newer.as_bytes()), parse(LIST));
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn hostile_input() {
        survives(LIST, |bytes| {
            let _ = parse(bytes);
        });
    }
}
