//! Writing: to a new file beside the place, which takes the place once it is whole.

use crate::read::{name_of, type_of};
use crate::walk::{self, Place, foreign, is_trusted};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Bytes of a file's name that its draft's name repeats: both stay below NAME_MAX.
const MAX_REPEATED: usize = 200;
/// Names that are tried until one is free.
const TRIES: usize = 8;
/// How a draft's name ends.
const PART: &str = ".part";

/// A file that takes its place once it is whole: until then what was there stays. Dropped before,
/// it is removed.
#[derive(Debug)]
pub struct Draft {
    folder: OwnedFd,
    name: OsString,
    /// Its name until then.
    beside: OsString,
    file: File,
    placed: bool,
}

impl Draft {
    /// Starts a file that will replace a regular file, or be new.
    ///
    /// # Errors
    /// As open(2); where a symbolic link of another user is on the way, or something other than a
    /// regular file is there.
    pub fn create(path: &Path) -> io::Result<Self> {
        let place = walk::trusted(path)?;
        if let Some(there) = &place.there {
            let kind = type_of(there)?;
            if kind != FileType::RegularFile {
                let problem = format!("is {}, not a regular file", name_of(kind));
                return Err(io::Error::new(ErrorKind::InvalidInput, problem));
            }
        }
        Self::at(place)
    }

    /// Starts a file in an open folder.
    ///
    /// # Errors
    /// As open(2).
    pub fn within(folder: impl AsFd, name: &OsStr) -> io::Result<Self> {
        let folder = folder.as_fd().try_clone_to_owned()?;
        Self::at(Place { folder, name: name.to_owned(), there: None, opened: false })
    }

    fn at(place: Place) -> io::Result<Self> {
        let Place { folder, name, .. } = place;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mut tries = 0;
        loop {
            let beside = part_of(&name)?;
            tries += 1;
            match openat(&folder, &beside, flags | OFlags::CLOEXEC, ordinary()) {
                Ok(file) => {
                    return Ok(Self { folder, name, beside, file: file.into(), placed: false });
                }
                Err(Errno::EXIST) if tries < TRIES => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Its name until it takes its place.
    #[must_use]
    pub fn beside(&self) -> &OsStr {
        &self.beside
    }

    /// The file.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives the file its name. Where it is `lasting`, contents and name are on the disk then.
    ///
    /// # Errors
    /// As fsync(2) and rename(2): what was there stays.
    pub fn place(mut self, lasting: bool) -> io::Result<()> {
        if lasting {
            self.file.sync_all()?;
        }
        renameat(&self.folder, &self.beside, &self.folder, &self.name)?;
        self.placed = true;
        if lasting {
            // The name is in the folder, which has its own pages.
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::fsync(openat(&self.folder, ".", flags, Mode::empty())?)?;
        }
        Ok(())
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.placed {
            // Where it is not there any more, nothing is left to do.
            let _ = unlinkat(&self.folder, &self.beside, AtFlags::empty());
        }
    }
}

/// Writes a whole file in the place of a regular file, or a new one.
///
/// # Errors
/// As [`Draft::create`] and write(2): what was there stays.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut draft = Draft::create(path)?;
    draft.write_all(bytes)?;
    draft.place(false)
}

/// What is written to a path that a user named: a file that is replaced as a whole, or a device,
/// pipe or terminal.
#[derive(Debug)]
pub enum Output {
    /// Takes its place at the end.
    Beside(Draft),
    /// A device or pipe, which a rename would replace; or what a process has open.
    Through(File),
}

impl Output {
    /// Opens it.
    ///
    /// # Errors
    /// As open(2); where a symbolic link or a FIFO of another user is on the way.
    pub fn create(path: &Path) -> io::Result<Self> {
        let place = walk::trusted(path)?;
        let Some(there) = &place.there else { return Draft::at(place).map(Self::Beside) };
        let stat = fstat(there)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::RegularFile && !place.opened {
            return Draft::at(place).map(Self::Beside);
        }
        if kind == FileType::Fifo && !place.opened && !is_trusted(stat.st_uid) {
            return Err(foreign("a FIFO", &place.name, stat.st_uid));
        }
        let again = format!("/proc/self/fd/{}", there.as_raw_fd());
        let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(Self::Through(rustix::fs::open(again, flags, Mode::empty())?.into()))
    }

    /// The file to write to.
    pub fn file(&mut self) -> &mut File {
        match self {
            Self::Beside(draft) => draft.file(),
            Self::Through(file) => file,
        }
    }

    /// Ends it: a file gets its name.
    ///
    /// # Errors
    /// As [`Draft::place`].
    pub fn finish(self) -> io::Result<()> {
        match self {
            Self::Beside(draft) => draft.place(true),
            Self::Through(_) => Ok(()),
        }
    }
}

/// Makes a file that is not there yet, and opens it for appending.
///
/// # Errors
/// As open(2): EEXIST where anything is there, a link too; and where a symbolic link of another user
/// is on the way.
pub fn create_new(path: &Path) -> io::Result<File> {
    let Place { folder, name, there, .. } = walk::trusted(path)?;
    if there.is_some() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL;
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(&folder, &name, flags, ordinary())?.into())
}

/// Opens a file to be locked, or makes it; it is not changed.
///
/// # Errors
/// As open(2); where it is not a regular file, or a symbolic link of another user is on the way.
pub fn open_lock(path: &Path) -> io::Result<File> {
    let Place { folder, name, .. } = walk::trusted(path)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = openat(&folder, &name, flags | OFlags::NOCTTY | OFlags::CLOEXEC, ordinary())?;
    match type_of(&file)? {
        FileType::RegularFile => Ok(file.into()),
        kind => {
            let problem = format!("is {}, not a regular file", name_of(kind));
            Err(io::Error::new(ErrorKind::InvalidInput, problem))
        }
    }
}

/// Checks a path that need not be there.
///
/// # Errors
/// Where a symbolic link of another user is on the way, or as open(2).
pub fn check(path: &Path) -> io::Result<()> {
    match walk::trusted(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes a folder and those that it is in, where they are not there yet.
///
/// # Errors
/// As mkdir(2); where a symbolic link of another user is on the way.
pub fn make_folders(path: &Path) -> io::Result<()> {
    let above: Vec<&Path> = path.ancestors().filter(|part| !part.as_os_str().is_empty()).collect();
    for part in above.into_iter().rev() {
        let place = walk::trusted(part)?;
        match &place.there {
            Some(there) if type_of(there)? == FileType::Directory => {}
            Some(_) => return Err(Errno::NOTDIR.into()),
            None => match mkdirat(&place.folder, &place.name, Mode::from_raw_mode(0o777)) {
                // Another one was faster; whether it is a folder is seen when it is used.
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            },
        }
    }
    Ok(())
}

/// Whether this is the name of a draft of the file of this name, which was left by a process that
/// was killed.
#[must_use]
pub fn parts_of(name: &str, found: &OsStr) -> bool {
    let middle = found
        .as_bytes()
        .strip_prefix(b".")
        .and_then(|rest| rest.strip_prefix(name.as_bytes())?.strip_prefix(b"."))
        .and_then(|rest| rest.strip_suffix(PART.as_bytes()));
    middle.is_some_and(|digits| digits.len() == 16 && digits.iter().all(u8::is_ascii_hexdigit))
}

/// A name that nobody can have foreseen.
fn part_of(name: &OsStr) -> io::Result<OsString> {
    let mut random = [0; 8];
    rustix::io::retry_on_intr(|| getrandom(&mut random, GetRandomFlags::empty()))?;
    let name = name.as_bytes();
    let mut part = OsString::from(".");
    part.push(OsStr::from_bytes(name.get(..MAX_REPEATED).unwrap_or(name)));
    part.push(format!(".{:016x}{PART}", u64::from_ne_bytes(random)));
    Ok(part)
}

/// The permissions of a new file, less the umask.
fn ordinary() -> Mode {
    Mode::from_raw_mode(0o666)
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
