//! The CPUs of a VM's vCPUs, and of the threads that serve it alone.

use super::cpus::{among, online};
use super::place::{Place, Placed, set_all};
use super::{Before, TuneError, live};
use crate::host::Tree;
use crate::xen::Affinities;
use crate::{Source, Want};
use model::{Reading, Snapshot, Vcpu, Vm, VmId};

/// Names of VMs that an error tells.
const MOST_NAMES: usize = 20;

/// Binds the vCPUs of a VM, or one of them, to CPUs of the host: by hypercall (hard affinity) on
/// Xen, where `Domain-0` is a VM too, else by the vCPUs' threads. `source` is what finds the VM.
///
/// # Errors
/// Where there is no such VM, vCPU or CPU, or the system refuses; then all are as they were.
pub fn pin(
    tree: &Tree,
    source: &mut dyn Source,
    vm: &str,
    vcpu: Option<u32>,
    cpus: &str,
    before: Before<'_>,
) -> Result<Vec<Placed>, TuneError> {
    live(tree)?;
    let found = read(source)?;
    let (domain, vcpus) = vcpus_of(&found, vm)?;
    let vcpus = vcpus.as_ref().map_err(|absent| TuneError::Refused {
        what: format!("the vCPUs of {vm}"),
        why: absent.to_string(),
    })?;
    let there = match domain {
        Some(_) => Affinities::open()
            .map(|xen| xen.cpus())
            .map_err(|error| TuneError::Refused { what: "Xen".into(), why: error.to_string() })?,
        None => online(tree)?,
    };
    let cpus = among(cpus, &there)?;
    let mut places = Vec::new();
    for one in vcpus.iter().filter(|one| vcpu.is_none_or(|wanted| one.id == wanted)) {
        let what = format!("vCPU {} of {vm}", one.id);
        let place = match (domain, one.task) {
            (Some(domain), _) => Place::Vcpu { domain, vcpu: one.id },
            (None, Some(task)) => Place::Task(task),
            (None, None) => {
                return Err(TuneError::Refused { what, why: "it has no thread".to_owned() });
            }
        };
        places.push((place, what));
    }
    if places.is_empty() {
        let numbers: Vec<String> = vcpus.iter().map(|one| one.id.to_string()).collect();
        return Err(TuneError::NotFound(format!(
            "vCPU of {vm} not found: expected one of {}",
            numbers.join(", ")
        )));
    }
    set_all(places, &cpus, before)
}

/// Binds all threads and processes that serve a VM alone, other than its vCPUs, to CPUs of this
/// Linux: the host, or on Xen the driver domain.
///
/// # Errors
/// Where there is no such VM or CPU, nothing serves it alone, or the kernel refuses; then all are
/// as they were.
pub fn place_backends(
    tree: &Tree,
    source: &mut dyn Source,
    vm: &str,
    cpus: &str,
    before: Before<'_>,
) -> Result<Vec<Placed>, TuneError> {
    live(tree)?;
    let cpus = among(cpus, &online(tree)?)?;
    let found = read(source)?;
    let places: Vec<(Place, String)> = find(&found, vm)?
        .backends
        .iter()
        .map(|one| (Place::Task(one.id), format!("thread {} ({}) of {vm}", one.id.pid, one.name)))
        .collect();
    if places.is_empty() {
        return Err(TuneError::NotFound(format!("no thread or process serves only {vm}")));
    }
    set_all(places, &cpus, before)
}

fn read(source: &mut dyn Source) -> Result<Snapshot, TuneError> {
    source.read(Want { vcpus: true, placement: false, exact_idle: false }).map_err(|error| {
        TuneError::Refused { what: "reading the VMs".to_owned(), why: error.to_string() }
    })
}

/// The vCPUs of a VM or driver domain, and its number where it is a Xen domain.
fn vcpus_of<'a>(
    found: &'a Snapshot,
    name: &str,
) -> Result<(Option<u16>, &'a Reading<Vec<Vcpu>>), TuneError> {
    let vms = found.vms.iter().any(|vm| vm.name == name);
    // Of the drivers only Xen's are VMs themselves; elsewhere the driver is the host.
    let xen = found.drivers.iter().find(|driver| driver.name == name && !vms);
    if let Some(driver) = xen.filter(|driver| driver.cpu.is_ok() && driver.vcpu_rows.is_ok()) {
        return Ok((Some(driver.id), &driver.vcpu_rows));
    }
    let vm = find(found, name)?;
    let domain = if let VmId::Domain { id, .. } = vm.id { Some(id) } else { None };
    Ok((domain, &vm.vcpus))
}

fn find<'a>(found: &'a Snapshot, name: &str) -> Result<&'a Vm, TuneError> {
    let mut named = found.vms.iter().filter(|vm| vm.name == name);
    match (named.next(), named.next()) {
        (Some(vm), None) => Ok(vm),
        (Some(_), Some(_)) => Err(TuneError::NotFound(format!("several VMs have the name {name}"))),
        (None, _) => {
            let names: Vec<&str> =
                found.vms.iter().take(MOST_NAMES).map(|vm| vm.name.as_str()).collect();
            Err(TuneError::NotFound(match names.as_slice() {
                [] => format!("VM {name} not found: no VM is running"),
                _ => format!("VM {name} not found: expected one of {}", names.join(", ")),
            }))
        }
    }
}
