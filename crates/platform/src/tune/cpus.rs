//! The CPUs to which something can be bound.

use super::TuneError;
use crate::host::Tree;
use model::Cpus;
use rustix::thread::CpuSet;

/// Parses a list and checks that all its CPUs are among those that are `there`.
///
/// # Errors
/// [`TuneError::Cpus`], which names those that there are.
pub fn among(list: &str, there: &Cpus) -> Result<Cpus, TuneError> {
    let cpus = Cpus::parse(list).ok_or_else(|| {
        let list = model::escape(list);
        TuneError::Cpus(format!("invalid list of CPUs `{list}`: expected one such as 0-3,8"))
    })?;
    let missing = cpus.iter().find(|cpu| !there.contains(*cpu));
    match missing {
        None => Ok(cpus),
        Some(cpu) => Err(TuneError::Cpus(format!("CPU {cpu} not found: expected {there}"))),
    }
}

/// The CPUs that are online (`/sys/devices/system/cpu/online`).
pub(super) fn online(tree: &Tree) -> Result<Cpus, TuneError> {
    let path = "/sys/devices/system/cpu/online";
    let refused = |why: String| TuneError::Refused { what: path.to_owned(), why };
    let text = tree.read_text(path).map_err(|error| refused(error.to_string()))?;
    Cpus::parse(&text).ok_or_else(|| refused("it does not contain a list of CPUs".to_owned()))
}

/// As sched_setaffinity takes it.
pub(super) fn to_set(cpus: &Cpus) -> Result<CpuSet, TuneError> {
    let mut set = CpuSet::new();
    for cpu in cpus.iter() {
        let at = usize::try_from(cpu).unwrap_or(usize::MAX);
        if at >= CpuSet::MAX_CPU {
            return Err(TuneError::Cpus(format!(
                "threads can be bound only to the first {} CPUs",
                CpuSet::MAX_CPU
            )));
        }
        set.set(at);
    }
    Ok(set)
}

/// From what sched_getaffinity returned.
pub(super) fn of_set(set: &CpuSet) -> Cpus {
    let is_set = |cpu: &u32| usize::try_from(*cpu).is_ok_and(|cpu| set.is_set(cpu));
    (0..u32::try_from(CpuSet::MAX_CPU).unwrap_or(u32::MAX)).filter(is_set).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_the_kernels_is_the_same_set() {
        let list = Cpus::parse("0-3,8").unwrap();
        assert_eq!(of_set(&to_set(&list).unwrap()), list);
    }

    #[test]
    fn a_cpu_that_is_not_there_is_told_with_those_that_are() {
        let there = Cpus::up_to(1);
        let error = among("1-3", &there).unwrap_err().to_string();
        assert_eq!(error, "CPU 2 not found: expected 0-1");
        assert!(among("all", &there).unwrap_err().to_string().contains("0-3,8"));
        assert_eq!(among("1", &there).unwrap().to_string(), "1");
        assert!(to_set(&Cpus::parse("2000").unwrap()).is_err());
    }
}
