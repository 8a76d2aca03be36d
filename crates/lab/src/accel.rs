//! Whether the host's KVM can run a machine.
//!
//! /dev/kvm may exist and yet not run ordinary guests (software KVM in some sandboxes), so the same
//! machine is booted without guests, once per kind and boot of the host.

use files::failed;
use std::fs::{self, OpenOptions};
use std::path::Path;
use std::time::Duration;

use crate::cache::Cache;
use crate::error::LabError;
use crate::machine::{Entries, Machine};
use crate::spec::{Accel, Clock, Kind, Spec};

/// With working KVM a machine without guests is up in a few seconds.
const PROBE_LIMIT: Duration = Duration::from_secs(20);

/// What is to run the machine of this spec: never [`Accel::Auto`].
pub(crate) fn choose(spec: &Spec, entries: &Entries, cache: &Cache) -> Result<Accel, LabError> {
    if spec.accel != Accel::Auto {
        return Ok(spec.accel);
    }
    if spec.clock == Clock::Instructions {
        tracing::debug!("emulating: the instruction clock exists only under emulation");
        return Ok(Accel::Tcg);
    }
    if !may_use_kvm() {
        tracing::info!("emulating: cannot open /dev/kvm");
        return Ok(Accel::Tcg);
    }
    let works = match remembered(cache, spec.kind)? {
        Some(works) => works,
        None => {
            let works = probe(spec, entries, cache)?;
            remember(cache, spec.kind, works)?;
            works
        }
    };
    if !works {
        tracing::info!(kind = spec.kind.name(), "emulating: a trial machine did not boot with KVM");
    }
    Ok(if works { Accel::Kvm } else { Accel::Tcg })
}

fn may_use_kvm() -> bool {
    OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok()
}

/// Boots without guests; a KVM host must also see its own /dev/kvm.
fn probe(spec: &Spec, entries: &Entries, cache: &Cache) -> Result<bool, LabError> {
    let bare = Spec {
        guests: 0,
        put: Vec::new(),
        receive: Vec::new(),
        wires: Vec::new(),
        agent: None,
        boot_limit: PROBE_LIMIT,
        command_limit: Some(PROBE_LIMIT),
        ..spec.clone()
    };
    let Ok(mut machine) = Machine::boot(&bare, entries, Accel::Kvm, cache.work_dir()?) else {
        return Ok(false);
    };
    let wanted = if spec.kind == Kind::Kvm { "test -e /dev/kvm" } else { "true" };
    Ok(machine.run(wanted, &mut std::io::sink()).is_ok_and(|status| status == 0))
}

/// What an earlier probe found since the host's last boot.
fn remembered(cache: &Cache, kind: Kind) -> Result<Option<bool>, LabError> {
    let path = cache.directory("probes")?.join(kind.name());
    let text = fs::read_to_string(path).unwrap_or_default();
    Ok(match text.split_once(' ') {
        Some((boot, result)) if boot == this_boot() => match result {
            "works" => Some(true),
            "fails" => Some(false),
            _ => None,
        },
        _ => None,
    })
}

fn remember(cache: &Cache, kind: Kind, works: bool) -> Result<(), LabError> {
    let path = cache.directory("probes")?.join(kind.name());
    let result = if works { "works" } else { "fails" };
    // A reader that sees half of it probes again.
    Ok(fs::write(&path, format!("{} {result}", this_boot())).map_err(failed("write", &path))?)
}

fn this_boot() -> String {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_remembered_until_the_next_boot() {
        let place = tempfile::tempdir().unwrap();
        let cache = Cache::at(place.path()).unwrap();
        assert_eq!(remembered(&cache, Kind::Xen).unwrap(), None);
        remember(&cache, Kind::Xen, false).unwrap();
        assert_eq!(remembered(&cache, Kind::Xen).unwrap(), Some(false));
        assert_eq!(remembered(&cache, Kind::Kvm).unwrap(), None);
        fs::write(place.path().join("probes/xen"), "another works").unwrap();
        assert_eq!(remembered(&cache, Kind::Xen).unwrap(), None);
    }
}
