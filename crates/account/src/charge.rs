//! Charging the driver domain's I/O work to the VMs (equations 4.6 and 4.7).

use crate::equations::{charged, mean_operation};
use crate::pair::{Scale, Span, busy};
use crate::tasks::{self, TaskUsage};
use crate::usage::{DriverUsage, VmUsage};
use crate::vm;
use model::{Absent, Driver, LoadKinds, Nanos, Operations, Platform, Reading, State, increase};

/// The longest that one operation can take a driver domain in interrupts: they take microseconds,
/// under an emulator hundreds. What is more has another cause.
const LONGEST_OPERATION: Nanos = Nanos(1_000_000);

/// What the tasks of each driver domain did, as far as vmeter can look into it.
pub fn work<'a>(span: &Span<'a>) -> Vec<Reading<TaskUsage<'a>>> {
    let one = |new: &Driver| {
        let old = span.from.drivers.iter().find(|old| old.id == new.id);
        let old = old.ok_or(Absent::Appeared)?.tasks.as_ref().map_err(Clone::clone)?;
        Ok(tasks::usage(span, old, new.tasks.as_ref().map_err(Clone::clone)?))
    };
    span.to.drivers.iter().map(one).collect()
}

/// The driver domains' rows; each VM's shared I/O time is charged on the way.
pub fn drivers(
    span: &Span,
    host: &Reading<Nanos>,
    work: Vec<Reading<TaskUsage>>,
    vms: &mut [VmUsage],
) -> Vec<DriverUsage> {
    let mut rows: Vec<DriverUsage> = Vec::with_capacity(span.to.drivers.len());
    for (new, work) in span.to.drivers.iter().zip(work) {
        let old = span.from.drivers.iter().find(|old| old.id == new.id);
        rows.push(driver(span, host, old, new, work, vms));
    }
    for vm in vms.iter_mut() {
        vm::close(vm);
    }
    rows
}

fn driver(
    span: &Span,
    host: &Reading<Nanos>,
    old: Option<&Driver>,
    new: &Driver,
    work: Reading<TaskUsage>,
    vms: &mut [VmUsage],
) -> DriverUsage {
    let total = old.ok_or(Absent::Appeared).and_then(|old| total(span.scale, host, old, new, vms));
    let direct = direct(new, vms);
    let split = total.clone().and_then(|total| {
        let (old, work) = (old.ok_or(Absent::Appeared)?, work.as_ref().map_err(Clone::clone)?);
        let known = Known { total, direct, processes: of_processes(vms), work };
        Ok((known.ended(), pot(span, &known, old, new)?, own_operations(Some(old), new, vms)))
    });
    let ended = split.as_ref().map_or(Nanos::ZERO, |(ended, ..)| *ended);
    let (shared, own_share) = share(new.id, split.map(|(_, pot, own)| (pot, own)), vms);
    let own = work.as_ref().map_err(Clone::clone).map(|work| {
        let ended = if is_clouded(work, vms) { Nanos::ZERO } else { ended };
        work.own + ended + own_share
    });
    let known =
        direct + *shared.as_ref().unwrap_or(&Nanos::ZERO) + *own.as_ref().unwrap_or(&Nanos::ZERO);
    DriverUsage {
        id: new.id,
        name: new.name.clone(),
        unattributed: total.clone().map(|total| total.saturating_sub(known)),
        total,
        direct: new.tasks.as_ref().map(|_| direct).map_err(Clone::clone),
        shared,
        own,
        vcpus: new.vcpus.clone(),
        memory: new.memory.clone(),
        vcpu_rows: old.map_or_else(Vec::new, |old| {
            vm::vcpu_rows(
                span.scale,
                (&old.vcpu_rows, old.window),
                (&new.vcpu_rows, new.window),
                false,
            )
        }),
        processes: work.map_or_else(|_| Vec::new(), |work| work.largest),
    }
}

/// All the driver domain's CPU time. A Linux host has no counter of its own: it is what the
/// host was busy with less what the VMs and their VMMs ran.
fn total(
    scale: Scale,
    host: &Reading<Nanos>,
    old: &Driver,
    new: &Driver,
    vms: &[VmUsage],
) -> Reading<Nanos> {
    match &new.cpu {
        Err(Absent::NotApplicable(_)) => {
            host.clone().map(|host| host.saturating_sub(of_processes(vms)))
        }
        _ => busy(scale, (&old.cpu, old.window), (&new.cpu, new.window)),
    }
}

/// What VMs and groups that are processes of this Linux ran, but for I/O. On Xen there are none.
fn of_processes(vms: &[VmUsage]) -> Nanos {
    let here = vms.iter().filter(|vm| vm.platform != Platform::Xen);
    here.map(|vm| match vm.state {
        State::Ended => vm.cpu.total.clone().unwrap_or_default(),
        _ => [&vm.cpu.guest, &vm.cpu.vmm, &vm.cpu.unsplit].into_iter().flatten().copied().sum(),
    })
    .sum()
}

/// What all threads of a Linux host ran: those that were seen, or all that the scheduler summed up.
/// Nothing on Xen, whose driver domain has counters of its own.
pub fn threads(span: &Span, work: &[Reading<TaskUsage>], vms: &[VmUsage]) -> Nanos {
    let hosts = span.to.drivers.iter().zip(work);
    let of_host = |(driver, work): (&Driver, &Reading<TaskUsage>)| match (&driver.cpu, work) {
        (Err(Absent::NotApplicable(_)), Ok(work)) => {
            let seen = of_processes(vms) + direct(driver, vms) + work.own + work.softirq;
            seen.max(work.all.unwrap_or_default())
        }
        _ => Nanos::ZERO,
    };
    hosts.map(of_host).sum()
}

/// What is known of a driver domain's time.
struct Known<'a> {
    total: Nanos,
    /// Threads that serve one VM alone.
    direct: Nanos,
    /// VMs and groups that are its processes, but for I/O.
    processes: Nanos,
    work: &'a TaskUsage<'a>,
}

impl Known<'_> {
    /// Threads that were seen to run for itself or for VMs' I/O.
    fn seen(&self) -> Nanos {
        self.direct + self.work.own + self.work.softirq
    }

    /// Its processes that ended inside the interval, and what else was not seen.
    fn ended(&self) -> Nanos {
        let not_seen = match self.work.all {
            Some(all) => all.saturating_sub(self.processes + self.seen()),
            None => self.work.waited,
        };
        // No more than it had.
        Nanos(not_seen.0.min(self.total.saturating_sub(self.seen()).0))
    }

    /// Time in which a CPU was neither idle nor ran a thread.
    fn gap(&self) -> Nanos {
        self.total.saturating_sub(self.seen() + self.ended())
    }
}

/// Interrupt work for network and disks. The gap is shown to be interrupt work where the scheduler
/// summed up all threads; else, and where interrupts are counted exactly, their own counter limits
/// it.
fn pot(span: &Span, known: &Known, old: &Driver, new: &Driver) -> Reading<Nanos> {
    let counted = increase(&old.interrupts, &new.interrupts);
    let exact = span.to.host.irq_time_accounting == Ok(true);
    let most = match (counted, known.work.all) {
        (Ok(counted), all) if exact || all.is_none() => counted,
        (Err(reason), None) => return Err(reason),
        _ => known.gap(),
    };
    let interrupts = Nanos(known.gap().0.min(most.0)) + known.work.softirq;
    Ok(interrupts.share(io_part(old, new)?))
}

/// Whether nobody can tell whose the time is that was not seen: a VM or group ended, or its own time
/// is not known, or not all processes can be seen.
fn is_clouded(work: &TaskUsage, vms: &[VmUsage]) -> bool {
    let of_here = |vm: &&VmUsage| vm.platform != Platform::Xen;
    let unknown = |vm: &VmUsage| {
        let vmm = vm.platform != Platform::Cgroup && vm.cpu.vmm.is_err();
        vm.state == State::Ended || vm.cpu.unsplit.is_err() && (vm.cpu.guest.is_err() || vmm)
    };
    work.hidden || vms.iter().filter(of_here).any(unknown)
}

/// Σ of what threads that serve one VM alone did. They run where vmeter runs: in driver 0.
fn direct(driver: &Driver, vms: &[VmUsage]) -> Nanos {
    if driver.tasks.is_err() {
        return Nanos::ZERO;
    }
    vms.iter().filter_map(|vm| vm.cpu.io_direct.as_ref().ok()).copied().sum()
}

/// Which part of the interrupt work was for network and disks, 0..=1, by how often each cause
/// ran (network: by packets where they are more than softirqs, as each costs its own). Timers
/// and tasklets are not I/O; SCHED and RCU softirqs follow from the others and tell nothing of
/// their own.
fn io_part(old: &Driver, new: &Driver) -> Reading<f64> {
    let old = old.load.as_ref().map_err(Clone::clone)?;
    let new = new.load.as_ref().map_err(Clone::clone)?;
    let grown = |kind: fn(&LoadKinds) -> u64| kind(new).saturating_sub(kind(old));
    let network = (grown(|k| k.net_rx) + grown(|k| k.net_tx)).max(grown(|k| k.packets.0));
    let io = network + grown(|k| k.block);
    let other = grown(|k| k.timer) + grown(|k| k.tasklet);
    Ok(if io == 0 { 0.0 } else { io as f64 / (io + other) as f64 })
}

/// Operations that the driver domain did for its own processes. Where VMs' block requests are
/// not counted its own cannot be told from theirs, and packets alone decide.
fn own_operations(old: Option<&Driver>, new: &Driver, vms: &[VmUsage]) -> Operations {
    let (Some(Ok(old)), Ok(new)) = (old.map(|old| &old.own), &new.own) else {
        return Operations::ZERO;
    };
    let packets = new.packets.saturating_sub(old.packets);
    let of_vms: Reading<Vec<Operations>> = vms
        .iter()
        .map(|vm| {
            let reads = vm.disk.reads.clone()?;
            Ok(reads + vm.disk.writes.clone()?)
        })
        .collect();
    match of_vms {
        Ok(of_vms) => {
            let requests = new.requests.saturating_sub(old.requests);
            packets + requests.saturating_sub(of_vms.into_iter().sum())
        }
        Err(_) => packets,
    }
}

/// Equations 4.6 and 4.7 over one driver domain's pot: each VM is charged by its operations.
/// Gives what VMs were charged in all, and the driver domain's own share.
fn share(
    driver: u16,
    split: Reading<(Nanos, Operations)>,
    vms: &mut [VmUsage],
) -> (Reading<Nanos>, Nanos) {
    let (pot, own) = match split {
        Ok(split) => split,
        Err(reason) => {
            for vm in vms.iter_mut().filter(|vm| serves(vm, driver)) {
                vm.cpu.io_shared = Err(reason.clone());
            }
            return (Err(reason), Nanos::ZERO);
        }
    };
    let operations =
        |vm: &VmUsage| vm.operations.iter().find(|(id, _)| *id == driver).map(|(_, n)| n.clone());
    let sum: Operations = vms.iter().filter_map(|vm| operations(vm)?.ok()).sum();
    let plausible = LONGEST_OPERATION.0.saturating_mul((sum + own).0);
    let Some(mean) = mean_operation(Nanos(pot.0.min(plausible)), sum + own) else {
        return (Ok(Nanos::ZERO), Nanos::ZERO);
    };
    let mut shared = Nanos::ZERO;
    for vm in vms.iter_mut() {
        match operations(vm) {
            Some(Ok(n)) => {
                let time = charged(n, mean);
                shared += time;
                if let Ok(already) = &mut vm.cpu.io_shared {
                    *already += time;
                }
            }
            Some(Err(reason)) => vm.cpu.io_shared = Err(reason),
            None => {}
        }
    }
    (Ok(shared), charged(own, mean))
}

fn serves(vm: &VmUsage, driver: u16) -> bool {
    vm.operations.iter().any(|(id, _)| *id == driver)
}
