//! The processes of one kernel over time: their names and which image was where in them.
//!
//! What a guest sends is bounded: how many processes, how many maps in one and in all. What
//! found no room is counted.

use crate::image::ImageId;
use crate::names::{NameId, Names};
use ahash::AHashMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// The process number under which the kernel's own maps are sent.
pub(crate) const KERNEL: u32 = u32::MAX;
/// Processes whose end was told stay known while so many more end: what a CPU did in the kernel
/// to end them comes after.
const ENDED: usize = 1024;

/// How much of a stream's processes is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Processes and threads at one time.
    pub(crate) tasks: usize,
    /// Maps of one process (Linux's own default is 65530).
    pub(crate) maps: usize,
    /// Maps of all processes.
    pub(crate) all_maps: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { tasks: 1 << 18, maps: 1 << 16, all_maps: 1 << 21 }
    }
}

/// What found no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// Maps.
    pub maps: u64,
    /// Processes, threads and their names.
    pub tasks: u64,
}

/// Memory of a process in which an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) start: u64,
    /// The first address after it.
    pub(crate) end: u64,
    /// Where in the image it begins.
    pub(crate) offset: u64,
    pub(crate) image: ImageId,
}

#[derive(Debug, Clone, Default)]
struct Process {
    name: Option<NameId>,
    /// In the order of addresses, none over another; shared with the parent until one changes.
    regions: Arc<Vec<Region>>,
    /// The region found last: code runs in loops.
    last: usize,
}

/// Processes that are found without a look into the table: a power of two.
const RECENT: usize = 64;

/// Processes by their numbers.
#[derive(Debug, Clone)]
struct Processes {
    places: AHashMap<u32, usize>,
    all: Vec<Process>,
    /// Places of processes that are gone.
    free: Vec<usize>,
    /// Processes that were asked for lately, with their places.
    recent: [Option<(u32, usize)>; RECENT],
}

impl Default for Processes {
    fn default() -> Self {
        let (places, all, free) = Default::default();
        Self { places, all, free, recent: [None; RECENT] }
    }
}

impl Processes {
    fn len(&self) -> usize {
        self.places.len()
    }

    fn contains(&self, pid: u32) -> bool {
        self.places.contains_key(&pid)
    }

    fn get(&mut self, pid: u32) -> Option<&mut Process> {
        let recent = &mut self.recent[pid as usize % RECENT];
        let place = match *recent {
            Some((known, place)) if known == pid => place,
            _ => {
                let place = *self.places.get(&pid)?;
                *recent = Some((pid, place));
                place
            }
        };
        self.all.get_mut(place)
    }

    /// The process, a new one where there was none.
    fn entry(&mut self, pid: u32) -> &mut Process {
        let place = *self.places.entry(pid).or_insert_with(|| {
            self.free.pop().unwrap_or_else(|| {
                self.all.push(Process::default());
                self.all.len() - 1
            })
        });
        &mut self.all[place]
    }

    fn remove(&mut self, pid: u32) -> Option<Process> {
        let place = self.places.remove(&pid)?;
        self.recent[pid as usize % RECENT] = None;
        self.free.push(place);
        self.all.get_mut(place).map(std::mem::take)
    }
}

/// The processes of one kernel.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spaces {
    processes: Processes,
    /// Names of threads that are not their process's main one.
    threads: AHashMap<u32, NameId>,
    ended: VecDeque<u32>,
    limits: Limits,
    maps: usize,
    pub(crate) dropped: Dropped,
}

impl Spaces {
    /// None yet, and never more than the limits say.
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// A process maps an image: what was there before is gone.
    pub(crate) fn map(&mut self, pid: u32, region: Region) {
        if region.start >= region.end || !self.room(pid) {
            return;
        }
        let process = self.processes.entry(pid);
        let before = process.regions.len();
        // One map can cut one in two: two more, at most.
        if before + 2 > self.limits.maps || self.maps + before + 2 > self.limits.all_maps {
            self.dropped.maps += 1;
            return;
        }
        if Arc::strong_count(&process.regions) > 1 {
            self.maps += before;
        }
        let regions = Arc::make_mut(&mut process.regions);
        place(regions, region);
        self.maps = (self.maps + regions.len()).saturating_sub(before);
    }

    /// A thread has a name; by execve, its process begins anew.
    pub(crate) fn name(&mut self, pid: u32, tid: u32, name: NameId, exec: bool) {
        if exec {
            self.forget(pid);
        }
        if !self.room(pid) {
            return;
        }
        if pid == tid || exec {
            self.processes.entry(pid).name = Some(name);
        } else {
            self.threads.insert(tid, name);
        }
    }

    /// A thread was born; where it is a process's first, the process is as its parent was.
    pub(crate) fn fork(&mut self, pid: u32, tid: u32, parent: u32) {
        if pid != tid {
            self.threads.remove(&tid);
            return;
        }
        self.forget(pid);
        self.threads.remove(&tid);
        if self.room(pid)
            && let Some(parent) = self.processes.get(parent)
        {
            let child = parent.clone();
            *self.processes.entry(pid) = child;
        }
    }

    /// A thread ended.
    pub(crate) fn exit(&mut self, pid: u32, tid: u32) {
        if pid != tid {
            self.threads.remove(&tid);
            return;
        }
        if !self.processes.contains(pid) {
            return;
        }
        self.ended.push_back(pid);
        if self.ended.len() > ENDED
            && let Some(oldest) = self.ended.pop_front()
            && !self.ended.contains(&oldest)
        {
            self.forget(oldest);
        }
    }

    /// The name of a process.
    pub(crate) fn process_name(&mut self, pid: u32) -> NameId {
        match self.processes.get(pid).and_then(|process| process.name) {
            Some(name) => name,
            None if pid == 0 => Names::IDLE,
            None => Names::UNKNOWN,
        }
    }

    /// The name of a thread: its process's, where it has none of its own.
    pub(crate) fn thread_name(&mut self, pid: u32, tid: u32) -> NameId {
        let own = if pid == tid { None } else { self.threads.get(&tid).copied() };
        own.unwrap_or_else(|| self.process_name(pid))
    }

    /// The image at an address of a process, with the address in it.
    pub(crate) fn find(&mut self, pid: u32, address: u64) -> Option<(ImageId, u64)> {
        let process = self.processes.get(pid)?;
        let inside = |region: &&Region| region.start <= address && address < region.end;
        let region = match process.regions.get(process.last).filter(inside) {
            Some(region) => region,
            None => {
                let after = process.regions.partition_point(|region| region.start <= address);
                let at = after.checked_sub(1)?;
                let region = process.regions.get(at).filter(inside)?;
                process.last = at;
                region
            }
        };
        Some((region.image, (address - region.start).wrapping_add(region.offset)))
    }

    /// Whether there is room for what is to be known of a process; counts where there is none.
    fn room(&mut self, pid: u32) -> bool {
        let known = self.processes.len() + self.threads.len();
        let room = known < self.limits.tasks || self.processes.contains(pid);
        // A process may name any number of threads.
        let room = room && self.threads.len() < self.limits.tasks;
        self.dropped.tasks += u64::from(!room);
        room
    }

    fn forget(&mut self, pid: u32) {
        if let Some(process) = self.processes.remove(pid)
            && Arc::strong_count(&process.regions) == 1
        {
            self.maps = self.maps.saturating_sub(process.regions.len());
        }
        // An end that was told before is not the end of the next of that number.
        self.ended.retain(|&ended| ended != pid);
    }
}

/// Puts a region among those that are there, cutting those below it.
fn place(regions: &mut Vec<Region>, new: Region) {
    let first = regions.partition_point(|region| region.end <= new.start);
    let after = regions.partition_point(|region| region.start < new.end);
    let mut put = Vec::with_capacity(3);
    if let Some(&left) = regions.get(first).filter(|left| first < after && left.start < new.start) {
        put.push(Region { end: new.start, ..left });
    }
    put.push(new);
    if let Some(&right) = after.checked_sub(1).and_then(|last| regions.get(last))
        && first < after
        && right.end > new.end
    {
        let offset = right.offset.wrapping_add(new.end - right.start);
        put.push(Region { start: new.end, offset, ..right });
    }
    regions.splice(first..after, put);
}

/// A map of perf's as a region of an image.
pub(crate) fn region(map: &model::Map, image: ImageId) -> Region {
    Region {
        start: map.start,
        end: map.start.saturating_add(map.length),
        offset: map.offset,
        image,
    }
}

#[cfg(test)]
#[path = "space_tests.rs"]
mod tests;
