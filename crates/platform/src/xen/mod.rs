//! Xen, seen from its Domain-0: hypercalls for the domains, xenstore for their names, dom0's
//! Linux for the devices and the threads that serve them. In pure Rust, without Xen's own
//! libraries, so that one program fits every release from 4.13 on.

mod abi;
mod affinity;
mod capture;
mod devices;
mod hypercall;
mod names;
mod privcmd;
mod reader;
mod store;
#[cfg(test)]
mod testing;
mod threads;
mod transcript;

pub(crate) use affinity::Affinities;
pub use capture::capture;
pub use reader::XenSource;

use crate::OpenError;
use crate::host::Tree;
use abi::{Physical, Release};
use hypercall::{Call, CallError, Dialect, Hypervisor, list_domains, negotiate};
use std::io;

/// The file of xenfs that tells a control domain from a guest.
const CAPABILITIES: &str = "/proc/xen/capabilities";
/// The bit of `/sys/hypervisor/properties/features` that says the same (`XENFEAT_dom0`).
const FEATURE_DOM0: u32 = 1 << 11;

/// Whether this is the control domain of a Xen host. A guest's Linux is none.
#[must_use]
pub fn is_here(tree: &Tree) -> bool {
    if let Ok(capabilities) = tree.read_text(CAPABILITIES) {
        return capabilities.contains("control_d");
    }
    // xenfs need not be mounted.
    let features = tree.read_text("/sys/hypervisor/properties/features").unwrap_or_default();
    let features = u32::from_str_radix(&features, 16).unwrap_or_default();
    let xen = tree.read_text("/sys/hypervisor/type").is_ok_and(|kind| kind == "xen");
    xen && features & FEATURE_DOM0 != 0
}

/// Opens the Xen host that the tree is of: by hypercalls where it is the live system, else
/// from the record in its `xen` folder (see [`capture`]).
///
/// # Errors
/// Where this is no control domain, the device cannot be used, or Xen speaks an interface
/// that is neither known nor understood.
pub fn open(tree: &Tree) -> Result<XenSource, OpenError> {
    if !is_here(tree) {
        return Err(OpenError::NotHere {
            wanted: "Xen",
            looked_for: format!("\"control_d\" in {CAPABILITIES}, which a Xen host's Domain-0 has"),
        });
    }
    let mut xen = connect(tree)?;
    let release = release(tree)?;
    let (dialect, physical) = understand(xen.as_mut(), release)?;
    let extra = tree.read_text("/sys/hypervisor/version/extra").unwrap_or_default();
    let system = format!("Xen {release}{extra}");
    Ok(XenSource::new(tree, xen, dialect, system, physical))
}

/// The hypervisor itself, or the record of one.
fn connect(tree: &Tree) -> Result<Box<dyn Hypervisor>, OpenError> {
    if tree.is_live() {
        let live = privcmd::Privcmd::open().map_err(|error| no_device(&error))?;
        return Ok(Box::new(live));
    }
    match transcript::Transcript::open(tree) {
        Ok(record) => Ok(Box::new(record)),
        Err(error) => Err(OpenError::Unusable {
            what: format!("the record of Xen in the saved tree ({}/interface)", transcript::FOLDER),
            why: error.to_string(),
            action: "run `vmeter capture` again on the Xen host",
        }),
    }
}

fn no_device(error: &io::Error) -> OpenError {
    let action = match error.kind() {
        io::ErrorKind::PermissionDenied => "run vmeter as root",
        io::ErrorKind::NotFound => "load its module: modprobe xen-privcmd",
        _ => "check that Domain-0's kernel has xen-privcmd and that vmeter runs as root",
    };
    OpenError::Unusable { what: privcmd::DEVICES[0].to_owned(), why: error.to_string(), action }
}

/// The release that Linux tells.
fn release(tree: &Tree) -> Result<Release, OpenError> {
    let number = |name: &str| {
        let number = tree.read_number(&format!("/sys/hypervisor/version/{name}"));
        number.and_then(|number| u32::try_from(number).ok())
    };
    match (number("major"), number("minor")) {
        (Some(major), Some(minor)) => Ok(Release { major, minor }),
        _ => Err(OpenError::Unusable {
            what: "/sys/hypervisor/version".to_owned(),
            why: "it does not report the version of Xen".to_owned(),
            action: "mount sysfs on /sys",
        }),
    }
}

/// Finds a common language with Xen; one that was not foreseen must pass checks.
fn understand(
    xen: &mut dyn Hypervisor,
    release: Release,
) -> Result<(Dialect, Physical), OpenError> {
    let unknown = |detail: String| {
        let interface = release.interface();
        let (oldest, newest) = abi::KNOWN;
        OpenError::UnknownVersion {
            found: format!("Xen {release}"),
            known: format!(
                "Xen {oldest} to {newest} (tried sysctl {:#x}, domctl {:#x} and their neighbours)",
                interface.sysctl, interface.domctl
            ),
            detail,
        }
    };
    let dialect = negotiate(xen, release).map_err(|error| match error {
        CallError::OtherVersion(_) => unknown(error.to_string()),
        other => unusable(&other),
    })?;
    let physical = xen
        .ask(Call::Physical)
        .and_then(|answer| Ok(Physical::decode(answer.head, dialect.interface.sysctl)?))
        .map_err(|error| unusable(&error))?;
    if !dialect.known {
        plausible(xen, dialect, physical).map_err(unknown)?;
    }
    Ok((dialect, physical))
}

/// Whether answers in a layout that was guessed make sense.
fn plausible(xen: &mut dyn Hypervisor, dialect: Dialect, physical: Physical) -> Result<(), String> {
    let check = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
    let mut domains = Vec::new();
    list_domains(xen, dialect.stride, &mut domains).map_err(|error| error.to_string())?;
    let idle = xen.ask(Call::Idle).map_err(|error| error.to_string())?;
    let (idle, online) = abi::idle(idle.head, idle.data).map_err(|error| error.to_string())?;
    let Physical { cpus, max_cpu, pages, free_pages } = physical;
    check(cpus >= 1 && cpus - 1 <= max_cpu && online == cpus, "the numbers of CPUs differ")?;
    check(free_pages <= pages && pages < 1 << 40, "the machine's memory is implausible")?;
    check(domains.first().is_some_and(|domain| domain.id == 0), "Domain-0 is not the first")?;
    // All CPUs together have run and idled for less than a century each.
    let busy = domains.iter().fold(idle, |sum, domain| sum.saturating_add(domain.cpu));
    let longest = u64::from(cpus).saturating_mul(100 * 365 * 86_400 * 1_000_000_000);
    check(busy <= longest, "the domains' CPU times are implausible")?;
    for domain in &domains {
        check(domain.online_vcpus <= domain.vcpus(), "a domain has more vCPUs online than in all")?;
        check(domain.pages <= pages, "a domain has more memory than the machine")?;
    }
    Ok(())
}

/// What a question that must be answered and was not means for the whole.
fn unusable(error: &CallError) -> OpenError {
    let action = match error {
        CallError::Refused { .. } | CallError::OtherVersion(_) => {
            "run vmeter as root in Domain-0, and check that no XSM policy forbids the hypercall"
        }
        CallError::NotRecorded(_) => "run `vmeter capture` again",
        CallError::Gone(_) | CallError::Malformed(_) => "report it with Xen's version",
    };
    OpenError::Unusable { what: "Xen".to_owned(), why: error.to_string(), action }
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
