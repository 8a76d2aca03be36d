//! Files that controllers leave with an agent and take from it: one flat folder, of one size.

use files::Draft;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use workload::clock;

/// Bytes of a file that cross in one message at most.
pub const PIECE: usize = 1 << 20;
/// Bytes of all files in the folder at most, and thus of one; as much again may be there while
/// files are replaced.
pub const ROOM: u64 = 1 << 30;
/// Files in the folder at most.
const MOST_FILES: usize = 1000;
/// Files that are written at the same time; those of controllers that were lost are among them.
const MAX_BEGUN: usize = 16;
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
    /// Files that are not whole yet, the latest one last.
    begun: Vec<Begun>,
}

/// A file whose pieces are still coming.
#[derive(Debug)]
struct Begun {
    name: String,
    draft: Draft,
    /// Bytes of the whole file, and those that are there.
    size: u64,
    written: u64,
}

impl Scratch {
    pub(crate) fn new(given: Option<&Path>) -> Self {
        Self { given: given.map(Path::to_owned), room: ROOM, open: Mutex::new(None) }
    }

    /// Writes a piece; from the start, the file begins anew. It takes the place of what was there
    /// when all its `size` bytes are written, and until then that stays. Gives the file's path.
    pub(crate) fn put(
        &self,
        name: &str,
        offset: u64,
        size: u64,
        bytes: &[u8],
    ) -> Result<PathBuf, String> {
        check(name)?;
        if bytes.len() > PIECE {
            return Err(format!("a piece of a file has at most {PIECE} bytes"));
        }
        self.with(|folder| {
            if offset == 0 {
                folder.begin(name, size, self.room)?;
            }
            let at = folder.begun.iter().position(|begun| begun.name == name);
            let mut begun = at
                .map(|at| folder.begun.remove(at))
                .filter(|begun| begun.size == size && offset <= begun.written)
                .ok_or_else(|| format!("{name}: pieces are written in order"))?;
            // Where it fails, the draft goes, and what was there stays.
            begun.write(offset, bytes).map_err(|error| text(name, &error))?;
            if begun.written == size {
                begun.draft.place(false).map_err(|error| text(name, &error))?;
            } else {
                folder.begun.push(begun);
            }
            Ok(folder.path.join(name))
        })
    }

    /// Reads a piece; with it, how many bytes the file has.
    pub(crate) fn fetch(&self, name: &str, offset: u64) -> Result<(Vec<u8>, u64), String> {
        check(name)?;
        self.with(|folder| {
            let file = folder.open(name)?;
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

    fn with<T>(&self, act: impl FnOnce(&mut Folder) -> Result<T, String>) -> Result<T, String> {
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
        Ok(Self { path, fd, begun: Vec::new() })
    }

    /// Opens a plain file of it to be read; no link is followed, and a pipe does not keep it waiting.
    fn open(&self, name: &str) -> Result<File, String> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let flags = flags | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd =
            rustix::fs::openat(&self.fd, name, flags, Mode::empty()).map_err(
                |error| match error {
                    Errno::LOOP => format!("{name} is a link"),
                    error => text(name, &error.into()),
                },
            )?;
        let file = File::from(fd);
        match file.metadata() {
            Ok(found) if !found.is_file() => Err(format!("{name} is not a regular file")),
            Ok(found) if found.nlink() > 1 => Err(format!("{name} is a link: it has other names")),
            Ok(_) => Ok(file),
            Err(error) => Err(text(name, &error)),
        }
    }

    /// Begins a file beside its place, if there is room for all of it.
    fn begin(&mut self, name: &str, size: u64, room: u64) -> Result<(), String> {
        self.begun.retain(|begun| begun.name != name);
        if self.begun.len() >= MAX_BEGUN {
            self.begun.remove(0);
        }
        self.replaceable(name)?;
        let announced = self.begun.iter().fold(0_u64, |sum, begun| sum.saturating_add(begun.size));
        let others = self.others(name)?.saturating_add(announced);
        if others.saturating_add(size) > room {
            return Err(format!("no room: the limit is {room} bytes for all files"));
        }
        let failed = |error: io::Error| text(name, &error);
        let mut draft = Draft::within(&self.fd, OsStr::new(name)).map_err(failed)?;
        draft.file().set_permissions(Permissions::from_mode(0o600)).map_err(failed)?;
        self.begun.push(Begun { name: name.to_owned(), draft, size, written: 0 });
        Ok(())
    }

    /// Refuses a name at which there is something other than a file of its own.
    fn replaceable(&self, name: &str) -> Result<(), String> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile if stat.st_nlink == 1 => Ok(()),
                FileType::RegularFile => Err(format!("{name} is a link: it has other names")),
                FileType::Symlink => Err(format!("{name} is a link")),
                _ => Err(format!("{name} is not a regular file")),
            },
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(text(name, &error.into())),
        }
    }

    /// Bytes of all whole files but one.
    fn others(&self, name: &str) -> Result<u64, String> {
        let failed = |error: Errno| text("the agent's directory", &error.into());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.fd.as_fd(), ".", flags, Mode::empty()).map_err(failed)?;
        let (mut sum, mut count) = (0_u64, 0);
        for entry in Dir::read_from(&fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let found = entry.file_name().to_bytes();
            let is_draft = |begun: &Begun| begun.draft.beside().as_encoded_bytes() == found;
            if found == name.as_bytes() || self.begun.iter().any(is_draft) {
                continue;
            }
            let stat = rustix::fs::statat(&fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
            let Ok(stat) = stat else { continue };
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                sum = sum.saturating_add(u64::try_from(stat.st_size).unwrap_or(0));
                count += 1;
            }
        }
        if count < MOST_FILES {
            Ok(sum)
        } else {
            Err(format!("{count} files exist already, the maximum"))
        }
    }
}

impl Begun {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset.saturating_add(bytes.len() as u64);
        if end > self.size {
            return Err(io::Error::other(format!("expected {} bytes", self.size)));
        }
        self.draft.file().write_all_at(bytes, offset)?;
        self.written = self.written.max(end);
        Ok(())
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
        return Err(format!("{name:?} is not a file name"));
    }
    if !name.chars().all(plain) {
        return Err(format!("{name:?} is not a plain file name"));
    }
    Ok(())
}

fn text(what: &str, error: &io::Error) -> String {
    format!("{what}: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts a small file in one piece.
    fn put(scratch: &Scratch, name: &str, bytes: &[u8]) -> Result<PathBuf, String> {
        scratch.put(name, 0, bytes.len() as u64, bytes)
    }

    #[test]
    fn files_are_put_in_pieces_and_fetched_again() {
        let scratch = Scratch::new(None);
        let path = scratch.put("plan.json", 0, 23, b"first half, ").unwrap();
        assert!(!path.exists(), "it is not whole");
        scratch.put("plan.json", 12, 23, b"second half").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first half, second half");
        let folder = path.parent().unwrap().to_owned();
        let mode = |path: &Path| PermissionsExt::mode(&fs::metadata(path).unwrap().permissions());
        assert_eq!((mode(&path) & 0o777, mode(&folder) & 0o777), (0o600, 0o700));
        assert_eq!(scratch.fetch("plan.json", 12).unwrap(), (b"second half".to_vec(), 23));
        assert_eq!(scratch.fetch("plan.json", 99).unwrap(), (Vec::new(), 23));
        put(&scratch, "plan.json", b"anew").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"anew");
        assert!(scratch.put("plan.json", 5, 6, b"x").unwrap_err().contains("in order"));
        assert!(put(&scratch, "big", &vec![0; PIECE + 1]).unwrap_err().contains("at most"));
        assert!(scratch.fetch("nothing", 0).unwrap_err().starts_with("nothing: "));
        drop(scratch);
        assert!(!folder.exists());
    }

    #[test]
    fn attack_by_links_and_pipes_touches_only_plain_files_of_the_folder() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("inner");
        fs::create_dir_all(inner.join("sub")).unwrap();
        fs::write(outer.path().join("secret"), "s").unwrap();
        std::os::unix::fs::symlink("../secret", inner.join("link")).unwrap();
        fs::hard_link(outer.path().join("secret"), inner.join("hard")).unwrap();
        let pipe = std::process::Command::new("mkfifo").arg(inner.join("pipe")).status();
        assert!(pipe.unwrap().success());
        let scratch = Scratch::new(Some(&inner));
        let long = "x".repeat(256);
        for name in ["", ".", "..", "../secret", "/etc/passwd", "sub/f", "a\0b", "a\nb", &long] {
            assert!(put(&scratch, name, b"x").unwrap_err().contains("name"), "{name:?}");
            assert!(scratch.fetch(name, 0).unwrap_err().contains("name"), "{name:?}");
        }
        for name in ["link", "hard", "sub", "pipe"] {
            assert!(put(&scratch, name, b"x").is_err(), "{name}");
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
        put(&scratch, "one", &[1; 60]).unwrap();
        assert!(put(&scratch, "two", &[2; 41]).unwrap_err().contains("no room"));
        put(&scratch, "two", &[2; 40]).unwrap();
        assert!(put(&scratch, "two", &[2; 41]).unwrap_err().contains("no room"));
        put(&scratch, "one", &[1; 60]).unwrap();
        assert!(scratch.put("one", u64::MAX, 1, &[1]).unwrap_err().contains("in order"));
        // What was only announced has its room, too.
        put(&scratch, "two", b"").unwrap();
        scratch.put("two", 0, 40, &[2; 10]).unwrap();
        assert!(put(&scratch, "three", &[3; 1]).unwrap_err().contains("no room"));
        assert!(scratch.put("two", 10, 40, &[2; 31]).unwrap_err().contains("40 bytes"));
    }

    #[test]
    fn attack_without_room_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let mut scratch = Scratch::new(Some(folder.path()));
        scratch.room = 100;
        let path = put(&scratch, "plan", b"before").unwrap();
        let holds = |wanted: &[u8]| assert_eq!(fs::read(&path).unwrap(), wanted);
        assert!(put(&scratch, "plan", &[1; 101]).unwrap_err().contains("no room"));
        holds(b"before");
        // Neither does one that its controller never ends take its place.
        scratch.put("plan", 0, 90, &[1; 50]).unwrap();
        holds(b"before");
        assert!(scratch.put("plan", 50, 90, &[1; 41]).is_err());
        holds(b"before");
        for number in 0..2 * MAX_BEGUN {
            scratch.put(&format!("half-{number}"), 0, 5, &[1]).unwrap();
        }
        let found = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(found, 1 + MAX_BEGUN);
        drop(scratch);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
