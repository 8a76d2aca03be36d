//! Files below a root: the live system's, or a saved tree's.

use super::clock;
use super::kept::Budget;
use super::text::{fields, lines, number, parse_number};
use model::{Moment, Nanos};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a file that are read: /proc/interrupts of 1024 CPUs has 20 MB.
const MAX_FILE: usize = 64 << 20;
/// Bytes of what a process says of itself (its command line), which can be as long as it likes:
/// execve(2) takes 6 MB at most, and VMMs are started with some KB.
const MAX_CLAIM: usize = 256 << 10;

/// Files below a root path. Paths given to its methods begin with `/`, as on the system that
/// the tree is of.
///
/// A saved tree holds copies of files of /proc and /sys, and may hold, in its root, a file
/// `vmeter-moment` with lines `monotonic_ns N` and `unix_ns N`. It may be a series: folders
/// `at-0`, `at-1`, … , each a whole tree of one successive moment. [`Tree::begin`] steps from
/// one to the next; after the last one the last is given again, so that the clock stands still
/// and no rate can be computed from it.
///
/// Who made a saved tree is not known: of it only regular files are opened, and its links lead
/// nowhere outside of it.
#[derive(Debug, Clone)]
pub struct Tree {
    base: PathBuf,
    root: Arc<OwnedFd>,
    live: bool,
    /// Of files that are kept open; of the live system only, all clones together.
    budget: Option<Arc<Budget>>,
    /// The moment of a series that is being read.
    step: Option<u32>,
    begun: bool,
}

impl Tree {
    /// The live system where `root` is `/`, else the saved tree or series in that folder.
    ///
    /// # Errors
    /// Where the folder cannot be opened.
    pub fn open(root: &Path) -> io::Result<Self> {
        let live = root == Path::new("/");
        let first = root.join("at-0");
        let series = !live && first.is_dir();
        let fd = if series { open_moment(&first)? } else { open_folder(root)? };
        Ok(Self {
            base: root.to_owned(),
            root: Arc::new(fd),
            live,
            budget: live.then(Arc::default),
            step: series.then_some(0),
            begun: false,
        })
    }

    /// Whether this is the running system.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// The budget of files that are kept open; `None` for a saved tree, where none is.
    pub(super) fn budget(&self) -> Option<&Arc<Budget>> {
        self.budget.as_ref()
    }

    /// To be called once at the start of every snapshot: steps to the next moment of a series
    /// (not at the first call). Does nothing elsewhere.
    pub fn begin(&mut self) {
        let first = !std::mem::replace(&mut self.begun, true);
        let Some(step) = self.step.filter(|_| !first) else { return };
        if let Ok(fd) = open_moment(&self.base.join(format!("at-{}", step + 1))) {
            self.root = Arc::new(fd);
            self.step = Some(step + 1);
        }
    }

    /// Opens a file for reading, to be read again and again.
    ///
    /// # Errors
    /// As open(2); in a saved tree, where it is not a regular file.
    pub fn open_file(&self, path: &str) -> io::Result<OwnedFd> {
        if !self.live {
            return Ok(files::open_within(self.root.as_fd(), Path::new(path))?.into());
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        Ok(rustix::fs::openat(self.root.as_fd(), inside(path), flags, Mode::empty())?)
    }

    /// Reads a whole file into `buffer`, whose former content is dropped.
    ///
    /// # Errors
    /// As [`Self::open_file`] and read(2); where it has more than 64 MiB.
    pub fn read<'b>(&self, path: &str, buffer: &'b mut Vec<u8>) -> io::Result<&'b [u8]> {
        if files::read_into(self.open_file(path)?, buffer, MAX_FILE)? {
            buffer.clear();
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(buffer)
    }

    /// Reads what a process says of itself into `buffer`: the first 256 KiB of it.
    ///
    /// # Errors
    /// As [`Self::open_file`] and read(2).
    pub fn read_claim<'b>(&self, path: &str, buffer: &'b mut Vec<u8>) -> io::Result<&'b [u8]> {
        files::read_into(self.open_file(path)?, buffer, MAX_CLAIM)?;
        Ok(buffer)
    }

    /// Reads a file that the kernel gives in one piece (a line of /proc/PID/…) with one call.
    ///
    /// # Errors
    /// As open(2) and read(2).
    pub fn read_line<'b>(&self, path: &str, buffer: &'b mut Vec<u8>) -> io::Result<&'b [u8]> {
        let file = self.open_file(path)?;
        read_again(&file, buffer)
    }

    /// A whole file as text, without white space at its ends.
    ///
    /// # Errors
    /// As open(2) and read(2).
    pub fn read_text(&self, path: &str) -> io::Result<String> {
        let mut buffer = Vec::new();
        let bytes = self.read(path, &mut buffer)?;
        Ok(String::from_utf8_lossy(bytes.trim_ascii()).into_owned())
    }

    /// The number that a file begins with; `None` where there is no such file or number.
    #[must_use]
    pub fn read_number(&self, path: &str) -> Option<u64> {
        let mut buffer = Vec::new();
        number(self.read_line(path, &mut buffer).ok()?)
    }

    /// The names in a folder, without `.` and `..`, sorted; what is not UTF-8 becomes `�`.
    ///
    /// # Errors
    /// As open(2) and getdents(2).
    pub fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        self.each_name(path, |name| {
            if name != b"." && name != b".." {
                names.push(String::from_utf8_lossy(name).into_owned());
            }
        })?;
        names.sort_unstable();
        Ok(names)
    }

    /// The names of the folders in a folder, sorted; symbolic links are none.
    ///
    /// # Errors
    /// As open(2) and getdents(2).
    pub fn folders(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        self.each_entry(path, |name, kind| {
            if kind == FileType::Directory && name != b"." && name != b".." {
                names.push(String::from_utf8_lossy(name).into_owned());
            }
        })?;
        names.sort_unstable();
        Ok(names)
    }

    /// The names in a folder that are numbers (pids, descriptors), sorted, into `numbers`.
    ///
    /// # Errors
    /// As open(2) and getdents(2).
    pub fn list_numbers(&self, path: &str, numbers: &mut Vec<u32>) -> io::Result<()> {
        numbers.clear();
        self.each_name(path, |name| {
            numbers.extend(parse_number(name).and_then(|number| u32::try_from(number).ok()));
        })?;
        numbers.sort_unstable();
        Ok(())
    }

    fn each_name(&self, path: &str, mut seen: impl FnMut(&[u8])) -> io::Result<()> {
        self.each_entry(path, |name, _kind| seen(name))
    }

    fn each_entry(&self, path: &str, mut seen: impl FnMut(&[u8], FileType)) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
        let folder = if self.live {
            rustix::fs::openat(self.root.as_fd(), inside(path), flags, Mode::empty())?
        } else {
            let place = files::place_within(self.root.as_fd(), Path::new(path))?;
            rustix::fs::openat(place, ".", flags, Mode::empty())?
        };
        let mut space = [MaybeUninit::uninit(); 8192];
        let mut entries = RawDir::new(folder, &mut space);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            seen(entry.file_name().to_bytes(), entry.file_type());
        }
        Ok(())
    }

    /// What a symbolic link holds. In a saved tree, where the links of /proc/PID/fd cannot be
    /// kept as such, a plain file with the link's text stands for it.
    ///
    /// # Errors
    /// As readlink(2).
    pub fn link(&self, path: &str) -> io::Result<PathBuf> {
        let read = match path.rsplit_once('/').filter(|_| !self.live) {
            Some((folder, name)) => {
                let folder = files::place_within(self.root.as_fd(), Path::new(folder))?;
                rustix::fs::readlinkat(folder, name, Vec::new())
            }
            None => rustix::fs::readlinkat(self.root.as_fd(), inside(path), Vec::new()),
        };
        match read {
            Ok(target) => Ok(PathBuf::from(OsString::from_vec(target.into_bytes()))),
            Err(rustix::io::Errno::INVAL) if !self.live => Ok(self.read_text(path)?.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// The major and minor number of a character device, links followed; `None` for any other
    /// file.
    ///
    /// # Errors
    /// As stat(2). A saved tree has no devices.
    pub fn device(&self, path: &str) -> io::Result<Option<(u32, u32)>> {
        if !self.live {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let found = rustix::fs::statat(self.root.as_fd(), inside(path), AtFlags::empty())?;
        let is_device = FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice;
        let number = found.st_rdev;
        Ok(is_device.then(|| (rustix::fs::major(number), rustix::fs::minor(number))))
    }

    /// The inode number of a file or folder.
    ///
    /// # Errors
    /// As stat(2).
    pub fn inode(&self, path: &str) -> io::Result<u64> {
        if !self.live {
            let place = files::place_within(self.root.as_fd(), Path::new(path))?;
            return Ok(rustix::fs::fstat(place)?.st_ino);
        }
        Ok(rustix::fs::statat(self.root.as_fd(), inside(path), AtFlags::empty())?.st_ino)
    }

    /// Whether there is such a file or folder, as far as may be seen.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        self.inode(path).is_ok()
    }

    /// The monotonic clock (CLOCK_MONOTONIC). Of a saved tree: `vmeter-moment`, else the first
    /// number of /proc/uptime, else zero.
    #[must_use]
    pub fn now(&self) -> Nanos {
        if self.live {
            return clock::monotonic();
        }
        let saved = || self.saved_moment(b"monotonic_ns").map(Nanos);
        let uptime = || parse_uptime(self.read_text("/proc/uptime").ok()?.as_bytes());
        saved().or_else(uptime).unwrap_or_default()
    }

    /// Calendar time and boot.
    #[must_use]
    pub fn moment(&self) -> Moment {
        let unix = if self.live {
            clock::calendar()
        } else {
            self.saved_moment(b"unix_ns").map(Nanos).unwrap_or_default()
        };
        let boot = self.read_text("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Moment { unix, boot }
    }

    fn saved_moment(&self, key: &[u8]) -> Option<u64> {
        let mut buffer = Vec::new();
        parse_moment(self.read("/vmeter-moment", &mut buffer).ok()?, key)
    }
}

/// Reads a kept file from its start with one call.
///
/// # Errors
/// As pread(2); ESRCH where the process of a /proc/PID file has ended.
pub(crate) fn read_again<'b>(file: &OwnedFd, buffer: &'b mut Vec<u8>) -> io::Result<&'b [u8]> {
    buffer.clear();
    buffer.reserve(4096);
    rustix::io::pread(file, rustix::buffer::spare_capacity(buffer), 0)?;
    Ok(buffer)
}

fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// A moment of a series, which is in its folder: a link could lead out of it.
fn open_moment(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// The path relative to the root's descriptor.
fn inside(path: &str) -> &str {
    let path = path.trim_start_matches('/');
    if path.is_empty() { "." } else { path }
}

fn parse_moment(bytes: &[u8], key: &[u8]) -> Option<u64> {
    lines(bytes).find_map(|line| {
        let mut words = fields(line);
        (words.next()? == key).then(|| parse_number(words.next()?))?
    })
}

/// `12345.67 …` seconds.
fn parse_uptime(bytes: &[u8]) -> Option<Nanos> {
    let seconds: f64 = std::str::from_utf8(fields(bytes).next()?).ok()?.parse().ok()?;
    Some(Nanos::from_seconds(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostile::survives;

    #[test]
    fn a_series_steps_and_its_last_moment_stays() {
        let folder = tempfile::tempdir().unwrap();
        for step in 0..2 {
            let at = folder.path().join(format!("at-{step}"));
            std::fs::create_dir(&at).unwrap();
            let text = format!("monotonic_ns {}\nunix_ns 7\n", 100 + step);
            std::fs::write(at.join("vmeter-moment"), text).unwrap();
        }
        let mut tree = Tree::open(folder.path()).unwrap();
        let mut times = Vec::new();
        for _ in 0..3 {
            tree.begin();
            times.push(tree.now().0);
        }
        assert_eq!(times, [100, 101, 101]);
        assert_eq!(tree.moment().unix, Nanos(7));
    }

    #[test]
    fn the_live_tree_reads_this_process() {
        let tree = Tree::open(Path::new("/")).unwrap();
        let mut pids = Vec::new();
        tree.list_numbers("/proc", &mut pids).unwrap();
        assert!(pids.contains(&std::process::id()));
        assert!(tree.now() > Nanos::ZERO && tree.is_live());
        assert_eq!(tree.link("/proc/self").unwrap(), Path::new(&std::process::id().to_string()));
    }

    #[test]
    fn attack_by_a_saved_trees_files_ends_soon_and_stays_in_it() {
        use rustix::fs::{CWD, FileType, mknodat};
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join("tree/proc").join(name);
        std::fs::create_dir_all(at("sys")).unwrap();
        std::fs::write(folder.path().join("secret"), "s").unwrap();
        std::fs::write(at("stat"), "cpu").unwrap();
        symlink("stat", at("near")).unwrap();
        symlink("/dev/zero", at("zero")).unwrap();
        symlink("../../secret", at("far")).unwrap();
        symlink("../..", at("out")).unwrap();
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        std::fs::File::create(at("sparse")).unwrap().set_len(1 << 40).unwrap();
        let tree = Tree::open(&folder.path().join("tree")).unwrap();
        let mut buffer = Vec::new();
        assert_eq!(tree.read("/proc/near", &mut buffer).unwrap(), b"cpu");
        for name in ["zero", "far", "pipe", "out/secret", "sys"] {
            let path = format!("/proc/{name}");
            assert!(tree.read(&path, &mut buffer).is_err(), "{name}");
            assert!(tree.read_line(&path, &mut buffer).is_err(), "{name}");
        }
        let error = tree.read("/proc/sparse", &mut buffer).unwrap_err();
        assert!(files::is_too_large(&error), "{error}");
        assert_eq!(tree.read_claim("/proc/sparse", &mut buffer).unwrap().len(), MAX_CLAIM);
        assert!(!tree.exists("/proc/out/secret") && tree.exists("/proc/out/proc/stat"));
        assert_eq!(tree.list("/proc/out").unwrap(), ["proc"]);
        assert_eq!(tree.link("/proc/out").unwrap(), Path::new("../.."));
        // A series is in one folder, too.
        symlink(folder.path().join("tree"), folder.path().join("tree/at-0")).unwrap();
        assert!(Tree::open(&folder.path().join("tree")).is_err());
    }

    #[test]
    fn hostile_input() {
        survives(b"monotonic_ns 12345\nunix_ns 99\n", |bytes| {
            let _ = parse_moment(bytes, b"unix_ns");
        });
        survives(b"1234.56 99.01\n", |bytes| {
            let _ = parse_uptime(bytes);
        });
    }
}
