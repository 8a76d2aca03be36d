//! Conservation: the parts against the whole, counted by different counters.

use crate::usage::{DriverUsage, HostUsage, VmUsage};
use model::{Absent, Nanos, Platform, Reading, Snapshot, increase};

/// Busy time: CPUs × T − idle.
pub fn busy(from: &Snapshot, to: &Snapshot, interval: Nanos) -> Reading<Nanos> {
    if from.host.cpus != to.host.cpus {
        return Err(Absent::NotProvided("a CPU was added or removed inside the interval".into()));
    }
    let idle = increase(&from.host.idle, &to.host.idle)?;
    Ok(capacity(to, interval).saturating_sub(idle))
}

fn capacity(snapshot: &Snapshot, interval: Nanos) -> Nanos {
    Nanos(interval.0.saturating_mul(u64::from(snapshot.host.cpus)))
}

/// The host's row: what is left over, and how far the parts exceed the whole.
pub fn host(
    from: &Snapshot,
    to: &Snapshot,
    interval: Nanos,
    busy: Reading<Nanos>,
    vms: &[VmUsage],
    drivers: &[DriverUsage],
) -> HostUsage {
    let of_vms: Nanos = vms.iter().filter_map(|vm| vm.cpu.total.as_ref().ok()).copied().sum();
    let own: Nanos = drivers.iter().filter_map(|driver| driver.own.as_ref().ok()).copied().sum();
    let parts = of_vms + own;
    let unattributed = busy.clone().map(|busy| busy.saturating_sub(parts));
    let conservation_error = busy.clone().map(|busy| {
        // An excess within the idle counter's own step shows no double counting.
        let step = from.host.idle_step.max(to.host.idle_step);
        let excess = ratio(parts.saturating_sub(busy + step), busy);
        match domains_against_idle(from, to, interval, vms, drivers) {
            Some(gap) => excess.max(ratio(gap, busy)),
            None => excess,
        }
    });
    HostUsage {
        cpus: to.host.cpus,
        busy,
        unattributed,
        conservation_error,
        system: to.host.system.clone(),
        irq_time_accounting: to.host.irq_time_accounting.clone(),
        memory: to.host.memory.clone(),
    }
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
