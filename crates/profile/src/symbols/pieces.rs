//! A file of the host's that is read piece by piece. It is not mapped: whoever owns it could cut it
//! short, and a read of what is not there any more ends the program.

use super::Reason;
use object::read::{ReadCache, ReadRef};
use std::cell::Cell;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;

/// Bytes of a file that are read: two million symbols, and what leads to them.
const MAX_READ: u64 = 96 << 20;
/// The same of a file that has no blocks of its own on the disk, as small ones may.
const MIN_READ: u64 = 1 << 20;
/// Bytes of a block, as stat(2) counts them.
const BLOCK: u64 = 512;

/// A file, and how much of it may still be read.
#[derive(Debug)]
pub(super) struct Pieces {
    cache: ReadCache<File>,
    left: Cell<u64>,
    exceeded: Cell<bool>,
}

impl Pieces {
    /// Of a regular file. Sizes that its headers claim are believed up to twice what it has on the
    /// disk: a sparse file costs its owner nothing.
    pub(super) fn new(file: File) -> std::io::Result<Self> {
        let on_disk = file.metadata()?.blocks().saturating_mul(2 * BLOCK);
        let left = on_disk.clamp(MIN_READ, MAX_READ);
        Ok(Self { cache: ReadCache::new(file), left: Cell::new(left), exceeded: Cell::new(false) })
    }

    /// Why nothing was found, where that is because no more was read.
    pub(super) fn explain(&self, reason: Reason) -> Reason {
        if self.exceeded.get() {
            return Reason::TooLarge("its tables exceed the limit for a file".to_owned());
        }
        reason
    }

    fn spend(&self, bytes: u64) -> Result<(), ()> {
        let left = self.left.get().checked_sub(bytes);
        self.exceeded.set(self.exceeded.get() || left.is_none());
        self.left.set(left.ok_or(())?);
        Ok(())
    }
}

impl<'a> ReadRef<'a> for &'a Pieces {
    fn len(self) -> Result<u64, ()> {
        (&self.cache).len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        if offset.checked_add(size).is_none_or(|end| self.len().is_ok_and(|len| end > len)) {
            return Err(());
        }
        self.spend(size)?;
        self.cache.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        // The cache reads strings of at most 4096 bytes.
        let found = self.cache.read_bytes_at_until(range, delimiter)?;
        self.spend(found.len() as u64)?;
        Ok(found)
    }
}
