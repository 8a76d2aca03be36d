//! Reading: regular files only, at most a number of bytes, and without waiting.

use crate::walk::{self, Links};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Opens a regular file for reading; links to one are followed.
///
/// # Errors
/// As open(2); [`ErrorKind::InvalidInput`] where it is not a regular file.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    reopen(&rustix::fs::open(path, flags, Mode::empty())?)
}

/// Opens a regular file for reading whose name is not a symbolic link.
///
/// # Errors
/// As [`open`]; and where the name is a link.
pub fn open_without_link(path: &Path) -> io::Result<File> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    reopen(&rustix::fs::open(path, flags, Mode::empty())?)
}

/// Opens a regular file below a folder. Links are followed as if the folder were `/`, so that none
/// leads out of it.
///
/// # Errors
/// As [`open`].
pub fn open_within(root: BorrowedFd<'_>, path: &Path) -> io::Result<File> {
    reopen(&place_within(root, path)?)
}

/// The O_PATH descriptor of what a path below a folder leads to; links are followed as by
/// [`open_within`].
///
/// # Errors
/// As open(2).
pub fn place_within(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let place = walk::find(root.try_clone_to_owned()?, path, Links::Within)?;
    place.there.ok_or_else(|| ErrorKind::NotFound.into())
}

/// Opens for reading what an O_PATH descriptor is of. Opening a device or a FIFO by its name could
/// do something or wait; what is behind a descriptor cannot be exchanged any more.
fn reopen(place: &OwnedFd) -> io::Result<File> {
    let kind = type_of(place)?;
    if kind != FileType::RegularFile {
        let problem = format!("is {}, not a regular file", name_of(kind));
        return Err(io::Error::new(ErrorKind::InvalidInput, problem));
    }
    let again = format!("/proc/self/fd/{}", place.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, again, flags, Mode::empty())?.into())
}

/// What a descriptor is of.
///
/// # Errors
/// As fstat(2).
pub fn type_of(fd: impl AsFd) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(fstat(fd)?.st_mode))
}

pub(crate) fn name_of(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a regular file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "of an unknown type",
    }
}

/// A whole regular file of at most `limit` bytes; links to one are followed.
///
/// # Errors
/// As [`open`] and read(2); [`ErrorKind::FileTooLarge`] beyond the limit.
pub fn read(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    whole(open(path)?, limit)
}

/// The same, where the name is not a symbolic link.
///
/// # Errors
/// As [`open_without_link`] and [`read`].
pub fn read_without_link(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    whole(open_without_link(path)?, limit)
}

/// A whole regular file of at most `limit` bytes as text.
///
/// # Errors
/// As [`read`]; [`ErrorKind::InvalidData`] where it is not UTF-8.
pub fn read_text(path: &Path, limit: usize) -> io::Result<String> {
    String::from_utf8(read(path, limit)?).map_err(|why| io::Error::new(ErrorKind::InvalidData, why))
}

fn whole(file: File, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if read_into(&file, &mut bytes, limit)? {
        return Err(too_large(limit));
    }
    Ok(bytes)
}

/// Reads at most `limit` bytes into `buffer`, whose former content is dropped; whether there is
/// more.
///
/// # Errors
/// As read(2).
pub fn read_into(file: impl AsFd, buffer: &mut Vec<u8>, limit: usize) -> io::Result<bool> {
    buffer.clear();
    loop {
        buffer.reserve(4096);
        // More than the limit is what the buffer had room for already.
        let read = rustix::io::retry_on_intr(|| {
            rustix::io::read(file.as_fd(), rustix::buffer::spare_capacity(buffer))
        })?;
        if buffer.len() > limit {
            buffer.truncate(limit);
            return Ok(true);
        }
        if read == 0 {
            return Ok(false);
        }
    }
}

/// The error of a file that is larger than what is read of it.
#[must_use]
fn too_large(limit: usize) -> io::Error {
    io::Error::new(ErrorKind::FileTooLarge, format!("larger than {limit} bytes"))
}

/// Whether a file was larger than the limit.
#[must_use]
pub fn is_too_large(error: &io::Error) -> bool {
    error.kind() == ErrorKind::FileTooLarge
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
