//! The CPUs' idle time, and memory.

use super::table;
use super::text::{fields, lines, parse_number};
use super::tree::Tree;
use model::{Absent, Bytes, Inside, Nanos, Need, Reading, Window};

/// The CPUs as /proc/stat shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cpus {
    /// CPUs online.
    pub online: u32,
    /// idle + iowait, Σ over the CPUs, in clock ticks. Where the tick stops when a CPU is
    /// idle, the kernel derives it from the clock, to the microsecond.
    pub idle: u64,
    /// steal, Σ over the CPUs, in clock ticks; not on kernels before 2.6.11.
    pub steal: Option<u64>,
}

pub(super) fn parse_stat(bytes: &[u8]) -> Option<Cpus> {
    let mut rows = lines(bytes);
    let mut sum = fields(rows.next()?.strip_prefix(b"cpu ")?).map(parse_number);
    let idle = sum.nth(3)??.saturating_add(sum.next().flatten().unwrap_or(0));
    let steal = sum.nth(2).flatten();
    let online = rows.take_while(|line| line.starts_with(b"cpu")).count();
    Some(Cpus { online: u32::try_from(online).ok()?, idle, steal })
}

/// irq + softirq, Σ over the CPUs, in clock ticks.
pub(super) fn parse_interrupts(bytes: &[u8]) -> Option<u64> {
    let mut sum = fields(lines(bytes).next()?.strip_prefix(b"cpu ")?).map(parse_number);
    Some(sum.nth(5)??.saturating_add(sum.next()??))
}

/// Clock ticks of all CPUs by what they did, from the first line of /proc/stat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Modes {
    /// user + nice.
    user: u64,
    /// system + irq + softirq.
    system: u64,
    /// steal.
    steal: u64,
}

fn parse_modes(bytes: &[u8]) -> Option<Modes> {
    let sum = fields(lines(bytes).next()?.strip_prefix(b"cpu ")?).map(parse_number);
    let [user, nice, system, _idle, _iowait, irq, softirq, steal] =
        sum.take(8).collect::<Option<Vec<u64>>>()?.try_into().ok()?;
    Some(Modes {
        user: user.saturating_add(nice),
        system: system.saturating_add(irq).saturating_add(softirq),
        steal,
    })
}

/// What this kernel counts of its CPUs' time: of a guest's agent, what only the guest can tell.
///
/// # Errors
/// Where /proc/stat cannot be read or understood.
pub fn inside(tree: &Tree) -> Reading<Inside> {
    const STAT: &str = "/proc/stat";
    let (mut buffer, start) = (Vec::new(), tree.now());
    let read = tree.read(STAT, &mut buffer);
    let bytes = read.map_err(|error| Absent::from_io(STAT, Need::Root, &error))?;
    let modes = parse_modes(bytes).ok_or(Absent::Malformed(STAT.into()))?;
    let tick = table::tick(tree);
    let time = |ticks: u64| Nanos(ticks.saturating_mul(tick.0));
    Ok(Inside {
        boot: tree.moment().boot,
        window: Window { start, end: tree.now() },
        user: time(modes.user),
        system: time(modes.system),
        steal: time(modes.steal),
    })
}

/// A line of /proc/meminfo: `MemTotal:  24684084 kB`.
pub(super) fn parse_meminfo(bytes: &[u8], key: &[u8]) -> Option<Bytes> {
    let line = lines(bytes).find_map(|line| line.strip_prefix(key)?.strip_prefix(b":"))?;
    let mut words = fields(line);
    let count = parse_number(words.next()?)?;
    (words.next()? == b"kB").then(|| Bytes(count.saturating_mul(1024)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostile::survives;

    const STAT: &[u8] =
        b"cpu  22762 0 3764 183271 587 0 71 18 0 0\ncpu0 1 0 1 9 8 0 1 5 0 0\ncpu1 1 0 \
        2 8 5 0 5 1 0 0\nintr 1\nctxt 3\n";
    const MEMINFO: &[u8] = b"MemTotal:       24684084 kB\nMemFree:  1 kB\n";

    #[test]
    fn idle_is_idle_and_waiting_for_a_disk() {
        assert_eq!(parse_stat(STAT), Some(Cpus { online: 2, idle: 183_858, steal: Some(18) }));
        assert_eq!(parse_interrupts(STAT), Some(71));
        assert_eq!(parse_meminfo(MEMINFO, b"MemTotal"), Some(Bytes(24_684_084 * 1024)));
    }

    #[test]
    fn a_kernel_tells_its_programs_from_itself_and_what_was_stolen() {
        assert_eq!(parse_modes(STAT), Some(Modes { user: 22_762, system: 3_835, steal: 18 }));
        assert_eq!(parse_modes(b"cpu  1 2 3 4\n"), None);
    }

    #[test]
    fn hostile_input() {
        survives(STAT, |bytes| {
            let _ = parse_modes(bytes);
            let _ = parse_stat(bytes);
            let _ = parse_interrupts(bytes);
        });
        survives(MEMINFO, |bytes| {
            let _ = parse_meminfo(bytes, b"MemFree");
        });
    }
}
