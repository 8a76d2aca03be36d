//! One VM's row: its time by layer (equation 4.3), its traffic, its parts.

use crate::inside::Within;
use crate::pair::{Before, Scale, Span, busy, matched};
use crate::traffic::{disk_traffic, operations, traffic};
use crate::usage::{BackendUsage, Cpu, VcpuUsage, VmUsage};
use model::{
    Absent, CpuTicks, DiskCounters, Duty, Nanos, Platform, Reading, Snapshot, State, Vcpu, Vm,
    VmId, Window, increase,
};
use std::collections::HashMap;

/// Rows for the VMs at the interval's end, then for those that ended inside it. `total` and
/// `io_shared` are filled in once the driver domains' work is charged.
pub fn rows(span: &Span) -> Vec<VmUsage> {
    let Span { from, to, scale, before } = span;
    let tasks = tasks_window(from).zip(tasks_window(to));
    let newest_group = newest_group(from);
    let mut old: HashMap<&VmId, &Vm> = from.vms.iter().map(|vm| (&vm.id, vm)).collect();
    let mut rows: Vec<VmUsage> = to
        .vms
        .iter()
        .map(|new| {
            let old = old.remove(&new.id);
            let capacity = span.capacity();
            Pair { scale: *scale, old, new, before, tasks, newest_group, capacity }.row()
        })
        .collect();
    rows.extend(from.vms.iter().filter(|vm| old.contains_key(&vm.id)).map(ended));
    rows
}

/// Gives a VM that ended what its process, its helpers or its members still used: it is not the
/// host's own, whatever they are now.
pub fn give_back(vms: &mut [VmUsage], left: &[(&VmId, Nanos)]) {
    for (id, time) in left {
        let ended = vms.iter_mut().find(|vm| vm.id == **id && vm.state == State::Ended);
        if let Some(vm) = ended {
            let already = vm.cpu.total.clone().unwrap_or_default();
            vm.cpu.total = Ok(already + *time);
        }
    }
}

/// The sum of the layers, once all are known. Of a VM that ended there are none.
pub fn close(vm: &mut VmUsage) {
    if vm.state == State::Ended {
        return;
    }
    let parts = [&vm.cpu.vmm, &vm.cpu.io_direct, &vm.cpu.io_shared];
    let known: Nanos = parts.into_iter().filter_map(|part| part.as_ref().ok()).copied().sum();
    let own = match (&vm.cpu.guest, &vm.cpu.unsplit) {
        (Err(_), Ok(unsplit)) => Ok(*unsplit),
        (guest, _) => guest.clone(),
    };
    vm.cpu.total = own.map(|own| own + known);
}

/// A VM at the end of the interval, and at its start where it was there.
struct Pair<'a> {
    scale: Scale,
    old: Option<&'a Vm>,
    new: &'a Vm,
    before: &'a Before<'a>,
    /// When the driver domain's tasks were read, at the start and at the end.
    tasks: Option<(Window, Window)>,
    /// The control group that was the newest at the start.
    newest_group: Option<u64>,
    /// CPUs × T.
    capacity: Nanos,
}

/// Groups are numbered in the order in which they are made (kernfs inodes).
fn newest_group(snapshot: &Snapshot) -> Option<u64> {
    let inodes = snapshot.vms.iter().filter_map(|vm| match vm.id {
        VmId::Cgroup { inode, .. } => Some(inode),
        _ => None,
    });
    inodes.max()
}

/// When the tasks of the driver domain that vmeter runs in were read.
fn tasks_window(snapshot: &Snapshot) -> Option<Window> {
    snapshot.drivers.iter().find_map(|driver| Some(driver.tasks.as_ref().ok()?.window))
}

impl Pair<'_> {
    fn row(&self) -> VmUsage {
        let new = self.new;
        let own = self.own_time();
        let vcpu_rows = self.vcpus();
        let guest = self.guest(&own, &vcpu_rows);
        let inside = self.inside(&guest);
        let backends = self.backends();
        let nics = self.counted(|vm| &vm.nics, |nic| nic.name.as_str());
        let disks = self.counted(|vm| &vm.disks, |disk| disk.name.as_str());
        VmUsage {
            id: new.id.clone(),
            name: new.name.clone(),
            platform: new.platform,
            state: new.state,
            vcpus: new.vcpu_count.clone(),
            memory: new.memory.clone(),
            cpu: Cpu {
                total: Err(Absent::NotReported),
                vmm: self.vmm(&own, &guest, &backends),
                unsplit: self.unsplit(&own, &guest, &backends),
                io_direct: self.io_direct(&backends),
                io_shared: Ok(Nanos::ZERO),
                guest,
            },
            guest_system: inside.clone().and_then(|inside| inside.system),
            guest_programs: inside.clone().and_then(|inside| inside.programs),
            ready: self.ready(&vcpu_rows, &inside),
            steal: inside.map(|inside| inside.steal),
            operations: operations(new, &nics, &disks),
            net: nics.and_then(|nics| traffic(&nics)),
            disk: disk_traffic(&disks),
            exits: self.since(|vm| &vm.exits),
            halt_poll: self.since(|vm| &vm.halt_poll),
            cpupool: new.cpupool.clone(),
            vcpu_rows,
            backends: backends.into_iter().map(|(row, _)| row).collect(),
        }
    }

    /// Whether the VM came into being inside the interval: its counters started at 0 then.
    fn born_inside(&self) -> bool {
        self.old.is_none()
            && match self.new.id {
                VmId::Process(id) => !self.before.knew(id),
                // A group may have been there without a row.
                VmId::Cgroup { inode, .. } => self.newest_group.is_some_and(|it| inode > it),
                VmId::Domain { .. } => true,
            }
    }

    /// Equation 4.5 for a counter of the VM.
    fn since<U: Copy + Into<u64> + From<u64>>(
        &self,
        counter: impl Fn(&Vm) -> &Reading<U>,
    ) -> Reading<U> {
        match self.old {
            Some(old) => increase(counter(old), counter(self.new)),
            None if self.born_inside() => counter(self.new).clone(),
            None => counter(self.new).as_ref().map_err(Clone::clone).and(Err(Absent::Appeared)),
        }
    }

    /// CPU time of the VM itself ([`Vm::cpu`]). A process that was not yet a VM at the start
    /// has its earlier time among the driver domain's processes.
    fn own_time(&self) -> Reading<Nanos> {
        match (self.old, &self.new.id) {
            (Some(old), _) => {
                busy(self.scale, (&old.cpu, old.window), (&self.new.cpu, self.new.window))
            }
            (None, VmId::Process(id)) => match self.before.process(*id) {
                Some(start) => increase(&start.cpu, &self.new.cpu),
                None => self.whole_life(),
            },
            (None, _) => self.whole_life(),
        }
    }

    /// All that a VM has used that was born inside: no more than there was.
    fn whole_life(&self) -> Reading<Nanos> {
        let cpu = self.new.cpu.clone()?;
        let plausible = self.born_inside() && cpu <= self.capacity;
        plausible.then_some(cpu).ok_or(Absent::Appeared)
    }

    fn vcpus(&self) -> Vec<VcpuUsage> {
        let nothing = Ok(Vec::new());
        let old = match self.old {
            Some(old) => (&old.vcpus, old.window),
            None => (&nothing, self.new.window),
        };
        vcpu_rows(self.scale, old, (&self.new.vcpus, self.new.window), self.born_inside())
    }

    fn guest(&self, own: &Reading<Nanos>, rows: &[VcpuUsage]) -> Reading<Nanos> {
        match self.new.platform {
            Platform::Xen | Platform::Cgroup => own.clone(),
            Platform::Tcg => self.all_vcpus(rows, |vcpu| vcpu.cpu.clone()),
            Platform::Kvm | Platform::Other => self.all_vcpus(rows, |vcpu| vcpu.guest.clone()),
        }
    }

    /// The guest's own view, where an agent in it was asked at both ends.
    fn inside(&self, guest: &Reading<Nanos>) -> Reading<Within> {
        let new = self.new.inside.as_ref().map_err(Clone::clone)?;
        let old = match self.old {
            Some(old) => old.inside.as_ref().map_err(Clone::clone)?,
            None => return Err(Absent::Appeared),
        };
        Within::between(self.scale, old, new, guest)
    }

    fn all_vcpus(
        &self,
        rows: &[VcpuUsage],
        part: impl Fn(&VcpuUsage) -> Reading<Nanos>,
    ) -> Reading<Nanos> {
        let here = self.new.vcpus.as_ref().map_err(Clone::clone)?;
        if let Some(old) = self.old {
            let there = old.vcpus.as_ref().map_err(Clone::clone)?;
            if there.iter().any(|v| here.iter().all(|w| w.id != v.id)) {
                return Err(Absent::Ended);
            }
        }
        rows.iter().map(part).sum()
    }

    /// Each backend with whether its time is inside the VM's own.
    fn backends(&self) -> Vec<(BackendUsage, bool)> {
        self.new
            .backends
            .iter()
            .map(|backend| {
                let start = self.before.time(backend.id);
                let inside = self.old.map(|old| (old.window, self.new.window));
                let windows = if backend.inside { inside } else { inside.and(self.tasks) };
                let cpu = match windows {
                    Some((from, to)) => busy(self.scale, (&start, from), (&backend.cpu, to)),
                    None => increase(&start, &backend.cpu),
                };
                let row = BackendUsage {
                    id: backend.id,
                    name: backend.name.clone(),
                    duty: backend.duty,
                    cpu,
                };
                (row, backend.inside)
            })
            .collect()
    }

    /// What the VMM's process did beyond executing the guest and I/O, and kernel threads that
    /// do the monitor's work.
    fn vmm(
        &self,
        own: &Reading<Nanos>,
        guest: &Reading<Nanos>,
        backends: &[(BackendUsage, bool)],
    ) -> Reading<Nanos> {
        match self.new.platform {
            Platform::Xen => Err(Absent::NotProvided(
                "Xen counts the hypervisor's work for a domain in the domain's own time".into(),
            )),
            Platform::Cgroup => {
                Err(Absent::NotApplicable("a control group has no virtual machine monitor".into()))
            }
            Platform::Kvm | Platform::Tcg | Platform::Other => {
                let own = own.clone()?;
                let guest = guest.clone()?;
                let inside = duty_time(backends, Duty::Io, true)?;
                let outside = duty_time(backends, Duty::Vmm, false)?;
                Ok(own.saturating_sub(guest + inside) + outside)
            }
        }
    }

    /// The VMM's process less its I/O, and kernel threads that do the monitor's work, where the
    /// guest's part of that is not known.
    fn unsplit(
        &self,
        own: &Reading<Nanos>,
        guest: &Reading<Nanos>,
        backends: &[(BackendUsage, bool)],
    ) -> Reading<Nanos> {
        match (self.new.platform, guest) {
            (Platform::Kvm | Platform::Tcg | Platform::Other, Err(_)) => {
                let inside = duty_time(backends, Duty::Io, true)?;
                Ok(own.clone()?.saturating_sub(inside) + duty_time(backends, Duty::Vmm, false)?)
            }
            _ => Err(Absent::NotApplicable("it is divided into guest and monitor".into())),
        }
    }

    fn io_direct(&self, backends: &[(BackendUsage, bool)]) -> Reading<Nanos> {
        if self.new.platform == Platform::Cgroup {
            return Err(Absent::NotApplicable("no thread serves one control group alone".into()));
        }
        Ok(duty_time(backends, Duty::Io, true)? + duty_time(backends, Duty::Io, false)?)
    }

    /// On Xen only the guest can tell: what was stolen from it.
    fn ready(&self, rows: &[VcpuUsage], inside: &Reading<Within>) -> Reading<Nanos> {
        match self.new.platform {
            Platform::Xen => inside.as_ref().map(|inside| inside.steal).map_err(|_| {
                Absent::NotProvided(
                    "Xen does not report the runnable time of other domains: use an agent in the guest"
                        .into(),
                )
            }),
            Platform::Cgroup => Err(Absent::NotProvided(
                "control groups do not count the time that their threads wait for a CPU".into(),
            )),
            Platform::Kvm | Platform::Tcg | Platform::Other => {
                self.all_vcpus(rows, |vcpu| vcpu.ready.clone())
            }
        }
    }

    /// Devices at both ends, matched by name; one that appeared counts from 0.
    fn counted<T>(
        &self,
        list: impl Fn(&Vm) -> &Reading<Vec<T>>,
        name: impl Fn(&T) -> &str,
    ) -> Reading<Vec<(Option<&T>, &T)>> {
        let new = list(self.new).as_ref().map_err(Clone::clone)?;
        let old: &[T] = match self.old {
            Some(old) => list(old).as_ref().map_err(Clone::clone)?,
            None if self.born_inside() => &[],
            None => return Err(Absent::Appeared),
        };
        matched(old, new, true, |device| name(device).to_owned())
    }
}

/// vCPUs' rows between two listings.
pub fn vcpu_rows(
    scale: Scale,
    old: (&Reading<Vec<Vcpu>>, Window),
    new: (&Reading<Vec<Vcpu>>, Window),
    born_inside: bool,
) -> Vec<VcpuUsage> {
    let (before, from) = (old.0.as_deref().unwrap_or_default(), old.1);
    let (after, to) = (new.0.as_deref().unwrap_or_default(), new.1);
    after
        .iter()
        .map(|vcpu| {
            let was = before.iter().find(|was| was.id == vcpu.id && was.task == vcpu.task);
            let since = |part: fn(&Vcpu) -> &Reading<Nanos>| match was {
                Some(was) => busy(scale, (part(was), from), (part(vcpu), to)),
                None if born_inside => part(vcpu).clone(),
                None => part(vcpu).clone().and(Err(Absent::Appeared)),
            };
            let cpu = since(|vcpu| &vcpu.cpu);
            VcpuUsage {
                id: vcpu.id,
                state: vcpu.state,
                guest: cpu.clone().and_then(|run| guest_part(run, was, vcpu)),
                cpu,
                ready: since(|vcpu| &vcpu.ready),
                affinity: vcpu.affinity.clone(),
            }
        })
        .collect()
}

/// The part of a vCPU thread's exact run time that executed the guest: the interval's ratio of
/// user time (the guest's included) to all, times the ratio of guest to user time. That one is
/// sampled, and a vCPU that sleeps and wakes is missed by the samples: the larger of the
/// interval's and that of the thread's whole life, in which it has evened out.
fn guest_part(run: Nanos, was: Option<&Vcpu>, vcpu: &Vcpu) -> Reading<Nanos> {
    let life = vcpu.guest.clone()?;
    let start = match was {
        Some(was) => was.guest.clone()?,
        None => CpuTicks { guest: 0, user: 0, total: 0 },
    };
    if life.user < start.user || life.total < start.total {
        return Err(Absent::WentBackwards { from: start.total, to: life.total });
    }
    let ratio = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    // Where no tick fell into the interval, the ratio of the thread's whole life serves.
    let user = ratio(life.user - start.user, life.total - start.total)
        .or_else(|| ratio(life.user, life.total));
    let guest = [
        ratio(life.guest, life.user),
        ratio(life.guest.saturating_sub(start.guest), life.user - start.user),
    ];
    let guest = guest.into_iter().flatten().fold(0.0, f64::max).min(1.0);
    user.map(|user| run.share(user * guest))
        .or((run == Nanos::ZERO).then_some(run))
        .ok_or(Absent::NotProvided("no clock tick has hit the vCPU's thread yet".into()))
}

fn duty_time(backends: &[(BackendUsage, bool)], duty: Duty, inside: bool) -> Reading<Nanos> {
    backends
        .iter()
        .filter(|(row, is_inside)| row.duty == duty && *is_inside == inside)
        .map(|(row, _)| row.cpu.clone())
        .sum()
}

fn ended(old: &Vm) -> VmUsage {
    let gone: Reading<u32> = Err(Absent::Ended);
    let time: Reading<Nanos> = Err(Absent::Ended);
    VmUsage {
        id: old.id.clone(),
        name: old.name.clone(),
        platform: old.platform,
        state: State::Ended,
        vcpus: gone.clone(),
        memory: Err(Absent::Ended),
        cpu: Cpu {
            total: time.clone(),
            guest: time.clone(),
            vmm: time.clone(),
            unsplit: time.clone(),
            io_direct: time.clone(),
            io_shared: time.clone(),
        },
        guest_system: time.clone(),
        guest_programs: time.clone(),
        ready: time.clone(),
        steal: time.clone(),
        net: Err(Absent::Ended),
        disk: DiskCounters {
            reads: Err(Absent::Ended),
            writes: Err(Absent::Ended),
            read_bytes: Err(Absent::Ended),
            write_bytes: Err(Absent::Ended),
        },
        exits: Err(Absent::Ended),
        halt_poll: time.clone(),
        cpupool: gone,
        vcpu_rows: Vec::new(),
        backends: Vec::new(),
        operations: Vec::new(),
    }
}
