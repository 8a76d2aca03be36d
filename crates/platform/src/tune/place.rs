//! Something that can be given CPUs, and getting its old ones back.

use super::TuneError;
use super::cpus::{of_set, to_set};
use super::interrupts::affinity_path;
use crate::host::{ProcessStat, Tree};
use crate::xen::Affinities;
use model::{Cpus, TaskId};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What gets CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// An interrupt of Linux.
    Interrupt(u32),
    /// A thread.
    Task(TaskId),
    /// A vCPU of a Xen domain.
    Vcpu { domain: u16, vcpu: u32 },
}

/// Something that was given other CPUs. It can be written down, and what was read again restored by
/// another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// What it is; names from outside in it are raw.
    pub what: String,
    /// The CPUs that it had, as the system tells them.
    pub was: String,
    /// Those that it has now: a device may take one of those that it was given.
    pub now: String,
    back: Back,
}

/// How it was before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Back {
    Interrupt { irq: u32, list: String },
    Task { task: TaskId, list: String },
    Vcpu { domain: u16, vcpu: u32, bitmap: Vec<u8> },
}

impl Placed {
    /// Gives it back the CPUs that it had. What has ended meanwhile has nothing to get back.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn restore(&self) -> Result<(), TuneError> {
        let done = match &self.back {
            Back::Interrupt { irq, list } => match write_interrupt(*irq, list) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other.map_err(|error| error.to_string()),
            },
            Back::Task { task, .. } if !runs(*task) => Ok(()),
            Back::Task { task, list } => {
                let cpus = Cpus::parse(list).ok_or_else(|| self.refused("no CPUs".to_owned()))?;
                bind(*task, &to_set(&cpus)?).map_err(|error| error.to_string())
            }
            Back::Vcpu { domain, vcpu, bitmap } => Affinities::open()
                .and_then(|mut xen| xen.set(*domain, *vcpu, bitmap))
                .or_else(|error| if error.is_gone() { Ok(()) } else { Err(error.to_string()) }),
        };
        done.map_err(|why| self.refused(why))
    }

    fn refused(&self, why: String) -> TuneError {
        TuneError::Refused { what: self.what.clone(), why }
    }
}

/// Gives all of them CPUs, or, where one refuses, none.
pub(super) fn set_all(places: Vec<(Place, String)>, cpus: &Cpus) -> Result<Vec<Placed>, TuneError> {
    let mut placed = Vec::with_capacity(places.len());
    for (place, what) in places {
        match set(place, what, cpus) {
            Ok(one) => placed.push(one),
            Err(mut error) => {
                let failures = placed.iter().rev().filter_map(|one: &Placed| one.restore().err());
                for failure in failures {
                    if let TuneError::Refused { why, .. } = &mut error {
                        *why = format!("{why}; and not set back: {failure}");
                    }
                }
                return Err(error);
            }
        }
    }
    Ok(placed)
}

fn set(place: Place, what: String, cpus: &Cpus) -> Result<Placed, TuneError> {
    let refused = |why: String| TuneError::Refused { what: what.clone(), why };
    let (was, now, back) = match place {
        Place::Interrupt(irq) => {
            let text = |error: io::Error| refused(error.to_string());
            let list = read_interrupt(irq).map_err(text)?;
            write_interrupt(irq, &cpus.to_string()).map_err(|error| {
                if is_managed(irq) {
                    refused(format!("the kernel places it itself ({error})"))
                } else {
                    text(error)
                }
            })?;
            let now = read_interrupt(irq).map_err(text)?;
            (list.clone(), now, Back::Interrupt { irq, list })
        }
        Place::Task(task) => {
            let set = to_set(cpus)?;
            let text = |error: rustix::io::Errno| refused(io::Error::from(error).to_string());
            if !runs(task) {
                return Err(refused("it has ended".to_owned()));
            }
            let was = sched_getaffinity(pid(task)).map_err(text)?;
            bind(task, &set).map_err(|error| refused(error.to_string()))?;
            let now = sched_getaffinity(pid(task)).map_err(text)?;
            let was = of_set(&was).to_string();
            (was.clone(), of_set(&now).to_string(), Back::Task { task, list: was })
        }
        Place::Vcpu { domain, vcpu } => {
            let mut xen = Affinities::open().map_err(|error| refused(error.to_string()))?;
            let (was, bitmap) =
                xen.get(domain, vcpu).map_err(|error| refused(error.to_string()))?;
            xen.set(domain, vcpu, &cpus.bitmap()).map_err(|error| refused(error.to_string()))?;
            let (now, _) = xen.get(domain, vcpu).map_err(|error| refused(error.to_string()))?;
            (was, now, Back::Vcpu { domain, vcpu, bitmap })
        }
    };
    Ok(Placed { what, was, now, back })
}

fn read_interrupt(irq: u32) -> io::Result<String> {
    Ok(std::fs::read_to_string(affinity_path(irq))?.trim().to_owned())
}

/// One write: the kernel takes it as a whole.
fn write_interrupt(irq: u32, list: &str) -> io::Result<()> {
    let mut file = std::fs::File::options().write(true).open(affinity_path(irq))?;
    io::Write::write_all(&mut file, list.as_bytes())
}

/// Whether nobody may write the file, not even its owner: the driver left it to the kernel to
/// spread its interrupts (`kernel/irq/proc.c`).
fn is_managed(irq: u32) -> bool {
    let file = std::fs::metadata(affinity_path(irq));
    file.is_ok_and(|file| file.permissions().mode() & 0o200 == 0)
}

fn pid(task: TaskId) -> Option<Pid> {
    // Nobody has the number 0, which would mean the calling thread.
    i32::try_from(task.pid).ok().and_then(Pid::from_raw).or(Pid::from_raw(i32::MAX))
}

fn bind(task: TaskId, set: &CpuSet) -> io::Result<()> {
    Ok(sched_setaffinity(pid(task), set)?)
}

/// Whether the thread is still that one: numbers are used again.
fn runs(task: TaskId) -> bool {
    let mut buffer = Vec::new();
    let path = format!("/proc/{}/stat", task.pid);
    let tree = Tree::open(Path::new("/"));
    tree.ok()
        .and_then(|tree| ProcessStat::parse(tree.read_line(&path, &mut buffer).ok()?))
        .is_some_and(|stat| stat.start == task.start)
}
