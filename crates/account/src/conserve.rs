//! Conservation: the parts against the whole, counted by different counters.

use crate::pair::Span;
use crate::usage::{DriverUsage, HostUsage, VmUsage};
use model::{Absent, Driver, Nanos, Platform, Reading, Snapshot, increase};

/// What the host's CPUs executed.
#[derive(Debug)]
pub struct Whole {
    /// CPUs × T less idle and stolen time.
    pub busy: Reading<Nanos>,
    /// How exactly the counters tell it.
    pub within: Nanos,
    /// What was stolen from them, where the host is a VM.
    pub steal: Reading<Nanos>,
}

/// Busy time by the counters of CPUs.
///
/// Idle time is counted in steps: threads whose clocks are exact may show that the CPUs were busy a
/// step longer. And time that was stolen from a CPU that had just been woken is counted as idle, too.
/// So busy time is what `threads` ran at least, as far as these two explain it.
pub fn whole(span: &Span, threads: Nanos) -> Whole {
    let steal = increase(&span.from.host.steal, &span.to.host.steal);
    let stolen = steal.clone().unwrap_or_default();
    let within = span.from.host.idle_step.max(span.to.host.idle_step);
    let busy = not_idle(span, within).map(|not_idle| {
        let least = not_idle.saturating_sub(stolen);
        threads.clamp(least, least + within + Nanos(stolen.0.min(not_idle.0)))
    });
    Whole { busy, within, steal }
}

/// CPUs × T − idle.
fn not_idle(span: &Span, within: Nanos) -> Reading<Nanos> {
    let (from, to) = (&span.from.host, &span.to.host);
    let changed =
        |what: &str| Absent::NotProvided(format!("a CPU {what} inside the interval").into());
    if from.cpus != to.cpus {
        return Err(changed("was added or removed"));
    }
    if hotplugged(span) {
        return Err(changed("went offline or online"));
    }
    let slack = within + within;
    let idle = match increase(&from.idle, &to.idle) {
        // Idle and waiting for a disk are read one after the other, each cut to a tick.
        Err(Absent::WentBackwards { from, to }) if from - to <= slack.0 => Nanos::ZERO,
        idle => idle?,
    };
    let capacity = span.capacity();
    if idle > capacity + slack + capacity.share(0.01) {
        return Err(Absent::NotProvided("idle time grew by more than CPUs × T".into()));
    }
    Ok(capacity.saturating_sub(idle))
}

/// Whether a CPU of this Linux came or went: the kernel's `cpuhp/N` runs then, and at no other time.
/// The idle time of a CPU that was offline measures nothing.
fn hotplugged(span: &Span) -> bool {
    let linux = |driver: &&Driver| matches!(driver.cpu, Err(Absent::NotApplicable(_)));
    let tasks =
        span.to.drivers.iter().filter(linux).filter_map(|driver| driver.tasks.as_ref().ok());
    tasks.flat_map(|tasks| &tasks.processes).any(|process| {
        let ran = || match span.before.process(process.id) {
            Some(start) => start.cpu.as_ref().is_ok_and(|start| process.cpu > *start),
            None => true,
        };
        process.kernel && process.name.starts_with("cpuhp/") && ran()
    })
}

fn capacity(snapshot: &Snapshot, interval: Nanos) -> Nanos {
    Nanos(interval.0.saturating_mul(u64::from(snapshot.host.cpus)))
}

/// The host's row: what is left over, and how far the parts exceed the whole.
pub fn host(span: &Span, whole: Whole, vms: &[VmUsage], drivers: &[DriverUsage]) -> HostUsage {
    let (from, to) = (span.from, span.to);
    let Whole { busy, within, steal } = whole;
    let of_vms: Nanos = vms.iter().filter_map(|vm| vm.cpu.total.as_ref().ok()).copied().sum();
    let own: Nanos = drivers.iter().filter_map(|driver| driver.own.as_ref().ok()).copied().sum();
    let parts = of_vms + own;
    let unattributed = busy.clone().map(|busy| busy.saturating_sub(parts));
    let conservation_error = busy.clone().and_then(|busy| {
        read_at_once(span)?;
        // An excess within the idle counter's own step shows no double counting.
        let excess = ratio(parts.saturating_sub(busy + within), busy);
        Ok(match domains_against_idle(from, to, span.scale.interval, vms, drivers) {
            Some(gap) => excess.max(ratio(gap, busy)),
            None => excess,
        })
    });
    HostUsage {
        cpus: to.host.cpus,
        busy,
        busy_within: within,
        steal,
        unattributed,
        conservation_error,
        hidden: to.drivers.iter().filter_map(|it| it.tasks.as_ref().ok()).any(|it| it.hidden),
        system: to.host.system.clone(),
        irq_time_accounting: to.host.irq_time_accounting.clone(),
        memory: to.host.memory.clone(),
    }
}

/// Whether the counters of each end were read in a small part of the interval: else they are of
/// different intervals, and their sum shows nothing.
fn read_at_once(span: &Span) -> Reading<()> {
    let took = |snapshot: &Snapshot| snapshot.window.end.saturating_sub(snapshot.window.start);
    let (longest, interval) = (took(span.from).max(took(span.to)), span.scale.interval);
    if longest.0 <= interval.0 / 2 {
        return Ok(());
    }
    Err(Absent::NotProvided(
        format!(
            "reading took {:.3} s of an interval of {:.3} s",
            longest.seconds(),
            interval.seconds()
        )
        .into(),
    ))
}

/// `part / whole`; a part of nothing is an error without bound, nothing of nothing none.
fn ratio(part: Nanos, whole: Nanos) -> f64 {
    match (part.0, whole.0) {
        (0, _) => 0.0,
        (_, 0) => f64::MAX,
        _ => part.seconds() / whole.seconds(),
    }
}

/// On Xen: how far Σ domains' CPU time + Σ idle time is from CPUs × T. `None` elsewhere, and
/// where a domain ended inside the interval and took its last time with it.
fn domains_against_idle(
    from: &Snapshot,
    to: &Snapshot,
    interval: Nanos,
    vms: &[VmUsage],
    drivers: &[DriverUsage],
) -> Option<Nanos> {
    if drivers.iter().all(|driver| to.drivers.iter().all(|d| d.id != driver.id || d.cpu.is_err()))
        || vms.iter().any(|vm| vm.platform != Platform::Xen)
    {
        return None;
    }
    let mut sum = increase(&from.host.idle, &to.host.idle).ok()?;
    for vm in vms {
        sum += *vm.cpu.guest.as_ref().ok()?;
    }
    for driver in drivers {
        sum += *driver.total.as_ref().ok()?;
    }
    let capacity = capacity(to, interval);
    Some(Nanos(sum.0.abs_diff(capacity.0)))
}
