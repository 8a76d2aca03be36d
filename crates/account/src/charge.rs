//! Charging the driver domain's I/O work to the VMs (equations 4.6 and 4.7).

use crate::equations::{charged, mean_operation};
use crate::pair::{Scale, Span, busy};
use crate::tasks::{self, TaskUsage};
use crate::usage::{DriverUsage, VmUsage};
use crate::vm;
use model::{Absent, Driver, LoadKinds, Nanos, Operations, Platform, Reading, State, TaskId, VmId};
use std::collections::HashSet;

/// The driver domains' rows; each VM's shared I/O time is charged on the way.
pub fn drivers(span: &Span, host: &Reading<Nanos>, vms: &mut [VmUsage]) -> Vec<DriverUsage> {
    let mut rows: Vec<DriverUsage> = Vec::with_capacity(span.to.drivers.len());
    for new in &span.to.drivers {
        let old = span.from.drivers.iter().find(|old| old.id == new.id);
        rows.push(driver(span, host, old, new, vms));
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
    vms: &mut [VmUsage],
) -> DriverUsage {
    let total = old.ok_or(Absent::Appeared).and_then(|old| total(span.scale, host, old, new, vms));
    let work = old.ok_or(Absent::Appeared).and_then(|old| work(span, old, new, vms));
    let direct = direct(new, vms);
    let split = total.clone().and_then(|total| {
        let work = work.as_ref().map_err(Clone::clone)?;
        let load = old.ok_or(Absent::Appeared).and_then(|old| io_part(old, new));
        let gap = total.saturating_sub(direct + work.own + work.softirq + work.ended);
        let pot = (gap + work.softirq).share(load?);
        Ok((pot, own_operations(old, new, vms)))
    });
    let (shared, own_share) = share(new.id, split, vms);
    let own = work.as_ref().map(|work| work.own + own_ended(work, vms) + own_share);
    let known =
        direct + *shared.as_ref().unwrap_or(&Nanos::ZERO) + *own.as_ref().unwrap_or(&Nanos::ZERO);
    DriverUsage {
        id: new.id,
        name: new.name.clone(),
        unattributed: total.clone().map(|total| total.saturating_sub(known)),
        total,
        direct: new.tasks.as_ref().map(|_| direct).map_err(Clone::clone),
        shared,
        own: own.map_err(Clone::clone),
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
            let of_vms = vms
                .iter()
                .flat_map(|vm| [&vm.cpu.guest, &vm.cpu.vmm, &vm.cpu.unsplit])
                .filter_map(|part| part.as_ref().ok())
                .copied()
                .sum();
            host.clone().map(|host| host.saturating_sub(of_vms))
        }
        _ => busy(scale, (&old.cpu, old.window), (&new.cpu, new.window)),
    }
}

/// What its tasks did, brought to T. The tasks of a host with control groups are those groups'
/// too: what the shown groups used is not the host's own.
fn work(span: &Span, old: &Driver, new: &Driver, vms: &[VmUsage]) -> Reading<TaskUsage> {
    let old = old.tasks.as_ref().map_err(Clone::clone)?;
    let new = new.tasks.as_ref().map_err(Clone::clone)?;
    let served: HashSet<TaskId> = span
        .to
        .vms
        .iter()
        .flat_map(|vm| {
            let process = if let VmId::Process(id) = vm.id { Some(id) } else { None };
            process.into_iter().chain(vm.backends.iter().map(|backend| backend.id))
        })
        .collect();
    let mut work = tasks::usage(span.from, old, new, &span.before, &served);
    for part in [&mut work.own, &mut work.softirq, &mut work.ended] {
        *part = span.scale.to_interval(*part, old.window, new.window);
    }
    let groups: Nanos = vms
        .iter()
        .filter(|vm| vm.platform == Platform::Cgroup)
        .filter_map(|vm| vm.cpu.guest.as_ref().ok())
        .copied()
        .sum();
    let beyond = groups.saturating_sub(work.own);
    work.own = work.own.saturating_sub(groups);
    work.ended = work.ended.saturating_sub(beyond);
    Ok(work)
}

/// The time of processes that ended is the driver domain's own, unless a VM's process was
/// among them: then nobody can tell whose it was, and it stays unattributed.
fn own_ended(work: &TaskUsage, vms: &[VmUsage]) -> Nanos {
    let vm_ended =
        vms.iter().any(|vm| vm.state == State::Ended && matches!(vm.id, VmId::Process(_)));
    if vm_ended { Nanos::ZERO } else { work.ended }
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
    let Some(mean) = mean_operation(pot, sum + own) else {
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
