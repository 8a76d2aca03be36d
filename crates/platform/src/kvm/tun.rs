//! The network namespace of the device behind a tun descriptor of another process, which only the
//! descriptor itself can tell: `/proc/PID/fdinfo` has the device's name alone.
#![allow(unsafe_code)]

use rustix::fs::{fstat, major, minor};
use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::ffi::c_void;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// The device `/dev/net/tun`, major and minor (Linux `include/uapi/linux/major.h` and
/// `miscdevice.h`).
pub(super) const DEVICE: (u32, u32) = (10, 200);
/// `TUNGETDEVNETNS`: `_IO('T', 227)` of Linux `include/uapi/linux/if_tun.h`.
const GET_NAMESPACE: Opcode = 0x54e3;

/// A request for the namespace of a tun descriptor's device.
struct Namespace;

// SAFETY: the request has no argument, and returns a new descriptor, which nobody else owns.
unsafe impl Ioctl for Namespace {
    type Output = OwnedFd;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        GET_NAMESPACE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> rustix::io::Result<OwnedFd> {
        // SAFETY: the call succeeded, so `out` is the new descriptor.
        Ok(unsafe { OwnedFd::from_raw_fd(out) })
    }
}

/// The inode number of the network namespace (`net:[…]` in `/proc/PID/ns/net`) in which the device
/// is that a descriptor of a process holds.
///
/// # Errors
/// As pidfd_getfd(2) (Linux 5.6, CAP_SYS_PTRACE) and `TUNGETDEVNETNS` (Linux 5.2, CAP_NET_ADMIN); where
/// the descriptor is not of `/dev/net/tun`.
pub(super) fn namespace(pid: u32, descriptor: u32) -> io::Result<u64> {
    let number = |number: u32| i32::try_from(number).map_err(|_| Errno::INVAL);
    let pid = Pid::from_raw(number(pid)?).ok_or(Errno::INVAL)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let copy = pidfd_getfd(process, number(descriptor)?, PidfdGetfdFlags::empty())?;
    let found = fstat(&copy)?.st_rdev;
    if (major(found), minor(found)) != DEVICE {
        return Err(Errno::NODEV.into());
    }
    // SAFETY: it is a tun descriptor, of which the request only reads.
    let namespace = unsafe { ioctl(&copy, Namespace) }?;
    Ok(fstat(namespace)?.st_ino)
}
