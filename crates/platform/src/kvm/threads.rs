//! What a VMM's thread is for, by its name.

use crate::host::parse_number;
use model::Platform;

/// The program that a VM runs by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vmm {
    Qemu,
    Firecracker,
    CloudHypervisor,
    Crosvm,
    /// Holds a `kvm-vm` file and is none of the above.
    Other,
}

/// What a thread of a VMM does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Runs the vCPU of that number.
    Vcpu(u32),
    /// Runs all vCPUs in turn (TCG without threads).
    AllVcpus,
    /// Does I/O for the guest.
    Io,
    /// Anything else.
    Vmm,
}

impl Role {
    pub(super) fn is_vcpu(self) -> bool {
        matches!(self, Self::Vcpu(_) | Self::AllVcpus)
    }
}

/// The vCPU whose thread has this name. QEMU gives the names with `-name …,debug-threads=on`,
/// the other VMMs always.
pub(super) fn vcpu(comm: &[u8]) -> Option<(Vmm, Platform, Role)> {
    let numbered = |number: &[u8]| parse_number(number).and_then(|n| u32::try_from(n).ok());
    if comm == b"ALL CPUs/TCG" {
        return Some((Vmm::Qemu, Platform::Tcg, Role::AllVcpus));
    }
    if let Some(rest) = comm.strip_prefix(b"CPU ") {
        let slash = rest.iter().position(|byte| *byte == b'/')?;
        let (number, accelerator) = rest.split_at_checked(slash)?;
        let role = Role::Vcpu(numbered(number)?);
        // comm holds 15 bytes: of `CPU 1234567/KVM` all, of longer numbers not.
        return match accelerator {
            b"/KVM" => Some((Vmm::Qemu, Platform::Kvm, role)),
            b"/TCG" => Some((Vmm::Qemu, Platform::Tcg, role)),
            b"/" => None,
            // MSHV, DUMMY (Xen's, qtest's), and what is to come; a long name may be cut.
            _ => Some((Vmm::Qemu, Platform::Other, role)),
        };
    }
    let others: [(&[u8], Vmm); 3] = [
        (b"fc_vcpu ", Vmm::Firecracker),
        (b"crosvm_vcpu", Vmm::Crosvm),
        (b"vcpu", Vmm::CloudHypervisor),
    ];
    others.into_iter().find_map(|(prefix, vmm)| {
        let number = numbered(comm.strip_prefix(prefix)?)?;
        Some((vmm, Platform::Kvm, Role::Vcpu(number)))
    })
}

/// Threads of the libraries by which QEMU reaches disks over a network: Ceph's librados and
/// librbd, Gluster's gfapi, and QEMU's own of NBD. Ceph's `log`, `service` and `admin_socket`
/// do no I/O for the guest.
const OF_LIBRARIES: [&[u8]; 12] = [
    b"msgr-worker-",
    b"io_context_pool",
    b"tp_librbd",
    b"taskfin_librbd",
    b"fn_librbd",
    b"fn_anonymous",
    b"fn-radosclient",
    b"ms_dispatch",
    b"ms_local",
    b"safe_timer",
    b"ceph_timer",
    b"glfs_",
];

/// What a thread of a VMM that runs no vCPU is for. `main` marks the process's first thread.
pub(super) fn role(vmm: Vmm, comm: &[u8], main: bool) -> Role {
    // The kernel names these itself, in any VMM: vhost's workers (Linux 6.4 to date) and
    // those of io_uring.
    let of_kernel: [&[u8]; 3] = [b"vhost-", b"iou-wrk-", b"iou-sqp-"];
    let starts = |prefixes: &[&[u8]]| prefixes.iter().any(|prefix| comm.starts_with(prefix));
    let io = starts(&of_kernel)
        || match vmm {
            // `IO NAME` is an -object iothread (libvirt's monitor has one, too), `worker` one of
            // the pool that does file I/O.
            Vmm::Qemu => {
                matches!(comm, b"worker" | b"nbd-connect")
                    || starts(&OF_LIBRARIES)
                    || starts(&[b"IO "]) && !comm.starts_with(b"IO mon_")
            }
            // Its first thread is the event loop in which all devices are emulated.
            Vmm::Firecracker => main,
            Vmm::CloudHypervisor => {
                let kinds: [&[u8]; 7] =
                    [b"_disk", b"_net", b"_fs", b"_vsock", b"_pmem", b"_vdpa", b"_user_block"];
                starts(&kinds) || is_queue(comm)
            }
            Vmm::Crosvm => starts(&[
                b"v_block",
                b"v_blk",
                b"v_net",
                b"v_fs",
                b"v_scsi",
                b"v_vsock",
                b"v_pmem",
                b"vhost_",
                b"virtio_blk",
                b"virtio_net",
                b"pcivirtio-",
            ]),
            Vmm::Other => false,
        };
    if io { Role::Io } else { Role::Vmm }
}

/// Cloud Hypervisor names a device's threads after the device: `data_q0`, `uplink_qp1`.
fn is_queue(comm: &[u8]) -> bool {
    let Some(at) = comm.iter().rposition(|byte| *byte == b'_') else { return false };
    let Some(last) = comm.get(at + 1..) else { return false };
    let number = last.strip_prefix(b"qp").or_else(|| last.strip_prefix(b"q"));
    number.is_some_and(|number| parse_number(number).is_some())
}

/// A kernel thread that serves one VM: the thread or process it is named after, and whether
/// its work is I/O.
pub(super) fn kernel_thread(comm: &[u8]) -> Option<(u32, Role)> {
    let names: [(&[u8], Role); 3] = [
        (b"vhost-", Role::Io),
        (b"kvm-pit/", Role::Vmm),
        // Cut to `kvm-nx-lpage-re` before Linux 5.17: then it cannot be told whose it is.
        (b"kvm-nx-lpage-recovery-", Role::Vmm),
    ];
    names.into_iter().find_map(|(prefix, role)| {
        let owner = parse_number(comm.strip_prefix(prefix)?)?;
        Some((u32::try_from(owner).ok()?, role))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostile::survives;

    #[test]
    fn vcpus_are_known_by_their_names() {
        let kvm = |vmm, n| Some((vmm, Platform::Kvm, Role::Vcpu(n)));
        assert_eq!(vcpu(b"CPU 12/KVM"), kvm(Vmm::Qemu, 12));
        assert_eq!(vcpu(b"CPU 0/TCG"), Some((Vmm::Qemu, Platform::Tcg, Role::Vcpu(0))));
        assert_eq!(vcpu(b"ALL CPUs/TCG"), Some((Vmm::Qemu, Platform::Tcg, Role::AllVcpus)));
        assert_eq!(vcpu(b"CPU 0/MSHV"), Some((Vmm::Qemu, Platform::Other, Role::Vcpu(0))));
        assert_eq!(vcpu(b"CPU 3/DUMMY"), Some((Vmm::Qemu, Platform::Other, Role::Vcpu(3))));
        assert_eq!(vcpu(b"fc_vcpu 3"), kvm(Vmm::Firecracker, 3));
        assert_eq!(vcpu(b"vcpu7"), kvm(Vmm::CloudHypervisor, 7));
        assert_eq!(vcpu(b"crosvm_vcpu1"), kvm(Vmm::Crosvm, 1));
        for other in [&b"vcpu"[..], b"vcpux", b"CPU x/KVM", b"CPU 0/", b"fc_api"] {
            assert_eq!(vcpu(other), None);
        }
    }

    #[test]
    fn io_threads_are_known_by_their_names() {
        assert_eq!(role(Vmm::Qemu, b"IO iothread1", false), Role::Io);
        assert_eq!(role(Vmm::Qemu, b"IO mon_iothread", false), Role::Vmm);
        assert_eq!(role(Vmm::Qemu, b"worker", false), Role::Io);
        assert_eq!(role(Vmm::Qemu, b"vhost-4242", false), Role::Io);
        for library in [
            &b"tp_librbd"[..],
            b"msgr-worker-0",
            b"io_context_pool",
            b"taskfin_librbd",
            b"fn-radosclient",
            b"glfs_epoll000",
            b"iou-wrk-4242",
            b"iou-sqp-4242",
            b"nbd-connect",
        ] {
            assert_eq!(role(Vmm::Qemu, library, false), Role::Io, "{library:?}");
        }
        for other in [&b"log"[..], b"admin_socket", b"SPICE Worker", b"vnc_worker", b"call_rcu"] {
            assert_eq!(role(Vmm::Qemu, other, false), Role::Vmm, "{other:?}");
        }
        assert_eq!(role(Vmm::Qemu, b"qemu-system-x86", true), Role::Vmm);
        assert_eq!(role(Vmm::Firecracker, b"firecracker", true), Role::Io);
        assert_eq!(role(Vmm::Firecracker, b"fc_api", false), Role::Vmm);
        assert_eq!(role(Vmm::CloudHypervisor, b"_disk0_q0", false), Role::Io);
        assert_eq!(role(Vmm::CloudHypervisor, b"data_qp1", false), Role::Io);
        assert_eq!(role(Vmm::CloudHypervisor, b"_rng", false), Role::Vmm);
        assert_eq!(role(Vmm::Crosvm, b"v_block", false), Role::Io);
        assert_eq!(kernel_thread(b"vhost-77"), Some((77, Role::Io)));
        assert_eq!(kernel_thread(b"kvm-pit/9"), Some((9, Role::Vmm)));
        assert_eq!(kernel_thread(b"kworker/0:1"), None);
    }

    #[test]
    fn hostile_input() {
        for sample in [&b"CPU 12/KVM"[..], b"uplink_qp1", b"vhost-4242", b"crosvm_vcpu12"] {
            survives(sample, |bytes| {
                let _ = vcpu(bytes);
                let _ = role(Vmm::CloudHypervisor, bytes, false);
                let _ = kernel_thread(bytes);
            });
        }
    }
}
