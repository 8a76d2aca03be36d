//! Programs that run, fork, end, are waited for or not, in the host, in VMs and in groups, on a
//! simulated kernel that counts as Linux does: every part is what they really used.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod hosts;

use account::{Usage, usage};
use hosts::*;
use model::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const MS: u64 = 1_000_000;
/// Of the groups that the simulated host has.
const GROUPS: usize = 2;
const VMS: usize = 2;

/// Whose a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Whose {
    Host,
    Vm(usize),
    Group(usize),
}

#[derive(Debug, Clone)]
struct Program {
    parent: u32,
    whose: Whose,
    /// Ignores SIGCHLD: the time of its children goes nowhere.
    ignores: bool,
    cpu: u64,
    children: u64,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// The how-manieth program alive runs so many ms.
    Run(usize, u64),
    Fork(usize, bool),
    End(usize),
    /// Interrupt work of so many ms, for packets of the VMs and groups.
    Interrupts(u64),
}

/// The kernel's counters, and the truth.
#[derive(Debug, Clone)]
struct Kernel {
    programs: BTreeMap<u32, Program>,
    next: u32,
    groups: [u64; GROUPS],
    all: u64,
    busy: u64,
    interrupts: u64,
    packets: u64,
    truth: BTreeMap<Whose, u64>,
}

impl Kernel {
    /// Process 1, two VMs and a program in each of two groups.
    fn new() -> Self {
        let whose = [Whose::Host, Whose::Vm(0), Whose::Vm(1), Whose::Group(0), Whose::Group(1)];
        let program = |whose| Program { parent: 1, whose, ignores: false, cpu: 0, children: 0 };
        Self {
            programs: (1..).zip(whose.map(program)).collect(),
            next: 6,
            groups: [0; GROUPS],
            all: 0,
            busy: 0,
            interrupts: 0,
            packets: 0,
            truth: BTreeMap::new(),
        }
    }

    fn pick(&self, which: usize) -> u32 {
        *self.programs.keys().nth(which % self.programs.len()).unwrap()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Run(which, time) => self.run(self.pick(which), time * MS),
            Step::Fork(which, ignores) => self.fork(self.pick(which), ignores),
            Step::End(which) => self.end(self.pick(which)),
            Step::Interrupts(time) => {
                self.interrupts += time * MS;
                self.busy += time * MS;
                self.packets += 1000;
            }
        }
    }

    fn run(&mut self, pid: u32, time: u64) {
        let program = self.programs.get_mut(&pid).unwrap();
        program.cpu += time;
        if let Whose::Group(group) = program.whose {
            self.groups[group] += time;
        }
        *self.truth.entry(program.whose).or_default() += time;
        self.all += time;
        self.busy += time;
    }

    /// What a VMM forks is the host's.
    fn fork(&mut self, parent: u32, ignores: bool) {
        let whose = match self.programs[&parent].whose {
            Whose::Vm(_) => Whose::Host,
            whose => whose,
        };
        let child = Program { parent, whose, ignores, cpu: 0, children: 0 };
        self.programs.insert(self.next, child);
        self.next += 1;
    }

    /// The VMs' own and the first programs of groups stay.
    fn end(&mut self, pid: u32) {
        if pid <= 5 {
            return;
        }
        let gone = self.programs.remove(&pid).unwrap();
        if let Some(parent) = self.programs.get_mut(&gone.parent)
            && !parent.ignores
        {
            parent.children += gone.cpu + gone.children;
        }
        for program in self.programs.values_mut().filter(|it| it.parent == pid) {
            program.parent = 1;
        }
    }

    /// What vmeter reads of it, `sums_up` whether the kernel has a sum of all tasks.
    fn snapshot(&self, second: u64, sums_up: bool) -> Snapshot {
        let mut host = later(&kvm(), second);
        busy(&mut host, Nanos(self.busy));
        let counted = |mut vm: Vm, cpu: u64| {
            vm.cpu = Ok(Nanos(cpu));
            vm.vcpus = Ok(vec![vcpu(&vm.id, cpu / 2)]);
            vm.window = host.window;
            packets(&mut vm, self.packets, 0);
            vm
        };
        host.vms = (0..VMS)
            .map(|n| {
                let pid = 2 + n as u32;
                let vm = vm(VmId::Process(task(pid)), &format!("vm{n}"), Platform::Tcg);
                counted(vm, self.programs[&pid].cpu)
            })
            .chain((0..GROUPS).map(|n| {
                let id = VmId::Cgroup { path: format!("/box/{n}"), inode: n as u64 };
                counted(vm(id, &format!("group{n}"), Platform::Cgroup), self.groups[n])
            }))
            .collect();
        let driver = &mut host.drivers[0];
        driver.load = Ok(LoadKinds { net_rx: self.packets, ..LoadKinds::default() });
        driver.interrupts = Ok(Nanos(self.interrupts));
        let tasks = driver.tasks.as_mut().unwrap();
        if sums_up {
            tasks.all = Ok(Nanos(self.all));
        }
        for (pid, program) in &self.programs {
            let member_of = match program.whose {
                Whose::Vm(_) => continue,
                Whose::Group(group) => Some((VMS + group) as u32),
                Whose::Host => None,
            };
            let row = process(*pid, program.cpu, program.children);
            tasks.processes.push(Process { member_of, ..row });
        }
        host
    }
}

fn vcpu(id: &VmId, cpu: u64) -> Vcpu {
    let pid = if let VmId::Process(task) = id { task.pid } else { 0 };
    Vcpu {
        id: 0,
        state: State::Running,
        task: Some(task(1000 + pid)),
        cpu: Ok(Nanos(cpu)),
        guest: Err(Absent::Appeared),
        ready: Ok(Nanos(0)),
        affinity: Ok(Affinity("0-3".into())),
    }
}

fn steps(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (any::<usize>(), 1..60_u64).prop_map(|(which, time)| Step::Run(which, time)),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(which, ignores)| Step::Fork(which, ignores)),
        2 => any::<usize>().prop_map(Step::End),
        1 => (1..40_u64).prop_map(Step::Interrupts),
    ];
    proptest::collection::vec(step, length)
}

/// The row's time without what was shared out, in ns.
fn alone(usage: &Usage, name: &str) -> u64 {
    let row = usage.vms.iter().find(|vm| vm.name == name).unwrap();
    (row.cpu.total.clone().unwrap().0) - row.cpu.io_shared.clone().unwrap().0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_part_is_what_its_programs_used(
        before in steps(0..60), inside in steps(0..60), sums_up in any::<bool>()
    ) {
        let mut kernel = Kernel::new();
        before.into_iter().for_each(|step| kernel.step(step));
        let from = kernel.snapshot(10, sums_up);
        let start = kernel.clone();
        inside.into_iter().for_each(|step| kernel.step(step));
        let to = kernel.snapshot(20, sums_up);
        let usage = usage(&from, &to).unwrap();

        let used = |whose: Whose| {
            let of = |kernel: &Kernel| kernel.truth.get(&whose).copied().unwrap_or(0);
            of(&kernel) - of(&start)
        };
        for n in 0..VMS {
            prop_assert_eq!(alone(&usage, &format!("vm{n}")), used(Whose::Vm(n)));
        }
        for n in 0..GROUPS {
            prop_assert_eq!(alone(&usage, &format!("group{n}")), used(Whose::Group(n)));
        }
        let interrupts = kernel.interrupts - start.interrupts;
        let shared = usage.drivers[0].shared.clone().unwrap().0;
        let own = usage.drivers[0].own.clone().unwrap().0;
        let left = usage.host.unattributed.clone().unwrap().0;
        if sums_up {
            prop_assert!(shared.abs_diff(interrupts) < 10, "{} {}", shared, interrupts);
            prop_assert!(own.abs_diff(used(Whose::Host)) < 10, "{} {}", own, used(Whose::Host));
            prop_assert!(left < 10, "{}", left);
        } else {
            // What ends unseen is nobody's, and never interrupt work.
            prop_assert!(shared <= interrupts + 10, "{} {}", shared, interrupts);
        }
        prop_assert_eq!(usage.host.conservation_error, Ok(0.0));
    }
}
