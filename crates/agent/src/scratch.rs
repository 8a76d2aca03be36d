//! Files that controllers leave with an agent and take from it: one flat folder, of one size.

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use workload::clock;

/// Bytes of a file that cross in one message at most.
pub const PIECE: usize = 1 << 20;
/// Bytes of all files in the folder at most, and thus of one.
pub const ROOM: u64 = 1 << 30;
/// Files in the folder at most.
const MOST_FILES: usize = 1000;
/// Bytes of a name at most, as on every file system of Linux.
const LONGEST_NAME: usize = 255;

/// The folder; that of no name is made in the temporary one when it is first needed, and goes
/// with its contents at the end.
#[derive(Debug)]
pub(crate) struct Scratch {
    given: Option<PathBuf>,
    room: u64,
    /// One at a time: what is free is counted and then taken.
    open: Mutex<Option<Folder>>,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    fd: OwnedFd,
}

impl Scratch {
    pub(crate) fn new(given: Option<&Path>) -> Self {
        Self { given: given.map(Path::to_owned), room: ROOM, open: Mutex::new(None) }
    }

    /// Writes a piece; from the start, the file begins anew. Gives the file's path.
    pub(crate) fn put(&self, name: &str, offset: u64, bytes: &[u8]) -> Result<PathBuf, String> {
        check(name)?;
        if bytes.len() > PIECE {
            return Err(format!("a piece of a file has at most {PIECE} bytes"));
        }
        self.with(|folder| {
            let flags = OFlags::WRONLY | OFlags::CREATE;
            let flags = if offset == 0 { flags | OFlags::TRUNC } else { flags };
            let others = folder.others(name)?;
            let file = folder.open(name, flags)?;
            let length = file.metadata().map_err(|error| text(name, &error))?.len();
            if offset > length {
                return Err(format!("{name} has {length} bytes: pieces are written in order"));
            }
            let end = offset + bytes.len() as u64;
            if others.saturating_add(end.max(length)) > self.room {
                return Err(format!("no room: all files may have {} bytes together", self.room));
            }
            file.write_all_at(bytes, offset).map_err(|error| text(name, &error))?;
            Ok(folder.path.join(name))
        })
    }

    /// Reads a piece; with it, how many bytes the file has.
    pub(crate) fn fetch(&self, name: &str, offset: u64) -> Result<(Vec<u8>, u64), String> {
        check(name)?;
        self.with(|folder| {
            let file = folder.open(name, OFlags::RDONLY)?;
            let size = file.metadata().map_err(|error| text(name, &error))?.len();
            let wanted = size.saturating_sub(offset).min(PIECE as u64);
            let mut bytes = vec![0; usize::try_from(wanted).unwrap_or(PIECE)];
            let mut read = 0;
            while read < bytes.len() {
                match file.read_at(&mut bytes[read..], offset + read as u64) {
                    // It was cut short meanwhile.
                    Ok(0) => break,
                    Ok(more) => read += more,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(text(name, &error)),
                }
            }
            bytes.truncate(read);
            Ok((bytes, size))
        })
    }

    fn with<T>(&self, act: impl FnOnce(&Folder) -> Result<T, String>) -> Result<T, String> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = match open.take() {
            Some(folder) => folder,
            None => Folder::new(self.given.as_deref())?,
        };
        act(open.insert(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let open = self.open.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let (None, Some(folder)) = (&self.given, open) {
            // Where it is gone already, nothing is left to do.
            let _ = fs::remove_dir_all(&folder.path);
        }
    }
}

impl Folder {
    fn new(given: Option<&Path>) -> Result<Self, String> {
        let path = match given {
            Some(path) => path.to_owned(),
            None => private()?,
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&path, flags, Mode::empty())
            .map_err(|error| text(&path.display().to_string(), &error.into()))?;
        Ok(Self { path, fd })
    }

    /// Opens a plain file of it; no link is followed, and a pipe does not keep it waiting.
    fn open(&self, name: &str, flags: OFlags) -> Result<File, String> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let fd = rustix::fs::openat(&self.fd, name, flags, mode).map_err(|error| match error {
            Errno::LOOP => format!("{name} is a link"),
            error => text(name, &error.into()),
        })?;
        let file = File::from(fd);
        match file.metadata() {
            Ok(found) if found.is_file() => Ok(file),
            Ok(_) => Err(format!("{name} is no file")),
            Err(error) => Err(text(name, &error)),
        }
    }

    /// Bytes of all files but one.
    fn others(&self, name: &str) -> Result<u64, String> {
        let failed = |error: Errno| text("the agent's folder", &error.into());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.fd.as_fd(), ".", flags, Mode::empty()).map_err(failed)?;
        let (mut sum, mut count) = (0_u64, 0);
        for entry in Dir::read_from(&fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().to_bytes() == name.as_bytes() {
                continue;
            }
            let stat = rustix::fs::statat(&fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
            let Ok(stat) = stat else { continue };
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                sum = sum.saturating_add(u64::try_from(stat.st_size).unwrap_or(0));
                count += 1;
            }
        }
        if count < MOST_FILES { Ok(sum) } else { Err(format!("{count} files are there already")) }
    }
}

/// A folder that only this user can enter, and that nobody made before.
fn private() -> Result<PathBuf, String> {
    let name = format!("vmeter-agent-{}-{:x}", std::process::id(), clock::now());
    let path = std::env::temp_dir().join(name);
    DirBuilder::new()
        .mode(0o700)
        .create(&path)
        .map_err(|error| text(&path.display().to_string(), &error))?;
    Ok(path)
}

fn check(name: &str) -> Result<(), String> {
    let plain = |c: char| !c.is_control() && c != '/';
    if name.is_empty() || name.len() > LONGEST_NAME || matches!(name, "." | "..") {
        return Err(format!("{name:?} is no file's name"));
    }
    if !name.chars().all(plain) {
        return Err(format!("{name:?} is no plain name: files lie in one folder"));
    }
    Ok(())
}

fn text(what: &str, error: &io::Error) -> String {
    format!("{what}: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_put_in_pieces_and_fetched_again() {
        let scratch = Scratch::new(None);
        let path = scratch.put("plan.json", 0, b"first half, ").unwrap();
        scratch.put("plan.json", 12, b"second half").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first half, second half");
        let folder = path.parent().unwrap().to_owned();
        let mode = |path: &Path| {
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions())
        };
        assert_eq!((mode(&path) & 0o777, mode(&folder) & 0o777), (0o600, 0o700));
        assert_eq!(scratch.fetch("plan.json", 12).unwrap(), (b"second half".to_vec(), 23));
        assert_eq!(scratch.fetch("plan.json", 99).unwrap(), (Vec::new(), 23));
        scratch.put("plan.json", 0, b"anew").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"anew");
        assert!(scratch.put("plan.json", 5, b"x").unwrap_err().contains("in order"));
        assert!(scratch.put("big", 0, &vec![0; PIECE + 1]).unwrap_err().contains("at most"));
        assert!(scratch.fetch("nothing", 0).unwrap_err().starts_with("nothing: "));
        drop(scratch);
        assert!(!folder.exists());
    }

    #[test]
    fn only_plain_files_of_the_folder_are_touched() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("inner");
        fs::create_dir_all(inner.join("sub")).unwrap();
        fs::write(outer.path().join("secret"), "s").unwrap();
        std::os::unix::fs::symlink("../secret", inner.join("link")).unwrap();
        let pipe = std::process::Command::new("mkfifo").arg(inner.join("pipe")).status();
        assert!(pipe.unwrap().success());
        let scratch = Scratch::new(Some(&inner));
        let long = "x".repeat(256);
        for name in ["", ".", "..", "../secret", "/etc/passwd", "sub/f", "a\0b", "a\nb", &long] {
            assert!(scratch.put(name, 0, b"x").unwrap_err().contains("name"), "{name:?}");
            assert!(scratch.fetch(name, 0).unwrap_err().contains("name"), "{name:?}");
        }
        for name in ["link", "sub", "pipe"] {
            assert!(scratch.put(name, 0, b"x").is_err(), "{name}");
            assert!(scratch.fetch(name, 0).is_err(), "{name}");
        }
        assert!(scratch.fetch("link", 0).unwrap_err().contains("is a link"));
        assert_eq!(fs::read(outer.path().join("secret")).unwrap(), b"s");
        drop(scratch);
        assert!(inner.exists(), "a folder that was given stays");
    }

    #[test]
    fn the_folder_does_not_grow_beyond_its_room() {
        let mut scratch = Scratch::new(None);
        scratch.room = 100;
        scratch.put("one", 0, &[1; 60]).unwrap();
        assert!(scratch.put("two", 0, &[2; 41]).unwrap_err().contains("no room"));
        scratch.put("two", 0, &[2; 40]).unwrap();
        assert!(scratch.put("two", 40, &[2]).unwrap_err().contains("no room"));
        scratch.put("one", 0, &[1; 60]).unwrap();
        assert!(scratch.put("one", u64::MAX, &[1]).unwrap_err().contains("in order"));
    }
}
