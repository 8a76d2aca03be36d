//! Something that can be given CPUs, and getting its old ones back.

use super::cpus::{of_set, to_set};
use super::interrupts::affinity_path;
use super::{Before, TuneError};
use crate::host::process_start;
use crate::xen::Affinities;
use model::{Cpus, TaskId};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::unix::fs::PermissionsExt;

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

/// Sets the CPUs of all of them, or of none if one fails. `before` gets all with their present CPUs first.
pub(super) fn set_all(
    places: Vec<(Place, String)>,
    cpus: &Cpus,
    before: Before<'_>,
) -> Result<Vec<Placed>, TuneError> {
    let as_they_are = places.into_iter().map(|(place, what)| Placed::as_it_is(place, what));
    let mut all = as_they_are.collect::<Result<Vec<_>, _>>()?;
    before(&all).map_err(|why| TuneError::Refused { what: "the journal".to_owned(), why })?;
    for at in 0..all.len() {
        let Some((one, done)) = all.get_mut(..=at).and_then(<[_]>::split_last_mut) else { break };
        match one.set(cpus) {
            Ok(now) => one.now = now,
            Err(error) => return Err(set_back(done, error)),
        }
    }
    Ok(all)
}

/// Why not all were set; those that were get back what they had.
fn set_back(done: &[Placed], error: TuneError) -> TuneError {
    let failures = done.iter().rev().filter_map(|one| one.restore().err());
    let left: Vec<String> = failures.map(|failure| failure.to_string()).collect();
    if left.is_empty() {
        error
    } else {
        TuneError::Left { why: error.to_string(), left: left.join("; ") }
    }
}

impl Placed {
    /// With its present CPUs.
    fn as_it_is(place: Place, what: String) -> Result<Self, TuneError> {
        let refused = |why: String| TuneError::Refused { what: what.clone(), why };
        let (was, back) = match place {
            Place::Interrupt(irq) => {
                let list = read_interrupt(irq).map_err(|error| refused(error.to_string()))?;
                (list.clone(), Back::Interrupt { irq, list })
            }
            Place::Task(task) => {
                let list = cpus_of(task).map_err(refused)?;
                (list.clone(), Back::Task { task, list })
            }
            Place::Vcpu { domain, vcpu } => {
                let (was, bitmap) = Affinities::open()
                    .and_then(|mut xen| xen.get(domain, vcpu))
                    .map_err(|error| refused(error.to_string()))?;
                (was, Back::Vcpu { domain, vcpu, bitmap })
            }
        };
        Ok(Self { what, now: was.clone(), was, back })
    }

    /// Sets its CPUs, and reads them back.
    fn set(&self, cpus: &Cpus) -> Result<String, TuneError> {
        match &self.back {
            Back::Interrupt { irq, .. } => {
                set_interrupt(*irq, cpus).map_err(|why| self.refused(why))
            }
            Back::Task { task, .. } => to_set(cpus).and_then(|set| {
                cpus_of(*task)
                    .and_then(|_| bind(*task, &set).map_err(|error| error.to_string()))
                    .and_then(|()| cpus_of(*task))
                    .map_err(|why| self.refused(why))
            }),
            Back::Vcpu { domain, vcpu, .. } => Affinities::open()
                .and_then(|mut xen| {
                    xen.set(*domain, *vcpu, &cpus.bitmap())?;
                    xen.get(*domain, *vcpu)
                })
                .map(|(now, _)| now)
                .map_err(|error| self.refused(error.to_string())),
        }
    }
}

fn set_interrupt(irq: u32, cpus: &Cpus) -> Result<String, String> {
    let text = |error: io::Error| error.to_string();
    write_interrupt(irq, &cpus.to_string()).map_err(|error| {
        if is_managed(irq) { format!("the kernel places it itself ({error})") } else { text(error) }
    })?;
    read_interrupt(irq).map_err(text)
}

/// The CPUs of a thread, unless it has ended.
fn cpus_of(task: TaskId) -> Result<String, String> {
    if !runs(task) {
        return Err("it has ended".to_owned());
    }
    let found = sched_getaffinity(pid(task)).map_err(|error| io::Error::from(error).to_string())?;
    Ok(of_set(&found).to_string())
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
    process_start(task.pid) == Some(task.start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    /// A process that does nothing, as a thread.
    fn idle() -> (Child, TaskId) {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let task = TaskId { pid: child.id(), start: process_start(child.id()).unwrap() };
        (child, task)
    }

    #[test]
    fn how_it_was_is_written_down_before_it_changes_or_nothing_does() {
        let (mut child, task) = idle();
        let was = cpus_of(task).unwrap();
        let last = Cpus::parse(&was).unwrap().iter().last().unwrap();
        let last = Cpus::parse(&last.to_string()).unwrap();
        let places = || vec![(Place::Task(task), "the child".to_owned())];
        let mut told = Vec::new();
        let refused = set_all(places(), &last, &mut |all| {
            told.push((all[0].was.clone(), cpus_of(task).unwrap()));
            Err("no room".to_owned())
        });
        assert!(refused.unwrap_err().to_string().contains("no room"));
        assert_eq!(cpus_of(task).unwrap(), was);
        let placed = set_all(places(), &last, &mut |all| {
            told.push((all[0].was.clone(), cpus_of(task).unwrap()));
            Ok(())
        });
        let placed = placed.unwrap();
        assert_eq!(told, [(was.clone(), was.clone()), (was.clone(), was.clone())]);
        assert_eq!((cpus_of(task).unwrap(), &placed[0].now), (last.to_string(), &last.to_string()));
        placed[0].restore().unwrap();
        assert_eq!(cpus_of(task).unwrap(), was);
        // One that cannot be found leaves the others as they were.
        let gone = Place::Task(TaskId { start: 1, ..task });
        let both = vec![(Place::Task(task), "the child".to_owned()), (gone, "another".to_owned())];
        assert!(set_all(both, &last, &mut |_| Ok(())).is_err());
        assert_eq!(cpus_of(task).unwrap(), was);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
