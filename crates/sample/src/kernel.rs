//! The kernel's side: perf_event_open(2), its ioctls, and the rings that it writes.
#![allow(unsafe_code, reason = "no library maps rings")]

use perf_event_open_sys::bindings::{perf_event_attr, perf_event_mmap_page};
use perf_event_open_sys::{ioctls, perf_event_open};
use rustix::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// PERF_FLAG_FD_CLOEXEC.
const CLOEXEC: u64 = 8;

/// Opens an event of a process (-1 is all, 0 this thread) on a CPU, or wherever that thread runs.
///
/// # Errors
/// As perf_event_open(2).
pub(crate) fn open(attr: &perf_event_attr, pid: i32, cpu: Option<u32>) -> io::Result<OwnedFd> {
    let mut attr = *attr;
    let cpu = cpu.map_or(Ok(-1), i32::try_from).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: `attr` is a whole perf_event_attr with its size in it; the kernel reads it, and
    // writes to it at most its size.
    let fd = unsafe { perf_event_open(&raw mut attr, pid, cpu, -1, CLOEXEC as _) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel gave this descriptor just now, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn checked(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets an event count, or stops it.
pub(crate) fn enable(event: &OwnedFd, on: bool) -> io::Result<()> {
    let fd = event.as_raw_fd();
    // SAFETY: the descriptor is open, and these ioctls take a number.
    checked(unsafe { if on { ioctls::ENABLE(fd, 0) } else { ioctls::DISABLE(fd, 0) } })
}

/// Lets an event write into another one's ring.
pub(crate) fn write_to(event: &OwnedFd, ring: &OwnedFd) -> io::Result<()> {
    // SAFETY: both descriptors are open, and the ioctl takes a number.
    checked(unsafe { ioctls::SET_OUTPUT(event.as_raw_fd(), ring.as_raw_fd()) })
}

/// The number that the kernel's records name an event by.
pub(crate) fn id(event: &OwnedFd) -> io::Result<u64> {
    let mut id = 0;
    // SAFETY: the descriptor is open, and the kernel writes one u64 to where `id` is.
    checked(unsafe { ioctls::ID(event.as_raw_fd(), &raw mut id) })?;
    Ok(id)
}

/// The CPU's time stamp counter, once all before it is done; none where a CPU has none.
pub(crate) fn counter() -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm_lfence, _rdtsc};
        // SAFETY: every CPU of x86-64 has these instructions, which read and order, and nothing else.
        let counter = unsafe {
            _mm_lfence();
            let counter = _rdtsc();
            _mm_lfence();
            counter
        };
        Some(counter)
    }
    #[cfg(not(target_arch = "x86_64"))]
    None
}

/// A ring that the kernel writes and this process reads.
#[derive(Debug)]
pub(crate) struct Ring {
    page: NonNull<perf_event_mmap_page>,
    data: NonNull<u8>,
    /// Bytes of data, a power of two.
    size: usize,
    /// Of the whole mapping.
    length: usize,
}

// SAFETY: the mapping belongs to this value alone; the kernel does not care which thread reads it.
unsafe impl Send for Ring {}

impl Ring {
    /// Maps the ring of an event: `size` bytes of data, a power of two and at least a page.
    ///
    /// # Errors
    /// As mmap(2): EPERM is the limit of locked memory.
    pub(crate) fn map(event: &impl AsFd, size: usize) -> io::Result<Self> {
        let page = rustix::param::page_size();
        if !size.is_power_of_two() || size < page {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let length = page + size;
        let flags = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a new mapping at an address that the kernel chooses takes nobody's memory.
        let base = unsafe { mmap(std::ptr::null_mut(), length, flags.0, flags.1, event, 0) }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: the mapping has a page more than `size`.
        let data = unsafe { base.add(page) };
        Ok(Self { page: base.cast(), data, size, length })
    }

    /// data_head, or data_tail.
    fn place(&self, tail: bool) -> &AtomicU64 {
        // SAFETY: the page is mapped as long as `self` lives; both fields are aligned u64s that the
        // kernel and this process change only as wholes.
        unsafe {
            let page = self.page.as_ptr();
            let field = if tail { &raw mut (*page).data_tail } else { &raw mut (*page).data_head };
            AtomicU64::from_ptr(field)
        }
    }

    /// Gives what was written since the last time, whole records, in two pieces where it goes over
    /// the ring's end, and then makes room of it.
    ///
    /// # Errors
    /// That of `take`; the bytes are given again then.
    pub(crate) fn drain(
        &mut self,
        take: impl FnOnce(&[u8], &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let tail = self.place(true).load(Ordering::Relaxed);
        let head = self.place(false).load(Ordering::Acquire);
        let count = usize::try_from(head.wrapping_sub(tail)).unwrap_or(usize::MAX);
        if count == 0 {
            return Ok(());
        }
        if count > self.size {
            return Err(io::Error::other("the kernel wrote more than the ring holds"));
        }
        let from = (tail as usize) & (self.size - 1);
        let first = count.min(self.size - from);
        // SAFETY: both pieces lie in the mapping, and the kernel writes nothing between tail and
        // head before the tail is moved.
        let (first, second) = unsafe {
            (
                std::slice::from_raw_parts(self.data.as_ptr().add(from), first),
                std::slice::from_raw_parts(self.data.as_ptr(), count - first),
            )
        };
        take(first, second)?;
        self.place(true).store(head, Ordering::Release);
        Ok(())
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing borrows from it any more. Where it
        // cannot be unmapped, memory is lost and nothing else.
        let _ = unsafe { munmap(self.page.as_ptr().cast(), self.length) };
    }
}
