//! Little-endian fields at an offset, as in records of perf and of Xen: of all machines that vmeter
//! runs on.

/// The two-byte field at `at`; `None` where the bytes end before it does.
#[inline]
#[must_use]
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|field| u16::from_le_bytes(*field))
}

/// The four-byte field at `at`; `None` where the bytes end before it does.
#[inline]
#[must_use]
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|field| u32::from_le_bytes(*field))
}

/// The eight-byte field at `at`; `None` where the bytes end before it does.
#[inline]
#[must_use]
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|field| u64::from_le_bytes(*field))
}
