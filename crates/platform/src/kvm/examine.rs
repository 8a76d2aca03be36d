//! Whether a process is a VMM, and what its threads do.

use super::command::Command;
use super::devices::{OpenFiles, open_files};
use super::threads::{Role, Vmm, role, vcpu};
use crate::host::{ProcessStat, Task, Tree, fields, parse_number, text};
use model::{Platform, Reading, TaskId};
use tracing::debug;

/// The vCPU threads are among the first that a VMM starts.
const MOST_THREADS: usize = 4096;
/// Files are looked into only of processes with so few threads, unless names tell.
const MOST_UNKNOWN: u32 = 256;
/// SIGUSR1 in the mask of /proc/PID/status: QEMU's KVM vCPU threads alone do not block it.
const SIGUSR1: u64 = 1 << 9;

/// A thread of a VMM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Thread {
    pub id: TaskId,
    pub name: String,
    pub role: Role,
}

/// What an examination found.
#[derive(Debug)]
pub(super) struct Found {
    pub vmm: Vmm,
    pub platform: Platform,
    pub name: String,
    /// vCPUs that QEMU's command line asks for.
    pub asked_vcpus: Option<u32>,
    /// Whether a halted vCPU waits in the VMM, not in KVM.
    pub halts_in_vmm: bool,
    /// All threads, in the order of their start.
    pub threads: Vec<Thread>,
    pub files: Reading<OpenFiles>,
}

impl Found {
    fn give(&mut self, thread: usize, role: Role) {
        if let Some(thread) = self.threads.get_mut(thread) {
            thread.role = role;
        }
    }
}

/// Examines a process; `None` where it is no VMM (or has ended). `known` are threads whose
/// work is known from before.
pub(super) fn examine(tree: &Tree, task: &Task, known: &[Thread]) -> Option<Found> {
    let pid = task.id.pid;
    let not_a_vm = |why: &str| {
        debug!(pid, name = ?task.name, "not a VM: {why}");
        None
    };
    // Every VMM has a thread for itself besides those of its vCPUs.
    if task.kernel || task.threads < 2 {
        return not_a_vm("it has one thread");
    }
    let mut threads = threads(tree, pid);
    let named = threads.iter().find_map(|thread| vcpu(thread.name.as_bytes()));
    let mut line = Vec::new();
    let command =
        Command(tree.read_claim(&format!("/proc/{pid}/cmdline"), &mut line).unwrap_or_default());
    let is_qemu = command.is_qemu();
    if named.is_none() && !is_qemu && task.threads > MOST_UNKNOWN {
        return not_a_vm("no thread is named as a vCPU, and it has too many to look at its files");
    }
    if is_qemu && command.is_probe() {
        return not_a_vm("QEMU without a machine, as libvirt starts to ask what it can do");
    }
    let files = open_files(tree, pid);
    let has_vm = files.as_ref().ok().map(|files| files.vm);
    let (vmm, platform) = match named {
        // Any user can name threads so; KVM gives those that run its VMs a file.
        Some((_, Platform::Kvm, _)) if has_vm == Some(false) && is_ordinary_users(tree, pid) => {
            return not_a_vm("a user's process with threads named as vCPUs, without a file of KVM");
        }
        Some((vmm, platform, _)) => (vmm, platform),
        None if is_qemu => (Vmm::Qemu, command.accelerator(has_vm).unwrap_or(Platform::Other)),
        None if has_vm == Some(true) => (Vmm::Other, Platform::Kvm),
        None => return not_a_vm("no thread is named as a vCPU, and it has no file of KVM"),
    };
    let asked_vcpus = if is_qemu { command.vcpus() } else { None };
    for thread in &mut threads {
        let comm = thread.name.as_bytes();
        let before = known.iter().find(|known| known.id == thread.id);
        thread.role = match (vcpu(comm), before) {
            (Some((.., role)), _) => role,
            (None, Some(before)) if before.role.is_vcpu() => before.role,
            _ => role(vmm, comm, thread.id.pid == pid),
        };
    }
    let mut found = Found {
        vmm,
        platform,
        name: command.name(vmm).unwrap_or_else(|| pid.to_string()),
        asked_vcpus,
        halts_in_vmm: platform != Platform::Kvm || is_qemu && command.halts_in_qemu(),
        threads,
        files,
    };
    if !found.threads.iter().any(|thread| thread.role.is_vcpu()) {
        name_vcpus(tree, pid, &mut found, command.iothreads());
    }
    debug!(
        pid,
        name = ?found.name,
        vmm = ?found.vmm,
        platform = %found.platform,
        by = if named.is_some() { "threads' names" } else { "command line or files" },
        kvm_file = ?has_vm,
        "a VM"
    );
    Some(found)
}

/// The lowest number of an account that a person has (`UID_MIN` of login.defs); root's and services',
/// such as `libvirt-qemu`, are below.
const FIRST_USER: u64 = 1000;

/// Whether a process acts for an ordinary account: no host's manager of VMs does.
fn is_ordinary_users(tree: &Tree, pid: u32) -> bool {
    let mut buffer = Vec::new();
    let status = tree.read(&format!("/proc/{pid}/status"), &mut buffer);
    // Real, effective, saved and file system's. The owner of /proc/PID is no evidence: it is root
    // for any process that may not be dumped.
    let user = status.ok().and_then(|status| fields(status_line(status, b"Uid:")?).nth(1));
    user.and_then(parse_number).is_some_and(|user| user >= FIRST_USER)
}

/// All threads that there are, their roles not yet known.
fn threads(tree: &Tree, pid: u32) -> Vec<Thread> {
    let (mut tids, mut buffer) = (Vec::new(), Vec::new());
    // Gone meanwhile: no threads.
    let _ = tree.list_numbers(&format!("/proc/{pid}/task"), &mut tids);
    let mut threads: Vec<Thread> = tids
        .into_iter()
        .take(MOST_THREADS)
        .filter_map(|tid| {
            let path = format!("/proc/{pid}/task/{tid}/stat");
            let stat = ProcessStat::parse(tree.read_line(&path, &mut buffer).ok()?)?;
            let id = TaskId { pid: tid, start: stat.start };
            Some(Thread { id, name: text(stat.comm), role: Role::Vmm })
        })
        .collect();
    threads.sort_by_key(|thread| (thread.id.start, thread.id.pid));
    threads
}

/// Finds the vCPU threads of a VMM that does not name its threads.
///
/// Under KVM they are those that have executed a guest, or that wait for QEMU's signal; where
/// there is one, the VM is KVM's, whatever the command line leaves open. TCG has no such mark;
/// but QEMU starts its threads in a fixed order (main, RCU, iothreads, vCPUs), so where there
/// are exactly as many as that needs, the last ones are the vCPUs.
fn name_vcpus(tree: &Tree, pid: u32, found: &mut Found, iothreads: usize) {
    let candidate = |&at: &usize| {
        let thread = found.threads.get(at);
        thread.is_some_and(|thread| thread.role == Role::Vmm && thread.id.pid != pid)
    };
    let candidates: Vec<usize> = (0..found.threads.len()).filter(candidate).collect();
    let runs = |&at: &usize| {
        let thread = found.threads.get(at);
        thread.is_some_and(|thread| runs_guest(tree, pid, thread.id.pid, found.vmm))
    };
    let running: Vec<usize> = candidates.iter().copied().filter(runs).collect();
    if !running.is_empty() {
        if found.platform != Platform::Kvm {
            (found.platform, found.halts_in_vmm) = (Platform::Kvm, false);
        }
        (0_u32..).zip(running).for_each(|(number, at)| found.give(at, Role::Vcpu(number)));
    } else if found.platform == Platform::Tcg {
        name_emulated(found, &candidates, iothreads);
    }
}

/// The vCPUs of TCG among `candidates`, threads in the order of their start.
fn name_emulated(found: &mut Found, candidates: &[usize], iothreads: usize) {
    let others = 1 + iothreads;
    let vcpus = candidates.get(others..).unwrap_or_default();
    let asked = found.asked_vcpus.and_then(|asked| usize::try_from(asked).ok());
    let single = vcpus.len() == 1 && asked != Some(1);
    if !single && asked != Some(vcpus.len()) {
        return;
    }
    for (number, &at) in (0_u32..).zip(vcpus) {
        found.give(at, if single { Role::AllVcpus } else { Role::Vcpu(number) });
    }
    // The iothreads stand between the RCU thread and the vCPUs.
    for &at in candidates.get(1..others).unwrap_or_default() {
        found.give(at, Role::Io);
    }
}

fn runs_guest(tree: &Tree, pid: u32, tid: u32, vmm: Vmm) -> bool {
    let mut buffer = Vec::new();
    let stat = tree.read_line(&format!("/proc/{pid}/task/{tid}/stat"), &mut buffer);
    let guest = stat.ok().and_then(|bytes| ProcessStat::parse(bytes)?.guest);
    if guest.is_some_and(|guest| guest > 0) || vmm != Vmm::Qemu {
        return guest.is_some_and(|guest| guest > 0);
    }
    let status = tree.read(&format!("/proc/{pid}/task/{tid}/status"), &mut buffer);
    status.ok().and_then(parse_blocked).is_some_and(|blocked| blocked & SIGUSR1 == 0)
}

/// The line `SigBlk:\t0000000010002240` of a thread's status.
fn parse_blocked(status: &[u8]) -> Option<u64> {
    let mask = status_line(status, b"SigBlk:")?;
    u64::from_str_radix(std::str::from_utf8(mask).ok()?, 16).ok()
}

/// The value of a line of /proc/PID/status.
pub(super) fn status_line<'a>(status: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    crate::host::lines(status).find_map(|line| line.strip_prefix(key)).map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostile::survives;

    const STATUS: &[u8] =
        b"Name:\tCPU 0/KVM\nSigBlk:\tfffffffe7ffbfa27\nCpus_allowed_list:\t0-1,3\n";

    #[test]
    fn a_status_line_is_found() {
        assert_eq!(status_line(STATUS, b"Cpus_allowed_list:"), Some(&b"0-1,3"[..]));
        assert_eq!(parse_blocked(STATUS), Some(0xffff_fffe_7ffb_fa27));
    }

    #[test]
    fn hostile_input() {
        survives(STATUS, |bytes| {
            let _ = parse_blocked(bytes);
        });
    }
}
