//! Hypercalls to the running Xen, by `/dev/xen/privcmd` (Linux `include/uapi/xen/privcmd.h`).
#![allow(unsafe_code)]

use super::abi::{BITMAP_LEN, Interface};
use super::hypercall::{Answer, Call, CallError, Hypervisor};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::ffi::c_void;
use std::io;
use std::os::fd::OwnedFd;

/// Where the device may be: devtmpfs, and what xenfs had before Linux 3.3.
pub(crate) const DEVICES: [&str; 2] = ["/dev/xen/privcmd", "/proc/xen/privcmd"];
/// Memory that cannot fault under Xen, from Linux 4.18 on.
const BUFFER_DEVICE: &str = "/dev/xen/hypercall";
/// `IOCTL_PRIVCMD_HYPERCALL`: `_IOC(_IOC_NONE, 'P', 0, sizeof(struct privcmd_hypercall))`.
const HYPERCALL: Opcode = 0x0030_5000;
const SYSCTL: u64 = 35;
const DOMCTL: u64 = 36;
const VCPU_OP: u64 = 24;
/// The `vcpu_op` that tells how long a vCPU has been in each state.
const GET_RUNSTATE_INFO: u64 = 4;

/// The request stands at the start of the area, the buffer that Xen fills from here on.
const DATA_AT: usize = 4096;
/// Bytes that Xen may fill: 585 domains, 8192 CPUs.
const DATA_LEN: usize = 16 * 4096;
/// Bytes of a `xen_domctl`; a `xen_sysctl` has 136.
const REQUEST_LEN: usize = 144;

/// The running Xen.
pub(crate) struct Privcmd {
    device: OwnedFd,
    area: Area,
    interface: Interface,
    stride: usize,
}

impl Privcmd {
    /// Opens the device and takes memory for the questions.
    ///
    /// # Errors
    /// Of the device, which only root may open, or of the memory.
    pub(crate) fn open() -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let device = rustix::fs::open(DEVICES[0], flags, Mode::empty()).or_else(|first| {
            rustix::fs::open(DEVICES[1], flags, Mode::empty()).map_err(|_| first)
        })?;
        let interface = Interface { sysctl: 0, domctl: 0 };
        Ok(Self { device, area: Area::new()?, interface, stride: 0 })
    }

    /// Asks, with `entries` as the most that a list may hold.
    fn ask_for(&mut self, call: Call, entries: usize) -> Result<Answer<'_>, CallError> {
        let data = self.area.address() + DATA_AT as u64;
        let request = encode(call, self.interface, data, entries);
        let number = match call {
            Call::Clock => VCPU_OP,
            _ if call.is_domctl() => DOMCTL,
            _ => SYSCTL,
        };
        let mut tries = 0;
        loop {
            self.area.bytes_mut()[..REQUEST_LEN].copy_from_slice(&request);
            match self.hypercall(number) {
                Ok(()) => break,
                // Locked memory may be on the move for a moment (compaction, NUMA balancing).
                Err(Errno::FAULT) if tries < 3 => tries += 1,
                Err(error) => return Err(refusal(call, error)),
            }
        }
        let area = self.area.bytes();
        let head = &area[call.head_at()..][..call.head_len()];
        Ok(Answer { head, data: &area[DATA_AT..] })
    }

    /// Makes a sysctl or domctl of the request at the start of the area.
    fn hypercall(&mut self, number: u64) -> Result<(), Errno> {
        let address = self.area.address();
        let arg = match number {
            // The operation, the vCPU, and where the answer goes: 48 bytes.
            VCPU_OP => [GET_RUNSTATE_INFO, 0, address, 0, 0],
            _ => [address, 0, 0, 0, 0],
        };
        let call = Hypercall { op: number, arg };
        // SAFETY: the descriptor is privcmd's; `call` is the `privcmd_hypercall` that this
        // ioctl takes. Xen reads and writes the request (or answer) at the area's start and
        // the buffer that the request points to. Both lie in `area`, which is mapped, writable and not borrowed
        // (`&mut self`) while the call runs; `encode` told Xen no more room than DATA_LEN.
        unsafe { ioctl(&self.device, call) }
    }
}

/// What an error number means.
fn refusal(call: Call, error: Errno) -> CallError {
    match error {
        Errno::ACCESS => CallError::OtherVersion(call.name()),
        // getvcpuinfo tells ENOENT for a vCPU and ESRCH for a domain that is not there.
        Errno::SRCH | Errno::NOENT if call.is_domctl() => CallError::Gone(call.name()),
        // Xen says the same of an affinity that names no CPU of the domain's pool.
        Errno::INVAL if call.is_domctl() && !matches!(call, Call::SetAffinity { .. }) => {
            CallError::Gone(call.name())
        }
        error => CallError::Refused { name: call.name(), error: error.into() },
    }
}

impl Hypervisor for Privcmd {
    fn ask(&mut self, call: Call) -> Result<Answer<'_>, CallError> {
        let entries = match call {
            Call::Domains { .. } => DATA_LEN.checked_div(self.stride).unwrap_or(0),
            Call::Idle => DATA_LEN / 8,
            _ => 0,
        };
        if let Call::Affinity { .. } = call {
            self.area.bytes_mut()[DATA_AT..][..BITMAP_LEN].fill(0);
        }
        self.ask_for(call, entries)
    }

    fn set_affinity(&mut self, domain: u16, vcpu: u32, bitmap: &[u8]) -> Result<(), CallError> {
        let room = &mut self.area.bytes_mut()[DATA_AT..][..BITMAP_LEN];
        room.fill(0);
        for (to, from) in room.iter_mut().zip(bitmap) {
            *to = *from;
        }
        self.ask_for(Call::SetAffinity { domain, vcpu }, 0).map(|_| ())
    }

    fn speak(&mut self, interface: Interface, stride: usize) {
        (self.interface, self.stride) = (interface, stride);
    }

    /// Has Xen write one entry over two kinds of poison: where either was overwritten the
    /// entry lies, so that no value of its last byte can hide it.
    fn measure_stride(&mut self) -> Result<usize, CallError> {
        let mut stride = 0;
        for poison in [0xa5, 0x5a] {
            self.area.bytes_mut()[DATA_AT..][..LONGEST_ENTRY].fill(poison);
            let answer = self.ask_for(Call::Domains { first: 0 }, 1)?;
            let last = answer.data[..LONGEST_ENTRY].iter().rposition(|byte| *byte != poison);
            stride = stride.max(last.map_or(0, |last| last + 1));
        }
        Ok(stride)
    }
}

/// Bytes that one entry of the domain list is looked for in.
const LONGEST_ENTRY: usize = 1024;

/// The request's bytes (`xen_sysctl` or `xen_domctl`), the buffer being at `data`.
fn encode(call: Call, interface: Interface, data: u64, entries: usize) -> [u8; REQUEST_LEN] {
    let mut request = [0; REQUEST_LEN];
    let mut put = |at: usize, field: &[u8]| request[at..][..field.len()].copy_from_slice(field);
    let (command, version): (u32, u32) = match call {
        Call::Physical => (3, interface.sysctl),
        Call::Domains { .. } => (6, interface.sysctl),
        Call::Idle => (8, interface.sysctl),
        Call::Vcpu { .. } => (14, interface.domctl),
        Call::Affinity { .. } => (25, interface.domctl),
        Call::SetAffinity { .. } => (9, interface.domctl),
        Call::Clock => return request,
    };
    let head = call.head_at();
    let entries = u32::try_from(entries).unwrap_or(u32::MAX).to_le_bytes();
    put(0, &command.to_le_bytes());
    put(4, &version.to_le_bytes());
    match call {
        Call::Physical | Call::Clock => {}
        Call::Domains { first } => {
            put(head, &first.to_le_bytes());
            put(head + 4, &entries);
            put(head + 8, &data.to_le_bytes());
        }
        Call::Idle => {
            put(head, &entries);
            put(head + 8, &data.to_le_bytes());
        }
        Call::Vcpu { domain, vcpu } => {
            put(8, &domain.to_le_bytes());
            put(head, &vcpu.to_le_bytes());
        }
        Call::Affinity { domain, vcpu } | Call::SetAffinity { domain, vcpu } => {
            put(8, &domain.to_le_bytes());
            put(head, &vcpu.to_le_bytes());
            put(head + 4, &1_u32.to_le_bytes());
            put(head + 8, &data.to_le_bytes());
            put(head + 16, &(BITMAP_LEN as u32 * 8).to_le_bytes());
        }
    }
    request
}

/// `struct privcmd_hypercall`.
#[repr(C)]
struct Hypercall {
    op: u64,
    arg: [u64; 5],
}

// SAFETY: the opcode is IOCTL_PRIVCMD_HYPERCALL, whose argument is a pointer to this struct;
// it yields Xen's return value, and what it writes goes through pointers in `arg`.
unsafe impl Ioctl for Hypercall {
    type Output = ();
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        HYPERCALL
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::from_mut(self).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// Memory that Xen can write into: it must never fault, since Xen cannot wait for a page.
struct Area {
    start: *mut c_void,
}

// SAFETY: the mapping belongs to this value alone and to no thread.
unsafe impl Send for Area {}

impl Area {
    const LEN: usize = DATA_AT + DATA_LEN;

    /// From the kernel's own device for it, else locked, pre-touched and kept out of forks
    /// (a fork would make the pages copy-on-write).
    fn new() -> io::Result<Self> {
        let (access, none) = (ProtFlags::READ | ProtFlags::WRITE, std::ptr::null_mut());
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        if let Ok(device) = rustix::fs::open(BUFFER_DEVICE, flags, Mode::empty()) {
            // SAFETY: a new mapping at an address of the kernel's choice aliases nothing; it
            // outlives the descriptor.
            let start =
                unsafe { rustix::mm::mmap(none, Self::LEN, access, MapFlags::SHARED, &device, 0) };
            if let Ok(start) = start {
                return Ok(Self { start });
            }
        }
        // SAFETY: as above.
        let start =
            unsafe { rustix::mm::mmap_anonymous(none, Self::LEN, access, MapFlags::PRIVATE)? };
        let mut area = Self { start };
        // SAFETY: the range is the mapping just made.
        unsafe {
            rustix::mm::madvise(start, Self::LEN, Advice::LinuxDontFork)?;
            rustix::mm::mlock(start, Self::LEN)?;
        }
        area.bytes_mut().fill(0);
        Ok(area)
    }

    fn address(&self) -> u64 {
        self.start.addr() as u64
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is LEN bytes, readable, zeroed by the kernel, alive as long as
        // self; Xen writes to it only under `&mut` (see `Privcmd::hypercall`).
        unsafe { std::slice::from_raw_parts(self.start.cast(), Self::LEN) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` makes the borrow the only one.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast(), Self::LEN) }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length and nothing borrows it.
        // A failure could only leave it mapped.
        let _ = unsafe { rustix::mm::munmap(self.start, Self::LEN) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_layout_of_xens_headers() {
        let xen = Interface { sysctl: 0x15, domctl: 0x17 };
        let list = encode(Call::Domains { first: 7 }, xen, 0x1122_3344_5566_7788, 585);
        assert_eq!(list[..8], [6, 0, 0, 0, 0x15, 0, 0, 0]);
        assert_eq!(list[8..16], [7, 0, 0, 0, 0x49, 2, 0, 0]);
        assert_eq!(list[16..24], 0x1122_3344_5566_7788_u64.to_le_bytes());
        let vcpu = encode(Call::Vcpu { domain: 0x201, vcpu: 3 }, xen, 0, 0);
        assert_eq!(vcpu[..12], [14, 0, 0, 0, 0x17, 0, 0, 0, 1, 2, 0, 0]);
        assert_eq!(vcpu[16..20], [3, 0, 0, 0]);
        let affinity = encode(Call::Affinity { domain: 1, vcpu: 0 }, xen, 0xff, 0);
        let set = encode(Call::SetAffinity { domain: 1, vcpu: 0 }, xen, 0xff, 0);
        assert_eq!((set[0], &set[1..]), (9, &affinity[1..]));
        assert_eq!(affinity[20..36], [1, 0, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0]);
    }

    #[test]
    fn locked_memory_can_be_written() {
        let mut area = Area::new().expect("68 KiB of memory");
        area.bytes_mut()[Area::LEN - 1] = 7;
        assert_eq!(area.bytes()[Area::LEN - 1], 7);
    }
}
